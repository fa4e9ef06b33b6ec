//! The resources as people write them: read from YAML straight into the types.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails here fails the test"
)]

use std::fs;
use std::path::Path;

use hookswitch_crds::event_route::{EventRoute, GuardMode, Pattern};
use hookswitch_crds::subscription::{
    Encoding, FieldSource, MessagePart, Provider, Unsigned, WebhookSubscription,
};
use hookswitch_crds::validation::read;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/corpus/good")
        .join(name);
    fs::read_to_string(path).unwrap()
}

fn subscription(name: &str) -> WebhookSubscription {
    serde_saphyr::from_str(&file(name)).unwrap()
}

fn route(name: &str) -> EventRoute {
    serde_saphyr::from_str(&file(name)).unwrap()
}

#[test]
fn r12_verification_is_a_choice_and_the_encoding_a_setting() {
    let signed = subscription("subscription-every-field.yaml").spec;
    assert_eq!(signed.provider, Provider::TGStaff);
    let hmac = signed.verification.hmac.unwrap();
    assert_eq!(hmac.encoding, Some(Encoding::Auto));
    assert!(hmac.secret_refs[1].is_optional());

    let open = subscription("subscription-unverified.yaml").spec;
    assert_eq!(open.verification.hmac, None);
    assert_eq!(open.verification.unverified, Some(true));
}

#[test]
fn r13_source_addresses_are_an_optional_list() {
    let spec = subscription("subscription-every-field.yaml").spec;
    let ranges = &spec.verification.source_ranges;
    assert_eq!(ranges, &["203.0.113.0/24", "2001:db8::/32"]);
    let spec = subscription("subscription-minimal.yaml").spec;
    assert!(spec.verification.source_ranges.is_empty());
}

#[test]
fn r18_how_a_test_request_is_recognised_is_a_setting() {
    let ping = subscription("subscription-every-field.yaml").spec.ping;
    let ping = ping.unwrap();
    assert_eq!(ping.unsigned, Some(Unsigned::Allow));
    assert_eq!(ping.types.unwrap(), ["ping", "test"]);
}

#[test]
fn r54_every_named_target_is_a_kind_of_destination() {
    let spec = route("route-every-kind.yaml").spec;
    let json = serde_json::to_value(&spec.destinations).unwrap();
    for kind in [
        "http",
        "slack",
        "dingtalk",
        "hubspot",
        "salesforce",
        "zendesk",
        "freshdesk",
        "mixpanel",
        "telegram",
        "tgstaff",
        "nats",
        "postgres",
    ] {
        let mut destinations = json.as_array().unwrap().iter();
        assert!(destinations.any(|it| it[kind].is_object()), "{kind}");
    }
}

#[test]
fn r55_text_is_redacted_for_each_destination_and_retention_is_set() {
    let spec = route("route-every-field.yaml").spec;
    let redact = spec.destinations[0].redact.clone().unwrap();
    assert_eq!(redact.pointers, ["/text"]);
    let all = [Pattern::Phone, Pattern::Email, Pattern::Card];
    assert_eq!(redact.patterns, all);
    assert_eq!(spec.destinations[1].redact, None);
    let spec = subscription("subscription-every-field.yaml").spec;
    assert_eq!(spec.retention.unwrap().to_string(), "72h");
}

#[test]
fn r28_the_guard_names_senders_and_has_a_mode() {
    let guard = route("route-every-field.yaml").spec.loop_guard.unwrap();
    assert_eq!(guard.mode, Some(GuardMode::Enforce));
    assert_eq!(guard.senders.unwrap(), ["agent", "system"]);
}

#[test]
fn an_amount_of_bytes_is_a_number_or_a_text() {
    for (name, bytes) in [
        ("subscription-every-field.yaml", 1 << 30),
        ("subscription-number-of-bytes.yaml", 1 << 20),
    ] {
        let limits = subscription(name).spec.limits.unwrap();
        assert_eq!(limits.stored_bytes.unwrap().bytes(), bytes, "{name}");
    }
}

