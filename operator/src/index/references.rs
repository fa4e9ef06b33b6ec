//! Which Secrets a spec refers to.
//!
//! A spec is searched as JSON, so that one that can't be read as its kind, or was written for a newer
//! version, counts too: its Secrets are at hand when it is served again.

use hookswitch_crds::key::ObjectKey;
use serde_json::Value as Json;

/// What the name of a field ends with that refers to a Secret, or to several.
const ONE: &str = "ecretRef";
const SEVERAL: &str = "ecretRefs";

/// The Secrets that the spec of an object refers to, all in its own namespace. Some may be named
/// twice.
pub(super) fn in_spec<'a>(
    namespace: &'a str,
    spec: &'a Json,
) -> impl Iterator<Item = ObjectKey> + use<'a> {
    let mut names = Vec::new();
    search(spec, &mut names);
    names
        .into_iter()
        .map(move |name| ObjectKey::new(namespace, name))
}

fn search<'a>(json: &'a Json, names: &mut Vec<&'a str>) {
    match json {
        Json::Object(fields) => {
            for (field, value) in fields {
                if field.ends_with(ONE) {
                    names.extend(name(value));
                } else if field.ends_with(SEVERAL) {
                    names.extend(value.as_array().into_iter().flatten().filter_map(name));
                } else {
                    search(value, names);
                }
            }
        }
        Json::Array(values) => values.iter().for_each(|value| search(value, names)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn name(reference: &Json) -> Option<&str> {
    reference.get("name")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_found_wherever_they_stand() {
        let spec = json!({
            "verification": {
                "hmac": {"secretRefs": [{"name": "a", "key": "k"}, {"name": "b", "key": "k", "optional": true}]},
                "headers": [{"name": "Authorization", "secretRef": {"name": "c", "key": "k"}}],
            },
            "destinations": [{"name": "no", "slack": {"webhookUrlSecretRef": {"name": "d", "key": "k"}}}],
            "wordLists": [{"name": "no", "configMapRef": {"name": "no", "key": "k"}}],
            "rules": [{"deliver": [{"body": {"secretRef": "no", "secretRefs": {"name": "no"}}}]}],
        });
        let mut found: Vec<ObjectKey> = in_spec("ns", &spec).collect();
        found.sort();
        let expected = ["a", "b", "c", "d"].map(|name| ObjectKey::new("ns", name));
        assert_eq!(found, expected);
    }
}
