//! The table of answers, and what is kept with each.

use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{HeaderToken, ResolvedSecret, Verification};
use hookswitch_receiver::event::Disposition;
use hookswitch_receiver::metrics::outcome;
use hookswitch_receiver::store::Error;
use reqwest::Method;

use crate::harness::{
    PATH, Receiver, SIGNATURE, Setup, only_body, secret, sign, sign_with, tg_staff,
};

const EVENT: &str = r#"{"event_type": "message.received", "event_id": 1, "timestamp": 1714550400,
    "conversation_id": "c-9", "sender_type": "agent", "text": "hello"}"#;

#[tokio::test]
async fn r1_r7_a_signed_post_gets_exactly_200_and_is_kept_as_it_came() {
    let receiver = Receiver::start().await;
    let headers = [
        (SIGNATURE, sign(EVENT)),
        ("Content-Type", "application/json".into()),
        ("X-Hookswitch-Hops", "3".into()),
    ];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert_eq!(receiver.post(EVENT, &headers).await.status(), 200);

    assert_eq!(only_body(&receiver), EVENT.as_bytes());
    let new = &receiver.store.events()[0];
    let event = &new.event;
    assert_eq!(event.subscription, ObjectKey::new("support", "support"));
    assert_eq!(event.id, "1");
    assert_eq!(event.r#type, "message.received");
    assert_eq!(event.time, Some("2024-05-01T08:00:00Z".parse().unwrap()));
    assert_eq!(event.subject.as_deref(), Some("c-9"));
    assert_eq!(event.sender.as_deref(), Some("agent"));
    assert_eq!(event.content_type.as_deref(), Some("application/json"));
    assert_eq!(event.hops, 3);
    assert_eq!(event.disposition, Disposition::Route);
    assert_eq!(event.uid.get_version_num(), 7);
    let (seconds, _) = event.uid.get_timestamp().unwrap().to_unix();
    assert_eq!(
        i64::try_from(seconds).unwrap(),
        event.accepted_at.as_second()
    );
    assert_eq!(new.quota, 1 << 30);
    assert_eq!(
        new.remember_until
            .duration_since(event.accepted_at)
            .as_hours(),
        24
    );
    assert!(receiver.accepted.take().await.contains(&event.subscription));
    assert_eq!(receiver.requests(outcome::ACCEPTED), 1);
    let secrets = &receiver.metrics.verification_key_matches;
    let labels = ["support/support", "tg-staff/signing-key"];
    assert_eq!(secrets.with_label_values(&labels).get(), 1);
}

#[tokio::test]
async fn r11_r16_r20_what_is_not_verified_gets_401_with_its_reason_and_is_not_kept() {
    let mut guarded = tg_staff();
    guarded.verification.headers = vec![HeaderToken {
        name: "Authorization".into(),
        secret: secret("tg-staff/authorization", "Bearer token-51c8"),
    }];
    guarded.verification.source_ranges = vec!["203.0.113.0/24".parse().unwrap()];
    let mut setup = Setup::new(vec![guarded]);
    setup.settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let receiver = setup.start().await;
    let good = sign(EVENT);
    let forged = sign_with("another key", EVENT);
    let inside = ("X-Forwarded-For", "203.0.113.7");
    let token = ("Authorization", "Bearer token-51c8");
    for (headers, reason) in [
        (
            vec![inside, token, (SIGNATURE, &*forged)],
            outcome::SIGNATURE_MISMATCH,
        ),
        (
            vec![inside, token, (SIGNATURE, "abc")],
            outcome::SIGNATURE_MALFORMED,
        ),
        (vec![inside, token], outcome::SIGNATURE_MISSING),
        (vec![inside, (SIGNATURE, &*good)], outcome::HEADER),
        (
            vec![inside, ("Authorization", "Bearer x"), (SIGNATURE, &*good)],
            outcome::HEADER,
        ),
        (
            vec![
                ("X-Forwarded-For", "198.51.100.1"),
                token,
                (SIGNATURE, &*good),
            ],
            outcome::ADDRESS,
        ),
        (vec![token, (SIGNATURE, &*good)], outcome::ADDRESS),
    ] {
        let response = receiver.post(EVENT, &headers).await;
        assert_eq!(response.status(), 401, "{headers:?}");
        assert_eq!(
            response.text().await.unwrap(),
            format!("verification failed: {reason}\n")
        );
    }
    assert!(receiver.store.events().is_empty());
    assert_eq!(receiver.requests(outcome::HEADER), 2);
    assert_eq!(receiver.requests(outcome::ADDRESS), 2);
    let all = [inside, token, (SIGNATURE, &*good)];
    assert_eq!(receiver.post(EVENT, &all).await.status(), 200);
}

#[tokio::test]
async fn r3_r12_a_header_alone_can_verify_and_so_can_nothing_where_that_is_said() {
    let mut by_header = tg_staff();
    by_header.verification.hmac = None;
    by_header.verification.headers = vec![HeaderToken {
        name: "Authorization".into(),
        secret: secret("tg-staff/authorization", "Bearer your-secret-token"),
    }];
    let receiver = Setup::new(vec![by_header.clone()]).start().await;
    let good = [("Authorization", "Bearer your-secret-token")];
    assert_eq!(receiver.post(EVENT, &good).await.status(), 200);
    assert_eq!(receiver.post(EVENT, &[]).await.status(), 401);

    let mut open = by_header;
    open.verification = Verification {
        unverified: true,
        headers: vec![],
        ..open.verification
    };
    let receiver = Setup::new(vec![open]).start().await;
    assert_eq!(receiver.post(EVENT, &[]).await.status(), 200);
}

#[tokio::test]
async fn r13_addresses_count_only_as_trusted_proxies_tell_them() {
    let mut inside = tg_staff();
    inside.verification.source_ranges = vec!["203.0.113.0/24".parse().unwrap()];
    // Nobody is trusted: what the client says of itself does not count.
    let receiver = Setup::new(vec![inside]).start().await;
    let headers = [
        (SIGNATURE, &*sign(EVENT)),
        ("X-Forwarded-For", "203.0.113.7"),
    ];
    assert_eq!(receiver.post(EVENT, &headers).await.status(), 401);

    let mut peer = tg_staff();
    peer.verification.source_ranges = vec!["127.0.0.1/32".parse().unwrap()];
    let receiver = Setup::new(vec![peer]).start().await;
    assert_eq!(receiver.send(EVENT).await, 200);
}

#[tokio::test]
async fn r25_each_subscription_has_its_own_path_and_secret() {
    let mut sales = tg_staff();
    sales.origin.key = ObjectKey::new("sales", "leads");
    sales.path = "/sales/leads".into();
    let hmac = sales.verification.hmac.as_mut().unwrap();
    hmac.secrets = vec![secret("tg-staff/signing-key", "the key of sales")];
    let receiver = Setup::new(vec![sales, tg_staff()]).start().await;
    for (path, signature, expected) in [
        (PATH, sign(EVENT), 200),
        (PATH, sign_with("the key of sales", EVENT), 401),
        ("/sales/leads", sign(EVENT), 401),
        ("/sales/leads", sign_with("the key of sales", EVENT), 200),
    ] {
        let request = receiver.client.post(receiver.url(path)).body(EVENT);
        let response = request.header(SIGNATURE, signature).send().await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
    }
    let kept: Vec<_> = receiver
        .store
        .events()
        .iter()
        .map(|new| new.event.subscription.to_string())
        .collect();
    assert_eq!(kept, ["support/support", "sales/leads"]);
}

#[tokio::test]
async fn paths_match_as_they_are_written_and_the_query_is_not_part_of_them() {
    let receiver = Receiver::start().await;
    for (path, expected) in [
        (PATH, 200),
        ("/support/support?project=7", 200),
        ("/support/support/", 404),
        ("/support//support", 404),
        ("/support/Support", 404),
        ("/support/suppor%74", 404),
        ("/support", 404),
        ("/", 404),
    ] {
        let request = receiver.client.post(receiver.url(path)).body(EVENT);
        let response = request.header(SIGNATURE, sign(EVENT)).send().await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
    }
    let counted = receiver
        .metrics
        .requests
        .with_label_values(&["other", outcome::NO_SUCH_PATH]);
    assert_eq!(counted.get(), 6);
}

#[tokio::test]
async fn only_post_and_only_plain_bodies() {
    let receiver = Receiver::start().await;
    for method in [Method::GET, Method::PUT, Method::OPTIONS, Method::DELETE] {
        let request = receiver.client.request(method.clone(), receiver.url(PATH));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()["allow"], "POST");
    }
    for (encoding, expected) in [
        ("gzip", 415),
        ("identity", 200),
        ("Identity", 200),
        ("br", 415),
    ] {
        let headers = [(SIGNATURE, &*sign(EVENT)), ("Content-Encoding", encoding)];
        let status = receiver.post(EVENT, &headers).await.status();
        assert_eq!(status, expected, "{encoding}");
    }
    assert_eq!(receiver.requests(outcome::METHOD), 4);
    assert_eq!(receiver.requests(outcome::ENCODING), 2);
}

