//! From a request that passed to the event that it brings. Pure: a trial without a server makes the same.

use bytes::Bytes;
use hookswitch_crds::snapshot::Subscription;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::HOPS;
use crate::event::{Disposition, Event};
use crate::extract::{self, Attributes, Extractor};

/// A request as an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// The event.
    pub event: Event,
    /// SHA-256 of the body.
    pub digest: [u8; 32],
    /// It has no id of its own: the digest stands for it.
    pub without_id: bool,
}

/// Reads the attributes that the subscription's `fields` name, `extractor` being made of those.
#[must_use]
pub fn read(
    subscription: &Subscription,
    extractor: &Extractor,
    headers: &HeaderMap,
    body: &Bytes,
    uid: Uuid,
    accepted_at: Timestamp,
) -> Read {
    let attributes = extractor.extract(headers, body);
    let digest: [u8; 32] = Sha256::digest(body).into();
    let disposition = disposition(subscription, &attributes);
    let without_id = attributes.id.is_none();
    let event = Event {
        uid,
        subscription: subscription.origin.key.clone(),
        id: attributes
            .id
            .map_or_else(|| hex::encode(digest), std::borrow::Cow::into_owned),
        r#type: attributes.r#type.unwrap_or_default().into_owned(),
        time: attributes.time,
        accepted_at,
        subject: attributes.subject.map(Into::into),
        sender: attributes.sender.map(Into::into),
        hops: hops(headers),
        content_type: headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .filter(|value| value.len() <= extract::LONGEST)
            .map(ToOwned::to_owned),
        disposition,
        body: body.clone(),
    };
    Read {
        event,
        digest,
        without_id,
    }
}

/// Whether an event with these attributes is routed.
fn disposition(subscription: &Subscription, attributes: &Attributes<'_>) -> Disposition {
    let types = &subscription.types;
    let r#type = attributes.r#type.as_deref().unwrap_or_default();
    if is_ping(subscription, r#type) {
        Disposition::Ping
    } else if !attributes.json {
        Disposition::Unparseable
    } else if !types.is_empty() && !types.iter().any(|accepted| accepted == r#type) {
        Disposition::TypeNotAccepted
    } else {
        Disposition::Route
    }
}

/// Whether events of the type are tests.
pub(super) fn is_ping(subscription: &Subscription, r#type: &str) -> bool {
    subscription.ping.types.iter().any(|ping| ping == r#type)
}

/// How many receivers the event has passed through. A number too large to read is a large one; what
/// is no number counts as none.
fn hops(headers: &HeaderMap) -> u32 {
    let Some(digits) = headers.get(HOPS).and_then(|value| value.to_str().ok()) else {
        return 0;
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    digits.parse().unwrap_or(u32::MAX)
}
