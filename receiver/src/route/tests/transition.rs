//! `transition`: states that never go back.

use super::once::{next, stored};
use super::*;

const RANKS: &str =
    "{'waiting': 0, 'assigned': 1, 'in progress': 2, 'closed': 3}[event.data.status]";

fn tickets(rank: &str) -> Arc<Subscription> {
    let mut update = rule(
        "update",
        &["conversation.status_changed"],
        None,
        &json!([{"destination": "crm", "body": {"status": "${event.data.status}"}}]),
    );
    update["transition"] = json!({
        "key": "event.subject", "rank": rank,
        "reopenWhen": "event.data.?reopened.orValue(false)",
    });
    let seen = rule("seen", &[], None, &json!([{"destination": "log"}]));
    let destinations = json!([destination("crm"), destination("log")]);
    let rules = json!([update, seen]);
    subscription(vec![route_of("r", &key(), &destinations, &rules)])
}

/// A change that happened at a minute, and is accepted at another.
fn change(status: &str, happened: i64, accepted: i64) -> Event {
    let at = |minutes| now() + jiff::SignedDuration::from_mins(minutes);
    Event {
        time: Some(at(happened)),
        accepted_at: at(accepted),
        ..event(
            "conversation.status_changed",
            &json!({"status": status.trim_end_matches('!'), "reopened": status.ends_with('!')}),
        )
    }
}

/// States, each with the minute in which it came about.
type Changes = &'static [(&'static str, i64)];

/// The states that reach the CRM, each with whether what came before is read from the store.
fn delivered(subscription: &Subscription, changes: &[(&str, i64)], durable: bool) -> Vec<String> {
    let mut overlay = Overlay::default();
    let mut plans: Vec<Plan> = Vec::new();
    let mut sent = Vec::new();
    for ((status, happened), accepted) in changes.iter().zip(60..) {
        if durable {
            overlay = stored(&plans);
        }
        let plan = next(
            subscription,
            change(status, *happened, accepted),
            &mut overlay,
        );
        let crm = plan.deliveries.iter().find(|it| it.rule == "update");
        assert_eq!(
            outcomes(&plan)["update"],
            if crm.is_some() {
                Outcome::Fired
            } else {
                Outcome::WouldGoBack
            }
        );
        assert_eq!(outcomes(&plan)["seen"], Outcome::Fired, "only its own rule");
        sent.extend(crm.map(|crm| body(crm)["status"].as_str().unwrap().to_owned()));
        plans.push(plan);
    }
    sent
}

#[test]
fn r44_r45_four_states_go_forward_and_late_or_disordered_ones_never_back() {
    let subscription = tickets(RANKS);
    let cases: [(Changes, &[&str]); 6] = [
        (
            &[
                ("waiting", 0),
                ("assigned", 1),
                ("in progress", 2),
                ("closed", 3),
            ],
            &["waiting", "assigned", "in progress", "closed"],
        ),
        // One overtakes another.
        (
            &[
                ("waiting", 0),
                ("closed", 3),
                ("in progress", 2),
                ("assigned", 1),
            ],
            &["waiting", "closed"],
        ),
        // The same state twice is news, unless it is older news.
        (
            &[("assigned", 1), ("assigned", 5), ("assigned", 3)],
            &["assigned", "assigned"],
        ),
        // A lower rank is no way back, however new it is.
        (&[("closed", 3), ("in progress", 9)], &["closed"]),
        // Reopened, and through the states again.
        (
            &[
                ("closed", 3),
                ("waiting!", 5),
                ("assigned", 6),
                ("closed", 9),
            ],
            &["closed", "waiting", "assigned", "closed"],
        ),
        // What is late belongs to what was closed before; a late reopening is none.
        (
            &[
                ("closed", 3),
                ("waiting!", 5),
                ("in progress", 2),
                ("assigned", 6),
                ("waiting!", 4),
            ],
            &["closed", "waiting", "assigned"],
        ),
    ];
    for (changes, expected) in cases {
        for durable in [false, true] {
            assert_eq!(
                delivered(&subscription, changes, durable),
                expected,
                "{changes:?}"
            );
        }
    }
}

#[test]
fn r34_a_reopened_conversation_updates_and_each_conversation_has_its_own_state() {
    let subscription = tickets(RANKS);
    let mut overlay = Overlay::default();
    let closed = next(&subscription, change("closed", 3, 60), &mut overlay);
    assert_eq!(sent_to(&closed), ["crm", "log"]);
    let other = Event {
        subject: Some("c-2".to_owned()),
        ..change("waiting", 1, 61)
    };
    assert_eq!(
        sent_to(&next(&subscription, other, &mut overlay)),
        ["crm", "log"]
    );
    let late = next(&subscription, change("waiting", 1, 62), &mut overlay);
    assert_eq!(sent_to(&late), ["log"]);
    assert_eq!(
        late.verdicts[0].detail.as_deref(),
        Some("transition: the state is further on")
    );
    let reopened = next(&subscription, change("waiting!", 30, 63), &mut overlay);
    assert_eq!(sent_to(&reopened), ["crm", "log"]);
}

#[test]
fn r45_the_events_own_time_may_be_the_rank() {
    let subscription = tickets("event.time");
    for durable in [false, true] {
        let changes = [
            ("assigned", 5),
            ("waiting", 4),
            ("in progress", 9),
            ("closed", 8),
        ];
        assert_eq!(
            delivered(&subscription, &changes, durable),
            ["assigned", "in progress"]
        );
    }
}

#[test]
fn a_time_that_can_not_be_true_is_taken_for_the_time_of_acceptance() {
    let subscription = tickets(RANKS);
    let mut overlay = Overlay::default();
    // A clock that is years ahead would let nothing follow.
    let ahead = change("assigned", 60 * 24 * 400, 60);
    assert_eq!(ahead.occurred_at(), ahead.accepted_at);
    for event in [
        ahead,
        change("assigned", 61, 61),
        change("assigned", -60 * 24, 62),
    ] {
        let plan = next(&subscription, event, &mut overlay);
        assert_eq!(sent_to(&plan), ["crm", "log"]);
    }
}

#[test]
fn r45_without_key_or_rank_nothing_is_sent_and_nothing_is_lost() {
    let subscription = tickets(RANKS);
    let mut overlay = Overlay::default();
    let mut without_key = change("closed", 1, 60);
    without_key.subject = None;
    let unknown = change("archived", 1, 61);
    for event in [without_key, unknown] {
        let plan = next(&subscription, event, &mut overlay);
        assert_eq!(dead(&plan), [("crm", DeadReason::RuleError)]);
        assert_eq!(outcomes(&plan)["update"], Outcome::MissingField);
        assert!(plan.remember.is_empty());
    }
    let text = tickets("event.data.status");
    let plan = next(&text, change("closed", 1, 60), &mut overlay);
    assert_eq!(outcomes(&plan)["update"], Outcome::Error);
    assert_eq!(
        plan.verdicts[0].detail.as_deref(),
        Some("transition.rank: the value is a string, and a whole number or a time is needed")
    );
}
