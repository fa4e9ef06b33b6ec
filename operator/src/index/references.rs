//! Which Secrets and `ConfigMap`s a spec refers to.
//!
//! A spec is searched as JSON, so that one that can't be read as its kind, or was written for a newer
//! version, counts too: what it refers to is at hand when it is served again.

use hookswitch_crds::key::ObjectKey;
use serde_json::Value as Json;

/// What the names of fields end with that refer to one, or to several.
#[derive(Debug, Clone, Copy)]
struct Fields {
    one: &'static str,
    several: &'static str,
}

const SECRETS: Fields = Fields {
    one: "ecretRef",
    several: "ecretRefs",
};
const CONFIG_MAPS: Fields = Fields {
    one: "onfigMapRef",
    several: "onfigMapRefs",
};

/// The Secrets that the spec of an object refers to, all in its own namespace. Some may be named
/// twice.
pub(super) fn in_spec<'a>(
    namespace: &'a str,
    spec: &'a Json,
) -> impl Iterator<Item = ObjectKey> + use<'a> {
    found(SECRETS, namespace, spec)
}

/// The same for `ConfigMap`s.
pub(super) fn config_maps_in_spec<'a>(
    namespace: &'a str,
    spec: &'a Json,
) -> impl Iterator<Item = ObjectKey> + use<'a> {
    found(CONFIG_MAPS, namespace, spec)
}

fn found<'a>(
    wanted: Fields,
    namespace: &'a str,
    spec: &'a Json,
) -> impl Iterator<Item = ObjectKey> + use<'a> {
    let mut names = Vec::new();
    search(wanted, spec, &mut names);
    names
        .into_iter()
        .map(move |name| ObjectKey::new(namespace, name))
}

fn search<'a>(wanted: Fields, json: &'a Json, names: &mut Vec<&'a str>) {
    match json {
        Json::Object(fields) => {
            for (field, value) in fields {
                if field.ends_with(wanted.one) {
                    names.extend(name(value));
                } else if field.ends_with(wanted.several) {
                    names.extend(value.as_array().into_iter().flatten().filter_map(name));
                } else {
                    search(wanted, value, names);
                }
            }
        }
        Json::Array(values) => values.iter().for_each(|value| search(wanted, value, names)),
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
            "wordLists": [{"name": "no", "configMapRef": {"name": "words", "key": "k"}}],
            "rules": [{"deliver": [{"body": {"secretRef": "no", "secretRefs": {"name": "no"}}}]}],
        });
        let mut found: Vec<ObjectKey> = in_spec("ns", &spec).collect();
        found.sort();
        let expected = ["a", "b", "c", "d"].map(|name| ObjectKey::new("ns", name));
        assert_eq!(found, expected);
        let found: Vec<ObjectKey> = config_maps_in_spec("ns", &spec).collect();
        assert_eq!(found, [ObjectKey::new("ns", "words")]);
    }
}
