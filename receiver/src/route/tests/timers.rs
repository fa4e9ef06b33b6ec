//! `after`: what waits, what cancels it, and what a firing does.

use super::once::{next, stored};
use super::*;
use crate::plan::{Fate, OnceTerms, StoredTimer, TimerId, WaitingDelivery};

/// An alert when an agent is offline for half an hour.
fn alert(unless: Option<&Json>) -> Arc<Subscription> {
    let mut gone = rule(
        "agent-gone",
        &["agent.status_changed"],
        Some("event.data.status == 'offline'"),
        &json!([{"destination": "ops", "body": {"text": "${event.data.agent_id} is offline"}}]),
    );
    gone["after"] = json!({"wait": "30m", "key": "event.data.agent_id", "unless": unless});
    let route = route_of("r", &key(), &json!([destination("ops")]), &json!([gone]));
    subscription(vec![route])
}

fn back() -> Json {
    json!({"types": ["agent.status_changed"], "when": "event.data.status != 'offline'"})
}

fn minute(minutes: i64) -> Timestamp {
    now() + jiff::SignedDuration::from_mins(minutes)
}

/// An agent's status, which changed at a minute and is accepted at another.
fn status(status: &str, happened: i64, accepted: i64) -> Event {
    let data = json!({"agent_id": "a-1", "status": status});
    Event {
        time: Some(minute(happened)),
        accepted_at: minute(accepted),
        subject: None,
        ..event("agent.status_changed", &data)
    }
}

/// Each event's outcome, whether it starts (+) or cancels (-) a timer; in one batch, or each with what
/// the store remembers.
fn story(subscription: &Subscription, events: Vec<Event>, durable: bool) -> Vec<(Outcome, String)> {
    let mut overlay = Overlay::default();
    let mut plans: Vec<Plan> = Vec::new();
    let mut kept = HashMap::new();
    let mut told = Vec::new();
    for (event, seq) in events.into_iter().zip(1_u64..) {
        if durable {
            overlay = with_events(&plans, &kept);
        }
        let at = event.accepted_at;
        let event = StoredEvent { seq, event };
        kept.insert(seq, Arc::new(event.clone()));
        let draft = Draft::new(subscription, &event);
        let plan = draft.plan(&[], &mut overlay, at, SEQUENCE);
        let started = plan.timers.iter().map(|_| "+".to_owned());
        let cancelled = plan.cancelled.iter().map(|timer| format!("-{}", timer.seq));
        let did: String = cancelled.chain(started).collect();
        told.push((plan.verdicts[0].outcome, did));
        plans.push(plan);
    }
    told
}

/// What a store would answer: with the events that it keeps.
fn with_events(plans: &[Plan], kept: &HashMap<u64, Arc<StoredEvent>>) -> Overlay {
    let remembered = plans.iter().flat_map(|plan| &plan.remember);
    Overlay::new(remembered.map(|remember| {
        let event = match remember.memory {
            crate::plan::Memory::Wait { state, .. } => {
                state.seq().map(|seq| Arc::clone(&kept[&seq]))
            }
            _ => None,
        };
        let recalled = Recalled {
            memory: remember.memory,
            until: remember.until,
            event,
        };
        (remember.key.clone(), recalled)
    }))
}

fn tells(subscription: &Subscription, events: &[Event], expected: &[(Outcome, &str)]) {
    for durable in [false, true] {
        let told = story(subscription, events.to_vec(), durable);
        let told: Vec<_> = told.iter().map(|(it, did)| (*it, did.as_str())).collect();
        assert_eq!(told, expected, "durable: {durable}");
    }
}

