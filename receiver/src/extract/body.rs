//! One pass over a JSON body along a trie of pointers.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Attribute, Found, Scalar};

/// A place in a body that a pointer ends at or goes through.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// What is read here.
    attributes: Vec<Attribute>,
    children: Vec<Child>,
}

/// A step of a pointer.
#[derive(Debug)]
struct Child {
    name: String,
    /// The same as a place in an array, where it can be one.
    index: Option<usize>,
    node: Node,
}

impl Node {
    /// Adds a JSON pointer (RFC 6901).
    pub(super) fn insert(&mut self, pointer: &str, attribute: Attribute) {
        let mut node = self;
        let mut steps = pointer.split('/');
        if steps.next() != Some("") {
            return;
        }
        for step in steps {
            let name = step.replace("~1", "/").replace("~0", "~");
            let place = node.children.iter().position(|child| child.name == name);
            let place = place.unwrap_or(node.children.len());
            if place == node.children.len() {
                node.children.push(Child {
                    index: index(&name),
                    name,
                    node: Self::default(),
                });
            }
            let Some(child) = node.children.get_mut(place) else {
                return;
            };
            node = &mut child.node;
        }
        node.attributes.push(attribute);
    }

    /// Reads a body; `None` where it is not JSON.
    pub(super) fn read<'de>(&self, body: &'de [u8]) -> Option<Found<'de>> {
        // Once for the whole: `serde_json` then need not look at each text.
        let text = std::str::from_utf8(body).ok()?;
        let mut found = Found::default();
        let mut json = serde_json::Deserializer::from_str(text);
        let along = Along {
            node: self,
            found: &mut found,
        };
        along.deserialize(&mut json).ok()?;
        json.end().ok()?;
        Some(found)
    }

    /// Forgets what was read here and below.
    fn clear(&self, found: &mut Found<'_>) {
        for attribute in &self.attributes {
            *found.slot(*attribute) = None;
        }
        for child in &self.children {
            child.node.clear(found);
        }
    }
}

/// As RFC 6901 has it: no sign, no leading zero.
fn index(name: &str) -> Option<usize> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (name == "0" || !name.starts_with('0')) {
        name.parse().ok()
    } else {
        None
    }
}

/// Reads the value at a node.
struct Along<'n, 'f, 'de> {
    node: &'n Node,
    found: &'f mut Found<'de>,
}

impl<'de> Along<'_, '_, 'de> {
    fn set(self, make: impl Fn() -> Scalar<'de>) {
        for attribute in &self.node.attributes {
            *self.found.slot(*attribute) = Some(make());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Along<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // Of members with the same name the last counts.
        self.node.clear(self.found);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Along<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(Name(&self.node.children))? {
            match child {
                Some(node) => map.next_value_seed(Along {
                    node,
                    found: self.found,
                })?,
                None => map.next_value_seed(Over)?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for index in 0.. {
            let child = self
                .node
                .children
                .iter()
                .find(|child| child.index == Some(index));
            let next = match child {
                Some(child) => seq.next_element_seed(Along {
                    node: &child.node,
                    found: self.found,
                })?,
                None => seq.next_element_seed(Over)?,
            };
            if next.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.set(|| Scalar::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.set(|| Scalar::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.set(|| Scalar::Signed(number));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.set(|| Scalar::Unsigned(number));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.set(|| Scalar::Float(number));
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.set(|| Scalar::Bool(value));
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a member's name: the node that it leads to.
struct Name<'n>(&'n [Child]);

impl<'n, 'de> DeserializeSeed<'de> for Name<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Name<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self
            .0
            .iter()
            .find(|child| child.name == name)
            .map(|child| &child.node))
    }
}

/// Passes over a value, and yet reads all of it: `IgnoredAny` would let through numbers and escapes
/// that can't be read later, and any depth.
struct Over;

impl<'de> DeserializeSeed<'de> for Over {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Over {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(Name(&[]))?.is_some() {
            map.next_value_seed(Self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}
