//! The snapshot: all that a receiver needs, resolved, in one value.
//!
//! The operator compiles objects into it, and receivers follow it; no default is left open, no
//! reference unresolved. Secrets' values are inside, so a snapshot is itself kept in a Secret.
//!
//! Invariants:
//! - `subscriptions` and `routes` are sorted by key: equal objects give equal bytes.
//! - `sequence` only grows. An entry's `since` is the sequence that last changed what the entry
//!   resolves to; a rotated secret counts.
//! - Every expression and template in it has been compiled once by the operator.
//! - Changes to the format are additive; a receiver ignores what it doesn't know.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::key::ObjectKey;
use crate::secret::SecretBytes;

mod destination;
mod json_text;
mod memory;
pub mod shard;

pub use destination::{
    Auth, CircuitBreaker, Credential, Delivery, Destination, DestinationKind, Format, Grant,
    Header, HeaderValue, Http, Nats, NatsAuth, OAuth, OnAmbiguous, OnConflict, Ordering, Pattern,
    Postgres, RateLimit, Redact, Transport,
};
pub use json_text::JsonText;
pub use memory::{After, Once, Transition, Unless};

/// The newest format of the snapshot that this build writes and reads.
pub const FORMAT: u32 = 1;

/// The compiled configuration of receivers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The format, at most [`FORMAT`].
    pub format: u32,
    /// Grows with every change.
    pub sequence: u64,
    /// Sorted by key. Shared with the snapshots before and after that have the same.
    pub subscriptions: Vec<Arc<Subscription>>,
    /// Sorted by key, shared as well.
    pub routes: Vec<Arc<Route>>,
}

impl Snapshot {
    /// The snapshot before the first compile: no objects, sequence 0.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            format: FORMAT,
            sequence: 0,
            subscriptions: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// What both kinds of entry carry of the object that they came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The object's name.
    pub key: ObjectKey,
    /// The object's UID; empty in standalone mode.
    pub uid: String,
    /// The generation of the spec that is served, which is the last good one.
    pub generation: i64,
    /// The snapshot sequence that last changed what this entry resolves to.
    pub since: u64,
    /// The spec that is served, as it was written: the last good one lives on from here.
    pub spec: JsonText,
}

/// A `WebhookSubscription`, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Where it came from.
    pub origin: Origin,
    /// The preset's name, for labels and CloudEvents' `source`: `TGStaff`, `GitHub`, ...
    pub provider: String,
    /// The exact request path, with its leading slash.
    pub path: String,
    /// What a request must show.
    pub verification: Verification,
    /// How a ping is recognised.
    pub ping: Ping,
    /// Accepted event types; empty accepts all.
    pub types: Vec<String>,
    /// Where an event's attributes are found.
    pub fields: Fields,
    /// How long an event's id is remembered.
    pub deduplication_window: Duration,
    /// Bounds on what this subscription may use.
    pub limits: Limits,
    /// How long a finished event is kept.
    pub retention: Duration,
    /// How long a dead letter is kept.
    pub dead_letter_retention: Duration,
    /// Accept and keep, but do not route.
    pub suspend: bool,
}

/// All that is listed must pass. Both lists empty, no HMAC and `unverified` false accepts nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The signature over the message.
    pub hmac: Option<Hmac>,
    /// Headers whose values are compared in constant time.
    pub headers: Vec<HeaderToken>,
    /// Source addresses; empty allows all.
    pub source_ranges: Vec<IpNet>,
    /// Set by the user alone: there is nothing to verify.
    pub unverified: bool,
}

