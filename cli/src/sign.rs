//! Signs a request as a webhook sender does: the counterpart of the receiver's verification.
//!
//! It works from the same resolved scheme that the receiver verifies by, so that whatever a
//! `WebhookSubscription` says is signed as it says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac as Mac, KeyInit as _, Mac as _};
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{
    Hmac, HmacAlgorithm, MessagePart, SignatureEncoding, SignatureLayout, TimestampUnit,
};
use jiff::Timestamp;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// What is to be signed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// In capitals.
    pub method: &'a str,
    /// The full URL as the sender has it.
    pub url: &'a str,
    /// The raw body.
    pub body: &'a [u8],
    /// The message's id, for the schemes that sign one.
    pub id: &'a str,
    /// When it is sent.
    pub now: Timestamp,
}

/// Why a request can't be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The secret is not base64, which the scheme needs.
    #[error(
        "the secret is not base64, and this scheme needs one that is: copy it as the sender shows it"
    )]
    SecretEncoding,
    /// The scheme signs an id and has no header to send it in.
    #[error("the scheme signs an id, but verification.hmac.idHeader is not set")]
    NoIdHeader,
    /// The secret is empty.
    #[error("the secret is empty: an empty secret never matches")]
    EmptySecret,
}

/// The headers that show who sent the request: the signature, and the id and timestamp that it covers.
///
/// # Errors
/// Where the secret or the scheme can't be used.
pub fn headers(
    scheme: &Hmac,
    secret: &SecretBytes,
    request: &Request<'_>,
) -> Result<Vec<(String, String)>, Error> {
    let timestamp = timestamp(scheme.timestamp_unit, request.now);
    let message = message(scheme, request, &timestamp);
    let signature = encode(
        scheme,
        &mac(scheme.algorithm, key(scheme, secret)?.expose(), &message),
    );
    let prefix = scheme.prefix.as_deref().unwrap_or_default();
    let value = match scheme.layout {
        SignatureLayout::Single | SignatureLayout::SpaceSeparated => {
            format!("{prefix}{signature}")
        }
        SignatureLayout::Parameters => format!("t={timestamp},{prefix}{signature}"),
    };
    let mut headers = vec![(scheme.header.clone(), value)];
    if let Some(header) = &scheme.id_header {
        headers.push((header.clone(), request.id.to_owned()));
    } else if scheme.message.contains(&MessagePart::Id) {
        return Err(Error::NoIdHeader);
    }
    if let Some(header) = &scheme.timestamp_header {
        headers.push((header.clone(), timestamp));
    }
    Ok(headers)
}

fn timestamp(unit: TimestampUnit, now: Timestamp) -> String {
    match unit {
        TimestampUnit::Seconds => now.as_second().to_string(),
        TimestampUnit::Milliseconds => now.as_millisecond().to_string(),
        TimestampUnit::Rfc3339 => format!("{now:.0}"),
    }
}

fn message(scheme: &Hmac, request: &Request<'_>, timestamp: &str) -> Vec<u8> {
    let parts: Vec<&[u8]> = scheme
        .message
        .iter()
        .map(|part| match part {
            MessagePart::Id => request.id.as_bytes(),
            MessagePart::Timestamp => timestamp.as_bytes(),
            MessagePart::Method => request.method.as_bytes(),
            MessagePart::Url => request.url.as_bytes(),
            MessagePart::Body => request.body,
            MessagePart::Literal(text) => text.as_bytes(),
        })
        .collect();
    parts.join(scheme.delimiter.as_bytes())
}

fn key(scheme: &Hmac, secret: &SecretBytes) -> Result<SecretBytes, Error> {
    if secret.is_empty() {
        return Err(Error::EmptySecret);
    }
    secret
        .key(scheme.secret_encoding)
        .ok_or(Error::SecretEncoding)
}

fn mac(algorithm: HmacAlgorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    macro_rules! hmac {
        ($hash:ty) => {
            Mac::<$hash>::new_from_slice(key)
                .map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec())
                // An HMAC takes keys of any length (RFC 2104, section 2).
                .unwrap_or_default()
        };
    }
    match algorithm {
        HmacAlgorithm::SHA1 => hmac!(Sha1),
        HmacAlgorithm::SHA256 => hmac!(Sha256),
        HmacAlgorithm::SHA512 => hmac!(Sha512),
    }
}

fn encode(scheme: &Hmac, signature: &[u8]) -> String {
    match scheme.encoding {
        SignatureEncoding::Auto | SignatureEncoding::Hex => hex::encode(signature),
        SignatureEncoding::Base64 => STANDARD.encode(signature),
    }
}

#[cfg(test)]
mod tests;
