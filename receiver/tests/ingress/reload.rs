//! Following the configuration.

use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{GuardMode, LoopGuard, Route, Rule, Snapshot};
use hookswitch_receiver::metrics::outcome;

use crate::harness::{
    PATH, Receiver, SIGNATURE, Setup, origin, secret, sign, sign_with, snapshot, tg_staff,
};

fn event(id: u32) -> String {
    format!(r#"{{"event_type": "message.received", "event_id": {id}}}"#)
}

#[tokio::test]
async fn without_a_configuration_the_sender_is_told_to_come_again() {
    let mut setup = Setup::new(vec![]);
    setup.snapshot = None;
    let receiver = setup.start().await;
    assert_eq!(receiver.send(&event(1)).await, 503);
    let counted = receiver
        .metrics
        .requests
        .with_label_values(&["other", outcome::NO_CONFIG]);
    assert_eq!(counted.get(), 1);
    receiver
        .publisher
        .publish(snapshot(1, vec![tg_staff()]))
        .unwrap();
    assert_eq!(receiver.send(&event(1)).await, 200);
}

#[tokio::test]
async fn paths_and_secrets_follow_at_once() {
    let receiver = Receiver::start().await;
    let mut next = tg_staff();
    next.path = "/support/moved".into();
    let hmac = next.verification.hmac.as_mut().unwrap();
    hmac.secrets.insert(0, secret("tg-staff/new", "new-key"));
    receiver.publisher.publish(snapshot(2, vec![next])).unwrap();

    assert_eq!(receiver.send(&event(1)).await, 404);
    for (id, key) in [(1, "new-key"), (2, crate::harness::KEY)] {
        let body = event(id);
        let request = receiver.client.post(receiver.url("/support/moved"));
        let request = request.header(SIGNATURE, sign_with(key, &body)).body(body);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    for reference in ["tg-staff/new", "tg-staff/signing-key"] {
        let labels = ["support/support", reference];
        let matches = &receiver.metrics.verification_key_matches;
        assert_eq!(matches.with_label_values(&labels).get(), 1, "{reference}");
    }
}

#[tokio::test]
async fn a_rate_limit_is_kept_over_a_change_of_something_else() {
    let mut limited = tg_staff();
    limited.limits.events_per_second = Some(1);
    limited.limits.burst = Some(1);
    let receiver = Setup::new(vec![limited.clone()]).start().await;
    assert_eq!(receiver.send(&event(1)).await, 200);
    let mut answers = Vec::new();
    for sequence in 2..12 {
        limited.origin.generation += 1;
        let next = snapshot(sequence, vec![limited.clone()]);
        receiver.publisher.publish(next).unwrap();
        let id = u32::try_from(sequence).unwrap();
        answers.push(receiver.send(&event(id)).await);
    }
    assert!(answers.contains(&503), "{answers:?}");
    limited.limits.burst = Some(5);
    receiver
        .publisher
        .publish(snapshot(20, vec![limited]))
        .unwrap();
    assert_eq!(receiver.send(&event(20)).await, 200);
}

#[tokio::test]
async fn event_types_are_labels_only_where_somebody_names_them() {
    let rule = Rule {
        name: "new".into(),
        types: vec!["conversation.created".into()],
        when: None,
        enrich: vec![],
        transition: None,
        after: None,
        deliver: vec![],
    };
    let route = Route {
        origin: origin("crm"),
        subscriptions: vec![ObjectKey::new("support", "support")],
        destinations: vec![],
        rules: vec![rule],
        loop_guard: LoopGuard {
            mode: GuardMode::Enforce,
            senders: vec![],
            echo: None,
            max_hops: 4,
            per_subject: None,
        },
        word_lists: vec![],
    };
    let mut setup = Setup::new(vec![]);
    setup.snapshot = Some(Snapshot {
        routes: vec![route.into()],
        ..snapshot(1, vec![tg_staff()])
    });
    let receiver = setup.start().await;
    for r#type in ["conversation.created", "a", "b", "", "ping"] {
        let body = format!(r#"{{"event_type": "{type}"}}"#);
        let request = receiver.client.post(receiver.url(PATH));
        let request = request.header(SIGNATURE, sign(&body)).body(body);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let count = |label| {
        receiver
            .metrics
            .events
            .with_label_values(&["support/support", label])
            .get()
    };
    assert_eq!(
        [count("conversation.created"), count("ping"), count("other")],
        [1, 1, 3]
    );
    let rendered = receiver.metrics.render().unwrap();
    assert!(!rendered.contains(r#"type="a""#), "{rendered}");
}
