//! Where events are kept: what is durable, when, and what a crash may repeat.
//!
//! Three appends, in this order; everything else is derived from them.
//!
//! ```text
//! request ── accept ──▶ event ── plan ──▶ deliveries ── claim ──▶ (bytes leave) ── finish ──▶ outcome
//!              │                  │                       │                          │
//!              ▼                  ▼                       ▼                          ▼
//!          then the 200    decided once, for good    an attempt began        what came of it
//! ```
//!
//! Invariants, for every engine:
//! - What an operation has returned `Ok` for survives SIGKILL and loss of power.
//! - `accept` writes the event and its dedup entry as one.
//! - Plans of a subscription form one sequence in accept order; an append names the one before it
//!   and fails with [`Error::Conflict`] where that is not the last.
//! - `claim` and `finish` compare the attempt's number: of two workers one wins.
//! - A crash after `claim` and before `finish` leaves the delivery *interrupted*: it comes back from
//!   `due` with [`StoredDelivery::interrupted`] set, since its bytes may have left.
//! - Nothing pending and no dead letter within its retention is ever removed.
//! - A damaged row is set aside by itself, and said; what is damaged beyond that stops the engine.
//! - A failed sync stops the engine: all that follows is [`Error::Stopped`], until a restart has
//!   read back what is really on the disk. A full disk is [`Error::Full`], and heals by itself.
//!
//! What a person asks of it, and does to what has ended, is in [`archive`].
//!
//! No operation is a general transaction, so that both engines can hold the trait: [`embedded`] has the
//! file to itself; with [`jetstream`] several receivers share a log of the same operations, each applies
//! it to a file of its own, and what a receiver does not own (a subscription's planning, a lane) its
//! engine does not show it as work: those questions say so.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use hookswitch_crds::duration::Duration;
use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::Planned;
use crate::event::Event;
use crate::plan::{
    DeadReason, EchoMark, Firing, FrozenBody, FrozenRequest, Lane, MemoryKey, NewDelivery, Plan,
    Recalled, Scope,
};

pub mod archive;
pub mod embedded;
mod history;
pub mod jetstream;
mod timers;
mod unused;

pub use history::{
    AttemptRecord, DeliveryRecord, DeliveryState, History, LookUpRecord, PlanRecord,
};
pub use timers::{RemovedTimers, TimerRecord, TimerState, TimerStats, TimersDue};

/// A future of the store's; dropping it does not undo an append that is under way.
pub type Pending<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The subscription has used up its `storedBytes`, and nothing finished is left to remove.
    #[error(
        "subscription {subscription} holds {used} bytes of pending events, dead letters and what its rules remember, and its limits.storedBytes is {limit}"
    )]
    QuotaExceeded {
        /// Whose.
        subscription: ObjectKey,
        /// Bytes kept now.
        used: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The disk is full. Nothing was written; try again.
    #[error("the store's disk is full: {0}")]
    Full(String),
    /// The plan before this one is not the last, or an echo mark is used up: read again, plan again.
    #[error("the append is not the next in its sequence")]
    Conflict,
    /// The engine met an error after which it can't know what is durable. Restart the process.
    #[error("the store has stopped: {0}")]
    Stopped(Arc<str>),
    /// The file is damaged. It is never repaired silently.
    #[error("the store's file is damaged: {0}")]
    Corrupt(String),
    /// It can't be opened as it is: in use, not ours, newer than we are, or not readable.
    #[error("the store can't be opened: {0}")]
    Open(String),
    /// What several receivers share can't be reached, or did not answer in time: it may have been done.
    /// Ask again: what was done is not done twice.
    #[error("the log that receivers share can't be reached: {0}")]
    Unavailable(String),
    /// Reading failed; writing goes on.
    #[error("reading from the store failed: {0}")]
    Read(String),
}

impl Error {
    /// The bounded label value.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::QuotaExceeded { .. } => "quota",
            Self::Full(_) => "full",
            Self::Conflict => "conflict",
            Self::Stopped(_) => "stopped",
            Self::Corrupt(_) => "corrupt",
            Self::Open(_) => "open",
            Self::Unavailable(_) => "unavailable",
            Self::Read(_) => "read",
        }
    }
}

/// An event to be kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewEvent {
    /// The event.
    pub event: Event,
    /// SHA-256 of the raw body: the same id with another digest is another event.
    pub digest: [u8; 32],
    /// How long its id is remembered.
    pub remember_until: Timestamp,
    /// The subscription's `storedBytes`.
    pub quota: u64,
}

