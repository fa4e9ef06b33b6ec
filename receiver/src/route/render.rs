//! From an event to the bytes that every attempt sends, and their key.

use bytes::Bytes;
use hookswitch_crds::expression::{EvalError, Variables};
use hookswitch_crds::snapshot::{Destination, Format};
use hookswitch_crds::template::{self, Template};
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use crate::event::Event;
use crate::plan::{FrozenBody, FrozenRequest, Lane, Unrendered};
use crate::redact::Hidden;

/// What JSON is sent as.
const JSON: &str = "application/json";
/// A whole `CloudEvents` envelope
/// (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
const CLOUD_EVENT: &str = "application/cloudevents+json";

/// The event as expressions see it. An attribute that it lacks is left out; so is `data` where the
/// body is not JSON.
pub(super) fn expression_event(event: &Event) -> Json {
    let mut attributes = Map::new();
    let mut set = |name: &str, value: Option<Json>| {
        if let Some(value) = value {
            attributes.insert(name.to_owned(), value);
        }
    };
    set("id", Some(Json::from(event.id.as_str())));
    set("type", Some(Json::from(event.r#type.as_str())));
    set("source", Some(Json::from(event.source())));
    set("time", event.time.map(|time| Json::from(time.to_string())));
    set("subject", event.subject.clone().map(Json::from));
    set("sender", event.sender.clone().map(Json::from));
    set("hops", Some(Json::from(event.hops)));
    set("data", data(event));
    Json::Object(attributes)
}

/// The event that the mark of a redacted write-back is made of: the event that it causes has the data
/// that was sent, and attributes that are never sent.
pub(super) fn marked_event(original: &Event, seen: Option<&Json>) -> Json {
    let mut event = expression_event(original);
    if let (Some(attributes), Some(data)) = (event.as_object_mut(), seen) {
        attributes.insert("data".to_owned(), data.clone());
    }
    event
}

fn data(event: &Event) -> Option<Json> {
    serde_json::from_slice(&event.body).ok()
}

/// The part of an address that depends on the event.
pub(super) fn address(template: &Template, event: &Variables<'_>) -> Result<String, EvalError> {
    let value = template.render(event)?;
    let address = template::text(&value);
    // As a segment of a path, any of these would name something else; and none is a subject.
    if matches!(address.as_ref(), "" | "." | "..") {
        return Err(EvalError::Failed(
            "the part of the destination's address that depends on the event is empty".to_owned(),
        ));
    }
    Ok(address.into_owned())
}

/// The request to a destination, with `body` where the rule has one.
pub(super) fn request(
    event: &Event,
    destination: &Destination,
    address: Option<String>,
    body: Option<&Json>,
) -> FrozenRequest {
    let format = destination.transport.format();
    let (content_type, body) = match (format, body) {
        (Format::CloudEventsStructured, body) => {
            (CLOUD_EVENT.to_owned(), rendered(&envelope(event, body)))
        }
        (Format::Json | Format::CloudEventsBinary, Some(body)) => (JSON.to_owned(), rendered(body)),
        (Format::Json | Format::CloudEventsBinary, None) => (
            event
                .content_type
                .clone()
                .unwrap_or_else(|| JSON.to_owned()),
            FrozenBody::Event,
        ),
    };
    FrozenRequest {
        kind: destination.kind,
        method: destination.transport.method().to_owned(),
        content_type,
        cloud_event_headers: format == Format::CloudEventsBinary,
        address,
        hidden: Hidden::default(),
        body,
    }
}

/// The request to a destination whose body is rendered later.
pub(super) fn unrendered(
    destination: &Destination,
    address: Option<String>,
    hidden: Hidden,
    body: &Unrendered,
) -> FrozenRequest {
    let format = destination.transport.format();
    let content_type = if body.enveloped { CLOUD_EVENT } else { JSON };
    // Texts, numbers and flags: it can't fail.
    let body = serde_json::to_vec(body).unwrap_or_default();
    FrozenRequest {
        kind: destination.kind,
        method: destination.transport.method().to_owned(),
        content_type: content_type.to_owned(),
        hidden,
        cloud_event_headers: format == Format::CloudEventsBinary,
        address,
        body: FrozenBody::Unrendered(Bytes::from(body)),
    }
}

/// The bytes of a body that was rendered later.
pub(super) fn late(event: &Event, enveloped: bool, body: &Json) -> Bytes {
    let body = if enveloped {
        envelope(event, Some(body)).to_string()
    } else {
        body.to_string()
    };
    Bytes::from(body)
}

fn rendered(body: &Json) -> FrozenBody {
    FrozenBody::Rendered(Bytes::from(body.to_string()))
}

fn envelope(event: &Event, body: Option<&Json>) -> Json {
    let mut envelope = Map::new();
    let mut set = |name: &str, value: Option<Json>| {
        if let Some(value) = value {
            envelope.insert(name.to_owned(), value);
        }
    };
    let subject = event.subject.clone().filter(|subject| !subject.is_empty());
    set("specversion", Some(Json::from("1.0")));
    set("id", Some(Json::from(event.id.as_str())));
    set("source", Some(Json::from(event.source())));
    set("type", Some(Json::from(event.cloud_event_type())));
    set("time", event.time.map(|time| Json::from(time.to_string())));
    set("subject", subject.map(Json::from));
    set("datacontenttype", Some(Json::from(JSON)));
    set("data", body.cloned().or_else(|| data(event)));
    Json::Object(envelope)
}

/// The key of a delivery that is made again on purpose: the same for the same name, and no other's.
#[must_use]
pub fn again(id: Uuid, name: Uuid) -> Uuid {
    let mut hash = Sha256::new_with_prefix(b"hookswitch again 1");
    hash.update(name.as_bytes());
    hash.update(id.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    Builder::from_custom_bytes(digest.first_chunk().copied().unwrap_or_default()).into_uuid()
}

/// The idempotency key of a delivery: a version 8 UUID (RFC 9562) from the SHA-256 of event, route,
/// rule and destination. The same four give the same key in every process, for ever.
pub(super) fn delivery_id(event: Uuid, lane: &Lane, rule: &str) -> Uuid {
    let mut hash = Sha256::new_with_prefix(b"hookswitch delivery 1");
    hash.update(event.as_bytes());
    for part in [
        lane.route.namespace.as_str(),
        &lane.route.name,
        rule,
        &lane.destination,
    ] {
        // A name never holds this byte, so no two lists of names read the same.
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    Builder::from_custom_bytes(digest.first_chunk().copied().unwrap_or_default()).into_uuid()
}