/// A signature scheme and its secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hmac {
    /// The header that holds the signature, or several.
    pub header: String,
    /// The hash.
    pub algorithm: HmacAlgorithm,
    /// How the signature is written.
    pub encoding: SignatureEncoding,
    /// Stripped from the signature where present, such as `sha256=`; `None` where the scheme has
    /// none. With [`SignatureEncoding::Auto`] any `name=` of the algorithm is stripped.
    pub prefix: Option<String>,
    /// How the header's value is split into signatures and parameters.
    pub layout: SignatureLayout,
    /// How the secret's bytes become the key.
    pub secret_encoding: SecretEncoding,
    /// What is signed, in order.
    pub message: Vec<MessagePart>,
    /// Put between the parts.
    pub delimiter: String,
    /// The header of [`MessagePart::Id`].
    pub id_header: Option<String>,
    /// The header of [`MessagePart::Timestamp`]; none with [`SignatureLayout::Parameters`].
    pub timestamp_header: Option<String>,
    /// The timestamp's unit.
    pub timestamp_unit: TimestampUnit,
    /// How far the timestamp may be from now, both ways; `None` where it is not checked.
    pub tolerance: Option<Duration>,
    /// Scheme and authority as the sender sees them, for [`MessagePart::Url`].
    pub public_url: Option<String>,
    /// Any one may match. Missing and empty ones never do.
    pub secrets: Vec<ResolvedSecret>,
}

/// The hash of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HmacAlgorithm {
    /// HMAC-SHA1, for senders that have nothing better.
    SHA1,
    /// HMAC-SHA256.
    SHA256,
    /// HMAC-SHA512.
    SHA512,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignatureEncoding {
    /// Hex or base64 (standard or URL-safe, padded or not), told apart by length.
    Auto,
    /// Hexadecimal, either case.
    Hex,
    /// Base64, standard alphabet.
    Base64,
}

/// How a signature header is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignatureLayout {
    /// One signature, after the prefix.
    Single,
    /// Signatures separated by spaces, each `version,signature`; the prefix names the version
    /// (`v1,`), and others are passed over. Standard Webhooks.
    SpaceSeparated,
    /// `key=value` pairs separated by commas: `t` is the timestamp and the prefix names the
    /// signatures' key (`v1=`). Stripe.
    Parameters,
}

/// How a secret becomes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretEncoding {
    /// The bytes as they are.
    Raw,
    /// The bytes are base64 of the key.
    Base64,
    /// `whsec_` and base64 of the key.
    Whsec,
}

/// A part of the signed message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessagePart {
    /// The value of `id_header`.
    Id,
    /// The timestamp as it was sent.
    Timestamp,
    /// The request method in capitals.
    Method,
    /// The full URL: `public_url`, path and query.
    Url,
    /// The raw body.
    Body,
    /// These characters (Slack's `v0`).
    Literal(String),
}

/// A timestamp's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimestampUnit {
    /// Unix seconds.
    Seconds,
    /// Unix milliseconds.
    Milliseconds,
    /// RFC 3339.
    Rfc3339,
}

/// A header that must hold a secret's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderToken {
    /// The header.
    pub name: String,
    /// Its value.
    pub secret: ResolvedSecret,
}

/// A secret's reference and what was found there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedSecret {
    /// `name/key`: a bounded label for metrics and messages.
    pub reference: String,
    /// `None` where the Secret or the key is missing.
    pub value: Option<SecretBytes>,
}

impl ResolvedSecret {
    /// The value where it can be used: present and not empty.
    #[must_use]
    pub fn usable(&self) -> Option<&SecretBytes> {
        self.value.as_ref().filter(|value| !value.is_empty())
    }
}

/// How a sender's test request is recognised; it gets 200 and reaches no destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ping {
    /// Accept an unsigned request whose type is absent or in `types`; headers and addresses must
    /// still pass.
    pub allow_unsigned: bool,
    /// The types of pings, signed ones included.
    pub types: Vec<String>,
}

/// Where an event's attributes are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fields {
    /// The event type.
    pub r#type: Option<FieldSource>,
    /// The sender's id of the event.
    pub id: Option<FieldSource>,
    /// The event's own time: RFC 3339, or Unix seconds or milliseconds.
    pub time: Option<FieldSource>,
    /// The ordering key.
    pub subject: Option<FieldSource>,
    /// The kind of sender, for the loop guard.
    pub sender: Option<FieldSource>,
}

/// A place in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldSource {
    /// A JSON pointer (RFC 6901) into the body.
    Pointer(String),
    /// A header.
    Header(String),
}

