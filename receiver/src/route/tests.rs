//! Routing as its requirements want it. The fixtures serve the planner's tests too.

use std::collections::HashMap;

use bytes::Bytes;
use hookswitch_crds::duration::Duration;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{self, Format, GuardMode};
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::*;
use crate::config::Config;
use crate::event::Event;
use crate::plan::{FrozenBody, Guard, Outcome, Recalled, Unrendered};
use crate::redact::Hidden;

mod guards;
mod once;
mod quality;
mod redaction;
mod rendering;
mod timers;
mod transition;

pub(crate) const SEQUENCE: u64 = 7;

pub(crate) fn now() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

pub(crate) fn key() -> ObjectKey {
    ObjectKey::new("support", "support")
}

/// An event of TG-Staff's, as the guide names its types.
pub(crate) fn event(kind: &str, data: &Json) -> Event {
    Event {
        uid: Uuid::from_u128(1),
        subscription: key(),
        id: "e-1".to_owned(),
        r#type: kind.to_owned(),
        time: None,
        accepted_at: now(),
        subject: Some("c-1".to_owned()),
        sender: None,
        hops: 0,
        content_type: Some("application/json".to_owned()),
        disposition: Disposition::Route,
        body: Bytes::from(data.to_string()),
    }
}

pub(crate) fn destination(name: &str) -> Json {
    json!({
        "name": name, "kind": "Http", "writesBack": false,
        "http": {
            "url": "https://crm.example/hooks", "method": "POST", "headers": [], "format": "Json",
            "signingSecrets": [], "privateNetworks": [],
        },
        "delivery": {
            "timeout": "10s", "giveUpAfter": "48h", "backoffInitial": "2s", "backoffMax": "10m",
            "onAmbiguous": "Retry", "rateLimit": null, "ordering": "None",
            "circuitBreaker": {"failures": 10, "openFor": "30s"},
        },
    })
}

/// A destination that writes back, in the order of subjects.
pub(crate) fn write_back(name: &str) -> Json {
    let mut destination = destination(name);
    destination["kind"] = json!("Tgstaff");
    destination["writesBack"] = json!(true);
    destination["delivery"]["ordering"] = json!("PerSubject");
    destination
}

pub(crate) fn rule(name: &str, types: &[&str], when: Option<&str>, deliver: &Json) -> Json {
    json!({"name": name, "types": types, "when": when, "deliver": deliver})
}

pub(crate) fn look_up(name: &str, url: &str) -> Json {
    json!({
        "name": name, "url": url, "method": "GET", "headers": [], "privateNetworks": [],
        "timeout": "2s", "cache": "0s", "cacheFailures": "0s", "concurrency": 16, "rateLimit": null,
        "onFailure": "Continue",
    })
}

fn origin(key: &ObjectKey) -> Json {
    json!({"key": key, "uid": "", "generation": 1, "since": 1, "spec": {}})
}

pub(crate) fn subscription_of(key: &ObjectKey) -> snapshot::Subscription {
    serde_json::from_value(json!({
        "origin": origin(key), "provider": "TGStaff", "path": format!("/{key}"),
        "verification": {"hmac": null, "headers": [], "sourceRanges": [], "unverified": true},
        "ping": {"allowUnsigned": true, "types": ["ping"]}, "types": [],
        "fields": {"type": null, "id": null, "time": null, "subject": null, "sender": null},
        "deduplicationWindow": "24h",
        "limits": {"bodyBytes": 1024, "storedBytes": 1_000_000, "eventsPerSecond": null, "burst": null},
        "retention": "72h", "deadLetterRetention": "720h", "suspend": false,
    }))
    .unwrap()
}

pub(crate) fn route_of(
    name: &str,
    subscription: &ObjectKey,
    destinations: &Json,
    rules: &Json,
) -> snapshot::Route {
    let key = ObjectKey::new("support", name);
    serde_json::from_value(json!({
        "origin": origin(&key), "subscriptions": [subscription],
        "destinations": destinations, "rules": rules,
        "loopGuard": {
            "mode": "Enforce", "senders": ["agent", "system"], "echo": null, "maxHops": 4,
            "perSubject": null,
        },
    }))
    .unwrap()
}

