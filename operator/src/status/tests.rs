use hookswitch_crds::condition::{ACCEPTED, PROGRAMMED};
use hookswitch_crds::receiver_lease::Report;

use super::*;
use crate::compile::Problem;

pub(super) const NOW: &str = "2026-01-05T10:00:00.5Z";
const LATER: &str = "2026-01-05T11:00:00Z";

pub(super) fn key() -> ObjectKey {
    ObjectKey::new("ns", "support")
}

fn yes(reason: &'static str) -> compile::Condition {
    compile::Condition {
        status: true,
        reason,
        message: String::new(),
    }
}

pub(super) fn accepted(generation: i64, since: u64) -> WebhookSubscriptionReport {
    WebhookSubscriptionReport {
        generation,
        serving: Some(Serving { generation, since }),
        conditions: Conditions {
            accepted: yes(reason::ACCEPTED),
            resolved_refs: yes(reason::RESOLVED_REFS),
            programmed: None,
        },
        url: Some("https://hooks.example.com/ns/support".to_owned()),
        attached_routes: 2,
        problems: Vec::<Problem>::new(),
    }
}

pub(super) fn placed(shards: &[u32], since: u64, full: Option<Full>) -> Placed {
    Placed {
        shards: shards.to_vec(),
        since,
        full,
    }
}

pub(super) fn layout(count: u32) -> Layout {
    Layout {
        count,
        format: FORMAT,
    }
}

/// What is seen at [`NOW`] of an entry that one of `count` shards holds.
fn view<'a>(placed: &'a Placed, count: u32, fleet: &'a Fleet) -> View<'a> {
    View {
        placed: Some(placed),
        layout: layout(count),
        fleet,
        now: NOW.parse().unwrap(),
    }
}

pub(super) fn fleet(loaded: &[&[u64]]) -> Fleet {
    Fleet {
        live: loaded.iter().map(|it| Report::of(it.to_vec())).collect(),
        greatest: 0,
    }
}

/// Reason and status of a condition.
fn told<'a>(conditions: &'a [Condition], type_: &str) -> (&'a str, &'a str) {
    let condition = conditions.iter().find(|it| it.type_ == type_).unwrap();
    (&condition.reason, &condition.status)
}

fn programmed(placed: &Placed, count: u32, fleet: &Fleet) -> (String, bool) {
    let draft = subscription(
        &accepted(3, 7),
        &standing::Subscription::default(),
        view(placed, count, fleet),
    );
    let status = draft.unwrap().status;
    let (reason, status) = told(&status.conditions, PROGRAMMED);
    (reason.to_owned(), status == "True")
}

#[test]
fn programmed_means_that_every_live_receiver_has_loaded_it() {
    let one = placed(&[0], 7, None);
    for (loaded, reason, holds) in [
        (&[][..], "NoReceivers", false),
        (&[&[7_u64][..]], "Programmed", true),
        (&[&[9]], "Programmed", true),
        (&[&[6]], "Pending", false),
        (&[&[]], "Pending", false),
        (&[&[7], &[8], &[7]], "Programmed", true),
        (&[&[7], &[6], &[7]], "Pending", false),
        // Of another number of shards.
        (&[&[9, 9]], "Pending", false),
    ] {
        let found = programmed(&one, 1, &fleet(loaded));
        assert_eq!(found, (reason.to_owned(), holds), "{loaded:?}");
    }
}

#[test]
fn only_the_shards_that_hold_it_count() {
    for (shards, loaded, holds) in [
        (&[0][..], &[7_u64, 1][..], true),
        (&[1], &[7, 1], false),
        (&[0, 1], &[7, 1], false),
        (&[0, 1], &[7, 7], true),
    ] {
        let found = programmed(&placed(shards, 7, None), 2, &fleet(&[loaded]));
        assert_eq!(found.1, holds, "{shards:?} {loaded:?}");
    }
}

#[test]
fn versions_that_do_not_fit_are_told_apart() {
    let one = placed(&[0], 7, None);
    let speaking = |formats: &[u32], loaded| Fleet {
        live: vec![Report {
            loaded: vec![loaded],
            formats: formats.to_vec(),
        }],
        greatest: 0,
    };
    assert_eq!(
        programmed(&one, 1, &speaking(&[FORMAT - 1], 6)).0,
        "ReceiverTooOld"
    );
    assert_eq!(
        programmed(&one, 1, &speaking(&[FORMAT - 1], 7)).0,
        "Programmed",
        "it has loaded it before"
    );
    let (reason, _) = programmed(&one, 1, &speaking(&[FORMAT + 1, FORMAT + 2], 6));
    assert_eq!(reason, "Pending", "it is the operator that is old");
}

