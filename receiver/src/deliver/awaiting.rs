//! Deliveries that wait for the configuration that planned them, where receivers share a store: the one that is
//! loaded does not have their destination, or has it as another kind.

use jiff::Timestamp;

use super::Engine;
use crate::config::Planned;
use crate::plan::Lane;
use crate::store::StoredDelivery;

/// Those that hide others at most: a lane looks past so many.
const HIDING: usize = 256;

/// What waits of a lane.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    /// How many did at the last look.
    before: usize,
    /// How many do, of this look.
    count: usize,
    /// When the first of them waits no more.
    until: Option<Timestamp>,
}

impl Awaiting {
    /// How many more deliveries to look at, so that those that wait hide nothing.
    pub(super) fn hiding(&self) -> usize {
        self.count.min(HIDING)
    }

    /// Begins a look.
    pub(super) fn look(&mut self) {
        self.before = self.count;
        self.count = 0;
        self.until = None;
    }

    /// Whether one waits; then it is noted.
    pub(super) fn takes(
        &mut self,
        engine: &Engine,
        delivery: &StoredDelivery,
        loaded: u64,
        now: Timestamp,
    ) -> bool {
        if !engine.store.is_shared() {
            // What this process planned, it planned by what it has loaded, or by one before.
            return false;
        }
        let planned = Planned {
            sequence: delivery.sequence,
            at: delivery.planned_at,
        };
        let until = planned.awaits(loaded, now);
        if let Some(until) = until {
            self.count += 1;
            self.until = self.until.into_iter().chain([until]).min();
        }
        until.is_some()
    }

    /// Ends a look; whether there are more than at the one before, so that they may have hidden others.
    pub(super) fn looked(&self, lane: &Lane) -> bool {
        if self.count > 0 && self.before == 0 {
            tracing::info!(%lane, "the destination is not in the configuration, or is of another kind: deliveries wait for the one that planned them");
        }
        self.count > self.before && self.before < HIDING
    }

    /// How many wait.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// When the first of them waits no more.
    pub(super) const fn until(&self) -> Option<Timestamp> {
        self.until
    }
}
