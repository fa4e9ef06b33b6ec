//! From the plan to the effect.

use hookswitch_crds::duration::Duration as Span;
use hookswitch_crds::snapshot::{Delivery, OnAmbiguous, Ordering};
use hookswitch_receiver::plan::DeadReason;
use hookswitch_receiver::store::{DeliveryState, Store};
use tempfile::TempDir;

use crate::support::{LOG, PLANTED_ANSWER, PLANTED_SECRET, PLANTED_TEXT, Server, System, settings};

const DELIVERED: fn(DeliveryState) -> bool = |state| state == DeliveryState::Delivered;
const CLAIMED: fn(DeliveryState) -> bool = |state| state == DeliveryState::Claimed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_all_is_delivered_although_one_destination_hangs_and_another_fails() {
    let dir = TempDir::new().unwrap();
    let good = Server::start(|_, _| Some(200)).await;
    let flaky = Server::start(|times, _| Some(if times < 3 { 503 } else { 204 })).await;
    let hanging = Server::start(|_, _| None).await;
    let system = System::start(
        dir.path(),
        &[
            ("good", &good, settings()),
            ("flaky", &flaky, settings()),
            ("hanging", &hanging, settings()),
        ],
    );
    system.plan(&["good", "flaky", "hanging"], 0..300, 0).await;
    system.until(600, DELIVERED).await;
    assert!(good.keys().values().all(|times| *times == 1));
    assert!(flaky.keys().values().all(|times| *times == 3));
    assert_eq!((good.keys().len(), flaky.keys().len()), (300, 300));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_order_a_failing_head_holds_back_its_own_subject_and_nobody_elses() {
    let dir = TempDir::new().unwrap();
    let in_order = Delivery {
        ordering: Ordering::PerSubject,
        ..settings()
    };
    // Every seventh fails three times; every eleventh is refused, which lets the next go.
    let server = Server::start(|times, body| {
        let number: u64 = body.parse().unwrap();
        Some(match number {
            _ if number.is_multiple_of(11) => 422,
            _ if number.is_multiple_of(7) && times < 4 => 500,
            _ => 200,
        })
    })
    .await;
    let system = System::start(dir.path(), &[("crm", &server, in_order)]);
    system.plan(&["crm"], 0..200, 5).await;
    let over = |state| DELIVERED(state) || state == DeliveryState::Dead(DeadReason::Refused);
    system.until(200, over).await;
    for subject in 0..5 {
        let mut order: Vec<u64> = server
            .numbers()
            .iter()
            .map(|body| body.parse::<u64>().unwrap())
            .filter(|number: &u64| *number % 5 == subject)
            .collect();
        order.dedup();
        let sorted: Vec<u64> = (0..200)
            .filter(|number: &u64| *number % 5 == subject)
            .collect();
        assert_eq!(order, sorted);
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_in_flight_when_the_process_died_follows_on_ambiguous() {
    for (choice, dead) in [(OnAmbiguous::Retry, false), (OnAmbiguous::DeadLetter, true)] {
        let dir = TempDir::new().unwrap();
        let delivery = Delivery {
            on_ambiguous: choice,
            timeout: Span::from_secs(60),
            ..settings()
        };
        // The first attempt of each is never answered.
        let server = Server::start(|times, _| (times > 1).then_some(200)).await;
        let destinations = [("crm", &server, delivery)];
        let system = System::start(dir.path(), &destinations);
        system.plan(&["crm"], 0..3, 0).await;
        system.until(3, CLAIMED).await;
        while server.numbers().len() < 3 {
            tokio::task::yield_now().await;
        }
        system.abandon().await;

        let system = System::start(dir.path(), &destinations);
        if dead {
            let ambiguous = |state| state == DeliveryState::Dead(DeadReason::Ambiguous);
            system.until(3, ambiguous).await;
        } else {
            system.until(3, DELIVERED).await;
        }
        let times = if dead { 1 } else { 2 };
        assert!(server.keys().values().all(|found| *found == times));
        system.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r08_what_a_destination_does_is_recorded_and_counted() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(|times, _| Some(if times == 1 { 500 } else { 200 })).await;
    let system = System::start(dir.path(), &[("crm", &server, settings())]);
    system.plan(&["crm"], 0..1, 0).await;
    system.until(1, DELIVERED).await;
    let history = system.store.scan(0, 1).await.unwrap().remove(0);
    let attempts = &history.deliveries[0].attempts;
    let answers: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            let answer = attempt.answer.as_ref().unwrap();
            (attempt.number, answer.status, answer.reason.as_str())
        })
        .collect();
    assert_eq!(
        answers,
        [(1, Some(500), "server_error"), (2, Some(200), "delivered")]
    );
    let text = system.metrics.render().unwrap();
    let line = r#"hookswitch_deliveries_total{destination="crm",outcome="delivered",route="support/crm"} 1"#;
    assert!(text.contains(line), "{text}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r57_neither_text_nor_secrets_nor_answers_are_logged() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(|times, number| {
        Some(match (number, times) {
            ("0", _) => 400,
            (_, 1) => 500,
            _ => 200,
        })
    })
    .await;
    let system = System::start(dir.path(), &[("logged", &server, settings())]);
    system.plan(&["logged"], 0..2, 0).await;
    system.until(1, DELIVERED).await;
    system
        .until(1, |state| state == DeliveryState::Dead(DeadReason::Refused))
        .await;
    // What came back is kept, without the secret.
    let history = system.store.scan(0, 1).await.unwrap().remove(0);
    let answer = history.deliveries[0].attempts[0].answer.clone().unwrap();
    let excerpt = answer.excerpt.unwrap();
    assert!(excerpt.contains("Bearer [redacted]"), "{excerpt}");
    system.stop().await;

    let log = LOG.text();
    for said in ["delivered", "will be repeated", "moved to the dead letters"] {
        let mut lines = log.lines().filter(|line| line.contains("logged"));
        assert!(lines.any(|line| line.contains(said)), "{said} is not said");
    }
    for planted in [PLANTED_SECRET, PLANTED_TEXT, PLANTED_ANSWER] {
        let line = log.lines().find(|line| line.contains(planted));
        assert_eq!(line, None);
    }
}
