//! What is refused: each with its reason, and whatever anybody makes up.

use super::*;

#[test]
fn r20_each_check_has_its_own_reason_and_the_signature_is_last() {
    let settings = Verification {
        headers: vec![HeaderToken {
            name: "X-Token".into(),
            secret: secret("t"),
        }],
        source_ranges: vec!["203.0.113.0/24".parse().unwrap()],
        ..signed(stripe())
    };
    let now = Timestamp::from_second(NOW).unwrap();
    let good = format!("t=1614265330,v1={STRIPE}");
    let check = |source: [u8; 4], headers: &[(&str, &str)]| {
        let mut request = request("/a/b", headers, STRIPE_BODY);
        request.source = source.into();
        category(verify_at(&settings, request, now))
    };
    let inside = [203, 0, 113, 200];
    assert_eq!(
        check(inside, &[("x-token", "t"), ("stripe-signature", &good)]),
        "verified"
    );
    assert_eq!(check([198, 51, 100, 1], &[]), outcome::ADDRESS);
    assert_eq!(
        check(inside, &[("stripe-signature", &good)]),
        outcome::HEADER
    );
    assert_eq!(
        check(inside, &[("x-token", "t")]),
        outcome::SIGNATURE_MISSING
    );
    assert_eq!(
        check(
            inside,
            &[("x-token", "t"), ("stripe-signature", "t=1,v1=00")]
        ),
        outcome::SIGNATURE_MALFORMED
    );
}

proptest! {
    #[test]
    fn r11_any_flipped_bit_is_refused(bit in 0_usize.., body in "[ -~]{1,200}", part in 0..3_usize) {
        let key = Hmac { secret_encoding: SecretEncoding::Raw, ..standard_webhooks() };
        let id = "msg_1";
        let timestamp = NOW.to_string();
        let tag = {
            use hmac::{KeyInit as _, Mac as _};
            let secret = key.secrets[0].value.as_ref().unwrap().expose().to_vec();
            let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&secret).unwrap();
            mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
            mac.finalize().into_bytes().to_vec()
        };
        let settings = signed(key);
        let check = |id: &[u8], tag: &[u8], body: &[u8]| {
            let mut request = request("/a/b", &[("webhook-timestamp", &timestamp)], "");
            let signature = base64::Engine::encode(&super::key::STANDARD, tag);
            request.headers.insert("webhook-signature", format!("v1,{signature}").parse().unwrap());
            let Ok(id) = HeaderValue::from_bytes(id) else { return false };
            request.headers.insert("webhook-id", id);
            request.body = Bytes::copy_from_slice(body);
            verify_at(&settings, request, Timestamp::from_second(NOW).unwrap()).is_ok()
        };
        prop_assert!(check(id.as_bytes(), &tag, body.as_bytes()));
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        let passes = match part {
            0 => check(&flip(id.as_bytes()), &tag, body.as_bytes()),
            1 => check(id.as_bytes(), &flip(&tag), body.as_bytes()),
            _ => check(id.as_bytes(), &tag, &flip(body.as_bytes())),
        };
        prop_assert!(!passes);
    }

    #[test]
    fn r11_no_made_up_header_passes_or_panics(
        signature in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"tv1=,. /+-_aF0".to_vec())], 0..200),
        timestamp in "[0-9T:.Z+-]{0,30}",
        layout in prop::sample::select(vec![SignatureLayout::Single, SignatureLayout::SpaceSeparated, SignatureLayout::Parameters]),
        encoding in prop::sample::select(vec![SignatureEncoding::Auto, SignatureEncoding::Hex, SignatureEncoding::Base64]),
        algorithm in prop::sample::select(vec![HmacAlgorithm::SHA1, HmacAlgorithm::SHA256, HmacAlgorithm::SHA512]),
        unit in prop::sample::select(vec![TimestampUnit::Seconds, TimestampUnit::Milliseconds, TimestampUnit::Rfc3339]),
    ) {
        let settings = signed(Hmac { layout, encoding, algorithm, timestamp_unit: unit, ..standard_webhooks() });
        let mut request = request("/a/b?%3a", &[("webhook-timestamp", &timestamp), ("webhook-id", "1")], "{}");
        if let Ok(value) = HeaderValue::from_bytes(&signature) {
            request.headers.insert("webhook-signature", value);
        }
        let result = verify_at(&settings, request, Timestamp::from_second(NOW).unwrap());
        prop_assert!(result.is_err());
    }
}
