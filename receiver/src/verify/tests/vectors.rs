//! Each sender's scheme, with a vector: the vendor's own where it publishes one, else computed with
//! another implementation (Python's `hmac`).

use super::*;

#[test]
fn r10_a_published_vector_of_github_passes() {
    let github = signed(Hmac {
        prefix: Some("sha256=".into()),
        ..hmac("X-Hub-Signature-256", "It's a Secret to Everybody")
    });
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let headers = [("x-hub-signature-256", signature)];
    assert_eq!(verify(&github, &headers, "Hello, World!"), Ok(Some(0)));
    assert_eq!(
        category(verify(&github, &headers, "Hello, World")),
        outcome::SIGNATURE_MISMATCH
    );
}

#[test]
fn a_published_vector_of_standard_webhooks_passes() {
    let settings = signed(standard_webhooks());
    let body = r#"{"test": 2432232314}"#;
    let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let with = |signature: &str, id: &str| {
        verify(
            &settings,
            &[
                ("webhook-id", id),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ],
            body,
        )
    };
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    assert_eq!(with(good, id), Ok(Some(0)));
    // Several signatures, those of unknown versions passed over.
    let other = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(with(&format!("v1a,xyz {other} {good}"), id), Ok(Some(0)));
    assert_eq!(category(with(other, id)), outcome::SIGNATURE_MISMATCH);
    // The id is signed too.
    assert_eq!(category(with(good, "msg_2")), outcome::SIGNATURE_MISMATCH);
    // A version that nobody knows is never accepted, though the bytes are right.
    let unknown = good.replace("v1,", "v2,");
    assert_eq!(category(with(&unknown, id)), outcome::SIGNATURE_MALFORMED);
    let without_id = [
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", good),
    ];
    assert_eq!(
        category(verify(&settings, &without_id, body)),
        outcome::SIGNATURE_MALFORMED
    );
}

#[test]
fn a_published_vector_of_slack_passes() {
    // https://api.slack.com/authentication/verifying-requests-from-slack
    let settings = signed(Hmac {
        prefix: Some("v0=".into()),
        message: vec![
            MessagePart::Literal("v0".into()),
            MessagePart::Timestamp,
            MessagePart::Body,
        ],
        delimiter: ":".into(),
        timestamp_header: Some("X-Slack-Request-Timestamp".into()),
        tolerance: Some(Duration::from_secs(300)),
        ..hmac("X-Slack-Signature", "8f742231b10e8888abcd99yyyzzz85a5")
    });
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let headers = [
        ("X-Slack-Request-Timestamp", "1531420618"),
        (
            "X-Slack-Signature",
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        ),
    ];
    let at = |second| {
        let now = Timestamp::from_second(second).unwrap();
        category(verify_at(
            &settings,
            request("/s/slack", &headers, body),
            now,
        ))
    };
    assert_eq!(at(1_531_420_618), "verified");
    assert_eq!(at(1_531_420_618 + 300), "verified");
    assert_eq!(at(1_531_420_618 - 300), "verified");
    assert_eq!(at(1_531_420_618 + 301), outcome::TIMESTAMP);
    assert_eq!(at(1_531_420_618 - 301), outcome::TIMESTAMP);
}

#[test]
fn stripe_signs_its_parameters() {
    let settings = signed(stripe());
    let check = |value: &str| {
        category(verify(
            &settings,
            &[("stripe-signature", value)],
            STRIPE_BODY,
        ))
    };
    assert_eq!(check(&format!("t=1614265330,v1={STRIPE}")), "verified");
    let two = format!("v0=00, t=1614265330, v1={}, v1={STRIPE}", "0".repeat(64));
    assert_eq!(check(&two), "verified");
    for (value, expected) in [
        (
            format!("t=1614265331,v1={STRIPE}"),
            outcome::SIGNATURE_MISMATCH,
        ),
        (format!("t=1614264330,v1={STRIPE}"), outcome::TIMESTAMP),
        (format!("v1={STRIPE}"), outcome::TIMESTAMP),
        (
            format!("t=1614265330,t=1614265330,v1={STRIPE}"),
            outcome::TIMESTAMP,
        ),
        (format!("t=+1614265330,v1={STRIPE}"), outcome::TIMESTAMP),
        (
            format!("t=1614265330,v0={STRIPE}"),
            outcome::SIGNATURE_MALFORMED,
        ),
        (
            format!("t=1614265330{}", ",v1=00".repeat(17)),
            outcome::SIGNATURE_MALFORMED,
        ),
        (String::new(), outcome::SIGNATURE_MALFORMED),
    ] {
        assert_eq!(check(&value), expected, "{value}");
    }
}

