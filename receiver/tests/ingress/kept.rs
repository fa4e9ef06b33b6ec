//! What is kept of a verified request, and when it is not new.

use hookswitch_crds::duration::Duration as Span;
use hookswitch_crds::snapshot::FieldSource;
use hookswitch_receiver::event::Disposition;
use hookswitch_receiver::metrics::outcome;

use crate::harness::{Receiver, SIGNATURE, Setup, sign, sign_with, tg_staff};

const EVENT: &str = r#"{"event_type": "message.received", "event_id": 1}"#;

#[tokio::test]
async fn r22_what_can_not_be_routed_is_kept_with_its_reason() {
    let mut picky = tg_staff();
    picky.types = vec!["message.received".into()];
    let receiver = Setup::new(vec![picky]).start().await;
    for body in ["", "no json", r#"{"event_type": "new.type"}"#, "{}", EVENT] {
        assert_eq!(receiver.send(body).await, 200, "{body}");
    }
    let kept: Vec<_> = receiver
        .store
        .events()
        .iter()
        .map(|new| (new.event.disposition, new.event.r#type.clone()))
        .collect();
    assert_eq!(
        kept,
        [
            (Disposition::Unparseable, String::new()),
            (Disposition::Unparseable, String::new()),
            (Disposition::TypeNotAccepted, "new.type".into()),
            (Disposition::TypeNotAccepted, String::new()),
            (Disposition::Route, "message.received".into()),
        ]
    );
}

#[tokio::test]
async fn r14_a_redelivery_is_200_again_and_another_body_under_its_id_is_kept_apart() {
    let receiver = Receiver::start().await;
    assert_eq!(receiver.send(EVENT).await, 200);
    assert_eq!(receiver.send(EVENT).await, 200);
    assert_eq!(receiver.store.events().len(), 1);
    assert_eq!(receiver.send(r#"{"event_id": 1}"#).await, 200);
    assert_eq!(receiver.requests(outcome::DUPLICATE), 1);
    assert_eq!(receiver.requests(outcome::ID_REUSED), 1);
}

#[tokio::test]
async fn without_an_id_the_body_is_the_id_for_a_quarter_of_an_hour() {
    let mut subscription = tg_staff();
    subscription.deduplication_window = Span::from_secs(3600);
    let receiver = Setup::new(vec![subscription]).start().await;
    for body in ["{}", "{}", "{ }"] {
        assert_eq!(receiver.send(body).await, 200);
    }
    let events = receiver.store.events();
    assert_eq!(events.len(), 2);
    // SHA-256 of `{}`.
    let digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(events[0].event.id, digest);
    let window = events[0]
        .remember_until
        .duration_since(events[0].event.accepted_at);
    assert_eq!(window.as_mins(), 15);
    let counted = &receiver.metrics.events_without_id;
    assert_eq!(counted.with_label_values(&["support/support"]).get(), 2);
}

#[tokio::test]
async fn attributes_come_from_headers_where_the_fields_say_so() {
    let mut github = tg_staff();
    github.fields.r#type = Some(FieldSource::Header("X-GitHub-Event".into()));
    github.fields.id = Some(FieldSource::Header("X-GitHub-Delivery".into()));
    let receiver = Setup::new(vec![github]).start().await;
    let headers = [
        (SIGNATURE, &*sign("{}")),
        ("X-GitHub-Event", "push"),
        ("X-GitHub-Delivery", "72d3162e"),
        ("X-Hookswitch-Hops", "99999999999"),
    ];
    assert_eq!(receiver.post("{}", &headers).await.status(), 200);
    let event = receiver.store.events()[0].event.clone();
    assert_eq!(
        (&*event.r#type, &*event.id, event.hops),
        ("push", "72d3162e", u32::MAX)
    );
}

#[tokio::test]
async fn a_suspended_subscription_accepts_all_the_same() {
    let mut suspended = tg_staff();
    suspended.suspend = true;
    let receiver = Setup::new(vec![suspended]).start().await;
    assert_eq!(receiver.send(EVENT).await, 200);
    assert_eq!(
        receiver.store.events()[0].event.disposition,
        Disposition::Route
    );
}

#[tokio::test]
async fn the_rate_limit_is_charged_for_verified_new_events_only() {
    let mut limited = tg_staff();
    limited.limits.events_per_second = Some(1);
    limited.limits.burst = Some(2);
    let receiver = Setup::new(vec![limited]).start().await;
    for _ in 0..5 {
        let forged = [(SIGNATURE, &*sign_with("x", EVENT))];
        assert_eq!(receiver.post(EVENT, &forged).await.status(), 401);
    }
    assert_eq!(receiver.send(EVENT).await, 200);
    for _ in 0..5 {
        assert_eq!(receiver.send(EVENT).await, 200, "a duplicate");
    }
    let mut answers = Vec::new();
    for id in 2..8 {
        answers.push(receiver.send(&format!(r#"{{"event_id": {id}}}"#)).await);
    }
    assert_eq!(answers[0], 200);
    assert!(answers.contains(&503), "{answers:?}");
    assert_eq!(receiver.send(EVENT).await, 200, "a duplicate");
    let refused = receiver.requests(outcome::RATE_LIMITED);
    assert_eq!(
        refused,
        u64::try_from(answers.iter().filter(|answer| **answer == 503).count()).unwrap()
    );
}

#[tokio::test]
async fn a_content_type_of_any_length_is_not_kept() {
    let receiver = Receiver::start().await;
    for length in [1024, 1025] {
        let body = format!(r#"{{"event_id": {length}}}"#);
        let headers = [
            (SIGNATURE, sign(&body)),
            ("content-type", format!("text/{}", "x".repeat(length - 5))),
        ];
        let headers = headers.each_ref().map(|(name, value)| (*name, &**value));
        assert_eq!(receiver.post(&body, &headers).await.status(), 200);
    }
    let kept = receiver.store.events().into_iter().map(|new| {
        let event = new.event;
        event.content_type.map(|text| text.len())
    });
    assert_eq!(kept.collect::<Vec<_>>(), [Some(1024), None]);
}
