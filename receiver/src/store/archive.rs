//! What a person asks of the store, and may do to what has ended: lists, dead letters, replay.
//!
//! None of it is on the way of an event. All of it goes in pages, so that neither a question nor a
//! change holds anything up for long, however much there is: an answer tells how far it came, and
//! the next question begins there.
//!
//! Invariants, for every engine:
//! - A change names what it was made for: a dead letter by its attempts, a delivery of a replay by its
//!   id. Made twice it is made once.
//! - A retried dead letter keeps its key and its bytes, and its place in its subject's order: it goes
//!   before what was accepted later and still waits.
//! - What is kept for an event is kept until nothing of it is pending again.

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AttemptRecord, Pending, PlanRecord, Store};
use crate::event::Disposition;
use crate::plan::{DeadReason, Lane, NewDelivery, Outcome, Remember};

/// Events that one page goes through at most: some milliseconds of a thread that reads.
pub const EXAMINED: usize = 2000;

/// Which events. What is `None` matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Where it came in.
    pub subscription: Option<ObjectKey>,
    /// The sender's id.
    pub id: Option<String>,
    /// The event type.
    pub r#type: Option<String>,
    /// The ordering key.
    pub subject: Option<String>,
    /// Accepted then or later.
    pub since: Option<Timestamp>,
    /// Accepted before then.
    pub until: Option<Timestamp>,
    /// A verdict that one of its rules has.
    pub verdict: VerdictQuery,
    /// It has a delivery in that state.
    pub state: Option<Stage>,
}

/// Which verdicts: one and the same verdict must match all that is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerdictQuery {
    /// The route.
    pub route: Option<ObjectKey>,
    /// The rule.
    pub rule: Option<String>,
    /// The decision.
    pub outcome: Option<Outcome>,
    /// Rules that no plan has a verdict of where they do not name the event's type. One of them
    /// matches as well.
    pub unnamed: Vec<Unnamed>,
}

/// A rule that names types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnamed {
    /// The subscriptions whose events it is asked of.
    pub subscriptions: Vec<ObjectKey>,
    /// The types.
    pub types: Vec<String>,
    /// The snapshot's sequence since which it is so.
    pub since: u64,
}

impl Unnamed {
    fn matches(&self, head: &EventHead, plan: &PlanRecord) -> bool {
        self.since <= plan.sequence
            && self.subscriptions.contains(&head.subscription)
            && !self.types.contains(&head.r#type)
    }
}

impl VerdictQuery {
    /// True where all verdicts match, and those without any too.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }

    /// Whether one of the plan's verdicts matches, or that a rule does not name the event's type.
    #[must_use]
    pub fn matches(&self, head: &EventHead, plan: Option<&PlanRecord>) -> bool {
        self.is_any()
            || plan.is_some_and(|plan| {
                let mut verdicts = plan.verdicts.iter();
                let routed = head.disposition == Disposition::Route;
                verdicts.any(|verdict| {
                    self.route.as_ref().is_none_or(|it| *it == verdict.route)
                        && self.rule.as_ref().is_none_or(|it| *it == verdict.rule)
                        && self.outcome.is_none_or(|it| it == verdict.outcome)
                }) || (routed && self.unnamed.iter().any(|rule| rule.matches(head, plan)))
            })
    }
}

/// How far a delivery has come, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Neither delivered nor dead.
    Pending,
    /// Done.
    Delivered,
    /// Given up.
    Dead,
}

/// Where a page of events begins, and which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Oldest first, after this place; 0 begins with the oldest.
    After(u64),
    /// Newest first, before this place; [`u64::MAX`] begins with the newest.
    Before(u64),
}

/// A page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// What was found.
    pub found: Vec<T>,
    /// The last place that was looked at: the next page begins there. Where nothing was looked at it
    /// is where this one began.
    pub reached: u64,
    /// There may be more beyond.
    pub more: bool,
}

