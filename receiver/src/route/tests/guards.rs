//! The loop guard, per destination that writes back.

use super::*;

const SENT: &str = "event.subject + ':' + request.text";
const RECEIVED: &str = "event.subject + ':' + event.data.text";

/// Replies to every message, and shows each to QA.
fn reply_route() -> snapshot::Route {
    let deliver = json!([
        {"destination": "reply", "body": {"text": "Re: ${event.data.text}"}},
        {"destination": "qa"},
    ]);
    route_of(
        "r",
        &key(),
        &json!([write_back("reply"), destination("qa")]),
        &json!([rule("answer", &["message.received"], None, &deliver)]),
    )
}

fn with_echo(mut route: snapshot::Route) -> snapshot::Route {
    route.loop_guard.echo = Some(snapshot::Echo {
        sent: SENT.to_owned(),
        received: RECEIVED.to_owned(),
        window: Duration::from_secs(300),
    });
    route
}

fn with_limit(mut route: snapshot::Route, limit: u32) -> snapshot::Route {
    route.loop_guard.per_subject = Some(snapshot::SubjectLimit {
        limit,
        window: Duration::from_secs(60),
    });
    route
}

fn observing(mut route: snapshot::Route) -> snapshot::Route {
    route.loop_guard.mode = GuardMode::Observe;
    route
}

fn message(text: &str) -> Event {
    event("message.received", &json!({"text": text}))
}

fn from(sender: &str) -> Event {
    Event {
        sender: Some(sender.to_owned()),
        ..message("hi")
    }
}

fn answered(route: snapshot::Route, event: Event, answer: GuardAnswer) -> Plan {
    in_batch(
        &subscription(vec![route]),
        event,
        answer,
        &mut Overlay::default(),
    )
}

fn in_batch(
    subscription: &Subscription,
    event: Event,
    answer: GuardAnswer,
    overlay: &mut Overlay,
) -> Plan {
    let draft = Draft::new(subscription, &StoredEvent { seq: 1, event });
    assert_eq!(draft.questions(now()).len(), 1);
    draft.plan(&[answer], overlay, now(), SEQUENCE)
}

fn found(plan: &Plan) -> Vec<(&str, Guard, bool)> {
    plan.suppressions
        .iter()
        .map(|it| (it.lane.destination.as_str(), it.guard, it.enforced))
        .collect()
}

fn marks(ids: &[u128]) -> GuardAnswer {
    GuardAnswer {
        marks: ids.iter().copied().map(Uuid::from_u128).collect(),
        write_backs: 0,
    }
}

fn write_backs(count: u32) -> GuardAnswer {
    GuardAnswer {
        marks: Vec::new(),
        write_backs: count,
    }
}

#[test]
fn r28_r29_r36_agents_messages_are_never_written_back_and_qa_sees_them() {
    let subscription = subscription(vec![reply_route()]);
    for sender in ["agent", "Agent", "SYSTEM"] {
        let plan = plan(&subscription, from(sender));
        assert_eq!(sent_to(&plan), ["qa"], "{sender}");
        assert_eq!(found(&plan), [("reply", Guard::Sender, true)]);
        assert!(dead(&plan).is_empty());
        assert_eq!(outcomes(&plan), HashMap::from([("answer", Outcome::Fired)]));
    }
    for event in [from("user"), message("hi")] {
        let plan = plan(&subscription, event);
        assert_eq!(sent_to(&plan), ["reply", "qa"]);
        assert!(plan.suppressions.is_empty());
    }
}

#[test]
fn r38_users_messages_reach_qa_only_where_a_rule_asks_for_them() {
    let rules = json!([rule(
        "qa",
        &["message.received"],
        Some("event.sender == 'agent'"),
        &json!([{"destination": "qa"}])
    )]);
    let subscription = subscription(vec![route_of(
        "r",
        &key(),
        &json!([destination("qa")]),
        &rules,
    )]);
    assert_eq!(sent_to(&plan(&subscription, from("agent"))), ["qa"]);
    assert!(sent_to(&plan(&subscription, from("user"))).is_empty());
}

