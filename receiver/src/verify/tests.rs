//! What a verifier lets pass, what it refuses, and why.

use hookswitch_crds::duration::Duration;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{
    HeaderToken, Hmac, HmacAlgorithm, MessagePart, ResolvedSecret, SecretEncoding,
    SignatureEncoding, SignatureLayout, TimestampUnit, Verification,
};
use http::HeaderValue;
use proptest::prelude::*;

use super::*;

mod refusals;
mod secrets;
mod vectors;

const NOW: i64 = 1_614_265_330;

fn secret(value: &str) -> ResolvedSecret {
    ResolvedSecret {
        reference: "sender/key".into(),
        value: Some(SecretBytes::new(value.into())),
    }
}

fn missing() -> ResolvedSecret {
    ResolvedSecret {
        reference: "sender/absent".into(),
        value: None,
    }
}

fn hmac(header: &str, key: &str) -> Hmac {
    Hmac {
        header: header.into(),
        algorithm: HmacAlgorithm::SHA256,
        encoding: SignatureEncoding::Hex,
        prefix: None,
        layout: SignatureLayout::Single,
        secret_encoding: SecretEncoding::Raw,
        message: vec![MessagePart::Body],
        delimiter: String::new(),
        id_header: None,
        timestamp_header: None,
        timestamp_unit: TimestampUnit::Seconds,
        tolerance: None,
        public_url: None,
        secrets: vec![secret(key)],
    }
}

fn nothing() -> Verification {
    Verification {
        hmac: None,
        headers: vec![],
        source_ranges: vec![],
        unverified: false,
    }
}

fn signed(hmac: Hmac) -> Verification {
    Verification {
        hmac: Some(hmac),
        ..nothing()
    }
}

fn request(uri: &str, headers: &[(&str, &str)], body: &str) -> Request<Unverified> {
    let mut builder = http::Request::post(uri);
    for (name, value) in headers {
        builder = builder.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let (head, ()) = builder.body(()).unwrap().into_parts();
    Request::new(
        head,
        Bytes::copy_from_slice(body.as_bytes()),
        [203, 0, 113, 7].into(),
    )
}

fn verify_at(
    settings: &Verification,
    request: Request<Unverified>,
    now: Timestamp,
) -> Result<Option<usize>, Error> {
    request
        .verify(&Verifier::new(settings), now)
        .map(|request| request.matched_secret())
        .map_err(|refused| refused.error)
}

fn verify(
    settings: &Verification,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Option<usize>, Error> {
    let now = Timestamp::from_second(NOW).unwrap();
    verify_at(settings, request("/a/b", headers, body), now)
}

fn category(result: Result<Option<usize>, Error>) -> &'static str {
    result.map_or_else(|error| error.category(), |_| "verified")
}

fn standard_webhooks() -> Hmac {
    Hmac {
        encoding: SignatureEncoding::Base64,
        prefix: Some("v1,".into()),
        layout: SignatureLayout::SpaceSeparated,
        secret_encoding: SecretEncoding::Whsec,
        message: vec![MessagePart::Id, MessagePart::Timestamp, MessagePart::Body],
        delimiter: ".".into(),
        id_header: Some("webhook-id".into()),
        timestamp_header: Some("webhook-timestamp".into()),
        tolerance: Some(Duration::from_secs(300)),
        ..hmac(
            "webhook-signature",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        )
    }
}

fn stripe() -> Hmac {
    Hmac {
        prefix: Some("v1=".into()),
        layout: SignatureLayout::Parameters,
        message: vec![MessagePart::Timestamp, MessagePart::Body],
        delimiter: ".".into(),
        tolerance: Some(Duration::from_secs(300)),
        ..hmac("Stripe-Signature", "whsec_test_secret")
    }
}

const STRIPE: &str = "e135cdbed3dda004bf8a2fb350f2541d299393c770e0b9e6e319dc595e9072aa";
const STRIPE_BODY: &str = r#"{"id":"evt_1"}"#;
