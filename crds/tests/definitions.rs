//! The definitions that `kubectl apply -f crds/` takes: current, structural, bounded, and cheap
//! enough for the API server.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "what fails here fails the test"
)]

use std::fs;
use std::path::Path;

use hookswitch_crds::crd;
use serde_json::{Value as Json, json};

/// Calls `visit` with each schema below `schema`, its path and how many values of it an object can
/// have; `None` where there is no bound.
fn walk(
    schema: &Json,
    path: &str,
    count: Option<u64>,
    visit: &mut impl FnMut(&Json, &str, Option<u64>),
) {
    visit(schema, path, count);
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        walk(below, &format!("{path}.{name}"), count, visit);
    }
    if schema["items"].is_object() {
        let count = count.zip(schema["maxItems"].as_u64()).map(|(a, b)| a * b);
        walk(&schema["items"], &format!("{path}[]"), count, visit);
    }
    if schema["additionalProperties"].is_object() {
        let count = count
            .zip(schema["maxProperties"].as_u64())
            .map(|(a, b)| a * b);
        walk(
            &schema["additionalProperties"],
            &format!("{path}{{}}"),
            count,
            visit,
        );
    }
}

/// The schemas of `spec` and `status` of both kinds.
fn schemas() -> Vec<(String, Json)> {
    let mut schemas = Vec::new();
    for definition in crd::definitions().unwrap() {
        let json = serde_json::to_value(&definition).unwrap();
        let root = &json["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            let name = format!("{}.{part}", definition.spec.names.kind);
            schemas.push((name, root[part].clone()));
        }
    }
    schemas
}

fn walk_all(mut visit: impl FnMut(&Json, &str, Option<u64>)) {
    for (name, schema) in schemas() {
        walk(&schema, &name, Some(1), &mut visit);
    }
}

#[test]
fn crds_are_current() {
    for file in crd::files().unwrap() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file.name);
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == file.text,
            "{} is not what the types say: run `{}`",
            path.display(),
            crd::COMMAND
        );
    }
}

#[test]
fn the_files_hold_the_definitions() {
    let definitions = crd::definitions().unwrap();
    for (file, definition) in crd::files().unwrap().iter().zip(&definitions) {
        let read: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition =
            serde_saphyr::from_str(&file.text).unwrap();
        assert_eq!(&read, definition);
    }
}

#[test]
fn the_names_and_columns_are_those_that_users_type_and_see() {
    let [subscription, route] = crd::definitions().unwrap();
    for (definition, short, columns) in [
        (
            subscription,
            "whsub",
            vec!["URL", "Routes", "Accepted", "Programmed", "Age"],
        ),
        (route, "evroute", vec!["Accepted", "Programmed", "Age"]),
    ] {
        let names = &definition.spec.names;
        assert_eq!(names.short_names, Some(vec![short.to_owned()]));
        let version = &definition.spec.versions[0];
        assert_eq!(version.name, "v1alpha1");
        assert!(version.subresources.as_ref().unwrap().status.is_some());
        let shown: Vec<_> = version
            .additional_printer_columns
            .iter()
            .flatten()
            .map(|column| column.name.as_str())
            .collect();
        assert_eq!(shown, columns);
    }
}

#[test]
fn only_two_fields_have_a_default() {
    let mut defaults = Vec::new();
    walk_all(|schema, path, _| {
        if schema.get("default").is_some() {
            defaults.push(path.to_owned());
        }
    });
    let spec = "WebhookSubscription.spec";
    assert_eq!(
        defaults,
        [
            format!("{spec}.allowedRoutes"),
            format!("{spec}.allowedRoutes.namespaces"),
            format!("{spec}.allowedRoutes.namespaces.from"),
            format!("{spec}.suspend"),
        ]
    );
}

