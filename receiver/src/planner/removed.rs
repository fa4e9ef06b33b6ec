//! Events of subscriptions that the configuration does not have any more.
//!
//! - They wait: who removed a subscription by mistake, or renames it back, loses nothing.
//! - They are seen: a warning when the planner finds that they wait, `hookswitch_events_waiting` and its
//!   age for as long as they do.
//! - They don't stay for ever: once the subscription has been gone for as long as dead letters are kept
//!   ([`ORPHANED`]), each gets a plan that sets it aside as [`Disposition::SubscriptionRemoved`], with a log
//!   line and a count in `hookswitch_events_unmatched_total`. From then on it is finished history: `explain` shows it,
//!   and the purge takes it after the retention of such.
//!
//! Since when it is gone, the store knows ([`store::Waiting::removed_since`]): it survives restarts.

use std::time::Duration;

use hookswitch_crds::key::ObjectKey;
use tokio::time::{Instant, sleep_until};

use super::{BATCH, Error, Planner, count};
use crate::event::Disposition;
use crate::janitor::ORPHANED;
use crate::route;
use crate::store;

/// Between two looks.
const EVERY: Duration = Duration::from_mins(10);
/// Before the first one: starting is busy enough.
const FIRST: Duration = Duration::from_mins(1);

/// When to look next.
#[derive(Debug)]
pub(super) struct Sweep {
    next: Instant,
    /// Those that a warning has told of.
    told: Vec<ObjectKey>,
}

impl Sweep {
    pub(super) fn new() -> Self {
        Self {
            next: Instant::now() + FIRST,
            told: Vec::new(),
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.next <= Instant::now()
    }

    /// Ends when it is time.
    pub(super) async fn due(&self) {
        sleep_until(self.next).await;
    }
}

impl Planner {
    /// Looks at every subscription that is gone and has events without a plan.
    pub(super) async fn sweep_removed(&mut self) {
        self.removed.next = Instant::now() + EVERY;
        if let Err(error) = self.try_sweep_removed().await {
            tracing::warn!(category = error.category(), %error, "events of removed subscriptions could not be looked at; will try again");
        }
    }

    async fn try_sweep_removed(&mut self) -> Result<(), Error> {
        // Without a configuration nothing is known to be removed.
        let Some(config) = self.options.config.borrow().clone() else {
            return Ok(());
        };
        let waiting = self.options.store.waiting().await?;
        let gone: Vec<store::Waiting> = waiting
            .into_iter()
            .filter(|one| !config.subscriptions.contains_key(&one.subscription))
            .collect();
        let now = self.options.clock.now();
        self.removed
            .told
            .retain(|told| gone.iter().any(|one| one.subscription == *told));
        for one in gone {
            let since = one.removed_since.unwrap_or(now);
            if now.duration_since(since).unsigned_abs() >= ORPHANED.dead_letters.to_std() {
                let events = self.set_aside(&one.subscription, config.sequence).await?;
                tracing::warn!(
                    subscription = %one.subscription, events, %since,
                    "events were never routed: their subscription was removed, and has not come back for as long as dead letters are kept"
                );
            } else if !self.removed.told.contains(&one.subscription) {
                tracing::warn!(
                    subscription = %one.subscription, events = one.events, %since,
                    "events wait for a subscription that was removed: create it again to have them routed; they are set aside when it has been gone for as long as dead letters are kept"
                );
                self.removed.told.push(one.subscription);
            }
        }
        Ok(())
    }

    /// Plans all that waits so that nothing is routed; how many.
    async fn set_aside(&self, key: &ObjectKey, sequence: u64) -> Result<usize, Error> {
        let store = &self.options.store;
        let mut set_aside = 0;
        loop {
            let (after, events) = store.unplanned(key, *BATCH.start()).await?;
            if events.is_empty() {
                return Ok(set_aside);
            }
            let why = Disposition::SubscriptionRemoved;
            let now = self.options.clock.now();
            let dispositions: Vec<_> = events.iter().map(|event| event.event.disposition).collect();
            let plans: Vec<_> = events
                .iter()
                .map(|event| route::set_aside(event.seq, why, now, sequence))
                .collect();
            let counted = count::Counts::of(&plans, &dispositions);
            set_aside += plans.len();
            store.plan(key, after, plans).await?;
            counted.add_to(&self.options.metrics, key);
        }
    }
}
