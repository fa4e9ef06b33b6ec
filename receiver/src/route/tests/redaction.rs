//! What a destination must not see does not reach it, however it is rendered.

use super::*;

const SECRET: &str = "meet me, ada@x.example, +49 30 123456, 4111 1111 1111 1111";

fn redacting(mut destination: Json, format: &str, redact: &Json) -> Json {
    destination["redact"] = redact.clone();
    destination["http"]["format"] = json!(format);
    destination
}

fn message() -> Event {
    event(
        "message.received",
        &json!({"text": SECRET, "user": {"email": "ada@x.example", "name": "Ada"}, "n": 1}),
    )
}

fn deliver(destinations: &Json, rules: &Json) -> Plan {
    let subscription = subscription(vec![route_of("qa", &key(), destinations, rules)]);
    plan(&subscription, message())
}

/// The mark that a guard is asked about when the event comes in.
fn asked(subscription: &Subscription, event: Event) -> Option<[u8; 32]> {
    let draft = Draft::new(subscription, &StoredEvent { seq: 4, event });
    draft.questions(now())[0].echo_key
}

fn sent(plan: &Plan) -> Vec<String> {
    let requests = plan
        .deliveries
        .iter()
        .map(|it| it.request.as_ref().unwrap());
    requests
        .map(|request| match &request.body {
            FrozenBody::Rendered(body) => String::from_utf8(body.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn r55_nothing_that_is_redacted_reaches_a_destination() {
    let redact = json!({"pointers": ["/user/email"], "patterns": ["Phone", "Email", "Card"]});
    let bodies = [
        Json::Null,
        json!({"all": "${event}", "text": "${event.data.text}", "mail": "To ${event.data.user.email}"}),
        json!({"hidden": "${base64.encode(bytes(event.data.text))} ${event.data.text.reverse()}"}),
    ];
    for format in ["Json", "CloudEventsBinary", "CloudEventsStructured"] {
        for body in &bodies {
            let plan = deliver(
                &json!([redacting(destination("d"), format, &redact)]),
                &json!([rule(
                    "r",
                    &[],
                    None,
                    &json!([{"destination": "d", "body": body}])
                )]),
            );
            let sent = sent(&plan).remove(0);
            for secret in [
                "ada@x.example",
                "30 123456",
                "4111",
                "elpmaxe.x@ada",
                "654321 03",
            ] {
                assert!(!sent.contains(secret), "{format} {body}: {sent}");
            }
            // What is left stands.
            if format == "Json" && body.is_null() {
                let left = json!({"text": "meet me, [email], [phone], [card]", "user": {"email": "[redacted]", "name": "Ada"}, "n": 1});
                assert_eq!(serde_json::from_str::<Json>(&sent).unwrap(), left);
                assert_eq!(
                    plan.deliveries[0].request.as_ref().unwrap().content_type,
                    "application/json"
                );
            }
        }
    }
}

#[test]
fn r55_each_destination_has_its_own_redaction_and_rules_see_all() {
    let redact = json!({"pointers": ["/text"], "patterns": []});
    let plan = deliver(
        &json!([
            redacting(destination("ops"), "Json", &redact),
            destination("crm")
        ]),
        &json!([rule(
            "r",
            &[],
            Some("event.data.text.contains('ada@x.example')"),
            &json!([
                {"destination": "ops", "body": {"text": "${event.data.text}"}},
                {"destination": "crm", "body": {"text": "${event.data.text}"}},
            ])
        )]),
    );
    assert_eq!(
        sent(&plan),
        [
            json!({"text": "[redacted]"}).to_string(),
            json!({"text": SECRET}).to_string()
        ]
    );
}

#[test]
fn a_hidden_attribute_is_frozen_as_hidden() {
    let mut subscription_spec = subscription_of(&key());
    subscription_spec.fields.subject =
        Some(snapshot::FieldSource::Pointer("/user/email".to_owned()));
    let redact = json!({"pointers": ["/user"], "patterns": []});
    let route = route_of(
        "qa",
        &key(),
        &json!([redacting(destination("d"), "CloudEventsBinary", &redact)]),
        &json!([rule(
            "r",
            &[],
            None,
            &json!([{"destination": "d", "body": "${event.subject}"}])
        )]),
    );
    let config = config_of(vec![subscription_spec], vec![route]);
    let mut message = message();
    message.subject = Some("ada@x.example".to_owned());
    let plan = plan(&config.subscriptions[&key()], message);
    let request = plan.deliveries[0].request.as_ref().unwrap();
    assert!(request.hidden.subject && !request.hidden.id);
    assert_eq!(sent(&plan), ["\"[redacted]\""]);
}

/// What comes back of a redacted write-back has the redacted text: its mark is of that text.
#[test]
fn r27_the_echo_of_a_redacted_write_back_is_known() {
    for expression in [
        "event.subject + request.text",
        "event.subject + event.data.text",
    ] {
        let mut route = route_of(
            "reply",
            &key(),
            &json!([redacting(
                write_back("reply"),
                "Json",
                &json!({"pointers": [], "patterns": ["Email", "Phone", "Card"]})
            )]),
            &json!([rule(
                "r",
                &[],
                None,
                &json!([{"destination": "reply", "body": {"text": "${event.data.text}"}}])
            )]),
        );
        route.loop_guard.echo = Some(snapshot::Echo {
            sent: expression.to_owned(),
            received: "event.subject + event.data.text".to_owned(),
            window: Duration::from_secs(300),
        });
        let subscription = subscription(vec![route]);
        let mark = plan(&subscription, message()).deliveries[0].echo.unwrap();

        let echo = event(
            "message.received",
            &json!({"text": "meet me, [email], [phone], [card]"}),
        );
        assert_eq!(asked(&subscription, echo), Some(mark.key), "{expression}");
    }
}

/// A rule whose body names a look-up, and hits of a word list.
fn enriching(destination: &Json) -> snapshot::Route {
    let mut rule = rule(
        "r",
        &[],
        None,
        &json!([{"destination": "d", "body": {
            "text": "${event.data.text}", "mail": "${event.data.user.email}",
            "user": "${enriched.?profile}", "words": "${words.risk.hits([event.data.text, enriched.?profile])}",
        }}]),
    );
    rule["enrich"] = json!([look_up(
        "profile",
        "https://api.example/${event.data.user.email}"
    )]);
    let mut route = route_of("qa", &key(), &json!([destination]), &json!([rule]));
    route.word_lists = vec![snapshot::WordList {
        name: "risk".to_owned(),
        words: Some("meet\nfraud\nada\n".to_owned()),
    }];
    route
}

fn unrendered(plan: &Plan) -> (FrozenRequest, Unrendered) {
    let request = plan.deliveries[0].request.clone().unwrap();
    let FrozenBody::Unrendered(bytes) = &request.body else {
        panic!("{request:?}");
    };
    let unrendered = serde_json::from_slice(bytes).unwrap();
    (request, unrendered)
}

#[test]
fn r55_a_body_with_look_ups_is_redacted_whole_when_it_is_rendered() {
    let redact = json!({
        "pointers": ["/user/email", "/enriched/profile/tags"], "patterns": ["Phone", "Email", "Card"],
    });
    let destination = redacting(destination("d"), "CloudEventsStructured", &redact);
    let mut subscription_spec = subscription_of(&key());
    subscription_spec.fields.subject =
        Some(snapshot::FieldSource::Pointer("/user/email".to_owned()));
    let config = config_of(vec![subscription_spec], vec![enriching(&destination)]);
    let subscription = &config.subscriptions[&key()];
    let mut message = message();
    message.subject = Some("ada@x.example".to_owned());
    let (request, unrendered) = unrendered(&plan(subscription, message.clone()));
    assert!(request.hidden.subject, "it is frozen what is hidden");
    // What is asked is asked about the event as it came.
    let url = "https://api.example/ada%40x.example";
    assert_eq!(unrendered.look_ups[0].url.as_deref(), Some(url));

    let found = json!({"profile": {
        "tags": ["vip"], "phone": "+49 30 123456", "note": "fraud? ada@x.example", "name": "Ada",
    }});
    let words = subscription.routes[0].words.as_ref();
    let late = render_late(&message, &unrendered, request.hidden, &found, words).unwrap();
    let sent: Json = serde_json::from_slice(&late.body).unwrap();
    assert_eq!(sent["subject"], "[redacted]");
    assert_eq!(
        sent["data"],
        json!({
            "text": "meet me, [email], [phone], [card]", "mail": "[redacted]",
            "user": {"tags": "[redacted]", "phone": "[phone]", "note": "fraud? [email]", "name": "Ada"},
            "words": ["meet", "ada", "fraud"],
        })
    );
}

#[test]
fn words_that_are_not_there_fail_a_body_with_look_ups_as_they_do_any_other() {
    let subscription = subscription(vec![enriching(&destination("d"))]);
    let (request, unrendered) = unrendered(&plan(&subscription, message()));
    let without = render_late(&message(), &unrendered, request.hidden, &json!({}), None);
    assert!(
        matches!(without, Err(late::Error::Evaluate(_))),
        "{without:?}"
    );
}

#[test]
fn r27_the_echo_of_a_redacted_body_with_look_ups_is_known() {
    let redact = json!({"pointers": [], "patterns": ["Email", "Phone", "Card"]});
    let mut route = enriching(&redacting(write_back("d"), "Json", &redact));
    route.loop_guard.echo = Some(snapshot::Echo {
        sent: "event.subject + event.data.text + request.text".to_owned(),
        received: "event.subject + event.data.text + event.data.text".to_owned(),
        window: Duration::from_secs(300),
    });
    let subscription = subscription(vec![route]);
    let (request, unrendered) = unrendered(&plan(&subscription, message()));
    let words = subscription.routes[0].words.as_ref();
    let late = render_late(&message(), &unrendered, request.hidden, &json!({}), words).unwrap();
    let echo = event(
        "message.received",
        &json!({"text": "meet me, [email], [phone], [card]", "user": {"email": "x"}}),
    );
    assert_eq!(asked(&subscription, echo), Some(late.echo.unwrap().key));
}
