//! Secret bytes: they travel inside the snapshot, and never show in a log or a `Debug`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use zeroize::Zeroizing;

use crate::snapshot::SecretEncoding;

/// The prefix of a Standard Webhooks secret
/// (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
const WHSEC: &[u8] = b"whsec_";

/// Padded or not: senders differ.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret's value, wiped when dropped; serialised as base64, debug-printed as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves: for a signature or an outgoing header, never for a message.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// True where there is nothing to compare with: such a secret never matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The signing key that the secret holds. White space at the ends counts in a raw key alone; the
    /// `whsec_` of [`SecretEncoding::Whsec`] may be left out. `None` where it can't be decoded, or is
    /// empty then.
    #[must_use]
    pub fn key(&self, encoding: SecretEncoding) -> Option<Self> {
        let text = self.expose().trim_ascii();
        let decode = |text| LENIENT.decode(text).ok().map(Self::new);
        let key = match encoding {
            SecretEncoding::Raw => self.clone(),
            SecretEncoding::Base64 => decode(text)?,
            SecretEncoding::Whsec => decode(text.strip_prefix(WHSEC).unwrap_or(text))?,
        };
        (!key.is_empty()).then_some(key)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(self.expose())))
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        STANDARD
            .decode(text.as_bytes())
            .map(Self::new)
            .map_err(|_| serde::de::Error::custom("a secret's value is not base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str, encoding: SecretEncoding) -> Option<Vec<u8>> {
        let secret = SecretBytes::new(text.as_bytes().to_vec());
        secret.key(encoding).map(|key| key.expose().to_vec())
    }

    #[test]
    fn a_raw_key_is_the_bytes_as_they_are() {
        assert_eq!(key(" a \n", SecretEncoding::Raw), Some(b" a \n".to_vec()));
        assert_eq!(key("", SecretEncoding::Raw), None);
    }

    #[test]
    fn an_encoded_key_may_be_padded_or_not_and_with_or_without_its_prefix() {
        for text in ["YWI=", "YWI", " YWI=\n"] {
            assert_eq!(
                key(text, SecretEncoding::Base64),
                Some(b"ab".to_vec()),
                "{text:?}"
            );
        }
        for text in ["whsec_YWI=", "whsec_YWI", "YWI=", "whsec_YWI=\n"] {
            assert_eq!(
                key(text, SecretEncoding::Whsec),
                Some(b"ab".to_vec()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_key_is_none() {
        assert_eq!(key("no base64!", SecretEncoding::Base64), None);
        assert_eq!(key("whsec_YWI=", SecretEncoding::Base64), None);
        assert_eq!(key("whsec_", SecretEncoding::Whsec), None);
    }
}