#[tokio::test]
async fn r9_r16_what_a_retry_can_mend_gets_503_and_says_when() {
    let receiver = Receiver::start().await;
    let key = ObjectKey::new("support", "support");
    for (error, reason) in [
        (
            Error::QuotaExceeded {
                subscription: key,
                used: 10,
                limit: 10,
            },
            outcome::QUOTA,
        ),
        (Error::Full("disk".into()), outcome::STORE),
        (Error::Stopped("sync failed".into()), outcome::STORE),
    ] {
        let before = receiver.requests(reason);
        receiver.store.fail_with(Some(error));
        let response = receiver.post(EVENT, &[(SIGNATURE, &sign(EVENT))]).await;
        assert_eq!(response.status(), 503);
        let after: u64 = response.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(after > 0);
        assert_eq!(receiver.requests(reason), before + 1);
    }
    receiver.store.fail_with(None);
    assert_eq!(receiver.send(EVENT).await, 200);

    receiver.draining.cancel();
    let response = receiver.post(EVENT, &[(SIGNATURE, &sign(EVENT))]).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.headers()["connection"], "close");
}

#[tokio::test]
async fn r9_without_a_secret_to_verify_with_the_sender_is_told_to_come_again() {
    let mut blind = tg_staff();
    let hmac = blind.verification.hmac.as_mut().unwrap();
    hmac.secrets = vec![
        ResolvedSecret {
            reference: "tg-staff/absent".into(),
            value: None,
        },
        secret("tg-staff/empty", ""),
    ];
    let receiver = Setup::new(vec![blind]).start().await;
    // What an empty key would give.
    let headers = [(SIGNATURE, &*sign_with("", EVENT))];
    let response = receiver.post(EVENT, &headers).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(receiver.requests(outcome::SECRET_MISSING), 1);
    assert!(receiver.store.events().is_empty());
}
