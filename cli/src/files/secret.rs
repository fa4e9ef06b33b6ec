//! The values of a `Secret` or a `ConfigMap`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookswitch_crds::secret::SecretBytes;
use serde_json::Value as Json;

use crate::diagnostic::Diagnostic;
use crate::files::node::{Node, Value};
use crate::files::object::{Kind, Object};

/// The values by key. As the API server has it, `stringData` wins over `data`; a `ConfigMap`'s `data` is
/// text.
///
/// # Errors
/// Every value that can't be read; messages never hold a value.
pub fn values(object: &Object) -> Result<BTreeMap<String, SecretBytes>, Vec<Diagnostic>> {
    let mut values = BTreeMap::new();
    let mut problems = Vec::new();
    let fields = match object.id.kind {
        Kind::ConfigMap => [("binaryData", true), ("data", false)],
        _ => [("data", true), ("stringData", false)],
    };
    for (field, encoded) in fields {
        let mut each = |key: &str, node: &Node| {
            let path = format!("{field}[{key}]");
            match decode(node, encoded) {
                Ok(value) => {
                    values.insert(key.to_owned(), value);
                }
                Err(message) => problems.push(object.problem(&path, message)),
            }
        };
        match object.node.get(field).map(|node| &node.value) {
            Some(Value::Mapping(entries)) => {
                for (key, node) in entries {
                    each(key, node);
                }
            }
            None | Some(Value::Scalar(Json::Null)) => {}
            Some(_) => problems.push(object.problem(field, "must be a mapping of names to text")),
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}

/// Values that end in a line break: nearly always an accident, which makes every signature fail.
#[must_use]
pub fn suspicious(object: &Object) -> Vec<Diagnostic> {
    let Ok(values) = values(object) else {
        return Vec::new();
    };
    values
        .iter()
        .filter(|(_, value)| is_one_line(value.expose()))
        .map(|(key, _)| {
            let field = ["stringData", "data"]
                .into_iter()
                .find(|field| object.node.get(field).and_then(|node| node.get(key)).is_some())
                .unwrap_or("data");
            object
                .problem(
                    &format!("{field}[{key}]"),
                    "the value ends with a line break, which becomes part of the secret: write it on one line, or with `|-`",
                )
                .warning()
        })
        .collect()
}

/// Whether it ends with its only line break. What has several lines is no secret on one line.
fn is_one_line(value: &[u8]) -> bool {
    value
        .strip_suffix(b"\n")
        .is_some_and(|line| !line.contains(&b'\n'))
}

fn decode(node: &Node, encoded: bool) -> Result<SecretBytes, &'static str> {
    let text = node
        .as_str()
        .ok_or("must be text: put quotes around a number or a bool")?;
    if !encoded {
        return Ok(SecretBytes::new(text.as_bytes().to_vec()));
    }
    // kubectl and the API server pass over line breaks in base64.
    let text: String = text.split_ascii_whitespace().collect();
    STANDARD
        .decode(text)
        .map(SecretBytes::new)
        .map_err(|_| "is not base64: write plain text under `stringData` instead")
}
