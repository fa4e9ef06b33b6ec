//! An entry of the snapshot as it may be shown: every default resolved, and no secret in it.

use serde::Serialize;
use serde_json::Value as Json;

/// Shown instead of a secret's value.
const REDACTED: &str = "[redacted]";

/// What an entry of the snapshot resolves to, without the spec that it came from. Of a secret it
/// tells the reference, and whether there is a value (`null` where there is none).
#[must_use]
pub fn effective(entry: &impl Serialize) -> Json {
    let mut json = serde_json::to_value(entry).unwrap_or_default();
    if let Json::Object(members) = &mut json {
        if let Some(Json::Object(origin)) = members.get_mut("origin") {
            origin.remove("spec");
        }
        // Rules hold the user's own text and no secrets: it is shown as it was written.
        members
            .iter_mut()
            .filter(|(name, _)| *name != "rules")
            .for_each(|(_, value)| redact(value));
    }
    json
}

/// Replaces the value of each resolved secret: an object of exactly `reference` and `value`.
fn redact(json: &mut Json) {
    match json {
        Json::Array(items) => items.iter_mut().for_each(redact),
        Json::Object(members) if members.len() == 2 && members.contains_key("reference") => {
            if let Some(value) = members.get_mut("value").filter(|value| !value.is_null()) {
                *value = REDACTED.into();
            }
        }
        Json::Object(members) => members.values_mut().for_each(redact),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}