#[test]
fn shopify_zendesk_hubspot_and_intercom_pass() {
    let base64 = |header, key| Hmac {
        encoding: SignatureEncoding::Base64,
        ..hmac(header, key)
    };
    let shopify = signed(base64("X-Shopify-Hmac-SHA256", "hush"));
    let headers = [(
        "X-Shopify-Hmac-SHA256",
        "qBvrsZF7RfB1iS6BX6IHqJTp5L911P7intnPeTPsH0I=",
    )];
    assert_eq!(
        verify(&shopify, &headers, r#"{"id":820982911946154508}"#),
        Ok(Some(0))
    );

    let zendesk = signed(Hmac {
        message: vec![MessagePart::Timestamp, MessagePart::Body],
        timestamp_header: Some("X-Zendesk-Webhook-Signature-Timestamp".into()),
        timestamp_unit: TimestampUnit::Rfc3339,
        ..base64(
            "X-Zendesk-Webhook-Signature",
            "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==",
        )
    });
    for (body, signature) in [
        (
            r#"{"test":true}"#,
            "RxLbIp9KSDfssTjJc6Uq77cGvsNzqzBjsNB95xsurew=",
        ),
        ("", "wCdBvXaHttn0wRVIYctzZ9O6O0bnqWakJMEKZ9VoRWw="),
    ] {
        let headers = [
            ("X-Zendesk-Webhook-Signature", signature),
            (
                "X-Zendesk-Webhook-Signature-Timestamp",
                "2021-03-25T05:09:27Z",
            ),
        ];
        assert_eq!(verify(&zendesk, &headers, body), Ok(Some(0)));
    }

    let hubspot = signed(Hmac {
        message: vec![
            MessagePart::Method,
            MessagePart::Url,
            MessagePart::Body,
            MessagePart::Timestamp,
        ],
        timestamp_header: Some("X-HubSpot-Request-Timestamp".into()),
        timestamp_unit: TimestampUnit::Milliseconds,
        tolerance: Some(Duration::from_secs(300)),
        public_url: Some("https://hooks.example.com/".into()),
        ..base64(
            "X-HubSpot-Signature-v3",
            "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy",
        )
    });
    let headers = [
        (
            "X-HubSpot-Signature-v3",
            "OcU7HpC/6nluPb9N0ucVKsCeSuZENSuDVXFT89PzP0c=",
        ),
        ("X-HubSpot-Request-Timestamp", "1614265330123"),
    ];
    let now = Timestamp::from_second(NOW).unwrap();
    for (uri, expected) in [
        ("/sales/hubspot?a=b:c", "verified"),
        // HubSpot undoes some escapes before it signs.
        ("/sales/hubspot?a=b%3Ac", "verified"),
        ("/sales/hubspot?a=b%3ac", "verified"),
        ("/sales/hubspot?a=b", outcome::SIGNATURE_MISMATCH),
        ("/sales/hubspot", outcome::SIGNATURE_MISMATCH),
    ] {
        let request = request(uri, &headers, r#"[{"eventId":1}]"#);
        assert_eq!(
            category(verify_at(&hubspot, request, now)),
            expected,
            "{uri}"
        );
    }

    let intercom = signed(Hmac {
        algorithm: HmacAlgorithm::SHA1,
        prefix: Some("sha1=".into()),
        ..hmac("X-Hub-Signature", "client-secret")
    });
    let headers = [(
        "X-Hub-Signature",
        "sha1=ee7428da80e3d30bcbfcd10b30708df0b660715d",
    )];
    assert_eq!(
        verify(&intercom, &headers, r#"{"type":"notification_event"}"#),
        Ok(Some(0))
    );
}

#[test]
fn r12_tg_staffs_signature_passes_however_it_is_written() {
    let auto = |algorithm| {
        signed(Hmac {
            algorithm,
            encoding: SignatureEncoding::Auto,
            ..hmac("X-TG-Staff-Signature", "signing-key")
        })
    };
    let body = r#"{"event_type":"conversation.created"}"#;
    let hex = "c9a208c673d1a74964668e5a26c2b8d3810f15696ccd204ab8f4672b6ae43d3b";
    let base64 = "yaIIxnPRp0lkZo5aJsK404EPFWlszSBKuPRnK2rkPTs=";
    for written in [
        hex.to_owned(),
        hex.to_uppercase(),
        format!("sha256={hex}"),
        format!("SHA-256={hex}"),
        format!("hmac-sha256={hex}"),
        base64.to_owned(),
        base64.trim_end_matches('=').to_owned(),
        format!("sha256={base64}"),
    ] {
        let headers = [("X-TG-Staff-Signature", written.as_str())];
        assert_eq!(
            verify(&auto(HmacAlgorithm::SHA256), &headers, body),
            Ok(Some(0)),
            "{written}"
        );
    }
    for written in [
        format!("sha1={hex}"),
        format!("hmac={hex}"),
        hex[1..].to_owned(),
    ] {
        let headers = [("X-TG-Staff-Signature", written.as_str())];
        assert_eq!(
            category(verify(&auto(HmacAlgorithm::SHA256), &headers, body)),
            outcome::SIGNATURE_MALFORMED,
            "{written}"
        );
    }
    let standard =
        "V19GpJ3S/YWMDngRtiqeo1k5ulGDL+a0nn6mHJFYW11B5c6HQgLUaDZn1a/N1ewbjy4rBqY9DGu+ycdE0xSgqA==";
    for written in [
        standard.to_owned(),
        standard.replace('+', "-").replace('/', "_"),
    ] {
        let headers = [("X-TG-Staff-Signature", written.as_str())];
        assert_eq!(
            verify(&auto(HmacAlgorithm::SHA512), &headers, body),
            Ok(Some(0)),
            "{written}"
        );
    }
}
