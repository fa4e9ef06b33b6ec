//! Standard Webhooks signatures
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hookswitch_crds::secret::SecretBytes;
use jiff::Timestamp;
use sha2::Sha256;

/// The value of `webhook-signature`: one `v1,` signature for each key, separated by spaces, over
/// `{id}.{timestamp}.{body}` with the timestamp in whole seconds.
pub(super) fn signatures(keys: &[SecretBytes], id: &str, at: Timestamp, body: &[u8]) -> String {
    let head = format!("{id}.{}.", at.as_second());
    let signatures: Vec<String> = keys
        .iter()
        .filter_map(|key| Hmac::<Sha256>::new_from_slice(key.expose()).ok())
        .map(|mac| {
            let mac = mac.chain_update(head.as_bytes()).chain_update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        })
        .collect();
    signatures.join(" ")
}

/// HMAC-SHA256 of a message.
pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    // Any length is a key.
    let mac = Hmac::<Sha256>::new_from_slice(key).ok();
    mac.map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hookswitch_crds::snapshot::SecretEncoding;

    use super::*;

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    #[test]
    fn the_published_vector_of_standard_webhooks() {
        let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let key = secret.key(SecretEncoding::Whsec).unwrap();
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        assert_eq!(
            signatures(
                &[key],
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                at,
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_key_signs_while_secrets_rotate() {
        let keys = [secret("one"), secret("two")];
        let at = Timestamp::UNIX_EPOCH;
        let both = signatures(&keys, "id", at, b"body");
        let (first, second) = both.split_once(' ').unwrap();
        assert_eq!(first, signatures(&[secret("one")], "id", at, b"body"));
        assert_eq!(second, signatures(&[secret("two")], "id", at, b"body"));
    }
}