/// An event without its body.
#[derive(Debug, Clone, PartialEq)]
pub struct EventHead {
    /// Its place.
    pub seq: u64,
    /// What we call it.
    pub uid: Uuid,
    /// Where it came in.
    pub subscription: ObjectKey,
    /// The sender's id.
    pub id: String,
    /// The event type.
    pub r#type: String,
    /// When it was received.
    pub accepted_at: Timestamp,
    /// The ordering key.
    pub subject: Option<String>,
    /// The kind of sender.
    pub sender: Option<String>,
    /// Whether it is routed.
    pub disposition: Disposition,
    /// Bytes of its body.
    pub bytes: u64,
}

/// An event in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct EventSummary {
    /// The event.
    pub head: EventHead,
    /// `None` until it is planned.
    pub plan: Option<PlanRecord>,
    /// Deliveries that are neither delivered nor dead.
    pub pending: u64,
    /// Deliveries that are done.
    pub delivered: u64,
    /// Dead letters.
    pub dead: u64,
}

/// Which dead letters. What is `None` matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadQuery {
    /// These, and none else.
    pub ids: Option<Vec<Uuid>>,
    /// Where their events came in.
    pub subscription: Option<ObjectKey>,
    /// The event, by what we call it.
    pub event: Option<Uuid>,
    /// The event type.
    pub r#type: Option<String>,
    /// The route.
    pub route: Option<ObjectKey>,
    /// The destination's name.
    pub destination: Option<String>,
    /// The rule.
    pub rule: Option<String>,
    /// Why.
    pub reason: Option<DeadReason>,
    /// Given up then or later.
    pub since: Option<Timestamp>,
    /// Given up before then.
    pub until: Option<Timestamp>,
}

/// A dead letter without its body.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Its place: grows in the order in which events were accepted.
    pub place: u64,
    /// The event that it came from.
    pub event: EventHead,
    /// The idempotency key.
    pub id: Uuid,
    /// Its queue.
    pub lane: Lane,
    /// The rule that asked for it.
    pub rule: String,
    /// Why it was given up.
    pub reason: DeadReason,
    /// When.
    pub ended_at: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
    /// False: it could not be rendered, so there is nothing to send.
    pub rendered: bool,
    /// The last attempt.
    pub last: Option<AttemptRecord>,
}

/// A change of one dead letter, where it is one and has had so many attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadChange {
    /// The delivery.
    pub id: Uuid,
    /// Attempts that it has had.
    pub attempts: u32,
    /// When.
    pub at: Timestamp,
}

/// Deliveries that an event is to have besides those that it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// The event.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Each with a request, none dead.
    pub deliveries: Vec<NewDelivery>,
    /// What `once` remembers of those that are made. Where it remembers it already, of another event,
    /// the delivery is not made.
    pub claims: Vec<Remember>,
}

/// What a person asks of a store.
pub trait Archive: Store {
    /// Events that match, at most `limit`, in the order of `from`. A page goes through [`EXAMINED`]
    /// events at most, so that it may be empty with more to come.
    ///
    /// Times are looked for around where accept order has them: an event that was accepted while the
    /// clock was wrong by more than an hour may be left out of a question about times.
    fn events(
        &self,
        query: EventQuery,
        from: From,
        limit: usize,
    ) -> Pending<'_, Page<EventSummary>>;

    /// Dead letters after a place that match, in accept order, at most `limit`.
    fn dead_letters(
        &self,
        query: DeadQuery,
        after: u64,
        limit: usize,
    ) -> Pending<'_, Page<DeadLetter>>;

    /// Lets dead letters be attempted again from `at`, with the bytes and the key that they have; for
    /// each, whether it was dead with so many attempts and has bytes to send. `giveUpAfter` counts
    /// anew.
    fn retry(&self, changes: Vec<DeadChange>) -> Pending<'_, Vec<bool>>;

    /// Removes dead letters; for each, whether it was dead with so many attempts.
    fn discard(&self, changes: Vec<DeadChange>) -> Pending<'_, Vec<bool>>;

    /// Gives events deliveries that they lack; for each event, how many. A delivery whose id the event
    /// has already is passed over; but for a dead letter that could not be rendered, which it
    /// replaces. An event that is gone, or has no plan yet, gets none.
    fn replay(&self, replays: Vec<Replay>) -> Pending<'_, Vec<u64>>;
}