#[test]
fn r47_r48_a_timer_waits_from_the_events_own_time_with_its_delivery_rendered() {
    let subscription = alert(Some(&back()));
    let mut overlay = Overlay::default();
    let plan = next(&subscription, status("offline", 0, 2), &mut overlay);
    assert_eq!(outcomes(&plan)["agent-gone"], Outcome::Waits);
    let [timer] = plan.timers.as_slice() else {
        panic!("{:?}", plan.timers)
    };
    assert_eq!((timer.at, timer.due), (minute(0), minute(30)));
    let [waits] = plan.deliveries.as_slice() else {
        panic!("{:?}", plan.deliveries)
    };
    assert_eq!(waits.waits_until, Some(minute(30)));
    assert_eq!(body(waits)["text"], "a-1 is offline");
    // No time, or one that can't be true: from when it was accepted.
    for time in [None, Some(minute(60 * 24 * 365)), Some(minute(-60 * 25))] {
        let event = Event {
            time,
            ..status("offline", 0, 2)
        };
        let plan = next(&subscription, event, &mut Overlay::default());
        assert_eq!(plan.timers[0].due, minute(32));
    }
}

#[test]
fn r47_exactly_one_waits_for_each_key_and_only_a_cancel_makes_room() {
    tells(
        &alert(Some(&back())),
        &[
            status("offline", 0, 0),
            status("offline", 1, 1),
            status("online", 5, 5),
            status("offline", 10, 10),
            status("busy", 12, 12),
        ],
        &[
            (Outcome::Waits, "+"),
            (Outcome::WaitsAlready, ""),
            (Outcome::WhenFalse, "-1"),
            (Outcome::Waits, "+"),
            (Outcome::WhenFalse, "-4"),
        ],
    );
    // Another agent is another key.
    let mut other = status("offline", 1, 1);
    other.body = Bytes::from(r#"{"agent_id": "a-2", "status": "offline"}"#);
    tells(
        &alert(None),
        &[status("offline", 0, 0), other, status("online", 2, 2)],
        &[
            (Outcome::Waits, "+"),
            (Outcome::Waits, "+"),
            (Outcome::WhenFalse, ""),
        ],
    );
}

#[test]
fn r48_late_and_disordered_events_do_not_make_a_false_alarm_or_hide_a_true_one() {
    let subscription = alert(Some(&back()));
    // The return overtook the leaving.
    tells(
        &subscription,
        &[
            status("online", 5, 5),
            status("offline", 0, 6),
            status("offline", 20, 20),
        ],
        &[
            (Outcome::WhenFalse, ""),
            (Outcome::CancelledBefore, ""),
            (Outcome::Waits, "+"),
        ],
    );
    // An old return says nothing about a new leaving.
    tells(
        &subscription,
        &[
            status("offline", 10, 10),
            status("online", 5, 11),
            status("online", 12, 13),
        ],
        &[
            (Outcome::Waits, "+"),
            (Outcome::WhenFalse, ""),
            (Outcome::WhenFalse, "-1"),
        ],
    );
    // Two returns in the wrong order: the later one counts.
    tells(
        &subscription,
        &[
            status("online", 9, 10),
            status("online", 5, 11),
            status("offline", 7, 12),
        ],
        &[
            (Outcome::WhenFalse, ""),
            (Outcome::WhenFalse, ""),
            (Outcome::CancelledBefore, ""),
        ],
    );
    // A return after the due time, while the timer could not fire yet: it still fires, and the key is free.
    tells(
        &subscription,
        &[
            status("offline", 0, 0),
            status("online", 31, 50),
            status("offline", 40, 51),
        ],
        &[
            (Outcome::Waits, "+"),
            (Outcome::WhenFalse, ""),
            (Outcome::Waits, "+"),
        ],
    );
}

#[test]
fn unless_with_the_rules_own_types_waits_for_silence() {
    let mut silence = rule(
        "silence",
        &["message.received"],
        None,
        &json!([{"destination": "ops"}]),
    );
    silence["after"] = json!({
        "wait": "10m", "key": "event.subject", "unless": {"types": ["message.received"], "when": null},
    });
    let route = route_of("r", &key(), &json!([destination("ops")]), &json!([silence]));
    let message = |minutes| Event {
        time: Some(minute(minutes)),
        accepted_at: minute(minutes),
        ..event("message.received", &json!({}))
    };
    tells(
        &subscription(vec![route]),
        &[message(0), message(3), message(6)],
        &[
            (Outcome::Waits, "+"),
            (Outcome::Waits, "-1+"),
            (Outcome::Waits, "-2+"),
        ],
    );
}

#[test]
fn unless_may_compare_with_the_first_event_whichever_comes_in_first() {
    // An answer by another than who left.
    let unless = json!({
        "types": ["message.received"],
        "when": "event.data.team == first.data.team && event.data.n > first.data.n",
    });
    let mut left = rule("left", &["left"], None, &json!([{"destination": "ops"}]));
    left["after"] = json!({"wait": "10m", "key": "event.subject", "unless": unless});
    let route = route_of("r", &key(), &json!([destination("ops")]), &json!([left]));
    let subscription = subscription(vec![route]);
    let at = |kind: &str, team: &str, n: i64, minutes| Event {
        time: Some(minute(n)),
        accepted_at: minute(minutes),
        ..event(kind, &json!({"team": team, "n": n}))
    };
    tells(
        &subscription,
        &[
            at("left", "a", 0, 0),
            at("message.received", "b", 1, 1),
            at("message.received", "a", 2, 2),
            at("left", "a", 3, 3),
        ],
        &[
            (Outcome::Waits, "+"),
            (Outcome::TypeNotMatched, ""),
            (Outcome::TypeNotMatched, "-1"),
            (Outcome::Waits, "+"),
        ],
    );
    // The later event came in first.
    for (team, outcome, did) in [
        ("a", Outcome::CancelledBefore, ""),
        ("b", Outcome::Waits, "+"),
    ] {
        tells(
            &subscription,
            &[at("message.received", "a", 5, 1), at("left", team, 4, 2)],
            &[(Outcome::TypeNotMatched, ""), (outcome, did)],
        );
    }
}

#[test]
fn without_a_key_nothing_waits_and_nothing_is_lost() {
    let subscription = alert(Some(&back()));
    let mut keyless = status("offline", 0, 0);
    keyless.body = Bytes::from(r#"{"status": "offline"}"#);
    let plan = next(&subscription, keyless, &mut Overlay::default());
    assert_eq!(dead(&plan), [("ops", DeadReason::RuleError)]);
    assert_eq!(outcomes(&plan)["agent-gone"], Outcome::MissingField);
    assert_eq!(
        plan.verdicts[0].detail.as_deref(),
        Some("after.key: the event has no field `event.data.agent_id`")
    );
    let mut keyless = status("online", 0, 0);
    keyless.body = Bytes::from(r#"{"status": "online"}"#);
    let plan = next(&subscription, keyless, &mut Overlay::default());
    assert!(plan.deliveries.is_empty() && plan.remember.is_empty());
}

/// A rule with three destinations, each guarded in its way.
fn guarded() -> Arc<Subscription> {
    let once = json!({"key": "event.subject", "window": "1h"});
    let mut wait = rule(
        "wait",
        &["message.received"],
        None,
        &json!([
            {"destination": "reply", "body": {"text": "still there?"}},
            {"destination": "crm", "once": once},
            {"destination": "broken", "body": {"text": "${event.data.nothing}"}},
        ]),
    );
    wait["after"] = json!({"wait": "10m", "key": "event.id", "unless": null});
    let destinations = json!([
        write_back("reply"),
        destination("crm"),
        destination("broken")
    ]);
    let mut route = route_of("r", &key(), &destinations, &json!([wait]));
    route.loop_guard.per_subject = Some(snapshot::SubjectLimit {
        limit: 2,
        window: Duration::from_secs(60),
    });
    subscription(vec![route])
}

/// A timer as the store gives it.
fn timer(plan: &Plan) -> StoredTimer {
    let new = &plan.timers[0];
    StoredTimer {
        id: TimerId {
            scope: Arc::clone(&new.key.scope),
            seq: plan.seq,
        },
        digest: new.key.digest,
        at: new.at,
        due: new.due,
        subject: Some("c-1".to_owned()),
        once: new.once.clone(),
        deliveries: plan
            .deliveries
            .iter()
            .map(|it| WaitingDelivery {
                id: it.id,
                lane: it.lane.clone(),
                dead: it.dead,
            })
            .collect(),
    }
}

#[test]
fn the_guards_apply_to_what_a_timer_delivers() {
    let subscription = guarded();
    let mut overlay = Overlay::default();
    let from = |sender: Option<&str>, hops| Event {
        sender: sender.map(ToOwned::to_owned),
        hops,
        id: format!("{sender:?} {hops}"),
        ..event("message.received", &json!({}))
    };
    // What the event decides, at the start: an agent's is never written back, and hops are counted.
    let agents = next(&subscription, from(Some("agent"), 0), &mut overlay);
    let lanes: Vec<_> = agents
        .deliveries
        .iter()
        .map(|it| &it.lane.destination)
        .collect();
    assert_eq!(lanes, ["crm", "broken"]);
    assert_eq!(agents.suppressions.len(), 1);
    let hopped = next(&subscription, from(None, 9), &mut overlay);
    assert_eq!(hopped.deliveries[0].dead, Some(DeadReason::LoopHops));
    assert!(hopped.deliveries.iter().all(|it| it.waits_until.is_some()));

    // What the moment decides, at the firing.
    let plain = next(&subscription, from(None, 0), &mut overlay);
    assert!(plain.suppressions.is_empty());
    let timer = timer(&plain);
    assert_eq!(
        timer.once,
        [OnceTerms {
            destination: "crm".to_owned(),
            digest: timer.once[0].digest,
            window: Duration::from_secs(3600),
        }]
    );
    assert_eq!(firing_questions(&subscription, &timer, now()).len(), 1);
    assert_eq!(firing_memories(&timer).count(), 2);
    let mut overlay = stored(std::slice::from_ref(&plain));
    let fates = |overlay: &mut Overlay, write_backs| {
        let answers = [GuardAnswer {
            marks: Vec::new(),
            write_backs,
        }];
        let firing = fire(&subscription, &timer, &answers, overlay, minute(10));
        let short = firing.deliveries.iter().map(|(_, fate)| match fate {
            Fate::Deliver { write_back } => format!("deliver {}", write_back.is_some()),
            Fate::Dead(reason) => reason.label().to_owned(),
            Fate::Drop => "drop".to_owned(),
        });
        (short.collect::<Vec<_>>(), firing)
    };
    let (first, firing) = fates(&mut overlay, 0);
    assert_eq!(first, ["deliver true", "deliver false", "rule_error"]);
    assert_eq!(firing.remember.len(), 2, "that it fired, and the claim");
    // Two more in the same append: `once` has its effect, then the rate is reached.
    assert_eq!(
        fates(&mut overlay, 0).0,
        ["deliver true", "drop", "rule_error"]
    );
    let (third, firing) = fates(&mut overlay, 0);
    assert_eq!(third, ["loop_rate", "drop", "rule_error"]);
    assert_eq!(firing.suppressions[0].guard, Guard::Rate);
    assert!(firing.remember.is_empty());
    let known = fates(&mut stored(std::slice::from_ref(&plain)), 2).0;
    assert_eq!(known, ["loop_rate", "deliver false", "rule_error"]);
}

#[test]
fn words_may_end_a_wait() {
    let list = snapshot::WordList {
        name: "bye".to_owned(),
        words: Some("thank you\nbye\n".to_owned()),
    };
    for when in [
        "words.bye.matches(event.data.text)",
        "words.bye.matches(event.data.text) && event.data.agent == first.data.agent",
    ] {
        let mut waits = rule("waits", &["asked"], None, &json!([{"destination": "ops"}]));
        waits["after"] = json!({
            "wait": "10m", "key": "event.subject", "unless": {"types": ["said"], "when": when},
        });
        let mut route = route_of("r", &key(), &json!([destination("ops")]), &json!([waits]));
        route.word_lists = vec![list.clone()];
        let subscription = subscription(vec![route]);
        let at = |kind: &str, text: &str, minutes| Event {
            accepted_at: minute(minutes),
            ..event(kind, &json!({"text": text, "agent": "a-1"}))
        };
        tells(
            &subscription,
            &[
                at("asked", "", 0),
                at("said", "wait a moment", 1),
                at("said", "Bye!", 2),
                at("asked", "", 3),
            ],
            &[
                (Outcome::Waits, "+"),
                (Outcome::TypeNotMatched, ""),
                (Outcome::TypeNotMatched, "-1"),
                (Outcome::Waits, "+"),
            ],
        );
    }
}
