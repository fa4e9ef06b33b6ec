//! What a lane does as a whole: isolation, limits, the circuit, pauses, held deliveries, shutdown.

use std::time::Duration;

use hookswitch_crds::duration::Duration as Span;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{
    CircuitBreaker, Delivery, Destination, Header, HeaderValue, RateLimit, ResolvedSecret,
};

use super::bench::{AT_ONCE, Bench, answer, destination, http, lane, status};
use super::settings;
use crate::deliver::breaker::MAX_IN_FLIGHT;
use crate::plan::DeadReason;
use crate::store::DeliveryState;

const DELIVERED: fn(DeliveryState) -> bool = |state| state == DeliveryState::Delivered;
const CLAIMED: fn(DeliveryState) -> bool = |state| state == DeliveryState::Claimed;

#[tokio::test(start_paused = true)]
async fn r26_a_destination_that_hangs_never_holds_another_back() {
    let mut bench = Bench::new(vec![
        destination("hangs.example", settings()),
        destination("works.example", settings()),
    ]);
    bench
        .script
        .on("hangs.example", |_| (Duration::from_hours(1), status(200)));
    bench.plan_many("hangs.example", 500);
    let good = bench.plan_many("works.example", 500);
    bench.pass(Duration::from_millis(1)).await;
    for id in good {
        assert_eq!(bench.store.row(id).state, DeliveryState::Delivered);
    }
    assert!(bench.store.count(CLAIMED) <= MAX_IN_FLIGHT);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn r26_a_destination_that_fails_never_holds_another_back() {
    let mut bench = Bench::new(vec![
        destination("fails.example", settings()),
        destination("works.example", settings()),
    ]);
    bench.script.on("fails.example", |_| (AT_ONCE, status(500)));
    bench.plan_many("fails.example", 500);
    bench.pass(Duration::from_secs(1)).await;
    let good = bench.plan_many("works.example", 500);
    bench.pass(Duration::from_millis(1)).await;
    for id in good {
        assert_eq!(bench.store.row(id).state, DeliveryState::Delivered);
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_has_a_bounded_number_in_flight_and_reaches_it_step_by_step() {
    let mut bench = Bench::new(vec![destination("slow.example", settings())]);
    bench
        .script
        .on("slow.example", |_| (Duration::from_secs(1), status(200)));
    bench.plan_many("slow.example", 300);
    let mut in_flight = Vec::new();
    bench.pass(Duration::from_millis(500)).await;
    for _ in 0..7 {
        in_flight.push(bench.store.count(CLAIMED));
        bench.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(in_flight, [4, 8, 16, 32, 32, 32, 32]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_circuit_opens_and_lets_one_through_at_a_time_until_it_closes() {
    let breaker = Delivery {
        circuit_breaker: CircuitBreaker {
            failures: 4,
            open_for: Span::from_secs(30),
        },
        ..settings()
    };
    let mut bench = Bench::new(vec![destination("crm.example", breaker)]);
    bench.script.on("crm.example", |nth| match nth {
        0..6 => (AT_ONCE, status(503)),
        _ => (AT_ONCE, status(200)),
    });
    let ids = bench.plan_many("crm.example", 100);
    bench.pass(Duration::from_secs(29)).await;
    // The first window is 4: all fail, and the circuit opens.
    assert_eq!(bench.script.seconds("crm.example"), [0, 0, 0, 0]);
    let gauge = |value: u8| {
        let line = format!(
            r#"hookswitch_circuit_open{{destination="crm.example",route="support/crm"}} {value}"#
        );
        assert!(bench.metrics.render().unwrap().contains(&line), "{line}");
    };
    gauge(1);
    bench.pass(Duration::from_secs(30)).await;
    assert_eq!(bench.script.seconds("crm.example"), [0, 0, 0, 0, 30]);
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(bench.script.seconds("crm.example"), [0, 0, 0, 0, 30, 60]);
    gauge(1);
    bench.pass(Duration::from_secs(30)).await;
    gauge(0);
    for id in &ids {
        bench.until(*id, DELIVERED).await;
    }
    // Waiting used no attempt: one each, and one more for the six that failed.
    let attempts: u32 = ids
        .iter()
        .map(|id| bench.store.row(*id).delivery.attempts)
        .sum();
    assert_eq!(attempts, 106);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refusals_do_not_open_the_circuit() {
    let mut bench = Bench::new(vec![destination("crm.example", settings())]);
    bench.script.on("crm.example", |_| (AT_ONCE, status(422)));
    bench.plan_many("crm.example", 200);
    bench.pass(Duration::from_secs(1)).await;
    let refused = DeliveryState::Dead(DeadReason::Refused);
    assert_eq!(bench.store.count(|state| state == refused), 200);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn with_the_circuit_open_what_is_past_its_time_is_given_up() {
    let short = Delivery {
        give_up_after: Span::from_secs(3600),
        ..settings()
    };
    let mut bench = Bench::new(vec![destination("dead.example", short)]);
    bench.script.on("dead.example", |_| (AT_ONCE, status(500)));
    bench.plan_many("dead.example", 5000);
    bench.pass(Duration::from_mins(50)).await;
    let gave_up = |state| state == DeliveryState::Dead(DeadReason::GaveUp);
    assert_eq!(bench.store.count(gave_up), 0);
    let young = bench.plan("dead.example");
    bench.pass(Duration::from_mins(30)).await;
    assert!(
        bench.store.count(gave_up) >= 4990,
        "{}",
        bench.store.count(gave_up)
    );
    assert!(!gave_up(bench.store.row(young).state));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_open_when_its_lane_empties_is_not_open_for_ever() {
    let short = Delivery {
        give_up_after: Span::from_secs(20),
        circuit_breaker: CircuitBreaker {
            failures: 1,
            open_for: Span::from_secs(30),
        },
        ..settings()
    };
    let mut bench = Bench::new(vec![destination("dead.example", short)]);
    bench.script.on("dead.example", |_| (AT_ONCE, status(500)));
    bench.plan("dead.example");
    let open = |bench: &Bench| {
        let text = bench.metrics.render().unwrap();
        let line = r#"circuit_open{destination="dead.example",route="support/crm"} "#;
        let (_, after) = text.split_once(line).unwrap();
        after.starts_with('1')
    };
    bench.pass(Duration::from_secs(1)).await;
    assert!(open(&bench));
    bench.pass(Duration::from_mins(5)).await;
    assert!(!open(&bench));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_rate_limit_spaces_attempts_and_uses_none() {
    let limited = Delivery {
        rate_limit: Some(RateLimit {
            per_second: 0.5,
            burst: 3,
        }),
        ..settings()
    };
    let mut bench = Bench::new(vec![destination("crm.example", limited.clone())]);
    let ids = bench.plan_many("crm.example", 6);
    bench.pass(Duration::from_secs(7)).await;
    assert_eq!(bench.script.seconds("crm.example"), [0, 0, 0, 2, 4, 6]);
    for id in ids {
        assert_eq!(bench.store.row(id).delivery.attempts, 1);
    }
    // The same limit in a new configuration does not start again; another one does.
    bench.plan_many("crm.example", 2);
    bench.configure(vec![Destination {
        writes_back: true,
        ..destination("crm.example", limited)
    }]);
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(bench.script.seconds("crm.example")[6..], [8]);
    bench.configure(vec![destination("crm.example", settings())]);
    bench.plan_many("crm.example", 3);
    bench.pass(Duration::from_millis(10)).await;
    assert_eq!(bench.script.seconds("crm.example")[7..], [9, 9, 9, 9]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_the_whole_lane() {
    let mut bench = Bench::new(vec![destination("crm.example", settings())]);
    bench.script.on("crm.example", |nth| match nth {
        0 => (AT_ONCE, answer(429, &[("retry-after", "40")], "")),
        _ => (AT_ONCE, status(200)),
    });
    bench.plan("crm.example");
    bench.pass(Duration::from_secs(1)).await;
    bench.plan_many("crm.example", 10);
    bench.pass(Duration::from_secs(38)).await;
    assert_eq!(bench.script.seconds("crm.example"), [0]);
    bench.pass(Duration::from_secs(10)).await;
    assert_eq!(bench.script.seen("crm.example").len(), 12);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_head_blocks_its_subject_only() {
    let mut bench = Bench::new(vec![destination("crm.example", settings())]);
    bench.script.on("crm.example", |nth| match nth {
        0 => (AT_ONCE, answer(500, &[("retry-after", "100")], "")),
        _ => (AT_ONCE, status(200)),
    });
    let head = bench.plan_in_order("crm.example", Some("a"));
    bench.pass(Duration::from_secs(1)).await;
    let second = bench.plan_in_order("crm.example", Some("a"));
    let other = bench.plan_in_order("crm.example", Some("b"));
    bench.pass(Duration::from_secs(50)).await;
    assert_eq!(bench.store.row(other).state, DeliveryState::Delivered);
    assert_eq!(bench.store.row(second).delivery.attempts, 0);
    bench.until(second, DELIVERED).await;
    let keys: Vec<_> = bench
        .script
        .seen("crm.example")
        .iter()
        .map(|seen| seen.header("idempotency-key").unwrap().to_owned())
        .collect();
    assert_eq!(keys, [head, other, head, second].map(|id| id.to_string()));
    bench.stop().await;
}

fn with_secret(value: Option<&str>) -> Destination {
    let mut destination = destination("crm.example", settings());
    http(&mut destination).headers.push(Header {
        name: "Authorization".to_owned(),
        value: HeaderValue::Secret {
            prefix: "Bearer ".to_owned(),
            secret: ResolvedSecret {
                reference: "crm/token".to_owned(),
                value: value.map(|value| SecretBytes::new(value.as_bytes().to_vec())),
            },
        },
    });
    destination
}

#[tokio::test(start_paused = true)]
async fn without_its_secret_a_delivery_is_held_and_goes_when_the_secret_comes() {
    let mut bench = Bench::new(vec![with_secret(None)]);
    let id = bench.plan("crm.example");
    bench.pass(Duration::from_hours(72)).await;
    assert_eq!(bench.store.row(id).delivery.attempts, 0);
    bench.configure(vec![with_secret(Some(""))]);
    bench.pass(Duration::from_secs(1)).await;
    assert!(bench.script.seen("crm.example").is_empty());
    bench.configure(vec![with_secret(Some("one\n"))]);
    bench.until(id, DELIVERED).await;
    // And a rotated one is used by the next attempt.
    bench.configure(vec![with_secret(Some("two"))]);
    let next = bench.plan("crm.example");
    bench.until(next, DELIVERED).await;
    let tokens: Vec<_> = bench
        .script
        .seen("crm.example")
        .iter()
        .map(|seen| seen.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(tokens, ["Bearer one", "Bearer two"]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_or_given_up_before_there_is_a_configuration() {
    let mut bench = Bench::new(Vec::new());
    bench.config.send_replace(None);
    let id = bench.plan("crm.example");
    bench.pass(Duration::from_mins(5)).await;
    assert!(matches!(
        bench.store.row(id).state,
        DeliveryState::Pending { .. }
    ));
    bench.configure(vec![destination("crm.example", settings())]);
    bench.until(id, DELIVERED).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_without_work_has_no_runner() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let names: Vec<String> = (0..200).map(|n| format!("d{n}.example")).collect();
    let all = names.iter().map(|name| destination(name, settings()));
    let mut bench = Bench::new(all.collect());
    bench.quiet().await;
    assert_eq!(tasks(), 1, "only the engine");
    for name in &names {
        bench.plan(name);
    }
    bench.pass(Duration::from_secs(1)).await;
    assert_eq!(bench.store.count(DELIVERED), 200);
    assert_eq!(tasks(), 201);
    bench.pass(Duration::from_mins(2)).await;
    assert_eq!(tasks(), 1);
    let again = bench.plan("d7.example");
    bench.until(again, DELIVERED).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_lane_does_not_keep_asking_the_store() {
    let mut bench = Bench::new(vec![destination("crm.example", settings())]);
    bench.script.on("crm.example", |_| {
        (AT_ONCE, answer(500, &[("retry-after", "3600")], ""))
    });
    bench.plan("crm.example");
    bench.pass(Duration::from_secs(1)).await;
    let reads = || bench.store.reads.load(std::sync::atomic::Ordering::Relaxed);
    let before = reads();
    bench.pass(Duration::from_mins(50)).await;
    assert!(reads() - before <= 51, "{} reads", reads() - before);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_is_woken_while_it_ends_starts_again() {
    let mut bench = Bench::new(vec![destination("crm.example", settings())]);
    for round in 0..5_u64 {
        let id = bench.plan("crm.example");
        bench.until(id, DELIVERED).await;
        // Around the moment in which the runner has waited long enough.
        tokio::time::sleep(Duration::from_millis(60_000 - 10 * round)).await;
        bench.lanes.add([&lane("crm.example")]);
    }
    let id = bench.plan("crm.example");
    bench.pass(Duration::from_millis(1)).await;
    assert_eq!(bench.store.row(id).state, DeliveryState::Delivered);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_attempts_end_and_leaves_the_rest_as_it_is() {
    let mut bench = Bench::new(vec![
        destination("quick.example", settings()),
        destination("hangs.example", settings()),
    ]);
    bench
        .script
        .on("quick.example", |_| (Duration::from_secs(3), status(200)));
    bench
        .script
        .on("hangs.example", |_| (Duration::from_secs(9), status(200)));
    let quick = bench.plan_many("quick.example", 10);
    let hanging = bench.plan("hangs.example");
    bench.pass(Duration::from_secs(1)).await;
    let start = bench.start;
    let store = bench.stop().await;
    // The time to drain is 5 s.
    assert_eq!(start.elapsed().as_secs(), 6);
    let delivered = quick
        .iter()
        .filter(|id| store.row(**id).state == DeliveryState::Delivered)
        .count();
    assert_eq!(delivered, 4, "what was in flight; nothing new began");
    assert_eq!(store.row(hanging).state, DeliveryState::Claimed);
}
