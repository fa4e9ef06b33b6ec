//! The plan of an event: what routing decided, once. Recovery re-applies plans and never routes an
//! event again, so no event is handled half by one configuration and half by the next.

use std::fmt;

use bytes::Bytes;
use hookswitch_crds::duration::Duration;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{DestinationKind, JsonText, OnEnrichFailure, Redact};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::Disposition;
use crate::redact::Hidden;

mod memory;
mod timer;

pub use memory::{Memory, MemoryKey, Part, Recalled, Remember, Scope, WaitState};
pub use timer::{Fate, Firing, NewTimer, OnceTerms, StoredTimer, TimerId, WaitingDelivery};

/// A queue of deliveries: one destination of one route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lane {
    /// The route.
    pub route: ObjectKey,
    /// The destination's name in it.
    pub destination: String,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.route, self.destination)
    }
}

/// What routing decided about one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The event, by its place in the store.
    pub seq: u64,
    /// The `sequence` of the snapshot that decided.
    pub sequence: u64,
    /// When.
    pub planned_at: Timestamp,
    /// One for each rule that the event's type concerns, of each attached route; none for an event that
    /// is not routed. What has none did not name the type: see [`crate::route::why::unnamed`].
    pub verdicts: Vec<Verdict>,
    /// What the loop guard found.
    pub suppressions: Vec<Suppression>,
    /// What is to be delivered, and what went to the dead letters at once.
    pub deliveries: Vec<NewDelivery>,
    /// Echo marks that this event used up; each one suppresses one event.
    pub marks_consumed: Vec<Uuid>,
    /// What its rules remember from now on.
    pub remember: Vec<Remember>,
    /// Timers that it starts.
    pub timers: Vec<NewTimer>,
    /// Timers that it cancels: their deliveries are forgotten.
    pub cancelled: Vec<TimerId>,
    /// Why the event is not routed after all, where it is not; the event is kept with it.
    pub set_aside: Option<Disposition>,
}

/// Whether a rule fired, and why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The route.
    pub route: ObjectKey,
    /// The rule.
    pub rule: String,
    /// The decision.
    pub outcome: Outcome,
    /// What was missing, or the error; without the event's text.
    pub detail: Option<String>,
}

/// A rule's decision about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// `types` and `when` hold.
    Fired,
    /// The event's type is not in `types`.
    TypeNotMatched,
    /// `when` is false.
    WhenFalse,
    /// `when` or a body names a field that the event does not have.
    MissingField,
    /// An expression failed; the rule's deliveries went to the dead letters.
    Error,
    /// It holds, and `once` says that all its effects have been had for the key.
    AlreadyDone,
    /// It holds, and `transition` says that it would move the key's state back.
    WouldGoBack,
    /// It holds, and its deliveries wait as `after` says.
    Waits,
    /// It holds, and a timer of the key waits already.
    WaitsAlready,
    /// It holds, and the key's timer has fired and was not cancelled since.
    AlreadyFired,
    /// It holds, and the wait was cancelled by what happened after the event and came before it.
    CancelledBefore,
}

impl Outcome {
    /// The bounded label value for `rule_verdicts_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::TypeNotMatched => "type_not_matched",
            Self::WhenFalse => "when_false",
            Self::MissingField => "missing_field",
            Self::Error => "error",
            Self::AlreadyDone => "already_done",
            Self::WouldGoBack => "would_go_back",
            Self::Waits => "waits",
            Self::WaitsAlready => "waits_already",
            Self::AlreadyFired => "already_fired",
            Self::CancelledBefore => "cancelled_before",
        }
    }

    /// Whether the rule took the event, whatever came of it.
    #[must_use]
    pub const fn took(self) -> bool {
        !matches!(
            self,
            Self::TypeNotMatched | Self::WhenFalse | Self::MissingField
        )
    }
}

/// A delivery that the loop guard stopped, or in `Observe` mode would have stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suppression {
    /// Where it would have gone.
    pub lane: Lane,
    /// The rule.
    pub rule: String,
    /// The guard that found the loop.
    pub guard: Guard,
    /// False in `Observe` mode: it was delivered all the same.
    pub enforced: bool,
}

/// The four guards against A→B→A loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Guard {
    /// The event's sender is on the list.
    Sender,
    /// We caused the event ourselves.
    Echo,
    /// The event went through too many receivers.
    Hops,
    /// Too many write-backs for the subject.
    Rate,
}

impl Guard {
    /// The bounded label value for `loop_suppressed_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Echo => "echo",
            Self::Hops => "hops",
            Self::Rate => "rate",
        }
    }
}

