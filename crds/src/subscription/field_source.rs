//! Where an attribute is found in a request: `/event_type`, or `{header: X-GitHub-Event}`.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a pointer must look like.
const POINTER: &str = "^(/([^~/]|~0|~1)*)+$";

/// The most characters of one.
const MAX_LENGTH: usize = 512;

/// A place in a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FieldSource {
    /// A JSON pointer (RFC 6901) into the body.
    Pointer(String),
    /// A header's name.
    Header(String),
}

impl FieldSource {
    /// What is wrong with it: the place below the field, and the remedy.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Pointer(pointer) if !is_pointer(pointer) => Some((
                "",
                format!(
                    "`{pointer}` is no JSON pointer: write it as in /event_type, or {{header: Name}}"
                ),
            )),
            Self::Header(name) if !is_header_name(name) => Some((
                ".header",
                format!(
                    "`{name}` is no header's name: write it without its colon, as in X-GitHub-Event"
                ),
            )),
            Self::Pointer(_) | Self::Header(_) => None,
        }
    }
}

/// True for RFC 6901's pointers to a member, as the schema has them.
fn is_pointer(text: &str) -> bool {
    text.chars().count() <= MAX_LENGTH
        && text.starts_with('/')
        && text
            .split('~')
            .skip(1)
            .all(|rest| rest.starts_with(['0', '1']))
}

/// True for RFC 9110's `token`, as the schema has it for other headers.
fn is_header_name(name: &str) -> bool {
    (1..=256).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-!#$%&*+.^_`|~".contains(&byte))
}

/// The form of a header in YAML.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderForm {
    header: String,
}

impl Serialize for FieldSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Pointer(pointer) => serializer.serialize_str(pointer),
            Self::Header(header) => HeaderForm {
                header: header.clone(),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FieldSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = FieldSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON pointer such as /event_type, or {header: Name}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FieldSource, E> {
                Ok(FieldSource::Pointer(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FieldSource, A::Error> {
                HeaderForm::deserialize(MapAccessDeserializer::new(map))
                    .map(|form| FieldSource::Header(form.header))
            }
        }

        deserializer.deserialize_any(Form)
    }
}

/// A text or an object: a structural schema has no type for that, so the API server checks the
/// text alone, and the rest is checked when the object is compiled.
impl JsonSchema for FieldSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FieldSource".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true,
            "maxLength": MAX_LENGTH,
            "pattern": POINTER,
        })
    }
}