#[test]
fn what_found_no_room_says_so_and_what_is_served_instead() {
    let fleet = fleet(&[&[9]]);
    for (kept, generation) in [(Some(2), Some(2)), (None, None)] {
        let full = placed(&[0], 7, Some(Full { serving: kept }));
        let written = standing::Subscription::default();
        let draft = subscription(&accepted(3, 7), &written, view(&full, 1, &fleet)).unwrap();
        assert_eq!(
            told(&draft.status.conditions, PROGRAMMED),
            ("SnapshotFull", "False")
        );
        assert_eq!(draft.status.serving_generation, generation);
        assert_eq!(draft.status.url.is_some(), generation.is_some());
    }
}

#[test]
fn what_the_compiler_decides_receivers_do_not() {
    let mut report = accepted(4, 7);
    report.serving = Some(Serving {
        generation: 3,
        since: 7,
    });
    report.conditions.accepted = no(reason::INVALID_EXPRESSION, "spec.x: no");
    report.conditions.programmed = Some(no(reason::LAST_GOOD_KEPT, "generation 3 is served"));
    let (placed, fleet) = (placed(&[0], 7, None), fleet(&[&[9]]));
    let written = standing::Subscription::default();
    let draft = subscription(&report, &written, view(&placed, 1, &fleet));
    let status = draft.unwrap().status;
    assert_eq!(
        told(&status.conditions, ACCEPTED),
        ("InvalidExpression", "False")
    );
    assert_eq!(
        told(&status.conditions, PROGRAMMED),
        ("LastGoodKept", "False")
    );
    assert_eq!(status.observed_generation, Some(4));
    assert_eq!(status.serving_generation, Some(3));
}

#[test]
fn what_stands_there_already_is_not_written() {
    let placed = placed(&[0], 7, None);
    let at = |now: &str, loaded: u64, written: WebhookSubscriptionStatus| {
        let fleet = fleet(&[&[loaded]]);
        let now = now.parse().unwrap();
        let view = View {
            now,
            ..view(&placed, 1, &fleet)
        };
        subscription(&accepted(3, 7), &written.into(), view)
    };
    let first = at(NOW, 6, WebhookSubscriptionStatus::default()).unwrap();
    let told: Vec<&str> = first.transitions.iter().map(|it| it.condition).collect();
    assert_eq!(
        told,
        [PROGRAMMED],
        "what is true from the start is no change"
    );
    assert_eq!(at(LATER, 6, first.status.clone()), None);

    // Others may add conditions, in any order.
    let mut shared = first.status;
    let theirs = Condition {
        type_: "Theirs".to_owned(),
        ..shared.conditions[0].clone()
    };
    shared.conditions.insert(0, theirs);
    shared.conditions.reverse();
    assert_eq!(at(LATER, 6, shared.clone()), None);

    let second = at(LATER, 7, shared).unwrap();
    let changed: Vec<&str> = second.transitions.iter().map(|it| it.condition).collect();
    assert_eq!(changed, [PROGRAMMED]);
    for condition in &second.status.conditions {
        let moved = condition.type_ == PROGRAMMED;
        let time = if moved { LATER } else { "2026-01-05T10:00:00Z" };
        assert_eq!(
            condition.last_transition_time,
            Time(time.parse().unwrap()),
            "{}",
            condition.type_
        );
    }
    assert_eq!(
        second.status.conditions.len(),
        3,
        "theirs is not ours to apply"
    );
}

#[test]
fn a_route_tells_of_each_subscription_that_it_names() {
    let conditions = accepted(1, 7).conditions;
    let refused = Conditions {
        accepted: no(reason::NO_MATCHING_SUBSCRIPTION, "create it"),
        programmed: Some(no(reason::PENDING, "it is not attached")),
        ..conditions.clone()
    };
    let report = EventRouteReport {
        generation: 1,
        serving: Some(Serving {
            generation: 1,
            since: 7,
        }),
        conditions: conditions.clone(),
        parents: Box::new([
            (ObjectKey::new("ns", "here"), conditions),
            (ObjectKey::new("other", "there"), refused),
        ]),
        problems: Vec::new(),
    };
    let (placed, fleet) = (placed(&[0], 7, None), fleet(&[&[7]]));
    let view = view(&placed, 1, &fleet);
    let status = route(&key(), &report, &standing::Route::default(), view)
        .unwrap()
        .status;
    let [here, there] = status.parents.as_slice() else {
        panic!("{:?}", status.parents);
    };
    assert_eq!(
        here.subscription_ref.namespace, None,
        "as one writes it in its own namespace"
    );
    assert_eq!(told(&here.conditions, PROGRAMMED), ("Programmed", "True"));
    assert_eq!(there.subscription_ref.namespace.as_deref(), Some("other"));
    assert_eq!(
        told(&there.conditions, ACCEPTED),
        ("NoMatchingSubscription", "False")
    );
    assert_eq!(told(&there.conditions, PROGRAMMED), ("Pending", "False"));
    assert_eq!(route(&key(), &report, &status.clone().into(), view), None);
}

#[test]
fn a_long_message_is_cut_to_what_kubernetes_takes() {
    assert_eq!(bounded("short"), "short");
    let long = "é".repeat(MESSAGE);
    let cut = bounded(&long);
    assert!(cut.len() <= MESSAGE && cut.len() > MESSAGE - 2);
}
