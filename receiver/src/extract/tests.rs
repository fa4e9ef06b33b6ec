//! Attributes against what `serde_json`'s own values and pointers give.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn pointer(text: &str) -> FieldSource {
    FieldSource::Pointer(text.into())
}

fn header(name: &str) -> FieldSource {
    FieldSource::Header(name.into())
}

fn tg_staff() -> Fields {
    Fields {
        r#type: Some(pointer("/event_type")),
        id: Some(pointer("/event_id")),
        time: Some(pointer("/timestamp")),
        subject: Some(pointer("/conversation/id")),
        sender: Some(pointer("/sender_type")),
    }
}

fn extract<'a>(fields: &Fields, body: &'a str) -> Attributes<'a> {
    static NONE: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
    Extractor::new(fields).extract(&NONE, body.as_bytes())
}

#[test]
fn reads_what_the_fields_name() {
    let body = r#"{"a": [1, {"event_type": "x"}], "event_type": "message.received", "event_id": 17,
        "timestamp": "2024-05-01T10:00:00+02:00", "conversation": {"x": 1, "id": "c\u002d1"}, "sender_type": true}"#;
    let found = extract(&tg_staff(), body);
    assert_eq!(
        found,
        Attributes {
            json: true,
            r#type: Some("message.received".into()),
            id: Some("17".into()),
            time: Some("2024-05-01T08:00:00Z".parse().unwrap()),
            subject: Some("c-1".into()),
            sender: Some("true".into()),
        }
    );
    assert!(matches!(found.r#type, Some(Cow::Borrowed(_))));
}

#[test]
fn r30_missing_and_odd_fields_are_none() {
    let long = "x".repeat(LONGEST + 1);
    for body in [
        json!({}),
        json!([]),
        json!("text"),
        json!({"event_type": null, "event_id": [1], "timestamp": {}, "conversation": "c", "sender_type": ""}),
        json!({"event_type": 1.5, "event_id": 1e30, "timestamp": "soon", "conversation": {"id": {}}}),
        json!({"event_type": long, "timestamp": "", "conversation": ["id"]}),
        json!({"timestamp": "99999999999999999999"}),
        json!({"timestamp": u64::MAX}),
        json!({"timestamp": true}),
    ] {
        let body = body.to_string();
        let expected = Attributes {
            json: true,
            ..Attributes::default()
        };
        assert_eq!(extract(&tg_staff(), &body), expected, "{body}");
    }
}

#[test]
fn what_is_not_json_has_attributes_from_headers_only() {
    let fields = Fields {
        r#type: Some(header("X-GitHub-Event")),
        id: Some(header("X-GitHub-Delivery")),
        subject: Some(header("not a name")),
        time: Some(pointer("no pointer")),
        ..tg_staff()
    };
    let headers = [("x-github-event", "ping"), ("x-github-delivery", "7")]
        .into_iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
    for (body, json) in [
        (&b"payload=1"[..], false),
        (b"", false),
        (br#"{"sender_type": "agent"} x"#, false),
        (b"{\"sender_type\": \"\xff\"}", false),
        (br#"{"no pointer": 1}"#, true),
    ] {
        let expected = Attributes {
            json,
            r#type: Some("ping".into()),
            id: Some("7".into()),
            ..Attributes::default()
        };
        assert_eq!(Extractor::new(&fields).extract(&headers, body), expected);
    }
}

#[test]
fn times_are_told_apart_by_their_size() {
    for (written, expected) in [
        (json!(1_714_550_400), "2024-05-01T08:00:00Z"),
        (json!("1714550400"), "2024-05-01T08:00:00Z"),
        (json!(1_714_550_400_123_i64), "2024-05-01T08:00:00.123Z"),
        (json!("1714550400123"), "2024-05-01T08:00:00.123Z"),
        (json!(1_714_550_400.5), "2024-05-01T08:00:00.5Z"),
        (json!("1714550400.250"), "2024-05-01T08:00:00.25Z"),
        (json!(1_714_550_400_123.5), "2024-05-01T08:00:00.1235Z"),
        (json!(99_999_999_999_i64), "5138-11-16T09:46:39Z"),
        (json!(100_000_000_000_i64), "1973-03-03T09:46:40Z"),
        (json!(-1), "1969-12-31T23:59:59Z"),
        (json!("2024-05-01T08:00:00.5Z"), "2024-05-01T08:00:00.5Z"),
    ] {
        let body = json!({"timestamp": written}).to_string();
        let expected: Timestamp = expected.parse().unwrap();
        assert_eq!(extract(&tg_staff(), &body).time, Some(expected), "{body}");
    }
}

#[test]
fn the_last_of_equal_names_counts_and_takes_the_others_away() {
    let body =
        r#"{"conversation": {"id": 1}, "event_id": "a", "conversation": {}, "event_id": "b"}"#;
    let found = extract(&tg_staff(), body);
    assert_eq!(found.id.as_deref(), Some("b"));
    assert_eq!(found.subject, None);
}

#[test]
fn depth_numbers_and_escapes_are_bounded_as_where_the_body_is_used() {
    let deep = |depth: usize| format!(r#"{{"x": {}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
    for body in [
        deep(126),
        deep(127),
        deep(100_000),
        r#"{"x": 1e999}"#.into(),
        r#"{"x": "\ud800"}"#.into(),
        r#"{"\ud800": 1}"#.into(),
        r#"{"x": "\q"}"#.into(),
        "{\"x\": \"\n\"}".into(),
    ] {
        let json = serde_json::from_str::<Value>(&body).is_ok();
        assert_eq!(extract(&tg_staff(), &body).json, json);
    }
    assert!(extract(&tg_staff(), &deep(126)).json);
    assert!(!extract(&tg_staff(), &deep(127)).json);
}

/// JSON texts, with equal names, escapes and white space.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<u64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| Value::from(value).to_string()),
        "[ab~/\"\\\\é\n]{0,4}".prop_map(|text| Value::from(text).to_string()),
        Just(r#""\u0061\/""#.to_owned()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[ {} ]", values.join(" , "))),
            prop::collection::vec(("[ab01/~]{0,2}", inner), 0..4).prop_map(|members| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(name, value)| format!("{} :{value}", Value::from(name.as_str())))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// What the module's header promises, on a built value.
fn expected_text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

proptest! {
    #[test]
    fn finds_what_serde_jsons_pointer_finds(
        body in json_text(),
        pointers in prop::array::uniform4("(/([ab01+]|~0|~1|01|){0,2}){0,3}|a"),
    ) {
        let [r#type, id, subject, sender] = &pointers;
        let fields = Fields {
            r#type: Some(pointer(r#type)),
            id: Some(pointer(id)),
            time: None,
            subject: Some(pointer(subject)),
            sender: Some(pointer(sender)),
        };
        let value: Value = serde_json::from_str(&body).unwrap();
        let found = extract(&fields, &body);
        prop_assert!(found.json);
        for (found, pointer) in [found.r#type, found.id, found.subject, found.sender].into_iter().zip(&pointers) {
            let expected = expected_text(value.pointer(pointer));
            prop_assert_eq!(found.as_deref(), expected.as_deref(), "{} in {}", pointer, body);
        }
    }

    #[test]
    fn says_json_exactly_where_serde_json_does(mut body in json_text(), cut in any::<prop::sample::Index>(), with in "[\\]\\[{}\",:0-9e.\\\\u-]{0,2}") {
        let mut at = cut.index(body.len() + 1);
        while !body.is_char_boundary(at) {
            at -= 1;
        }
        body.insert_str(at, &with);
        let json = serde_json::from_str::<Value>(&body).is_ok();
        prop_assert_eq!(extract(&tg_staff(), &body).json, json, "{}", body);
    }
}
