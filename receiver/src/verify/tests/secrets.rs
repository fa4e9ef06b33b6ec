//! Secrets: which of several counts, what none is worth, and that none is shown.

use super::*;

#[test]
fn any_secret_may_match_and_it_is_said_which() {
    let mut settings = stripe();
    settings.secrets = vec![
        missing(),
        secret(""),
        secret("another"),
        secret("whsec_test_secret"),
    ];
    let header = format!("t=1614265330,v1={STRIPE}");
    let headers = [("stripe-signature", header.as_str())];
    assert_eq!(
        verify(&signed(settings), &headers, STRIPE_BODY),
        Ok(Some(3))
    );
}

#[test]
fn without_a_usable_secret_nothing_passes() {
    let empty_key = |mut settings: Hmac| {
        // What an empty key would give for this body.
        settings.secrets = vec![missing(), secret("")];
        settings
    };
    let signature = "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";
    let headers = [("x", signature)];
    for settings in [
        signed(empty_key(hmac("x", ""))),
        signed(Hmac {
            secret_encoding: SecretEncoding::Base64,
            ..hmac("x", "not base64!")
        }),
        signed(Hmac {
            secret_encoding: SecretEncoding::Whsec,
            ..hmac("x", "whsec_")
        }),
        signed(Hmac {
            message: vec![MessagePart::Url, MessagePart::Body],
            ..hmac("x", "k")
        }),
        signed(Hmac {
            message: vec![MessagePart::Id, MessagePart::Body],
            ..hmac("x", "k")
        }),
        signed(Hmac {
            message: vec![MessagePart::Timestamp, MessagePart::Body],
            ..hmac("x", "k")
        }),
        signed(Hmac {
            message: vec![],
            ..hmac("x", "k")
        }),
        signed(hmac("no header name", "k")),
        nothing(),
        Verification {
            source_ranges: vec!["0.0.0.0/0".parse().unwrap()],
            ..nothing()
        },
        Verification {
            headers: vec![HeaderToken {
                name: "x".into(),
                secret: missing(),
            }],
            ..nothing()
        },
        Verification {
            headers: vec![HeaderToken {
                name: "x".into(),
                secret: secret(" \n"),
            }],
            ..nothing()
        },
    ] {
        let error = verify(&settings, &headers, "").unwrap_err();
        assert_eq!(error.category(), outcome::SECRET_MISSING, "{settings:?}");
    }
    let open = Verification {
        unverified: true,
        ..nothing()
    };
    assert_eq!(verify(&open, &[], ""), Ok(None));
}

#[test]
fn r3_a_header_token_is_compared_whole() {
    let settings = Verification {
        headers: vec![
            HeaderToken {
                name: "Authorization".into(),
                secret: secret("Bearer your-secret-token\n"),
            },
            HeaderToken {
                name: "X-Project".into(),
                secret: secret("7"),
            },
        ],
        ..nothing()
    };
    let check = |headers: &[(&str, &str)]| category(verify(&settings, headers, "{}"));
    let good = ("authorization", "Bearer your-secret-token");
    assert_eq!(check(&[good, ("x-project", "7")]), "verified");
    for headers in [
        vec![good],
        vec![("x-project", "7")],
        vec![
            ("authorization", "Bearer your-secret-toke"),
            ("x-project", "7"),
        ],
        vec![
            ("authorization", "Bearer your-secret-token7"),
            ("x-project", "7"),
        ],
        vec![
            ("authorization", "bearer your-secret-token"),
            ("x-project", "7"),
        ],
        vec![("authorization", ""), ("x-project", "7")],
        vec![good, ("x-project", "7"), ("x-project", "7")],
        vec![good, good, ("x-project", "7")],
    ] {
        assert_eq!(check(&headers), outcome::HEADER, "{headers:?}");
    }
}

#[test]
fn r57_neither_errors_nor_debug_output_hold_secrets() {
    let mut settings = signed(stripe());
    settings.headers = vec![HeaderToken {
        name: "X-Token".into(),
        secret: secret("tok-5f1d"),
    }];
    let error = verify(&settings, &[("x-token", "wrong-9c2e")], "body-77aa").unwrap_err();
    let shown = format!("{error} {error:?} {:?}", Verifier::new(&settings));
    for planted in ["tok-5f1d", "wrong-9c2e", "body-77aa", "whsec_test_secret"] {
        assert!(!shown.contains(planted), "{planted} in {shown}");
    }
}