#[test]
fn r27_what_we_caused_ourselves_is_not_written_back() {
    let route = with_echo(reply_route());
    let subscription = subscription(vec![route]);
    let first = in_batch(
        &subscription,
        message("hi"),
        GuardAnswer::default(),
        &mut Overlay::default(),
    );
    let mark = first.deliveries[0].echo.unwrap();
    assert_eq!(mark.window, Duration::from_secs(300));
    assert_eq!(first.deliveries[1].echo, None);

    // The event that the reply causes asks for the very mark that the reply left.
    let echo = Draft::new(
        &subscription,
        &StoredEvent {
            seq: 2,
            event: message("Re: hi"),
        },
    );
    let questions = echo.questions(now());
    assert_eq!(questions[0].echo_key, Some(mark.key));
    assert_eq!(questions[0].at, now());
    let plan = echo.plan(&[marks(&[9])], &mut Overlay::default(), now(), SEQUENCE);
    assert_eq!(sent_to(&plan), ["qa"]);
    assert_eq!(found(&plan), [("reply", Guard::Echo, true)]);
    assert_eq!(plan.marks_consumed, [Uuid::from_u128(9)]);
    assert!(dead(&plan).is_empty());
}

#[test]
fn one_mark_suppresses_one_event_of_a_batch() {
    let subscription = subscription(vec![with_echo(reply_route())]);
    let mut overlay = Overlay::default();
    let used: Vec<_> = (0..3)
        .map(|_| {
            in_batch(&subscription, message("hi"), marks(&[1, 2]), &mut overlay).marks_consumed
        })
        .collect();
    assert_eq!(
        used,
        [vec![Uuid::from_u128(1)], vec![Uuid::from_u128(2)], vec![]]
    );
}

#[test]
fn a_mark_is_used_up_by_its_event_though_another_guard_or_no_rule_takes_it() {
    let listed = answered(with_echo(reply_route()), from("agent"), marks(&[1]));
    assert_eq!(found(&listed), [("reply", Guard::Sender, true)]);
    assert_eq!(listed.marks_consumed, [Uuid::from_u128(1)]);

    let other_type = Event {
        r#type: "message.sent".to_owned(),
        ..message("hi")
    };
    let unmatched = answered(with_echo(reply_route()), other_type, marks(&[1]));
    assert!(unmatched.deliveries.is_empty() && unmatched.suppressions.is_empty());
    assert_eq!(unmatched.marks_consumed, [Uuid::from_u128(1)]);
}

#[test]
fn an_echo_of_one_destination_is_written_back_to_none() {
    let mut route = with_echo(reply_route());
    let other: snapshot::Destination = serde_json::from_value(write_back("other")).unwrap();
    route.destinations.push(Arc::new(other));
    let mut deliver = route.rules[0].deliver[0].clone();
    deliver.destination = "other".to_owned();
    route.rules[0].deliver.push(deliver);
    let subscription = subscription(vec![route]);
    let draft = Draft::new(
        &subscription,
        &StoredEvent {
            seq: 1,
            event: message("hi"),
        },
    );
    assert_eq!(draft.questions(now()).len(), 2);
    let answers = [GuardAnswer::default(), marks(&[5])];
    let plan = draft.plan(&answers, &mut Overlay::default(), now(), SEQUENCE);
    assert_eq!(sent_to(&plan), ["qa"]);
    assert_eq!(plan.marks_consumed, [Uuid::from_u128(5)]);
    assert_eq!(
        found(&plan),
        [("reply", Guard::Echo, true), ("other", Guard::Echo, true)]
    );
}

#[test]
fn an_echo_expression_that_fails_stops_nothing_and_is_told() {
    let mut route = with_echo(reply_route());
    route.loop_guard.echo.as_mut().unwrap().sent = "request.nothing".to_owned();
    route.loop_guard.echo.as_mut().unwrap().received = "event.data.text + 1".to_owned();
    let plan = plan(&subscription(vec![route]), message("hi"));
    assert_eq!(sent_to(&plan), ["reply", "qa"]);
    assert_eq!(plan.deliveries[0].echo, None);
    assert_eq!(outcomes(&plan), HashMap::from([("answer", Outcome::Fired)]));
    assert_eq!(
        plan.verdicts[0].detail.as_deref(),
        Some(
            "reply: loopGuard.echo.sent: the event has no field `request.nothing`; \
             loopGuard.echo.received: `+` can't be used on string and int"
        )
    );
}