pub(crate) fn config_of(
    subscriptions: Vec<snapshot::Subscription>,
    routes: Vec<snapshot::Route>,
) -> Config {
    let snapshot = snapshot::Snapshot {
        format: snapshot::FORMAT,
        sequence: SEQUENCE,
        subscriptions: subscriptions.into_iter().map(Arc::new).collect(),
        routes: routes.into_iter().map(Arc::new).collect(),
    };
    Config::load(snapshot, None).unwrap()
}

fn subscription(routes: Vec<snapshot::Route>) -> Arc<Subscription> {
    let config = config_of(vec![subscription_of(&key())], routes);
    Arc::clone(&config.subscriptions[&key()])
}

/// The plan of an event that the store knows nothing about yet.
fn plan(subscription: &Subscription, event: Event) -> Plan {
    let draft = Draft::new(subscription, &StoredEvent { seq: 3, event });
    let answers = vec![GuardAnswer::default(); draft.questions(now()).len()];
    draft.plan(&answers, &mut Overlay::default(), now(), SEQUENCE)
}

fn body(delivery: &NewDelivery) -> Json {
    match &delivery.request.as_ref().unwrap().body {
        FrozenBody::Rendered(body) => serde_json::from_slice(body).unwrap(),
        FrozenBody::Event => panic!("the event's own body"),
        FrozenBody::Unrendered(_) => panic!("a body that is rendered later"),
    }
}

fn outcomes(plan: &Plan) -> HashMap<&str, Outcome> {
    plan.verdicts
        .iter()
        .map(|verdict| (verdict.rule.as_str(), verdict.outcome))
        .collect()
}

fn unnamed<'a>(subscription: &'a Subscription, plan: &Plan) -> Vec<&'a str> {
    why::unnamed(subscription, &plan.verdicts)
        .map(|(_, rule)| rule.name.as_str())
        .collect()
}

fn sent_to(plan: &Plan) -> Vec<&str> {
    plan.deliveries
        .iter()
        .filter(|delivery| delivery.dead.is_none())
        .map(|delivery| delivery.lane.destination.as_str())
        .collect()
}

fn dead(plan: &Plan) -> Vec<(&str, DeadReason)> {
    plan.deliveries
        .iter()
        .filter_map(|delivery| Some((delivery.lane.destination.as_str(), delivery.dead?)))
        .collect()
}

#[test]
fn r21_rules_are_chosen_by_the_event_type() {
    let rules = json!([
        rule(
            "created",
            &["conversation.created"],
            None,
            &json!([{"destination": "crm"}])
        ),
        rule(
            "messages",
            &["message.received", "message.sent"],
            None,
            &json!([{"destination": "qa"}])
        ),
        rule("all", &[], None, &json!([{"destination": "log"}])),
    ]);
    let destinations = json!([destination("crm"), destination("qa"), destination("log")]);
    let subscription = subscription(vec![route_of("r", &key(), &destinations, &rules)]);
    let plan = plan(&subscription, event("message.received", &json!({})));
    assert_eq!(sent_to(&plan), ["qa", "log"]);
    assert_eq!(
        outcomes(&plan),
        HashMap::from([("messages", Outcome::Fired), ("all", Outcome::Fired),])
    );
    // A rule that does not name the type is not looked at: who asks afterwards is told.
    assert_eq!(unnamed(&subscription, &plan), ["created"]);
    assert_eq!(
        (plan.seq, plan.sequence, plan.planned_at),
        (3, SEQUENCE, now())
    );
}

#[test]
fn r22_an_unknown_type_is_routed_and_has_no_delivery() {
    let rules = json!([rule(
        "created",
        &["conversation.created"],
        None,
        &json!([{"destination": "crm"}])
    )]);
    let subscription = subscription(vec![route_of(
        "r",
        &key(),
        &json!([destination("crm")]),
        &rules,
    )]);
    for kind in ["", "something.new"] {
        let plan = plan(&subscription, event(kind, &json!({})));
        assert!(plan.verdicts.is_empty());
        assert_eq!(unnamed(&subscription, &plan), ["created"]);
        assert!(plan.deliveries.is_empty() && plan.set_aside.is_none());
    }
}

