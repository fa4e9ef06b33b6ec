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

#[test]
fn r50_a_body_that_names_a_look_up_is_frozen_with_its_url_and_rendered_later() {
    let look_up = |name: &str| {
        let url = format!("https://api.example/{name}/${{event.data.user}}");
        look_up(name, &url)
    };
    let template =
        json!({"name": "${enriched.?profile.?name.orValue('?')}", "n": "${event.data.n}"});
    let mut rule = rule(
        "r",
        &[],
        None,
        &json!([
            {"destination": "crm", "body": template},
            {"destination": "qa", "body": {"n": "${event.data.n}"}},
        ]),
    );
    rule["enrich"] = json!([look_up("profile"), look_up("unused")]);
    let destinations = json!([destination("crm"), destination("qa")]);
    let subscription = subscription(vec![route_of("r", &key(), &destinations, &json!([rule]))]);

    let planned = plan(&subscription, event("x", &json!({"user": "a/b", "n": 1})));
    let [crm, qa] = planned.deliveries.as_slice() else {
        panic!("{:?}", planned.deliveries);
    };
    assert_eq!(
        body(qa),
        json!({"n": 1}),
        "what names none is rendered at once"
    );
    let FrozenBody::Unrendered(bytes) = &crm.request.as_ref().unwrap().body else {
        panic!("{crm:?}");
    };
    let unrendered: Unrendered = serde_json::from_slice(bytes).unwrap();
    let names: Vec<_> = unrendered
        .look_ups
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(names, ["profile"], "only what is named is looked up");
    assert_eq!(
        unrendered.look_ups[0].url.as_deref(),
        Some("https://api.example/profile/a%2Fb")
    );

    let event = event("x", &json!({"user": "a/b", "n": 1}));
    let late = |enriched: &Json| {
        let hidden = Hidden::default();
        let late = render_late(&event, &unrendered, hidden, enriched, None).unwrap();
        serde_json::from_slice::<Json>(&late.body).unwrap()
    };
    assert_eq!(
        late(&json!({"profile": {"name": "Ada"}})),
        json!({"name": "Ada", "n": 1})
    );
    assert_eq!(
        late(&json!({"profile": {"name": null}})),
        json!({"name": "?", "n": 1})
    );
    assert_eq!(late(&json!({})), json!({"name": "?", "n": 1}));
}

#[test]
fn r51_an_event_without_what_the_url_needs_is_delivered_without_the_look_up() {
    let look_up = look_up("profile", "https://api.example/${event.data.user}");
    let body = json!({"name": "${enriched.?profile.?name.orValue('?')}"});
    let mut rule = rule(
        "r",
        &[],
        None,
        &json!([{"destination": "crm", "body": body}]),
    );
    rule["enrich"] = json!([look_up]);
    let route = route_of("r", &key(), &json!([destination("crm")]), &json!([rule]));
    let planned = plan(&subscription(vec![route]), event("x", &json!({})));
    let FrozenBody::Unrendered(bytes) = &planned.deliveries[0].request.as_ref().unwrap().body
    else {
        panic!("{planned:?}");
    };
    let unrendered: Unrendered = serde_json::from_slice(bytes).unwrap();
    assert_eq!(unrendered.look_ups[0].url, None);
    assert_eq!(planned.deliveries[0].dead, None);
    assert_eq!(
        planned.verdicts[0].detail.as_deref(),
        Some("enrich profile: url: the event has no field `event.data.user`")
    );
}
