//! First durable, then 200; and what is durable is planned, whatever becomes of the request.

use std::time::Duration;

use axum::body::Body;
use hookswitch_crds::key::ObjectKey;
use hookswitch_receiver::metrics::outcome;
use http::Request;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::harness::{PATH, PATIENCE, Receiver, SIGNATURE, Setup, sign, tg_staff, until};

const EVENT: &str = r#"{"event_type": "message.received", "event_id": 1}"#;

#[tokio::test]
async fn r6_the_answer_waits_for_the_store_and_for_nothing_else() {
    let receiver = Receiver::start().await;
    receiver.store.set_open(false);
    let answer = receiver.send(EVENT);
    tokio::pin!(answer);
    tokio::select! {
        status = &mut answer => panic!("answered {status} before it was durable"),
        () = receiver.store.offered(1) => {}
    }
    let early = timeout(Duration::from_millis(100), &mut answer).await;
    assert!(early.is_err(), "answered before it was durable");
    assert!(receiver.store.events().is_empty());
    receiver.store.set_open(true);
    // Nobody plans or delivers here.
    assert_eq!(answer.await, 200);
    assert_eq!(receiver.store.events().len(), 1);
}

#[tokio::test]
async fn r5_a_store_that_hangs_gets_503_in_time_and_the_event_is_planned_when_it_is_durable() {
    let mut setup = Setup::new(vec![tg_staff()]);
    setup.settings.ack_deadline = Duration::from_millis(300);
    let receiver = setup.start().await;
    receiver.store.set_open(false);
    let started = Instant::now();
    assert_eq!(receiver.send(EVENT).await, 503);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(receiver.requests(outcome::STORE), 1);
    assert_eq!(receiver.appends.len(), 1);

    receiver.store.set_open(true);
    let woken = timeout(PATIENCE, receiver.accepted.take()).await.unwrap();
    assert!(woken.contains(&ObjectKey::new("support", "support")));
    assert_eq!(receiver.store.events().len(), 1);
    // The sender's retry.
    assert_eq!(receiver.send(EVENT).await, 200);
    assert_eq!(receiver.requests(outcome::DUPLICATE), 1);
}

#[tokio::test]
async fn a_store_that_hangs_holds_no_more_bodies_than_the_budget() {
    let mut setup = Setup::new(vec![tg_staff()]);
    setup.settings.ack_deadline = Duration::from_millis(300);
    setup.settings.body_budget = 4096;
    let receiver = setup.start().await;
    receiver.store.set_open(false);
    let events: Vec<_> = (0..8)
        .map(|id| {
            format!(
                r#"{{"event_type": "message.received", "event_id": {id}, "text": "{}"}}"#,
                "x".repeat(1024)
            )
        })
        .collect();
    for event in &events {
        assert_eq!(receiver.send(event).await, 503);
    }
    // Their requests have ended, and the bodies of those that the store has are still there.
    let held = receiver.appends.len();
    assert!((1..4).contains(&held), "{held} appends hold a body");
    assert_eq!(
        receiver.requests(outcome::OVERLOADED),
        8 - u64::try_from(held).unwrap()
    );

    receiver.store.set_open(true);
    until("the appends end", || receiver.appends.is_empty()).await;
    for event in &events {
        assert_eq!(receiver.send(event).await, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn r5_by_default_the_answer_comes_well_before_the_sender_gives_up() {
    let (receiver, hooks) = Setup::new(vec![tg_staff()]).service();
    receiver.store.set_open(false);
    let stuck = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    for (body, expected) in [(Body::from(EVENT), 503), (stuck, 408)] {
        let request = Request::post(PATH)
            .header(SIGNATURE, sign(EVENT))
            .body(body);
        let started = Instant::now();
        let response = hooks.receive(request.unwrap(), receiver.address).await;
        assert_eq!(response.status(), expected);
        let took = started.elapsed();
        assert!(took > Duration::from_secs(2), "{took:?}");
        assert!(took < Duration::from_millis(4_500), "{took:?}");
    }
}

#[tokio::test]
async fn an_event_whose_client_has_gone_is_planned_all_the_same() {
    let receiver = Receiver::start().await;
    receiver.store.set_open(false);
    let mut stream = TcpStream::connect(receiver.address).await.unwrap();
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\n{SIGNATURE}: {}\r\ncontent-length: {}\r\n\r\n{EVENT}",
        sign(EVENT),
        EVENT.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    receiver.store.offered(1).await;
    drop(stream);
    until("the append is handed over", || receiver.appends.len() == 1).await;
    receiver.store.set_open(true);
    let woken = timeout(PATIENCE, receiver.accepted.take()).await.unwrap();
    assert!(woken.contains(&ObjectKey::new("support", "support")));
    receiver.appends.close();
    timeout(PATIENCE, receiver.appends.wait()).await.unwrap();
    assert_eq!(receiver.store.events().len(), 1);
}

#[tokio::test]
async fn r17_a_burst_far_above_the_senders_rate_is_kept_whole() {
    let receiver = Receiver::start().await;
    let sends = (0..500).map(|id| {
        let body = format!(r#"{{"event_type": "message.received", "event_id": {id}}}"#);
        let request = receiver
            .client
            .post(receiver.url(PATH))
            .header(SIGNATURE, sign(&body));
        async move { request.body(body).send().await.unwrap().status().as_u16() }
    });
    let answers = futures::future::join_all(sends).await;
    assert!(answers.iter().all(|answer| *answer == 200));
    assert_eq!(receiver.store.events().len(), 500);
}
