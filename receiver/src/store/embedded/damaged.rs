//! Rows that are damaged: what they are called, and how many were found.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;

use prometheus::{IntCounter, IntCounterVec};
use serde::{Deserialize, Serialize};

use super::state::lock;
use crate::store::{History, PlanRecord};

/// A row that can't be read, and that others wait behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) enum DamagedRow {
    /// A delivery, by its key.
    Delivery(i64),
    /// A timer.
    Timer {
        /// The event that started it.
        seq: i64,
        /// The row of its scope.
        scope: i64,
        /// When that was noticed.
        at: i64,
    },
}

impl fmt::Display for DamagedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivery(key) => write!(f, "the row of the delivery {key} is damaged"),
            Self::Timer { seq, scope, .. } => {
                write!(f, "the row of the timer {scope} of event {seq} is damaged")
            }
        }
    }
}

/// Rows that were found damaged. Plans are counted once each: they are read whenever somebody asks.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) memories: IntCounter,
    pub(super) timers: IntCounter,
    plans: IntCounter,
    seen: Mutex<HashSet<u64>>,
}

/// Damaged plans that are told apart; beyond that the disk is what matters.
const DAMAGED: usize = 10_000;

impl Damaged {
    pub(super) fn new(rows: &IntCounterVec) -> Self {
        Self {
            memories: rows.with_label_values(&["memory"]),
            timers: rows.with_label_values(&["timer"]),
            plans: rows.with_label_values(&["plan"]),
            seen: Mutex::default(),
        }
    }

    pub(super) fn note<'a>(&self, plans: impl Iterator<Item = (u64, Option<&'a PlanRecord>)>) {
        for (seq, _) in plans.filter(|(_, plan)| plan.is_some_and(|plan| plan.damaged)) {
            let mut seen = lock(&self.seen);
            if seen.len() < DAMAGED && seen.insert(seq) {
                self.plans.inc();
            }
        }
    }

    pub(super) fn note_histories<'a>(&self, histories: impl IntoIterator<Item = &'a History>) {
        let plans = histories.into_iter();
        self.note(plans.map(|history| (history.event.seq, history.plan.as_ref())));
    }
}
