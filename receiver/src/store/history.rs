//! What is told of an event afterwards: its plan, its deliveries and each of their attempts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Answer, StoredEvent, TimerRecord};
use crate::plan::{DeadReason, FrozenRequest, Lane, Suppression, Verdict};

/// All that is known about an event.
#[derive(Debug, Clone)]
pub struct History {
    /// The event.
    pub event: StoredEvent,
    /// `None` until it is planned.
    pub plan: Option<PlanRecord>,
    /// Its deliveries; those of a timer that was cancelled are forgotten.
    pub deliveries: Vec<DeliveryRecord>,
    /// The timers that it started.
    pub timers: Vec<TimerRecord>,
}

/// What is kept of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanRecord {
    /// The snapshot's sequence.
    pub sequence: u64,
    /// When.
    pub planned_at: Timestamp,
    /// Each rule's verdict.
    pub verdicts: Vec<Verdict>,
    /// What the loop guard found, when the event was planned and when its timers fired.
    pub suppressions: Vec<Suppression>,
    /// Its row is damaged: it is told as far as it can be read.
    pub damaged: bool,
}

/// What is kept of a delivery.
#[derive(Debug, Clone)]
pub struct DeliveryRecord {
    /// The idempotency key.
    pub id: Uuid,
    /// Its queue.
    pub lane: Lane,
    /// The rule.
    pub rule: String,
    /// What every attempt sends; `None` where it could not be rendered. While its look-ups are to be made
    /// its body is [`crate::plan::FrozenBody::Unrendered`].
    pub request: Option<FrozenRequest>,
    /// What came of its look-ups, the last time they were made.
    pub look_ups: Vec<LookUpRecord>,
    /// When it was planned, or replayed, or retried last.
    pub planned_at: Timestamp,
    /// Where it stands.
    pub state: DeliveryState,
    /// Each attempt, oldest first; the first 5 and the last 20 of many.
    pub attempts: Vec<AttemptRecord>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waits until it is due.
    Pending {
        /// When.
        due: Timestamp,
    },
    /// Waits for its timer.
    Waits {
        /// When that is due.
        due: Timestamp,
    },
    /// Waits for its look-ups, to be rendered.
    Unrendered {
        /// When they are tried next.
        due: Timestamp,
    },
    /// Waits for an earlier one of its subject.
    Blocked,
    /// Being attempted.
    Claimed,
    /// Done.
    Delivered,
    /// Given up.
    Dead(DeadReason),
}

/// What came of a look-up of a delivery's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookUpRecord {
    /// Its name in the rule.
    pub name: String,
    /// Why it failed, as a bounded label; `None` where it has found something.
    pub failed: Option<String>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// Counts from 1.
    pub number: u32,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// When it ended; `None` where it was interrupted or goes on.
    pub finished_at: Option<Timestamp>,
    /// What came back.
    pub answer: Option<Answer>,
}