/// What an event counts against its subscription's `storedBytes`: its body and texts, and 128 bytes
/// for what every event has.
#[must_use]
pub fn event_bytes(event: &Event) -> u64 {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let bytes = event.body.len()
        + event.id.len()
        + event.r#type.len()
        + optional(&event.subject)
        + optional(&event.sender)
        + optional(&event.content_type);
    u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(128)
}

/// What a delivery counts against its subscription's `storedBytes`: its rendered body and address, and 128
/// bytes for what every delivery has. It never makes [`Store::plan`] fail.
#[must_use]
pub fn delivery_bytes(delivery: &NewDelivery) -> u64 {
    let own = delivery.request.as_ref().map_or(0, |request| {
        let address = request.address.as_ref().map_or(0, String::len);
        let body = match &request.body {
            FrozenBody::Rendered(body) | FrozenBody::Unrendered(body) => body.len(),
            FrozenBody::Event => 0,
        };
        address + body
    });
    u64::try_from(own).unwrap_or(u64::MAX).saturating_add(128)
}

/// What a key that a rule remembers something for counts against its subscription's `storedBytes`, until
/// it may be forgotten. It never makes [`Store::plan`] or [`Store::fire`] fail.
pub const MEMORY_BYTES: u64 = 128;

/// What became of an event that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is new, and durable.
    New {
        /// Its place in the store: grows in accept order.
        seq: u64,
    },
    /// The same id and body is durable already.
    Duplicate,
    /// The id came before with another body: kept with [`crate::event::Disposition::IdReused`], and durable.
    IdReused {
        /// Its place in the store.
        seq: u64,
    },
}

/// An event with its place.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Its place: grows in accept order over all subscriptions.
    pub seq: u64,
    /// The event.
    pub event: Event,
}

/// What the planner asks about one write-back lane before it plans an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardQuestion {
    /// The lane that would write back.
    pub lane: Lane,
    /// SHA-256 of the text of `echo.received` for the event; `None` where there is no echo guard.
    pub echo_key: Option<[u8; 32]>,
    /// When the event was accepted: a mark counts where it was alive then, however late the
    /// event is planned.
    pub at: Timestamp,
    /// The subject that the rate guard counts.
    pub subject: String,
    /// Count write-backs planned then or later. One that went to the dead letters at once was never
    /// going to be sent, and does not count.
    pub since: Timestamp,
}

/// The answer to a [`GuardQuestion`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardAnswer {
    /// Marks with that key that are alive, oldest first; at most 64. A mark has its delivery's id.
    pub marks: Vec<Uuid>,
    /// Write-backs of the subject on the lane since then.
    pub write_backs: u32,
}

/// A delivery that waits, or is being attempted.
#[derive(Debug, Clone)]
pub struct StoredDelivery {
    /// The idempotency key.
    pub id: Uuid,
    /// Its queue.
    pub lane: Lane,
    /// The rule that asked for it.
    pub rule: String,
    /// The event that it came from, body included.
    pub event: Arc<StoredEvent>,
    /// What to send.
    pub request: FrozenRequest,
    /// Attempts claimed so far.
    pub attempts: u32,
    /// When it was planned, or replayed, or retried last: `giveUpAfter` counts from then.
    pub planned_at: Timestamp,
    /// The `sequence` of the snapshot that its event was planned by.
    pub sequence: u64,
    /// When it is to be attempted next.
    pub due: Timestamp,
    /// The last attempt was claimed and never finished: its bytes may have left.
    pub interrupted: bool,
    /// An attempt before may have taken effect: it was interrupted, or ambiguous.
    pub doubtful: bool,
}

/// Deliveries of a lane that are due, and when to look again.
#[derive(Debug, Clone, Default)]
pub struct Due {
    /// Ready to be claimed, earliest due first. Deliveries that wait for an earlier one of their
    /// subject are not among them.
    pub ready: Vec<StoredDelivery>,
    /// The earliest due time after `now`; `None` where nothing waits.
    pub next: Option<Timestamp>,
    /// How many were found damaged and moved to the dead letters ([`DeadReason::Damaged`]). The
    /// store has logged each.
    pub damaged: u64,
}

/// The start of an attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claim {
    /// The delivery.
    pub id: Uuid,
    /// Attempts so far, as `due` gave it: the claim makes it one more.
    pub attempts: u32,
    /// When the attempt starts; the delivery's echo mark, where it has one, lives from here.
    pub at: Timestamp,
}

/// The end of an attempt, or of a delivery that needs none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finish {
    /// The delivery.
    pub id: Uuid,
    /// Attempts so far, the one that ends included.
    pub attempts: u32,
    /// When.
    pub at: Timestamp,
    /// What came back; `None` where nothing was sent (a removed destination).
    pub answer: Option<Answer>,
    /// What comes next.
    pub next: Next,
}

