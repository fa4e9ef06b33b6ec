//! `once`: one effect for each key.

use super::*;

/// A survey on closing, and the QA system, which wants to see every event.
fn survey(window: &str) -> Arc<Subscription> {
    let deliver = json!([
        {
            "destination": "survey", "body": {"to": "${event.data.user}"},
            "once": {"key": "event.subject + ' ' + event.data.closed_at", "window": window},
        },
    ]);
    let seen = json!([{"destination": "qa"}]);
    let rules = json!([
        rule(
            "survey",
            &["conversation.status_changed"],
            Some("event.data.status == 'closed'"),
            &deliver
        ),
        rule("seen", &["conversation.status_changed"], None, &seen),
    ]);
    let destinations = json!([destination("survey"), destination("qa")]);
    subscription(vec![route_of("r", &key(), &destinations, &rules)])
}

fn closed(id: &str, closed_at: &str, seconds: i64) -> Event {
    let data = json!({"status": "closed", "user": "u-1", "closed_at": closed_at});
    Event {
        id: id.to_owned(),
        accepted_at: now() + jiff::SignedDuration::from_secs(seconds),
        ..event("conversation.status_changed", &data)
    }
}

/// A plan that sees what the plans before it remember.
pub(super) fn next(subscription: &Subscription, event: Event, overlay: &mut Overlay) -> Plan {
    let at = event.accepted_at;
    let draft = Draft::new(subscription, &StoredEvent { seq: 1, event });
    let answers = vec![GuardAnswer::default(); draft.questions(at).len()];
    draft.plan(&answers, overlay, at, SEQUENCE)
}

/// What a store would answer after these plans.
pub(super) fn stored(plans: &[Plan]) -> Overlay {
    Overlay::new(plans.iter().flat_map(|plan| {
        plan.remember.iter().map(|remember| {
            let recalled = Recalled {
                memory: remember.memory,
                until: remember.until,
                event: None,
            };
            (remember.key.clone(), recalled)
        })
    }))
}

#[test]
fn r40_r41_one_survey_per_closing_on_redelivery_too() {
    let subscription = survey("24h");
    let draft = Draft::new(
        &subscription,
        &StoredEvent {
            seq: 1,
            event: closed("e-1", "10:00", 0),
        },
    );
    assert_eq!(draft.memories().count(), 1);

    // In one batch, and from the store: with another id each time, as a sender may repeat itself.
    let mut overlay = Overlay::default();
    let first = next(&subscription, closed("e-1", "10:00", 0), &mut overlay);
    assert_eq!(sent_to(&first), ["survey", "qa"]);
    let second = next(&subscription, closed("e-2", "10:00", 30), &mut overlay);
    let third = next(
        &subscription,
        closed("e-3", "10:00", 300),
        &mut stored(std::slice::from_ref(&first)),
    );
    for again in [&second, &third] {
        assert_eq!(sent_to(again), ["qa"]);
        assert!(again.remember.is_empty());
        let outcomes = outcomes(again);
        assert_eq!(outcomes["survey"], Outcome::AlreadyDone);
        assert_eq!(outcomes["seen"], Outcome::Fired);
        let verdict = &again.verdicts[0];
        assert_eq!(
            verdict.detail.as_deref(),
            Some("survey: once: the key has had its effect")
        );
    }

    // Reopened and closed again: a closing of its own.
    let closed_again = next(
        &subscription,
        closed("e-4", "11:00", 3600),
        &mut stored(&[first]),
    );
    assert_eq!(sent_to(&closed_again), ["survey", "qa"]);
}

#[test]
fn a_key_is_free_again_once_its_window_has_passed_since_the_event_was_accepted() {
    let subscription = survey("1h");
    let first = next(
        &subscription,
        closed("e-1", "10:00", 0),
        &mut Overlay::default(),
    );
    for (seconds, sent) in [(3599, 1), (3600, 2)] {
        let event = closed("e-2", "10:00", seconds);
        let again = next(
            &subscription,
            event,
            &mut stored(std::slice::from_ref(&first)),
        );
        assert_eq!(sent_to(&again).len(), sent, "{seconds}");
    }
}

#[test]
fn what_is_not_delivered_claims_nothing() {
    // Nothing to render it from.
    let subscription = survey("1h");
    let mut without_user = closed("e-1", "10:00", 0);
    without_user.body = Bytes::from(r#"{"status": "closed", "closed_at": "10:00"}"#);
    let mut without_key = closed("e-1", "10:00", 0);
    without_key.body = Bytes::from(r#"{"status": "closed", "user": "u-1"}"#);
    let mut null_key = closed("e-1", "10:00", 0);
    null_key.subject = None;
    for (event, outcome) in [
        (without_user, Outcome::MissingField),
        (without_key, Outcome::MissingField),
        (null_key, Outcome::MissingField),
    ] {
        let mut overlay = Overlay::default();
        let plan = next(&subscription, event, &mut overlay);
        assert_eq!(dead(&plan), [("survey", DeadReason::RuleError)]);
        assert_eq!(outcomes(&plan)["survey"], outcome);
        assert!(plan.remember.is_empty());
        let good = next(&subscription, closed("e-2", "10:00", 5), &mut overlay);
        assert_eq!(sent_to(&good), ["survey", "qa"]);
    }

    // Stopped by the loop guard.
    let deliver = json!([{
        "destination": "reply", "once": {"key": "event.subject", "window": "1h"},
    }]);
    let rules = json!([rule("answer", &[], None, &deliver)]);
    let route = route_of("r", &key(), &json!([write_back("reply")]), &rules);
    let subscription = self::subscription(vec![route]);
    let mut overlay = Overlay::default();
    for (sender, hops) in [(Some("agent"), 0), (None, 9)] {
        let event = Event {
            sender: sender.map(ToOwned::to_owned),
            hops,
            ..event("message.received", &json!({}))
        };
        let plan = next(&subscription, event, &mut overlay);
        assert!(sent_to(&plan).is_empty() && plan.remember.is_empty());
    }
    let event = || event("message.received", &json!({}));
    assert_eq!(
        sent_to(&next(&subscription, event(), &mut overlay)),
        ["reply"]
    );
    assert!(sent_to(&next(&subscription, event(), &mut overlay)).is_empty());
}

#[test]
fn a_null_key_is_no_key_and_a_key_of_one_destination_is_not_anothers() {
    let once = json!({"key": "event.data.lead", "window": "1h"});
    let deliver = json!([
        {"destination": "crm", "once": once},
        {"destination": "chat", "once": once},
        {"destination": "log"},
    ]);
    let destinations = json!([destination("crm"), destination("chat"), destination("log")]);
    let rules = json!([rule("lead", &[], None, &deliver)]);
    let subscription = subscription(vec![route_of("r", &key(), &destinations, &rules)]);
    let lead = |lead: Json| event("conversation.created", &json!({"lead": lead}));
    let mut overlay = Overlay::default();
    let plan = next(&subscription, lead(Json::Null), &mut overlay);
    assert_eq!(sent_to(&plan), ["log"]);
    assert_eq!(outcomes(&plan)["lead"], Outcome::Error);
    let plan = next(&subscription, lead(json!(7)), &mut overlay);
    assert_eq!(sent_to(&plan), ["crm", "chat", "log"]);
    let again = next(&subscription, lead(json!("7")), &mut overlay);
    assert_eq!(sent_to(&again), ["log"]);
    assert_eq!(
        outcomes(&again)["lead"],
        Outcome::Fired,
        "one is delivered all the same"
    );
    assert!(again.verdicts[0].detail.is_some());
}