#[test]
fn an_attribute_is_in_the_body_or_in_a_header() {
    let fields = subscription("subscription-fields-from-headers.yaml")
        .spec
        .fields;
    let fields = fields.unwrap();
    let header = FieldSource::Header("X-GitHub-Event".to_owned());
    assert_eq!(fields.r#type, Some(header));
    let pointer = FieldSource::Pointer("/repository/full_name".to_owned());
    assert_eq!(fields.subject, Some(pointer));
}

#[test]
fn a_message_has_parts_and_characters_between_them() {
    let verification = subscription("subscription-any-scheme.yaml")
        .spec
        .verification;
    let message = verification.hmac.unwrap().message.unwrap();
    assert_eq!(message[0], MessagePart::Literal("v0".to_owned()));
    assert_eq!(message[5], MessagePart::Body);
}

#[test]
fn a_body_keeps_its_types() {
    let spec = route("route-every-field.yaml").spec;
    let body = spec.rules[0].deliver[0].body.clone().unwrap();
    assert_eq!(body["ticket"]["none"], json!("${null}"));
    assert_eq!(body["ticket"]["price"], json!("$${not an expression}"));
}

#[test]
fn only_what_is_written_is_stored_but_for_two_defaults() {
    let spec = subscription("subscription-minimal.yaml").spec;
    assert_eq!(
        serde_json::to_value(spec).unwrap(),
        json!({
            "provider": "TGStaff",
            "verification": {"hmac": {"secretRefs": [{"name": "tg-staff", "key": "signing-key"}]}},
            "allowedRoutes": {"namespaces": {"from": "Same"}},
            "suspend": false,
        })
    );
}

#[test]
fn an_unknown_field_is_an_error_that_names_it() {
    let typo = file("subscription-every-field.yaml").replace("encoding: Auto", "encodin: Auto");
    let error = serde_saphyr::from_str::<WebhookSubscription>(&typo).unwrap_err();
    assert!(error.to_string().contains("encodin"), "{error}");
}

#[test]
fn every_mistake_of_a_kind_is_told_at_once() {
    let object = json!({
        "apiVersion": "hookswitch.dev/v1alpha1",
        "kind": "WebhookSubscription",
        "metadata": {"name": "support"},
        "spec": {
            "provider": "Githb",
            "verification": {"hmac": {"secretRefs": [{"name": "a"}], "tolerence": "5m"}},
            "suspend": "yes",
        },
    });
    let violations = read::<WebhookSubscription>(object).unwrap_err();
    let fields: Vec<&str> = violations.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.provider",
            "spec.suspend",
            "spec.verification.hmac.secretRefs[0].key",
            "spec.verification.hmac.tolerence",
        ]
    );
    assert!(violations[0].message.contains("did you mean GitHub?"));
    assert!(violations[3].message.contains("did you mean `tolerance`?"));
}

#[test]
fn a_null_is_a_field_that_is_left_out_but_in_a_body() {
    let object = json!({
        "apiVersion": "hookswitch.dev/v1alpha1",
        "kind": "EventRoute",
        "metadata": {"name": "crm"},
        "spec": {
            "subscriptionRefs": [{"name": "support", "namespace": null}],
            "wordLists": null,
            "destinations": [{"name": "audit", "http": {"url": "https://a.example", "headers": null}}],
            "rules": [{
                "name": "all",
                "when": null,
                "types": null,
                "deliver": [{"destination": "audit", "body": {"nothing": null}}],
            }],
        },
    });
    let route = read::<EventRoute>(object).unwrap();
    assert_eq!(route.spec.validate(), []);
    assert_eq!(route.spec.rules[0].when, None);
    let body = route.spec.rules[0].deliver[0].body.clone();
    assert_eq!(body, Some(json!({"nothing": null})));
}

/// Every place of a value, as JSON pointers.
fn places(value: &Json, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Json::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(member, &format!("{at}/{name}"), all);
            }
        }
        Json::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                places(entry, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

/// Puts another value in every place, one at a time. What is accepted then must read the same
/// again from what is stored, and what is refused must name a field of the spec.
fn disturb<Kind>(name: &str, validate: impl Fn(&Kind) -> Vec<String>)
where
    Kind: hookswitch_crds::validation::Resource + Serialize + DeserializeOwned + PartialEq,
{
    let object: Json = serde_saphyr::from_str(&file(name)).unwrap();
    let mut all = Vec::new();
    places(&object["spec"], "/spec", &mut all);
    assert!(all.len() > 10);
    for place in all {
        for value in [
            json!(null),
            json!(""),
            json!(-1),
            json!([]),
            json!({"a": 1}),
            json!("é b"),
        ] {
            let mut object = object.clone();
            *object.pointer_mut(&place).unwrap() = value;
            match read::<Kind>(object) {
                Ok(read_once) => {
                    let stored = serde_json::to_value(&read_once).unwrap();
                    let again =
                        read::<Kind>(stored).unwrap_or_else(|error| panic!("{place}: {error:?}"));
                    assert!(again == read_once, "{place}");
                    for field in validate(&read_once) {
                        assert!(field.starts_with("spec"), "{place}: {field}");
                    }
                }
                Err(violations) => {
                    assert!(!violations.is_empty(), "{place}");
                    for violation in violations {
                        assert!(violation.field.starts_with("spec"), "{violation}");
                        assert!(!violation.message.is_empty(), "{violation}");
                    }
                }
            }
        }
    }
}

#[test]
fn no_value_in_any_place_confuses_the_checks() {
    let fields = |violations: Vec<hookswitch_crds::validation::Violation>| {
        violations.into_iter().map(|it| it.field).collect()
    };
    disturb::<WebhookSubscription>("subscription-every-field.yaml", |it| {
        fields(it.spec.validate())
    });
    disturb::<WebhookSubscription>("subscription-any-scheme.yaml", |it| {
        fields(it.spec.validate())
    });
    disturb::<EventRoute>("route-every-field.yaml", |it| fields(it.spec.validate()));
}