#[test]
fn r23_each_rule_is_decided_by_its_own_event_alone() {
    // Two routes for the same subscription: what one's types never bring does not touch the other.
    let crm = json!([rule(
        "created",
        &["conversation.created"],
        None,
        &json!([{"destination": "crm"}])
    )]);
    let qa = json!([rule(
        "messages",
        &["message.received"],
        None,
        &json!([{"destination": "qa"}])
    )]);
    let subscription = subscription(vec![
        route_of("crm", &key(), &json!([destination("crm")]), &crm),
        route_of("qa", &key(), &json!([destination("qa")]), &qa),
    ]);
    let plan = plan(&subscription, event("conversation.created", &json!({})));
    assert_eq!(sent_to(&plan), ["crm"]);
    assert_eq!(plan.verdicts.len(), 1);
}

#[test]
fn r24_conditions_filter_on_attributes_and_data() {
    let rules = json!([
        rule(
            "closed",
            &[],
            Some("event.data.status == 'closed'"),
            &json!([{"destination": "d"}])
        ),
        rule(
            "open",
            &[],
            Some("event.data.status != 'closed'"),
            &json!([{"destination": "d"}])
        ),
        rule(
            "subject",
            &[],
            Some("event.subject == 'c-1' && event.source == '/support/support'"),
            &json!([{"destination": "d"}])
        ),
    ]);
    let subscription = subscription(vec![route_of(
        "r",
        &key(),
        &json!([destination("d")]),
        &rules,
    )]);
    let plan = plan(
        &subscription,
        event("conversation.status_changed", &json!({"status": "closed"})),
    );
    assert_eq!(
        outcomes(&plan),
        HashMap::from([
            ("closed", Outcome::Fired),
            ("open", Outcome::WhenFalse),
            ("subject", Outcome::Fired),
        ])
    );
}

#[test]
fn r26_one_rule_fans_out_and_one_broken_body_stops_nobody() {
    let rules = json!([
        rule(
            "fan-out",
            &[],
            None,
            &json!([
                {"destination": "a"},
                {"destination": "b", "body": {"n": "${1 / (event.data.n - event.data.n)}"}},
                {"destination": "c", "body": {"n": "${event.data.n}"}},
            ])
        ),
        rule(
            "broken",
            &[],
            Some("event.data.n + 'x' == ''"),
            &json!([{"destination": "a"}, {"destination": "b"}])
        ),
        rule("fine", &[], None, &json!([{"destination": "b"}])),
    ]);
    let destinations = json!([destination("a"), destination("b"), destination("c")]);
    let subscription = subscription(vec![route_of("r", &key(), &destinations, &rules)]);
    let plan = plan(&subscription, event("x", &json!({"n": 5})));
    assert_eq!(sent_to(&plan), ["a", "c", "b"]);
    let rule_error = DeadReason::RuleError;
    assert_eq!(
        dead(&plan),
        [("b", rule_error), ("a", rule_error), ("b", rule_error)]
    );
    assert!(
        plan.deliveries
            .iter()
            .all(|it| it.dead.is_none() == it.request.is_some())
    );
    assert_eq!(
        outcomes(&plan),
        HashMap::from([
            ("fan-out", Outcome::Error),
            ("broken", Outcome::Error),
            ("fine", Outcome::Fired),
        ])
    );
    assert_eq!(
        plan.verdicts[0].detail.as_deref(),
        Some("b: body: division by zero")
    );
    assert_eq!(
        plan.verdicts[1].detail.as_deref(),
        Some("when: `+` can't be used on int and string")
    );
}

#[test]
fn r30_missing_media_and_fields_are_tolerated_and_never_dropped_in_silence() {
    let rules = json!([
        rule(
            "when",
            &[],
            Some("event.data.media[0].kind == 'photo'"),
            &json!([{"destination": "a"}])
        ),
        rule(
            "body",
            &[],
            None,
            &json!([
                {"destination": "a", "body": {"url": "${event.data.media[0].url}"}},
                {"destination": "b", "body": {"url": "${event.data.?media[?0].url}"}},
            ])
        ),
    ]);
    let destinations = json!([destination("a"), destination("b")]);
    let subscription = subscription(vec![route_of("r", &key(), &destinations, &rules)]);
    for data in [
        json!({}),
        json!({"media": null}),
        json!({"media": []}),
        json!({"media": "none"}),
    ] {
        let plan = plan(&subscription, event("message.received", &data));
        assert_eq!(
            outcomes(&plan),
            HashMap::from([
                ("when", Outcome::MissingField),
                ("body", Outcome::MissingField)
            ]),
            "{data}"
        );
        let detail = plan.verdicts[0].detail.as_deref().unwrap();
        assert!(
            detail.starts_with("when: the event has no field `event.data.media"),
            "{detail}"
        );
        // `when` is false; what can't be written is a dead letter, and the rest goes out.
        assert_eq!(sent_to(&plan), ["b"]);
        assert_eq!(body(&plan.deliveries[1]), json!({"url": null}));
        assert_eq!(dead(&plan), [("a", DeadReason::RuleError)]);
    }
}

