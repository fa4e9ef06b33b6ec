//! An event: one accepted request, with the attributes that its subscription's `fields` name.

use bytes::Bytes;
use hookswitch_crds::key::ObjectKey;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The `CloudEvents` type of an event whose sender gives none: the attribute can't be left out.
pub const UNTYPED: &str = "dev.hookswitch.untyped";

/// An accepted request. Its body is the raw bytes that were verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Given by us at accept (UUID v7): what `explain` takes and delivery ids derive from.
    pub uid: Uuid,
    /// Where it came in.
    pub subscription: ObjectKey,
    /// The sender's id, or the hex SHA-256 of the body where the sender gives none.
    pub id: String,
    /// The event type; empty where the sender gives none.
    pub r#type: String,
    /// The event's own time, where it gives one.
    pub time: Option<Timestamp>,
    /// When it was received, by our clock.
    pub accepted_at: Timestamp,
    /// The ordering key.
    pub subject: Option<String>,
    /// The kind of sender, for the loop guard.
    pub sender: Option<String>,
    /// How many Hookswitch receivers it has passed through already (`X-Hookswitch-Hops`).
    pub hops: u32,
    /// The `Content-Type` that it came with, where that is no longer than an attribute may be.
    pub content_type: Option<String>,
    /// Whether it is to be routed, and if not, why not.
    pub disposition: Disposition,
    /// The raw body.
    pub body: Bytes,
}

/// How long after it happened an event may be accepted so that its own time is taken for true.
pub const LATEST: SignedDuration = SignedDuration::from_hours(24);
/// How far a sender's clock may be ahead of ours.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

impl Event {
    /// When what it tells of happened: its own time where that is plausible, else when it was accepted.
    #[must_use]
    pub fn occurred_at(&self) -> Timestamp {
        let plausible = |time: &Timestamp| {
            let age = self.accepted_at.duration_since(*time);
            age <= LATEST && age >= -AHEAD
        };
        self.time.filter(plausible).unwrap_or(self.accepted_at)
    }

    /// The `source` of `CloudEvents` and of expressions: `/namespace/name` of the subscription, a URI
    /// reference that together with `id` names the event.
    #[must_use]
    pub fn source(&self) -> String {
        format!("/{}", self.subscription)
    }

    /// The `type` of `CloudEvents`: its own, or [`UNTYPED`].
    #[must_use]
    pub fn cloud_event_type(&self) -> &str {
        if self.r#type.is_empty() {
            UNTYPED
        } else {
            &self.r#type
        }
    }
}

/// Whether an event is routed. What is not routed is kept all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Disposition {
    /// To be routed.
    Route,
    /// A signed test event of the sender.
    Ping,
    /// The body is not JSON.
    Unparseable,
    /// The subscription's `types` do not list its type.
    TypeNotAccepted,
    /// The same id came before with another body.
    IdReused,
    /// Planning it crashed the process three times.
    Quarantined,
    /// What the store holds of it is not what was accepted: its row is damaged.
    Damaged,
    /// Its subscription is gone for as long as dead letters are kept.
    SubscriptionRemoved,
}

impl Disposition {
    /// The bounded label value for `events_unmatched_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Ping => "ping",
            Self::Unparseable => "unparseable",
            Self::TypeNotAccepted => "type_not_accepted",
            Self::IdReused => "id_reused",
            Self::Quarantined => "quarantined",
            Self::Damaged => "damaged",
            Self::SubscriptionRemoved => "subscription_removed",
        }
    }
}