/// Bounds on what a subscription may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The largest body, in bytes.
    pub body_bytes: u64,
    /// The most that may be kept, in bytes.
    pub stored_bytes: u64,
    /// Verified, new events a second; `None` for no limit.
    pub events_per_second: Option<u32>,
    /// How many may come at once above the rate; at least 1 where there is a rate.
    pub burst: Option<u32>,
}

/// An `EventRoute`, resolved. Only subscriptions that accept it are listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Where it came from.
    pub origin: Origin,
    /// The subscriptions that it is attached to, sorted.
    pub subscriptions: Vec<ObjectKey>,
    /// Unique names.
    pub destinations: Vec<Arc<Destination>>,
    /// In the order written.
    pub rules: Vec<Rule>,
    /// For destinations that write back.
    pub loop_guard: LoopGuard,
    /// Unique names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub word_lists: Vec<WordList>,
}

/// Words that expressions look for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WordList {
    /// What expressions call it: `words.<name>`.
    pub name: String,
    /// A word a line, as [`crate::words::compact`] writes them; `None` where its source is missing.
    pub words: Option<String>,
}

/// A rule of a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Unique in its route.
    pub name: String,
    /// Event types; empty matches all.
    pub types: Vec<String>,
    /// CEL over `event`; `None` is true.
    pub when: Option<String>,
    /// What is fetched for the bodies that name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enrich: Vec<Enrich>,
    /// States that never go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<Transition>,
    /// A wait before delivering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
    /// A destination appears at most once.
    pub deliver: Vec<Deliver>,
}

/// Something that is fetched for an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrich {
    /// What bodies call it: `enriched.<name>`.
    pub name: String,
    /// A URL template over `event`; its host is written out.
    pub url: String,
    /// In capitals.
    pub method: String,
    /// Sent with each request.
    pub headers: Vec<Header>,
    /// Private ranges that it may reach, plain HTTP included.
    pub private_networks: Vec<IpNet>,
    /// The whole of a request, the wait for its turn included.
    pub timeout: Duration,
    /// How long an answer is used again; zero for not at all.
    pub cache: Duration,
    /// How long a failure is used again.
    pub cache_failures: Duration,
    /// Requests under way at once.
    pub concurrency: u32,
    /// Requests a second; `None` for no limit.
    pub rate_limit: Option<RateLimit>,
    /// What becomes of the delivery where it fails.
    pub on_failure: OnEnrichFailure,
}

/// What to do where a look-up fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnEnrichFailure {
    /// Deliver without it.
    Continue,
    /// Try again, as a delivery is.
    Retry,
    /// Give the delivery up.
    DeadLetter,
}

/// What a rule sends, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deliver {
    /// A destination of the same route.
    pub destination: String,
    /// A template, in the form that the kind of destination wants; `None` sends the event's data as
    /// it came.
    pub body: Option<JsonText>,
    /// One effect for each value of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Once>,
}

/// The loop guard of a route: for deliveries to destinations that write back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoopGuard {
    /// Suppress, or only count.
    pub mode: GuardMode,
    /// Senders whose events are never written back; compared without case.
    pub senders: Vec<String>,
    /// Recognises what this route caused itself.
    pub echo: Option<Echo>,
    /// The most receivers that an event may have passed through.
    pub max_hops: u32,
    /// A breaker for loops that nothing else sees.
    pub per_subject: Option<SubjectLimit>,
}

/// What a guard does when it finds a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuardMode {
    /// Suppress.
    Enforce,
    /// Count, and deliver all the same.
    Observe,
}

/// Two expressions that give the same text for a write-back and for the event that it causes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Echo {
    /// CEL over `event` and `request` (the rendered body).
    pub sent: String,
    /// CEL over `event`.
    pub received: String,
    /// How long a mark waits for its echo.
    pub window: Duration,
}

/// Write-backs of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectLimit {
    /// The most in a window.
    pub limit: u32,
    /// The window.
    pub window: Duration,
}
