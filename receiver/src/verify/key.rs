//! Keys and the tags that they give.

use std::fmt;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac};
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{HmacAlgorithm, SecretEncoding};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;

/// Padded or not: senders differ. Bits past the end must be zero, so a value has one form.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// `+` and `/`.
pub(super) const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
/// `-` and `_`.
pub(super) const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The longest tag, SHA-512's.
pub(super) const LONGEST: usize = 64;

/// An HMAC key, its two padded blocks hashed already.
#[derive(Clone)]
pub(super) enum Key {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

/// What a key gives for a message, or what a signature claims that it gives.
pub(super) struct Tag {
    bytes: [u8; LONGEST],
    len: usize,
}

/// How long the algorithm's tags are, in bytes.
pub(super) const fn tag_len(algorithm: HmacAlgorithm) -> usize {
    match algorithm {
        HmacAlgorithm::SHA1 => 20,
        HmacAlgorithm::SHA256 => 32,
        HmacAlgorithm::SHA512 => 64,
    }
}

impl Key {
    /// `None` where the secret can't be decoded, or is empty then.
    pub(super) fn new(
        algorithm: HmacAlgorithm,
        encoding: SecretEncoding,
        secret: &SecretBytes,
    ) -> Option<Self> {
        let key = secret.key(encoding)?;
        let key = key.expose();
        match algorithm {
            HmacAlgorithm::SHA1 => Hmac::new_from_slice(key).ok().map(Self::Sha1),
            HmacAlgorithm::SHA256 => Hmac::new_from_slice(key).ok().map(Self::Sha256),
            HmacAlgorithm::SHA512 => Hmac::new_from_slice(key).ok().map(Self::Sha512),
        }
    }

    /// The tag of the message, whose pieces `feed` gives in order.
    pub(super) fn tag(&self, feed: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Tag {
        fn tag<M: Mac + Clone>(key: &M, feed: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Tag {
            let mut mac = key.clone();
            feed(&mut |bytes| mac.update(bytes));
            Tag::new(&mac.finalize().into_bytes())
        }
        match self {
            Self::Sha1(key) => tag(key, feed),
            Self::Sha256(key) => tag(key, feed),
            Self::Sha512(key) => tag(key, feed),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Tag {
    /// Takes at most [`LONGEST`] bytes.
    pub(super) fn new(from: &[u8]) -> Self {
        let mut bytes = [0; LONGEST];
        let len = bytes
            .iter_mut()
            .zip(from)
            .map(|(to, from)| *to = *from)
            .count();
        Self { bytes, len }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// In constant time. Lengths are no secret.
    pub(super) fn matches(&self, other: &Self) -> bool {
        self.as_slice().ct_eq(other.as_slice()).into()
    }
}