/// What came back from an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// A bounded label: `delivered`, `rate_limited`, `server_error`, `timeout`, `connect`, ...
    pub reason: String,
    /// It can't be known whether the attempt took effect.
    pub ambiguous: bool,
    /// What was said, bounded, without secrets.
    pub excerpt: Option<String>,
}

/// What comes after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// Done. Unblocks the next of its subject.
    Delivered,
    /// Attempt again then. The subject stays blocked.
    RetryAt(Timestamp),
    /// Give up. Unblocks the next of its subject.
    Dead(DeadReason),
}

/// What has come of a delivery's look-ups.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Render {
    /// The delivery.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// What was looked up, to be told afterwards.
    pub look_ups: Vec<LookUpRecord>,
    /// What becomes of it.
    pub body: Rendered,
}

/// A body after its look-ups.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Rendered {
    /// It can be sent: frozen from now on.
    Ready {
        /// The bytes.
        body: Bytes,
        /// What to leave behind before it is sent.
        echo: Option<EchoMark>,
    },
    /// The look-ups are to be tried again then.
    Again {
        /// The [`crate::plan::Unrendered`] body, as it is now.
        body: Bytes,
        /// When.
        due: Timestamp,
    },
    /// It can't be rendered, and is given up.
    Never(DeadReason),
}

/// How long to keep what is finished.
#[derive(Debug, Clone)]
pub struct Retention {
    /// For events, from when nothing of theirs is pending any more.
    pub finished: Duration,
    /// For dead letters.
    pub dead_letters: Duration,
}

/// What a purge removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Events, with their plans, deliveries and attempts.
    pub events: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// More is left to remove: call again soon.
    pub more: bool,
}

/// Events of a subscription that have no plan yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The subscription.
    pub subscription: ObjectKey,
    /// How many.
    pub events: u64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Timestamp>,
    /// Since when the configuration does not have the subscription, as purges have seen it.
    pub removed_since: Option<Timestamp>,
}

/// The state of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStats {
    /// The lane.
    pub lane: Lane,
    /// Deliveries that are neither delivered nor dead.
    pub pending: u64,
    /// When the event of the oldest of them was accepted.
    pub oldest: Option<Timestamp>,
    /// Dead letters.
    pub dead: u64,
}

