//! Verification: whether a request comes from the one who holds the secret.
//!
//! ```text
//! Request<Unverified> ── Verifier ──▶ addresses ─▶ header tokens ─▶ timestamp ─▶ signature ──▶ Request<Verified>
//!                                         └───────────────┴──────────────┴────────────┴──────▶ Refused
//! ```
//!
//! Pure: bytes, headers, secrets and the time in; a verified request or the reason out.
//!
//! Invariants:
//! - A [`Request`] becomes `Request<Verified>` only in [`Request::verify`].
//! - It fails closed: what is not understood is refused, and a secret that is missing, empty or not
//!   decodable never matches.
//! - The signature is over the raw bytes of the body. Secrets are compared in constant time, and
//!   neither their length nor their content shows in an [`Error`].
//! - The signature is looked at last, so [`Error::SignatureMissing`] says that all else passed.

use std::net::IpAddr;

use bytes::Bytes;
use hookswitch_crds::snapshot;
use http::{HeaderMap, HeaderName, Method, Uri, request};
use ipnet::IpNet;
use jiff::Timestamp;

use crate::metrics::outcome;

mod address;
mod key;
mod message;
mod signature;
mod timestamp;
mod token;

#[cfg(test)]
mod tests;

pub use address::{canonical, canonical_range, contains};
pub use timestamp::Problem;

/// A request whose type says whether it was verified.
#[derive(Debug)]
pub struct Request<S> {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    source: IpAddr,
    state: S,
}

/// Nothing is known about the sender.
#[derive(Debug)]
pub struct Unverified(());

/// All that the subscription asks for has passed.
#[derive(Debug)]
pub struct Verified {
    secret: Option<usize>,
}

/// A request that did not pass, and why.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// Why.
    #[source]
    pub error: Error,
    /// The request, as it was.
    pub request: Box<Request<Unverified>>,
}

/// Why a request is not verified. Names headers and addresses, never what a secret or a body holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The source address is not allowed.
    #[error("the source address {0} is not in verification.sourceRanges")]
    Address(IpAddr),
    /// A header token is absent.
    #[error("the header `{0}` is missing")]
    HeaderMissing(HeaderName),
    /// A header token has another value.
    #[error("the header `{0}` does not have the expected value")]
    HeaderMismatch(HeaderName),
    /// There is no signature. Addresses and header tokens have passed.
    #[error("the signature header `{0}` is missing")]
    SignatureMissing(HeaderName),
    /// The signature, or a header that is signed, can't be read.
    #[error("the header `{header}` {problem}")]
    SignatureMalformed {
        /// Where.
        header: HeaderName,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No secret gives the signature.
    #[error("the signature in `{0}` does not match any secret: compare the secret on both sides")]
    SignatureMismatch(HeaderName),
    /// The timestamp is missing, unreadable or too far from now.
    #[error("the timestamp in `{header}` {problem}")]
    Timestamp {
        /// Where.
        header: HeaderName,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The subscription can't verify anything as it stands; no fault of the request's.
    #[error("{0}")]
    Unusable(Unusable),
}

/// What a subscription lacks to verify with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No secret can be used.
    #[error(
        "none of the secrets {0} can be used for verification: check that they exist, are not empty and have the encoding of secretEncoding"
    )]
    Secrets(String),
    /// A field of `verification` is missing or can't be used.
    #[error("verification.{0} is missing or can't be used")]
    Field(&'static str),
    /// Nothing is asked for.
    #[error("verification has neither hmac nor headers, and is not `unverified: true`")]
    Nothing,
}

/// A subscription's [`snapshot::Verification`], made ready: keys decoded and scheduled.
#[derive(Debug)]
pub struct Verifier {
    addresses: Vec<IpNet>,
    tokens: Vec<token::Token>,
    signature: Option<Result<signature::Scheme, Unusable>>,
    unverified: bool,
}

impl<S> Request<S> {
    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The raw body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The client's address.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.source
    }
}

impl Request<Unverified> {
    /// A request as it came, with its whole body and the address of its client.
    #[must_use]
    pub fn new(head: request::Parts, body: Bytes, source: IpAddr) -> Self {
        Self {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body,
            source: canonical(source),
            state: Unverified(()),
        }
    }

    /// Verifies it at the time `now`.
    ///
    /// # Errors
    /// With the first check that did not pass, and the request.
    pub fn verify(self, verifier: &Verifier, now: Timestamp) -> Result<Request<Verified>, Refused> {
        match verifier.check(&self, now) {
            Ok(state) => Ok(Request {
                method: self.method,
                uri: self.uri,
                headers: self.headers,
                body: self.body,
                source: self.source,
                state,
            }),
            Err(error) => Err(Refused {
                error,
                request: Box::new(self),
            }),
        }
    }
}

impl Request<Verified> {
    /// The place in `hmac.secrets` of the one that matched; `None` where nothing is signed.
    #[must_use]
    pub fn matched_secret(&self) -> Option<usize> {
        self.state.secret
    }
}

impl Verifier {
    /// Makes settings ready. What can't be used is remembered, and refuses every request.
    #[must_use]
    pub fn new(settings: &snapshot::Verification) -> Self {
        Self {
            addresses: settings
                .source_ranges
                .iter()
                .map(address::canonical_range)
                .collect(),
            tokens: settings.headers.iter().map(token::Token::new).collect(),
            signature: settings.hmac.as_ref().map(signature::Scheme::new),
            unverified: settings.unverified,
        }
    }

    fn check(&self, request: &Request<Unverified>, now: Timestamp) -> Result<Verified, Error> {
        if !self.addresses.is_empty() && !contains(&self.addresses, request.source) {
            return Err(Error::Address(request.source));
        }
        for token in &self.tokens {
            token.check(&request.headers)?;
        }
        match &self.signature {
            Some(Ok(scheme)) => scheme.check(request, now).map(|secret| Verified {
                secret: Some(secret),
            }),
            Some(Err(unusable)) => Err(Error::Unusable(unusable.clone())),
            None if self.unverified || !self.tokens.is_empty() => Ok(Verified { secret: None }),
            None => Err(Error::Unusable(Unusable::Nothing)),
        }
    }
}

impl Error {
    /// The bounded label value: one of [`outcome`].
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Address(_) => outcome::ADDRESS,
            Self::HeaderMissing(_) | Self::HeaderMismatch(_) => outcome::HEADER,
            Self::SignatureMissing(_) => outcome::SIGNATURE_MISSING,
            Self::SignatureMalformed { .. } => outcome::SIGNATURE_MALFORMED,
            Self::SignatureMismatch(_) => outcome::SIGNATURE_MISMATCH,
            Self::Timestamp { .. } => outcome::TIMESTAMP,
            Self::Unusable(_) => outcome::SECRET_MISSING,
        }
    }
}

/// The one value of a header: `None` where it is absent, an error where it comes twice, since two
/// readers could then take different ones.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Repeated> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(Repeated),
        None => Ok(first.map(|value| value.as_bytes().trim_ascii())),
    }
}

/// A header comes more than once.
struct Repeated;

impl Repeated {
    const PROBLEM: &'static str = "comes more than once";
}