/// A delivery as it is planned. All of it is frozen: every attempt sends the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewDelivery {
    /// Deterministic, from event, route, rule and destination: the idempotency key.
    pub id: Uuid,
    /// The queue.
    pub lane: Lane,
    /// The rule that asked for it.
    pub rule: String,
    /// `None` for a dead letter whose body could not be rendered.
    pub request: Option<FrozenRequest>,
    /// Deliveries of the same lane, subscription and subject go in accept order where this is set.
    pub ordered_by: Option<String>,
    /// What to leave behind before the request is sent.
    pub echo: Option<EchoMark>,
    /// Set for a write-back: counted against the subject's limit.
    pub write_back: Option<WriteBack>,
    /// Set where it goes to the dead letters: at once, or when its timer fires.
    pub dead: Option<DeadReason>,
    /// Set where it waits for the rule's timer, which is due then.
    pub waits_until: Option<Timestamp>,
}

/// What every attempt sends. Never holds a secret: those are the current snapshot's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrozenRequest {
    /// The kind of destination that it was rendered for.
    pub kind: DestinationKind,
    /// The HTTP method.
    pub method: String,
    /// The `Content-Type`.
    pub content_type: String,
    /// CloudEvents binary mode: send the event's attributes as `ce-` headers.
    pub cloud_event_headers: bool,
    /// The part of the address that depends on the event; see
    /// [`hookswitch_crds::snapshot::Destination::address`].
    pub address: Option<String>,
    /// Attributes of the event that the destination must not see.
    pub hidden: Hidden,
    /// The body.
    pub body: FrozenBody,
}

/// A frozen body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FrozenBody {
    /// The event's own body, which is kept as long as a delivery needs it.
    Event,
    /// Rendered from a template.
    Rendered(Bytes),
    /// An [`Unrendered`] one as JSON: it is rendered once its look-ups have ended, and never sent as
    /// it is.
    Unrendered(Bytes),
}

/// A body whose look-ups are still to be made. All that it takes but secrets and word lists is frozen
/// with the plan, so that an edit of the route changes nothing of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unrendered {
    /// The template.
    pub body: JsonText,
    /// Put into a whole `CloudEvents` envelope.
    pub enveloped: bool,
    /// The look-ups that the template names.
    pub look_ups: Vec<LookUp>,
    /// What to leave behind before it is sent, where it is a write-back under the echo guard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<UnrenderedEcho>,
    /// What the destination must not see, of the event and of what is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redact: Option<Redact>,
    /// How often its look-ups have been tried in vain.
    pub tries: u32,
}

/// A look-up of a body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookUp {
    /// Its name in the rule.
    pub name: String,
    /// What is asked for; `None` where the event has no value for the URL: it can only fail.
    pub url: Option<String>,
    /// What a failure does.
    pub on_failure: OnEnrichFailure,
}

/// `loopGuard.echo.sent` of a body that is not rendered yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnrenderedEcho {
    /// The expression.
    pub sent: String,
    /// How long the mark waits.
    pub window: Duration,
}

/// Left behind before a write-back is sent, so that the event that it causes is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchoMark {
    /// SHA-256 of the text of `echo.sent`.
    pub key: [u8; 32],
    /// How long it waits, from the claim.
    pub window: Duration,
}

/// What the rate guard counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteBack {
    /// The event's subject; events without one share the empty subject.
    pub subject: String,
    /// How long it counts.
    pub window: Duration,
}

/// Why a delivery is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeadReason {
    /// The destination refused it, and would again.
    Refused,
    /// `giveUpAfter` passed.
    GaveUp,
    /// It can't be known whether an attempt took effect, and `onAmbiguous` is `DeadLetter`.
    Ambiguous,
    /// The destination is gone, or changed its kind.
    DestinationRemoved,
    /// An expression of the rule failed.
    RuleError,
    /// A look-up of its body failed, and `onFailure` lets it not go on without.
    LookUpFailed,
    /// The loop guard's `hops`.
    LoopHops,
    /// The loop guard's `rate`.
    LoopRate,
    /// What the store holds of it is not what was planned: its row is damaged.
    Damaged,
}

impl DeadReason {
    /// The bounded label value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::GaveUp => "gave_up",
            Self::Ambiguous => "ambiguous",
            Self::DestinationRemoved => "destination_removed",
            Self::RuleError => "rule_error",
            Self::LookUpFailed => "look_up_failed",
            Self::LoopHops => "loop_hops",
            Self::LoopRate => "loop_rate",
            Self::Damaged => "damaged",
        }
    }
}