#[test]
fn an_event_without_the_echos_field_asks_nothing() {
    let subscription = subscription(vec![with_echo(reply_route())]);
    let event = event("conversation.created", &json!({}));
    let draft = Draft::new(&subscription, &StoredEvent { seq: 1, event });
    assert!(draft.questions(now()).is_empty());
}

#[test]
fn too_many_hops_go_to_the_dead_letters_with_their_request() {
    let subscription = subscription(vec![reply_route()]);
    let at = |hops| {
        plan(
            &subscription,
            Event {
                hops,
                ..message("hi")
            },
        )
    };
    assert_eq!(sent_to(&at(3)), ["reply", "qa"]);
    let plan = at(4);
    assert_eq!(sent_to(&plan), ["qa"]);
    assert_eq!(dead(&plan), [("reply", DeadReason::LoopHops)]);
    assert_eq!(body(&plan.deliveries[0]), json!({"text": "Re: hi"}));
    assert_eq!(plan.deliveries[0].ordered_by, None);
    assert_eq!(found(&plan), [("reply", Guard::Hops, true)]);
}

#[test]
fn a_subject_has_so_many_write_backs_in_a_window() {
    let subscription = subscription(vec![with_limit(reply_route(), 3)]);
    let draft = Draft::new(
        &subscription,
        &StoredEvent {
            seq: 1,
            event: message("hi"),
        },
    );
    let question = draft.questions(now()).remove(0);
    assert_eq!(question.since, "2026-03-01T09:59:00Z".parse().unwrap());
    assert_eq!(
        (question.subject.as_str(), question.echo_key),
        ("c-1", None)
    );

    // The store knows of one; the batch adds two more.
    let mut overlay = Overlay::default();
    let plans: Vec<_> = (0..4)
        .map(|_| in_batch(&subscription, message("hi"), write_backs(1), &mut overlay))
        .collect();
    assert_eq!(
        plans.iter().map(|it| dead(it).len()).collect::<Vec<_>>(),
        [0, 0, 1, 1]
    );
    assert_eq!(dead(&plans[2]), [("reply", DeadReason::LoopRate)]);
    assert_eq!(sent_to(&plans[2]), ["qa"]);
    assert!(plans[2].deliveries[0].request.is_some());
    let counted = plans[0].deliveries[0].write_back.as_ref().unwrap();
    assert_eq!(
        (counted.subject.as_str(), counted.window),
        ("c-1", Duration::from_secs(60))
    );
    assert_eq!(plans[0].deliveries[1].write_back, None);

    // Another subject has its own.
    let other = Event {
        subject: Some("c-2".to_owned()),
        ..message("hi")
    };
    let plan = in_batch(&subscription, other, write_backs(0), &mut overlay);
    assert_eq!(sent_to(&plan), ["reply", "qa"]);
}

#[test]
fn observe_counts_what_enforce_would_stop_and_delivers_all() {
    let route = || observing(with_limit(with_echo(reply_route()), 1));
    for (event, answer, guard) in [
        (from("agent"), GuardAnswer::default(), Guard::Sender),
        (message("hi"), marks(&[1]), Guard::Echo),
        (
            Event {
                hops: 4,
                ..message("hi")
            },
            GuardAnswer::default(),
            Guard::Hops,
        ),
        (message("hi"), write_backs(1), Guard::Rate),
    ] {
        let used = answer.marks.clone();
        let plan = answered(route(), event, answer);
        assert_eq!(found(&plan), [("reply", guard, false)]);
        assert_eq!(sent_to(&plan), ["reply", "qa"]);
        assert!(plan.deliveries[0].echo.is_some() && plan.deliveries[0].write_back.is_some());
        assert_eq!(plan.marks_consumed, used);
    }
}

#[test]
fn the_guard_leaves_destinations_alone_that_do_not_write_back() {
    let mut route = with_limit(with_echo(reply_route()), 0);
    for destination in &mut route.destinations {
        Arc::make_mut(destination).writes_back = false;
    }
    let plan = plan(
        &subscription(vec![route]),
        Event {
            hops: 9,
            ..from("agent")
        },
    );
    assert_eq!(sent_to(&plan), ["reply", "qa"]);
    assert!(plan.suppressions.is_empty());
    assert_eq!(
        (plan.deliveries[0].echo, &plan.deliveries[0].write_back),
        (None, &None)
    );
}
