//! The sender's own tests: 200, and nowhere else to go.

use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::HeaderToken;
use hookswitch_receiver::event::Disposition;
use hookswitch_receiver::metrics::outcome;
use reqwest::Method;

use crate::harness::{PATH, Receiver, SIGNATURE, Setup, secret, sign, sign_with, tg_staff};

const EVENT: &str = r#"{"event_type": "message.received", "event_id": 1}"#;

#[tokio::test]
async fn r4_r18_tests_of_the_sender_get_200_and_are_not_to_be_routed() {
    let receiver = Receiver::start().await;
    // Unsigned: whatever it holds, as long as it claims no other type.
    for body in [
        "",
        "not json",
        "{}",
        "[1]",
        r#"{"event_type": "ping"}"#,
        r#"{"event_type": ""}"#,
    ] {
        assert_eq!(receiver.post(body, &[]).await.status(), 200, "{body}");
    }
    assert_eq!(receiver.requests(outcome::PING), 6);
    assert!(receiver.store.events().is_empty());
    // Unsigned, of another type.
    assert_eq!(receiver.post(EVENT, &[]).await.status(), 401);
    // A signature that is wrong makes no ping.
    let forged = [(SIGNATURE, &*sign_with("x", "{}"))];
    assert_eq!(receiver.post("{}", &forged).await.status(), 401);
    // Signed: kept, with its reason.
    assert_eq!(
        receiver
            .send(r#"{"event_type": "test", "event_id": 5}"#)
            .await,
        200
    );
    assert_eq!(
        receiver.store.events()[0].event.disposition,
        Disposition::Ping
    );
    assert_eq!(receiver.requests(outcome::PING), 7);
}

#[tokio::test]
async fn an_unsigned_ping_passes_all_that_is_not_the_signature() {
    let mut guarded = tg_staff();
    guarded.verification.headers = vec![HeaderToken {
        name: "X-Token".into(),
        secret: secret("tg-staff/token", "t"),
    }];
    let mut strict = tg_staff();
    strict.path = "/support/strict".into();
    strict.origin.key = ObjectKey::new("support", "strict");
    strict.ping.allow_unsigned = false;
    let receiver = Setup::new(vec![strict, guarded]).start().await;
    assert_eq!(receiver.post("{}", &[]).await.status(), 401);
    assert_eq!(receiver.post("{}", &[("X-Token", "t")]).await.status(), 200);
    let strict = receiver
        .client
        .post(receiver.url("/support/strict"))
        .body("{}");
    assert_eq!(strict.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn unsigned_pings_of_one_source_are_limited_and_its_signed_requests_are_not() {
    let mut setup = Setup::new(vec![tg_staff()]);
    setup.settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let receiver = setup.start().await;
    let one = ("X-Forwarded-For", "203.0.113.7");
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(receiver.post("{}", &[one]).await.status().as_u16());
    }
    assert_eq!(answers[..10], [200; 10]);
    assert!(answers.contains(&503), "{answers:?}");
    let other = ("X-Forwarded-For", "203.0.113.8");
    assert_eq!(receiver.post("{}", &[other]).await.status(), 200);
    let signed = [one, (SIGNATURE, &*sign(EVENT))];
    assert_eq!(receiver.post(EVENT, &signed).await.status(), 200);
}

#[tokio::test]
async fn a_url_that_a_sender_asks_for_with_head_is_there() {
    let receiver = Receiver::start().await;
    for (path, status) in [(PATH, 200), ("/support/none", 404)] {
        let request = receiver.client.request(Method::HEAD, receiver.url(path));
        assert_eq!(request.send().await.unwrap().status(), status, "{path}");
    }
    assert!(receiver.store.events().is_empty());
    assert_eq!(receiver.requests(outcome::PING), 1);
}

#[tokio::test]
async fn slack_gets_its_signed_challenge_back() {
    let mut slack = tg_staff();
    slack.provider = "Slack".into();
    slack.ping.allow_unsigned = false;
    let receiver = Setup::new(vec![slack]).start().await;
    let body = r#"{"token": "t", "challenge": "3eZbrw1a", "type": "url_verification"}"#;
    assert_eq!(receiver.post(body, &[]).await.status(), 401);
    let answer = receiver.post(body, &[(SIGNATURE, &*sign(body))]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "3eZbrw1a");
    assert!(receiver.store.events().is_empty());
    assert_eq!(receiver.requests(outcome::PING), 1);
}
