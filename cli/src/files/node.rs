//! YAML with positions: every value of a file knows its line and column.
//!
//! A file is read once, by the one parser, into [`Node`]s; JSON for the compiler and positions for
//! messages both come from them, so that they can't disagree.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};
use serde_saphyr::{Location, Spanned};

/// A place in a file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

/// A YAML value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Of a mapping's entry, its key when the value is itself a mapping or a list.
    pub position: Position,
    /// The value.
    pub value: Value,
}

/// A YAML value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Null, a bool, a number or a string.
    Scalar(Json),
    /// A list.
    Sequence(Vec<Node>),
    /// In the order written.
    Mapping(Vec<(String, Node)>),
}

/// Why a file is not YAML. Never holds the file's text, which may be a Secret's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Where.
    pub position: Position,
    /// What is wrong there.
    pub message: String,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };

    fn of(location: Location) -> Self {
        Self {
            line: location.line().max(1),
            column: location.column().max(1),
        }
    }
}

/// Reads every document of a YAML text. Empty documents are left out.
///
/// # Errors
/// Where the text is not YAML; nothing of it is used then.
pub fn parse(text: &str) -> Result<Vec<Node>, Error> {
    let options = serde_saphyr::options! {
        // A message must not quote the file: it may hold a Secret.
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options::<Node>(text, options).map_err(|error| {
        let error = error.without_snippet();
        let position = error.location().map_or(Position::START, Position::of);
        Error {
            position,
            message: plain(&error.render_with_formatter(&serde_saphyr::UserMessageFormatter)),
        }
    })
}

/// The parser's message without its own note of the place, which is given apart.
fn plain(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    match first.find(" at line ") {
        Some(end) => first.get(..end).unwrap_or(first).to_owned(),
        None => first.to_owned(),
    }
}

impl Node {
    /// The value without its positions.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Scalar(json) => json.clone(),
            Value::Sequence(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Mapping(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.clone(), node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The entry of a mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Mapping(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, node)| node),
            Value::Scalar(_) | Value::Sequence(_) => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(json) => json.as_str(),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// Where a field stands, such as `spec.rules[2].when` or `spec.rules[new-inquiry].when`. What is
    /// not there is looked for no further: its nearest parent's place is the answer.
    #[must_use]
    pub fn locate(&self, path: &str) -> Position {
        let mut node = self;
        for step in steps(path) {
            match node.step(&step) {
                Some(next) => node = next,
                None => break,
            }
        }
        node.position
    }

    fn step(&self, step: &str) -> Option<&Self> {
        match &self.value {
            Value::Mapping(_) => self.get(step),
            Value::Sequence(items) => match step.parse::<usize>() {
                Ok(index) => items.get(index),
                Err(_) => items
                    .iter()
                    .find(|item| item.get("name").and_then(Self::as_str) == Some(step)),
            },
            Value::Scalar(_) => None,
        }
    }
}

/// The steps of a field's path: names between dots, and what brackets hold, quoted or not. A path
/// with a leading slash is a JSON pointer (RFC 6901).
fn steps(path: &str) -> Vec<String> {
    if let Some(pointer) = path.strip_prefix('/') {
        return pointer
            .split('/')
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect();
    }
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(bracketed) = rest.strip_prefix('[') {
            let (step, after) = bracketed.split_once(']').unwrap_or((bracketed, ""));
            steps.push(step.trim_matches(['"', '\'']).to_owned());
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (step, after) = rest.split_at(end);
            if !step.is_empty() {
                steps.push(step.to_owned());
            }
            rest = after;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    steps
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            position: Position::of(spanned.referenced),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Scalar(Json::Null))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Scalar(Json::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Scalar(Json::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(|number| Value::Scalar(Json::Number(number)))
            .ok_or_else(|| E::custom("a number that JSON can't hold: write it as a string"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Scalar(Json::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Scalar(Json::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Node>()? {
            items.push(item);
        }
        Ok(Value::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let mut node: Node = access.next_value()?;
            if !matches!(node.value, Value::Scalar(_)) {
                node.position = Position::of(key.referenced);
            }
            entries.push((key.value, node));
        }
        Ok(Value::Mapping(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
kind: EventRoute
spec:
  rules:
  - name: first
    types: [a, b]
  - name: second
    when: >-
      true
    deliver:
    - body: {\"a.b\": 1}
---
---
kind: Secret
";

    fn at(line: u64, column: u64) -> Position {
        Position { line, column }
    }

    #[test]
    fn every_field_knows_its_place() {
        let documents = parse(TEXT).unwrap();
        assert_eq!(documents.len(), 2);
        let route = &documents[0];
        for (path, position) in [
            ("kind", at(2, 7)),
            ("spec", at(3, 1)),
            ("spec.rules[0].types", at(6, 5)),
            ("spec.rules[0].types[1]", at(6, 16)),
            ("spec.rules[1].when", at(9, 7)),
            ("spec.rules[second].when", at(9, 7)),
            ("spec.rules[1].deliver[0].body[\"a.b\"]", at(11, 21)),
            ("/spec/rules/1/deliver/0/body/a.b", at(11, 21)),
        ] {
            assert_eq!(route.locate(path), position, "{path}");
        }
        assert_eq!(documents[1].locate("kind"), at(14, 7));
    }

    #[test]
    fn a_field_that_is_not_there_is_placed_at_its_parent() {
        let documents = parse(TEXT).unwrap();
        assert_eq!(documents[0].locate("spec.destinations[0].http"), at(3, 1));
        assert_eq!(documents[0].locate("spec.rules[1].types"), at(7, 5));
        assert_eq!(documents[0].locate("spec.rules[9].types"), at(4, 3));
    }

    #[test]
    fn json_keeps_the_types() {
        let json =
            parse("{a: 1, b: -2, c: 1.5, d: 'x', e: null, f: true, g: [\"1\"], h: }").unwrap();
        assert_eq!(
            json[0].to_json(),
            serde_json::json!({"a": 1, "b": -2, "c": 1.5, "d": "x", "e": null, "f": true, "g": ["1"], "h": null})
        );
    }

    #[test]
    fn r57_a_syntax_error_has_its_place_and_never_the_text() {
        let error = parse("kind: Secret\nstringData:\n  key: 'hunter2\n").unwrap_err();
        assert!(error.position.line >= 3, "{error:?}");
        assert!(!error.message.contains("hunter2"), "{error}");
        assert!(!error.message.contains("line"), "{error}");
        let twice = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(twice.position, at(3, 1));
        assert!(twice.message.contains("duplicate"), "{twice}");
    }
}