#[test]
fn the_schema_is_structural_and_everything_in_it_has_a_bound_and_a_description() {
    let formats = ["int32", "int64", "double", "date-time"];
    walk_all(|schema, path, _| {
        for key in [
            "nullable",
            "oneOf",
            "anyOf",
            "allOf",
            "not",
            "$ref",
            "uniqueItems",
        ] {
            assert!(schema.get(key).is_none(), "{path} has {key}");
        }
        if schema["properties"].is_object() {
            assert!(
                schema.get("additionalProperties").is_none(),
                "{path} has properties and additionalProperties"
            );
        }
        if let Some(format) = schema["format"].as_str() {
            assert!(formats.contains(&format), "{path} has the format {format}");
        }
        let loose = schema["x-kubernetes-preserve-unknown-fields"] == json!(true)
            || schema["x-kubernetes-int-or-string"] == json!(true);
        match schema["type"].as_str() {
            Some("string") => {
                let bound = ["maxLength", "enum", "format"];
                let bounded = bound.iter().any(|key| schema.get(key).is_some());
                assert!(bounded, "{path} is a text without a bound");
            }
            Some("array") => {
                assert!(
                    schema["maxItems"].is_u64(),
                    "{path} is a list without a bound"
                );
                let merge = &schema["x-kubernetes-list-type"];
                assert!(merge.is_string(), "{path} does not say how lists merge");
                if merge == "map" {
                    let keys = schema["x-kubernetes-list-map-keys"].as_array().unwrap();
                    let required = schema["items"]["required"].as_array().unwrap();
                    assert!(keys.iter().all(|key| required.contains(key)), "{path}");
                }
            }
            Some("object") if schema["additionalProperties"].is_object() => {
                assert!(
                    schema["maxProperties"].is_u64(),
                    "{path} is a map without a bound"
                );
            }
            Some("object" | "boolean" | "integer" | "number") => {}
            other => assert!(loose, "{path} is of type {other:?}"),
        }
        let leaf = path.rsplit('.').next().unwrap();
        if !leaf.ends_with(']') && !leaf.ends_with('}') {
            let description = schema["description"].as_str().unwrap_or_default();
            assert!(description.len() > 5, "{path} has no description");
        }
    });
}

#[test]
fn only_bodies_and_the_places_of_attributes_may_hold_anything() {
    let mut loose = Vec::new();
    walk_all(|schema, path, _| {
        if schema["x-kubernetes-preserve-unknown-fields"] == json!(true) {
            loose.push(path.to_owned());
        }
    });
    let fields = "WebhookSubscription.spec.fields";
    assert_eq!(
        loose,
        [
            format!("{fields}.id"),
            format!("{fields}.sender"),
            format!("{fields}.subject"),
            format!("{fields}.time"),
            format!("{fields}.type"),
            "EventRoute.spec.rules[].deliver[].body".to_owned(),
        ]
    );
}

/// The API server's limits on what a rule and all rules of a definition may cost
/// (`StaticEstimatedCostLimit` and `StaticEstimatedCRDCostLimit` in
/// k8s.io/apiextensions-apiserver).
const RULE_LIMIT: u64 = 10_000_000;
const DEFINITION_LIMIT: u64 = 100_000_000;

/// About what the API server estimates for one evaluation, and rather more: a regular expression
/// costs a tenth of the text times a quarter of itself, a text counts four bytes a character, and
/// anything else is taken to go through the longest list once for each list that the rule names.
fn cost(rule: &str, schema: &Json) -> u64 {
    let steps = u64::try_from(rule.len()).unwrap();
    if let Some(pattern) = rule.strip_prefix("self.matches(") {
        let text = schema["maxLength"].as_u64().unwrap() * 4;
        let pattern = u64::try_from(pattern.len()).unwrap();
        return steps + (text + 1).div_ceil(10) * pattern.div_ceil(4);
    }
    let loops = ["all(", "exists_one(", "exists("]
        .iter()
        .map(|name| rule.matches(name).count())
        .sum::<usize>();
    steps * 16_u64.pow(u32::try_from(loops).unwrap()) + 1_000
}

#[test]
fn the_rules_cost_less_than_the_api_server_allows() {
    for (name, schema) in schemas() {
        let mut total = 0;
        let mut rules = 0;
        walk(&schema, &name, Some(1), &mut |schema, path, count| {
            for rule in schema["x-kubernetes-validations"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let text = rule["rule"].as_str().unwrap();
                let count = count.unwrap_or_else(|| panic!("{path}: a rule under no bound"));
                let cost = count * cost(text, schema);
                assert!(cost < RULE_LIMIT, "{path}: {text} costs {cost}");
                total += cost;
                rules += 1;
                let message = rule["message"].as_str().unwrap();
                assert!(message.len() < 300 && !message.contains('\n'), "{path}");
            }
        });
        assert!(total < DEFINITION_LIMIT, "{name} costs {total}");
        assert!(
            name.ends_with("status") || rules > 20,
            "{name} has {rules} rules"
        );
    }
}
