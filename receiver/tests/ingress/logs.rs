//! What is logged, and what never is.

use std::cell::RefCell;
use std::io;
use std::num::NonZeroU32;
use std::sync::Once;

use hookswitch_crds::snapshot::HeaderToken;
use tracing::level_filters::LevelFilter;

use crate::harness::{KEY, Receiver, SIGNATURE, Setup, secret, sign, sign_with, tg_staff};

std::thread_local! {
    /// What this thread has logged. Each test has a thread of its own.
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what is logged from now on. One subscriber serves all tests: several would race for what is
/// enabled.
fn capture() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(LevelFilter::TRACE)
            .with_writer(|| Lines)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// All that was logged.
fn logged() -> String {
    LINES.with_borrow(|lines| String::from_utf8(lines.clone()).unwrap())
}

/// The fields of our lines with that message.
fn lines(message: &str) -> Vec<serde_json::Value> {
    logged()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["fields"]["message"] == message)
        .map(|line| line["fields"].clone())
        .collect()
}

struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn r19_each_receipt_is_one_line() {
    capture();
    let receiver = Receiver::start().await;
    let body = r#"{"event_type": "message.received", "event_id": "e-1\nlevel=ERROR\u202e"}"#;
    assert_eq!(receiver.send(body).await, 200);
    assert_eq!(receiver.send(body).await, 200);
    assert_eq!(
        receiver
            .send(r#"{"event_type": "test", "event_id": 2}"#)
            .await,
        200
    );
    assert_eq!(receiver.post("{}", &[]).await.status(), 200);
    let found = lines("event accepted");
    let outcomes: Vec<_> = found.iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["accepted", "duplicate", "ping"]);
    assert_eq!(found[0]["subscription"], "support/support");
    assert_eq!(found[0]["type"], "message.received");
    assert_eq!(found[0]["id"], "e-1\\u{a}level=ERROR\\u{202e}");
    assert_eq!(
        found[0]["uid"],
        receiver.store.events()[0].event.uid.to_string()
    );
    assert_eq!(lines("unsigned ping").len(), 1);
}

#[tokio::test]
async fn r20_each_refusal_names_its_reason_and_source_and_their_number_is_bounded() {
    capture();
    let mut setup = Setup::new(vec![tg_staff()]);
    setup.settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let receiver = setup.start().await;
    let body = r#"{"event_type": "message.received"}"#;
    let forged = sign_with("x", body);
    let from = |source| [("X-Forwarded-For", source), (SIGNATURE, &*forged)];
    for _ in 0..60 {
        assert_eq!(
            receiver.post(body, &from("203.0.113.7")).await.status(),
            401
        );
    }
    assert_eq!(
        receiver.post(body, &from("203.0.113.8")).await.status(),
        401
    );
    let found = lines("request not accepted");
    assert_eq!(found[0]["subscription"], "support/support");
    assert_eq!(found[0]["outcome"], "signature_mismatch");
    assert_eq!(found[0]["source"], "203.0.113.7");
    assert!(
        found[0]["reason"]
            .as_str()
            .unwrap()
            .contains("does not match any secret")
    );
    let last = found.last().unwrap();
    assert_eq!(last["source"], "203.0.113.8");
    assert!(last["suppressed"].as_u64().unwrap() > 0);
    assert!((10..40).contains(&found.len()), "{}", found.len());
    assert_eq!(receiver.requests("signature_mismatch"), 61);
}

#[tokio::test]
async fn r57_neither_secrets_nor_text_are_logged_or_answered() {
    capture();
    let mut guarded = tg_staff();
    guarded.verification.headers = vec![HeaderToken {
        name: "Authorization".into(),
        secret: secret("tg-staff/authorization", "Bearer token-51c8"),
    }];
    let receiver = Setup::new(vec![guarded]).start().await;
    let body = r#"{"event_type": "message.received", "event_id": 1, "text": "planted-text-b1c2"}"#;
    let good = sign(body);
    let mut answers = String::new();
    for headers in [
        vec![("Authorization", "Bearer token-51c8"), (SIGNATURE, &*good)],
        vec![("Authorization", "Bearer wrong-93af"), (SIGNATURE, &*good)],
        vec![
            ("Authorization", "Bearer token-51c8"),
            (SIGNATURE, "wrong-93af"),
        ],
        vec![("Authorization", "Bearer token-51c8")],
    ] {
        answers += &receiver.post(body, &headers).await.text().await.unwrap();
    }
    assert_eq!(lines("event accepted").len(), 1);
    assert_eq!(lines("request not accepted").len(), 3);
    // What the test's own client logs is not ours.
    let ours: String = logged()
        .lines()
        .filter(|line| line.contains(r#""target":"hookswitch"#))
        .collect();
    for planted in [KEY, "token-51c8", "wrong-93af", "planted-text-b1c2", &good] {
        assert!(!ours.contains(planted), "{planted} in {ours}");
        assert!(!answers.contains(planted), "{planted} in {answers}");
    }
    assert!(ours.contains("event accepted"));
}

#[tokio::test]
async fn unsigned_requests_that_keep_coming_without_a_type_are_warned_of() {
    capture();
    let mut setup = Setup::new(vec![tg_staff()]);
    // All of them come from one address, however fast.
    setup.settings.unverified.burst = NonZeroU32::new(14).unwrap();
    let receiver = setup.start().await;
    for _ in 0..7 {
        for body in [
            r#"{"kind": "message.received"}"#,
            r#"{"event_type": "ping"}"#,
        ] {
            assert_eq!(receiver.post(body, &[]).await.status(), 200);
        }
    }
    let warned: Vec<String> = logged()
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("fields.type"))
        .map(ToOwned::to_owned)
        .collect();
    assert!(!warned.is_empty(), "{}", logged());
    assert!(warned[0].contains("support/support"), "{warned:?}");
    assert!(!lines("unsigned ping").is_empty());
}
