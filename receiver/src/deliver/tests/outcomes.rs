//! What becomes of a delivery: every class of answer, the times between attempts, the end.

use std::time::Duration;

use hookswitch_crds::duration::Duration as Span;
use hookswitch_crds::snapshot::{CircuitBreaker, Delivery, DestinationKind, OnAmbiguous};

use super::bench::{
    AT_ONCE, Bench, answer, delivery, destination, no_answer, not_sent, on_ambiguous, status,
};
use super::memory::Memory;
use super::settings;
use crate::deliver::kind::{Reply, reason};
use crate::plan::{DeadReason, FrozenRequest};
use crate::store::{DeliveryState, StoredDelivery};

fn is_delivered(state: DeliveryState) -> bool {
    state == DeliveryState::Delivered
}

fn is_dead(reason: DeadReason) -> impl Fn(DeliveryState) -> bool {
    move |state| state == DeliveryState::Dead(reason)
}

#[tokio::test(start_paused = true)]
async fn each_class_of_answer_has_its_end() {
    type Case = (fn() -> Reply, Option<DeadReason>);
    let cases: [Case; 9] = [
        (|| status(200), None),
        (|| status(204), None),
        (|| status(400), Some(DeadReason::Refused)),
        (|| status(404), Some(DeadReason::Refused)),
        (|| status(410), Some(DeadReason::Refused)),
        (|| status(301), Some(DeadReason::Refused)),
        (|| status(503), Some(DeadReason::GaveUp)),
        (not_sent, Some(DeadReason::GaveUp)),
        (|| no_answer(reason::TIMEOUT), Some(DeadReason::GaveUp)),
    ];
    for (reply, dead) in cases {
        let mut bench = Bench::new(vec![destination("crm.example", settings())]);
        bench.script.on("crm.example", move |_| (AT_ONCE, reply()));
        let id = bench.plan("crm.example");
        match dead {
            None => bench.until(id, is_delivered).await,
            Some(reason) => bench.until(id, is_dead(reason)).await,
        }
        let attempts = bench.store.row(id).delivery.attempts;
        let repeated = dead == Some(DeadReason::GaveUp);
        assert_eq!(attempts > 1, repeated, "{attempts} attempts, {dead:?}");
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn retriable_answers_are_repeated_until_one_is_good_and_each_attempt_is_the_same() {
    let mut bench = Bench::new(vec![destination("crm.example", settings())]);
    bench.script.on("crm.example", |nth| {
        let statuses = [408, 409, 425, 429, 500, 502, 503, 504, 524, 200];
        (AT_ONCE, status(statuses[nth]))
    });
    let id = bench.plan("crm.example");
    bench.until(id, is_delivered).await;
    let seen = bench.script.seen("crm.example");
    assert_eq!(seen.len(), 10);
    for one in &seen {
        assert_eq!(one.header("idempotency-key"), Some(&*id.to_string()));
        assert_eq!(one.request.body, seen[0].request.body);
    }
    let row = bench.store.row(id);
    let reasons: Vec<_> = row
        .finishes
        .iter()
        .map(|finish| finish.answer.as_ref().unwrap().reason.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "request_timeout",
            "conflict",
            "too_early",
            "rate_limited",
            "server_error",
            "server_error",
            "server_error",
            "server_error",
            "server_error",
            "delivered"
        ]
    );
    let text = bench.metrics.render().unwrap();
    for line in [
        r#"hookswitch_delivery_retries_total{destination="crm.example",reason="server_error",route="support/crm"} 5"#,
        r#"hookswitch_deliveries_total{destination="crm.example",outcome="delivered",route="support/crm"} 1"#,
        r#"hookswitch_delivery_attempt_seconds_count{destination="crm.example",route="support/crm"} 10"#,
        r#"hookswitch_event_delivery_seconds_count{destination="crm.example",route="support/crm"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn retry_after_wins_over_the_backoff_as_seconds_and_as_a_date() {
    // The clock starts at 03:04:05.
    for wait in ["600", "Fri, 02 Jan 2026 03:14:05 GMT"] {
        let mut bench = Bench::new(vec![destination("crm.example", settings())]);
        bench.script.on("crm.example", move |nth| match nth {
            0 => (AT_ONCE, answer(503, &[("retry-after", wait)], "")),
            _ => (AT_ONCE, status(200)),
        });
        let id = bench.plan("crm.example");
        bench.until(id, is_delivered).await;
        let seconds = bench.script.seconds("crm.example");
        // `backoff.initial` (2 s) of jitter may come on top.
        assert!((600..=603).contains(&seconds[1]), "{seconds:?}");
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_give_up_after_a_failed_attempt_is_the_last() {
    let delivery = Delivery {
        give_up_after: Span::from_secs(60),
        backoff_initial: Span::from_secs(10),
        backoff_max: Span::from_secs(10),
        circuit_breaker: CircuitBreaker {
            failures: 1000,
            open_for: Span::from_secs(30),
        },
        ..settings()
    };
    let mut bench = Bench::new(vec![destination("crm.example", delivery)]);
    bench.script.on("crm.example", |_| (AT_ONCE, status(500)));
    let id = bench.plan("crm.example");
    bench.until(id, is_dead(DeadReason::GaveUp)).await;
    let seconds = bench.script.seconds("crm.example");
    let (last, earlier) = seconds.split_last().unwrap();
    assert!((60..=71).contains(last), "{seconds:?}");
    assert!(earlier.iter().all(|at| *at < 60), "{seconds:?}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_attempt_is_repeated_or_dead_as_the_destination_wants() {
    for (choice, dead) in [(OnAmbiguous::Retry, false), (OnAmbiguous::DeadLetter, true)] {
        let mut bench = Bench::new(vec![destination("crm.example", on_ambiguous(choice))]);
        bench.script.on("crm.example", |nth| match nth {
            0 => (Duration::from_hours(1), status(200)),
            _ => (AT_ONCE, status(200)),
        });
        let id = bench.plan("crm.example");
        if dead {
            bench.until(id, is_dead(DeadReason::Ambiguous)).await;
        } else {
            bench.until(id, is_delivered).await;
        }
        let first = bench.store.row(id).finishes[0].answer.clone().unwrap();
        assert!(first.ambiguous);
        assert_eq!(first.reason, "timeout");
        assert_eq!(
            bench.script.seen("crm.example").len(),
            if dead { 1 } else { 2 }
        );
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_anything_was_sent_is_not_ambiguous() {
    let settings = on_ambiguous(OnAmbiguous::DeadLetter);
    let mut bench = Bench::new(vec![destination("crm.example", settings)]);
    bench.script.on("crm.example", |nth| match nth {
        0 => (AT_ONCE, not_sent()),
        _ => (AT_ONCE, status(200)),
    });
    let id = bench.plan("crm.example");
    bench.until(id, is_delivered).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_the_last_process_left_open_follows_on_ambiguous() {
    for (choice, dead) in [(OnAmbiguous::Retry, false), (OnAmbiguous::DeadLetter, true)] {
        let store = Memory::default();
        let interrupted = StoredDelivery {
            attempts: 1,
            interrupted: true,
            ..delivery(7, "crm.example", "2026-01-02T03:00:00Z".parse().unwrap())
        };
        let id = interrupted.id;
        store.add(interrupted, None);
        let bench = Bench::with(
            vec![destination("crm.example", on_ambiguous(choice))],
            store,
        );
        if dead {
            bench.until(id, is_dead(DeadReason::Ambiguous)).await;
            let answer = bench.store.row(id).finishes[0].answer.clone().unwrap();
            assert_eq!(answer.reason, "interrupted");
            assert!(answer.ambiguous && bench.script.seen("crm.example").is_empty());
        } else {
            bench.until(id, is_delivered).await;
            assert_eq!(bench.store.row(id).delivery.attempts, 2);
        }
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_panics_is_ambiguous_and_not_lost() {
    let mut bench = Bench::new(vec![destination("crm.example", settings())]);
    bench.script.on("crm.example", |nth| {
        assert!(nth > 0, "planted");
        (AT_ONCE, status(200))
    });
    let id = bench.plan("crm.example");
    bench.until(id, is_delivered).await;
    let first = bench.store.row(id).finishes[0].answer.clone().unwrap();
    assert_eq!(first.reason, "internal");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_destination_sends_all_that_is_pending_to_the_dead_letters() {
    let mut bench = Bench::new(vec![
        destination("crm.example", settings()),
        destination("qa.example", settings()),
    ]);
    bench.script.on("crm.example", |_| {
        (AT_ONCE, answer(503, &[("retry-after", "3600")], ""))
    });
    let waiting = bench.plan("crm.example");
    bench.pass(Duration::from_secs(1)).await;
    let behind = bench.plan_in_order("crm.example", Some("subject"));
    let last = bench.plan_in_order("crm.example", Some("subject"));
    bench.configure(vec![destination("qa.example", settings())]);
    for id in [waiting, behind, last] {
        bench
            .until(id, is_dead(DeadReason::DestinationRemoved))
            .await;
    }
    assert_eq!(bench.script.seen("crm.example").len(), 1);
    let text = bench.metrics.render().unwrap();
    assert!(text.contains(r#"outcome="destination_removed",route="support/crm"} 3"#));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_rendered_for_another_kind_is_not_sent() {
    let store = Memory::default();
    let planned = delivery(7, "crm.example", "2026-01-02T03:00:00Z".parse().unwrap());
    let id = planned.id;
    store.add(
        StoredDelivery {
            request: FrozenRequest {
                kind: DestinationKind::Tgstaff,
                ..planned.request.clone()
            },
            ..planned
        },
        None,
    );
    let bench = Bench::with(vec![destination("crm.example", settings())], store);
    bench
        .until(id, is_dead(DeadReason::DestinationRemoved))
        .await;
    assert!(bench.script.seen("crm.example").is_empty());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_stored_is_stored_later_and_nothing_new_begins_before() {
    let mut bench = Bench::new(vec![destination("crm.example", settings())]);
    bench
        .store
        .failing_finishes
        .store(5, std::sync::atomic::Ordering::SeqCst);
    let id = bench.plan("crm.example");
    bench.pass(Duration::from_secs(2)).await;
    let later = bench.plan("crm.example");
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(bench.store.row(id).state, DeliveryState::Claimed);
    assert_eq!(bench.store.row(later).delivery.attempts, 0);
    bench.until(id, is_delivered).await;
    bench.until(later, is_delivered).await;
    assert_eq!(bench.script.seen("crm.example").len(), 2);
    bench.stop().await;
}
