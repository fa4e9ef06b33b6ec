//! What a store tells about timers.

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use uuid::Uuid;

use crate::plan::{Scope, StoredTimer};

/// Timers of a subscription that are due, and when to look again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TimersDue {
    /// Earliest due first.
    pub timers: Vec<StoredTimer>,
    /// The earliest due time after `now`; `None` where nothing waits for later.
    pub next: Option<Timestamp>,
}

/// Timers that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerStats {
    /// Whose.
    pub subscription: ObjectKey,
    /// Which part of which rule.
    pub scope: Scope,
    /// How many.
    pub pending: u64,
}

/// What became of the timers of a rule that is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemovedTimers {
    /// Removed now.
    pub removed: u64,
    /// More may be left: call again.
    pub more: bool,
}

/// What is kept of a timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerRecord {
    /// The route.
    pub route: ObjectKey,
    /// The rule.
    pub rule: String,
    /// When it began.
    pub at: Timestamp,
    /// When it was, or is, to fire.
    pub due: Timestamp,
    /// What became of it.
    pub state: TimerState,
}

/// What became of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerState {
    /// It waits.
    Waits,
    /// It fired; late, where that is more than a minute after it was due.
    Fired {
        /// When.
        at: Timestamp,
    },
    /// A later event cancelled it.
    Cancelled {
        /// When that one was planned.
        at: Timestamp,
        /// What we call it; `None` where it is not kept any more.
        by: Option<Uuid>,
    },
    /// Its rule was removed, or changed to wait for something else.
    Removed {
        /// When that was noticed.
        at: Timestamp,
    },
}