#[test]
fn r57_verdicts_never_hold_the_events_text() {
    let rules = json!([
        rule(
            "a",
            &[],
            Some("event.data.text"),
            &json!([{"destination": "d"}])
        ),
        rule(
            "b",
            &[],
            Some("event.data[event.data.text] == 1"),
            &json!([{"destination": "d"}])
        ),
        rule(
            "c",
            &[],
            None,
            &json!([{"destination": "d", "body": "${int(event.data.text)}"}])
        ),
    ]);
    let subscription = subscription(vec![route_of(
        "r",
        &key(),
        &json!([destination("d")]),
        &rules,
    )]);
    let plan = plan(
        &subscription,
        event("message.received", &json!({"text": "planted-secret"})),
    );
    assert_eq!(dead(&plan).len(), 2);
    assert!(!format!("{:?}", plan.verdicts).contains("planted-secret"));
}

#[test]
fn what_is_not_to_be_routed_has_an_empty_plan() {
    let rules = json!([rule("all", &[], None, &json!([{"destination": "d"}]))]);
    let subscription = subscription(vec![route_of(
        "r",
        &key(),
        &json!([destination("d")]),
        &rules,
    )]);
    for disposition in [
        Disposition::Ping,
        Disposition::Unparseable,
        Disposition::TypeNotAccepted,
        Disposition::IdReused,
        Disposition::Quarantined,
    ] {
        let event = Event {
            disposition,
            ..event("x", &json!({}))
        };
        let plan = plan(&subscription, event);
        assert!(
            plan.verdicts.is_empty() && plan.deliveries.is_empty(),
            "{disposition:?}"
        );
    }
}

#[test]
fn r56_no_rule_needs_a_phone_number_or_an_email_address() {
    let rules = json!([rule(
        "lead",
        &[],
        None,
        &json!([{"destination": "crm", "body": {
            "externalId": "${event.subject}",
            "contact": {"phone": "${event.data.?phone}", "email": "${event.data.?email}"},
        }}])
    )]);
    let subscription = subscription(vec![route_of(
        "r",
        &key(),
        &json!([destination("crm")]),
        &rules,
    )]);
    let plan = plan(
        &subscription,
        event("conversation.created", &json!({"user_id": 7})),
    );
    assert_eq!(
        body(&plan.deliveries[0]),
        json!({"externalId": "c-1", "contact": {"phone": null, "email": null}})
    );
}

#[test]
fn an_id_is_the_same_for_ever_and_another_for_each_part() {
    let lane = |route: &str, destination: &str| Lane {
        route: ObjectKey::new("support", route),
        destination: destination.to_owned(),
    };
    let uid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    let id = render::delivery_id(uid, &lane("crm", "tickets"), "new-inquiry");
    // Written down: a change would deliver again what has been delivered.
    assert_eq!(id.to_string(), "706fc081-ae30-8c71-b11a-5bb821965649");
    assert_eq!(id.get_version_num(), 8);
    let others = [
        render::delivery_id(Uuid::from_u128(2), &lane("crm", "tickets"), "new-inquiry"),
        render::delivery_id(uid, &lane("crn", "tickets"), "new-inquiry"),
        render::delivery_id(uid, &lane("crm", "ticket"), "new-inquiry"),
        render::delivery_id(uid, &lane("crm", "tickets"), "new-inquir"),
        render::delivery_id(uid, &lane("crm", "ytickets"), "new-inquir"),
    ];
    assert!(others.iter().all(|other| *other != id));
}
