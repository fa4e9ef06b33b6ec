//! What is frozen into requests.

use super::*;

fn one(mut destination: Json, format: Format, body: Option<&Json>, event: Event) -> NewDelivery {
    destination["http"]["format"] = serde_json::to_value(format).unwrap();
    let rules = json!([rule(
        "r",
        &[],
        None,
        &json!([{"destination": "d", "body": body}])
    )]);
    let subscription = subscription(vec![route_of("r", &key(), &json!([destination]), &rules)]);
    plan(&subscription, event).deliveries.remove(0)
}

fn request(format: Format, body: Option<&Json>, event: Event) -> FrozenRequest {
    one(destination("d"), format, body, event).request.unwrap()
}

#[test]
fn r31_a_new_conversation_makes_a_ticket_with_user_conversation_and_first_text() {
    let data =
        json!({"user_id": 42, "conversation_id": "c-1", "first_message": "Hi \"there\" ${x}"});
    let ticket = json!({
        "user": "${event.data.user_id}",
        "conversation": "${event.data.conversation_id}",
        "comment": {"body": "${event.data.first_message}"},
    });
    let delivery = one(
        destination("d"),
        Format::Json,
        Some(&ticket),
        event("conversation.created", &data),
    );
    let request = delivery.request.as_ref().unwrap();
    assert_eq!(
        (request.method.as_str(), request.content_type.as_str()),
        ("POST", "application/json")
    );
    assert_eq!(
        body(&delivery),
        json!({"user": 42, "conversation": "c-1", "comment": {"body": "Hi \"there\" ${x}"}})
    );
}

#[test]
fn r32_the_title_is_the_guides_with_a_fallback_for_users_without_a_name() {
    let title = json!({"subject": "Telegram user ${event.data.?user.?username.orValue('unknown')} new inquiry"});
    for (user, name) in [
        (json!({"username": "ada"}), "ada"),
        (json!({"username": null}), "unknown"),
        (json!({}), "unknown"),
        (Json::Null, "unknown"),
    ] {
        let delivery = one(
            destination("d"),
            Format::Json,
            Some(&title),
            event("conversation.created", &json!({"user": user})),
        );
        assert_eq!(
            body(&delivery),
            json!({"subject": format!("Telegram user {name} new inquiry")})
        );
    }
}

#[test]
fn r33_a_ticket_carries_the_conversations_link() {
    let link = json!({"link": "https://app.tg-staff.example/c/${event.subject}", "given": "${event.data.?url.orValue('')}"});
    let delivery = one(
        destination("d"),
        Format::Json,
        Some(&link),
        event("conversation.created", &json!({})),
    );
    assert_eq!(
        body(&delivery),
        json!({"link": "https://app.tg-staff.example/c/c-1", "given": ""})
    );
}

#[test]
fn without_a_body_the_events_own_bytes_are_sent() {
    let mut event = event("x", &json!({"a": 1}));
    event.content_type = Some("application/json; charset=utf-8".to_owned());
    let sent = request(Format::Json, None, event.clone());
    assert_eq!(sent.body, FrozenBody::Event);
    assert_eq!(sent.content_type, "application/json; charset=utf-8");
    assert!(!sent.cloud_event_headers);
    event.content_type = None;
    assert_eq!(
        request(Format::Json, None, event).content_type,
        "application/json"
    );
}

#[test]
fn cloud_events_in_binary_mode_have_their_attributes_in_headers() {
    let sent = request(
        Format::CloudEventsBinary,
        None,
        event("x", &json!({"a": 1})),
    );
    assert!(sent.cloud_event_headers);
    assert_eq!(sent.body, FrozenBody::Event);
    let sent = request(
        Format::CloudEventsBinary,
        Some(&json!(["${event.data.a}"])),
        event("x", &json!({"a": 1})),
    );
    assert!(sent.cloud_event_headers);
    assert_eq!(sent.body, FrozenBody::Rendered(Bytes::from_static(b"[1]")));
}

#[test]
fn cloud_events_in_structured_mode_are_one_object() {
    let mut event = event("message.received", &json!({"a": 1}));
    event.time = Some("2026-03-01T09:59:58Z".parse().unwrap());
    let delivery = one(
        destination("d"),
        Format::CloudEventsStructured,
        None,
        event.clone(),
    );
    assert_eq!(
        delivery.request.as_ref().unwrap().content_type,
        "application/cloudevents+json"
    );
    assert_eq!(
        body(&delivery),
        json!({
            "specversion": "1.0", "id": "e-1", "source": "/support/support",
            "type": "message.received", "time": "2026-03-01T09:59:58Z", "subject": "c-1",
            "datacontenttype": "application/json", "data": {"a": 1},
        })
    );
    event.time = None;
    event.subject = None;
    event.r#type = String::new();
    let delivery = one(
        destination("d"),
        Format::CloudEventsStructured,
        Some(&json!("${event.data.a}")),
        event,
    );
    assert_eq!(
        body(&delivery),
        json!({
            "specversion": "1.0", "id": "e-1", "source": "/support/support",
            "type": "dev.hookswitch.untyped", "datacontenttype": "application/json", "data": 1,
        })
    );
}

#[test]
fn order_is_kept_for_those_with_a_subject_where_it_is_wanted() {
    let mut ordered = destination("d");
    ordered["delivery"]["ordering"] = json!("PerSubject");
    let with = event("x", &json!({}));
    let without = Event {
        subject: None,
        ..with.clone()
    };
    let of = |destination: &Json, event: &Event| {
        one(destination.clone(), Format::Json, None, event.clone()).ordered_by
    };
    assert_eq!(of(&ordered, &with), Some("c-1".to_owned()));
    assert_eq!(of(&ordered, &without), None);
    assert_eq!(of(&destination("d"), &with), None);
}