/// Durable events, plans and deliveries.
pub trait Store: Send + Sync + 'static {
    /// Whether other receivers plan too, by configurations that this one may not have yet.
    fn is_shared(&self) -> bool {
        false
    }

    /// Keeps an event with its dedup entry, in one append, and returns once it is durable. A
    /// concurrent duplicate waits for the first one's commit and shares its outcome, errors included.
    /// Where there is no room, what its subscription's rules may forget goes first, then its finished
    /// history.
    ///
    /// Cancellation: the append goes on; the sender's retry then is a duplicate.
    fn accept(&self, event: NewEvent) -> Pending<'_, Accepted>;

    /// Whether `accept` would find a duplicate at that time: a rate limit is not charged for those.
    fn seen(
        &self,
        subscription: &ObjectKey,
        id: &str,
        digest: [u8; 32],
        at: Timestamp,
    ) -> Pending<'_, bool>;

    /// Subscriptions that have events without a plan.
    fn unplanned_subscriptions(&self) -> Pending<'_, Vec<ObjectKey>>;

    /// The last planned place of the subscription (0 before the first), and the next events after
    /// it in accept order, at most `limit`, and fewer where they are large: only none says that there
    /// are no more. One whose row is damaged comes as far as it can be read, with
    /// [`crate::event::Disposition::Damaged`], so that the ones behind it do not wait for ever.
    fn unplanned(
        &self,
        subscription: &ObjectKey,
        limit: usize,
    ) -> Pending<'_, (u64, Vec<StoredEvent>)>;

    /// What waits for its plan, by subscription; those with nothing that waits are left out.
    fn waiting(&self) -> Pending<'_, Vec<Waiting>>;

    /// Answers the loop guard's questions, in order.
    fn guard(&self, questions: Vec<GuardQuestion>) -> Pending<'_, Vec<GuardAnswer>>;

    /// What a subscription's rules remember, for each key in order. What counts no more may be there
    /// still.
    fn recall(
        &self,
        subscription: &ObjectKey,
        keys: Vec<MemoryKey>,
    ) -> Pending<'_, Vec<Option<Recalled>>>;

    /// Appends the plans of consecutive events, all or none, where `after` is the last planned place.
    /// Deliveries are due at their plan's `planned_at`. One without a request can't wait: it is a dead
    /// letter, [`DeadReason::RuleError`] where it names no other reason.
    ///
    /// Errors: [`Error::Conflict`] where `after` is stale, an echo mark is used up, or a timer that is
    /// to be cancelled does not wait.
    fn plan(&self, subscription: &ObjectKey, after: u64, plans: Vec<Plan>) -> Pending<'_, ()>;

    /// Timers of the subscription that are due at `now` and began at `since` or later, at most
    /// `limit`. What waits for one whose row is damaged goes to the dead letters.
    fn timers_due(
        &self,
        subscription: &ObjectKey,
        now: Timestamp,
        since: Timestamp,
        limit: usize,
    ) -> Pending<'_, TimersDue>;

    /// Fires timers, all or none, where `after` is the last planned place: what waits for them becomes
    /// what the firings say, and is due at their `at`.
    ///
    /// Errors: [`Error::Conflict`] where `after` is stale, or one of them does not wait.
    fn fire(&self, subscription: &ObjectKey, after: u64, firings: Vec<Firing>) -> Pending<'_, ()>;

    /// What waits, for each part of a rule that has timers.
    fn timers(&self) -> Pending<'_, Vec<TimerStats>>;

    /// What planned the last of a rule's timers that wait. Asked only where the store [is
    /// shared](Self::is_shared).
    fn timers_planned(&self, _: &ObjectKey, _: &Scope) -> Pending<'_, Option<Planned>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Removes timers of a rule that is gone, with their deliveries, a bounded piece at a time.
    fn remove_timers(
        &self,
        subscription: &ObjectKey,
        scope: &Scope,
        at: Timestamp,
    ) -> Pending<'_, RemovedTimers>;

    /// Deliveries of the lane that are due at `now`, at most `limit`, claimed ones not among them.
    /// One whose row is damaged goes to the dead letters, and its subject's next one may go.
    fn due(&self, lane: &Lane, now: Timestamp, limit: usize) -> Pending<'_, Due>;

    /// Deliveries of the lane whose look-ups are due at `now`, at most `limit`, with
    /// [`FrozenBody::Unrendered`]. They count as pending, and what comes after one in its subject
    /// waits for it.
    fn unrendered(&self, lane: &Lane, now: Timestamp, limit: usize) -> Pending<'_, Due>;

    /// Makes durable what has come of look-ups; for each, whether the delivery was still unrendered. One
    /// that is ready is due at once, in its subject's order.
    fn render(&self, renders: Vec<Render>) -> Pending<'_, Vec<bool>>;

    /// Makes the start of attempts durable; for each claim, whether it was won. Echo marks are
    /// durable with it.
    fn claim(&self, claims: Vec<Claim>) -> Pending<'_, Vec<bool>>;

    /// Makes the end of attempts durable; for each, whether its `attempts` was still current. An echo
    /// mark is removed where the destination definitely refused.
    fn finish(&self, finishes: Vec<Finish>) -> Pending<'_, Vec<bool>>;

    /// The histories of events after `after` in accept order, at most `limit`.
    fn scan(&self, after: u64, limit: usize) -> Pending<'_, Vec<History>>;

    /// One event's history.
    fn history(&self, uid: Uuid) -> Pending<'_, Option<History>>;

    /// The state of every lane that has anything in it.
    fn lanes(&self) -> Pending<'_, Vec<LaneStats>>;

    /// Removes what is finished and past its retention, a bounded piece at a time. Subscriptions
    /// that are not listed are gone from the configuration: they are kept by `default`, and the time
    /// is noted since when ([`Waiting::removed_since`]).
    fn purge(
        &self,
        now: Timestamp,
        retentions: Vec<(ObjectKey, Retention)>,
        default: Retention,
    ) -> Pending<'_, Purged>;

    /// Marks a batch of events as being planned, so that a crash while planning is noticed at the
    /// next start. Need not be durable against loss of power, only against the process's end.
    /// An empty slice clears the mark.
    ///
    /// # Errors
    /// Where the mark can't be written.
    fn planning(&self, seqs: &[u64]) -> Result<(), Error>;

    /// Events whose planning the process did not survive, with how many times; to be planned one by
    /// one, and quarantined at three.
    fn suspects(&self) -> Vec<(u64, u32)>;

    /// Whether an event would be kept now.
    ///
    /// # Errors
    /// - [`Error::Stopped`]: restart the process; `/livez` tells.
    /// - [`Error::Full`]: the last append met a full disk. A later one finds out when it heals.
    fn health(&self) -> Result<(), Error>;

    /// Syncs and releases the store. What comes later is [`Error::Stopped`].
    fn close(&self) -> Pending<'_, ()>;
}
