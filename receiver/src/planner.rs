//! The planner: the one task that decides what each accepted event becomes.
//!
//! ```text
//! accepted ─┐                                    ┌─ rules, bodies (a blocking thread)
//! config   ─┼─▶ queue ─▶ one subscription's batch┼─ loop guard (the store's answers, the overlay)
//! retries  ─┘   ▲ round robin            │       └─ store.plan ─▶ lanes are woken
//!               └──── more is left ◀─────┘
//! ```
//!
//! Invariants:
//! - A subscription's events are planned in accept order, each once; a plan is never made again.
//! - A batch is one append of some events: as many as are decided in some milliseconds. Then it is the
//!   next subscription's turn: a flood in one never holds another up for longer than a batch.
//! - An error concerns the subscription that it came up in: that one waits, the others go on.
//! - A suspended subscription's events wait until it is resumed. Those of a subscription that the
//!   configuration does not have wait until it comes back, and are set aside when it has not for as
//!   long as dead letters are kept: see `removed`.
//! - Events whose planning the process did not survive are planned one by one, and given up for
//!   [`QUARANTINE_AFTER`] tries: kept, marked as quarantined, never routed.
//!
//! - Timers of a subscription fire after its batch, once nothing is left to plan that was accepted
//!   before they were due: see `timers`.
//!
//! Rules and templates are CPU work of up to some milliseconds an event, so they run on tokio's
//! blocking threads, one batch at a time: what accepts and delivers keeps its threads.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use hookswitch_crds::key::ObjectKey;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Config, Follow, Subscription};
use crate::event::Disposition;
use crate::metrics::Metrics;
use crate::plan::{Fate, Firing, Lane, MemoryKey, Plan, StoredTimer};
use crate::route::{self, Draft, Overlay};
use crate::store::{self, GuardAnswer, Store, StoredEvent};
use crate::wake::Wake;

mod count;
mod queue;
mod removed;
mod timers;

#[cfg(test)]
mod tests;

use queue::Queue;
use removed::Sweep;
use timers::Timers;

/// Events of one append: the fewest, where deciding them takes long or it is another subscription's turn,
/// and the most where one has many events that are decided fast.
const BATCH: RangeInclusive<usize> = 64..=256;
/// How long deciding a batch should take where it could have more than the fewest events.
const PACE: Duration = Duration::from_millis(5);
/// How often planning an event may end the process.
pub const QUARANTINE_AFTER: u32 = 3;
/// How often a batch is read again at once after a conflict, before it waits like any error.
const CONFLICTS: u32 = 3;

/// What the planner works with.
#[derive(Clone)]
pub struct Options {
    /// Where events come from and plans go.
    pub store: Arc<dyn Store>,
    /// What to plan by. Each batch keeps the one that it began with.
    pub config: Follow,
    /// What is counted.
    pub metrics: Metrics,
    /// The time of plans.
    pub clock: Clock,
    /// Subscriptions that have new events.
    pub accepted: Wake<ObjectKey>,
    /// Lanes that have new deliveries.
    pub lanes: Wake<Lane>,
    /// Told when other subscriptions may be this planner's.
    pub moved: Arc<Notify>,
    /// How long after a start, or a jump of the clock, timers that began before it are held.
    pub timer_grace: std::time::Duration,
    /// Ends the task.
    pub shutdown: CancellationToken,
}

/// Why a batch was not planned.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The events are suspects from now on.
    #[error("planning panicked")]
    Panicked,
}

impl Error {
    const fn category(&self) -> &'static str {
        match self {
            Self::Store(error) => error.category(),
            Self::Panicked => "panicked",
        }
    }
}

/// Plans until `shutdown`. A batch that is being planned is finished first.
///
/// Cancellation: dropping the future loses nothing; what was not appended is planned at the next start.
pub async fn run(options: Options) {
    let timers = Timers::starting_at(options.clock.now(), options.timer_grace);
    let suspects = options.store.suspects().into_iter().collect();
    let mut planner = Planner {
        options,
        suspects,
        queue: Queue::default(),
        pace: None,
        timers,
        removed: Sweep::new(),
    };
    planner.options.config.mark_changed();
    while !planner.options.shutdown.is_cancelled() {
        planner.gather().await;
        match planner.queue.next() {
            Some(subscription) => planner.turn(subscription).await,
            None if planner.removed.is_due() => planner.sweep_removed().await,
            None => planner.wait().await,
        }
    }
}

struct Planner {
    options: Options,
    /// Events whose planning the process did not survive, with how many times.
    suspects: HashMap<u64, u32>,
    queue: Queue,
    /// The subscription of the last batch, and how many events its next one may have.
    pace: Option<(ObjectKey, usize)>,
    timers: Timers,
    /// When to look for events of removed subscriptions.
    removed: Sweep,
}

impl Planner {
    /// Puts into the queue what there is to do, without waiting for more.
    async fn gather(&mut self) {
        if let Some(subscriptions) = self.options.accepted.take().now_or_never() {
            self.queue.extend(subscriptions);
        }
        if self.options.config.has_changed().unwrap_or(false) {
            self.options.config.mark_unchanged();
            self.queue.look_for_all();
            self.timers.look_for_all();
        }
        self.sweep_timers().await;
        let ripe = self.timers.ripen(self.options.clock.now());
        self.queue.extend(ripe);
        if self.queue.looks_for_all() {
            match self.options.store.unplanned_subscriptions().await {
                Ok(subscriptions) => self.queue.found_all(subscriptions),
                Err(error) => {
                    tracing::warn!(category = error.category(), %error, "can't look for events to plan; will try again");
                    self.queue.all_failed();
                }
            }
        }
    }

    /// Waits for something to do.
    async fn wait(&mut self) {
        tokio::select! {
            () = self.options.shutdown.cancelled() => {}
            subscriptions = self.options.accepted.take() => self.queue.extend(subscriptions),
            Ok(()) = self.options.config.changed() => {
                self.queue.look_for_all();
                self.timers.look_for_all();
            }
            () = self.options.moved.notified() => {
                self.queue.look_for_all();
                self.timers.look_for_all();
            }
            () = self.timers.wait(self.options.clock.now()) => {}
            () = self.queue.retry_due() => {}
            () = self.removed.due() => {}
        }
    }

    /// One batch of one subscription.
    async fn turn(&mut self, key: ObjectKey) {
        let config = self.options.config.borrow().clone().unwrap_or_default();
        let subscription = match config.subscriptions.get(&key) {
            Some(subscription) if !subscription.spec.suspend => Arc::clone(subscription),
            // It is looked for again when the configuration changes.
            _ => {
                self.timers.forget(&key);
                return self.queue.forget(&key);
            }
        };
        match self.work(&config, &subscription).await {
            Ok(more) => {
                self.queue.forget(&key);
                if more {
                    self.queue.extend([key]);
                }
            }
            Err(error) => {
                tracing::warn!(
                    subscription = %key,
                    category = error.category(),
                    %error,
                    "events wait to be planned; will try again"
                );
                self.queue.failed(key);
            }
        }
    }

    /// Plans a batch, and fires the timers that this has made ripe; whether there may be more.
    async fn work(
        &mut self,
        config: &Config,
        subscription: &Arc<Subscription>,
    ) -> Result<bool, Error> {
        let more = self.batch(config, subscription).await?;
        let fires = self.fire(subscription).await?;
        Ok(more || fires)
    }

    /// Plans the next events of a subscription in one append; whether there may be more.
    async fn batch(
        &mut self,
        config: &Config,
        subscription: &Arc<Subscription>,
    ) -> Result<bool, Error> {
        let mut conflicts = 0;
        loop {
            let (after, mut events) = self
                .options
                .store
                .unplanned(subscription.key(), self.limit(subscription.key()))
                .await?;
            if events.is_empty() {
                return Ok(false);
            }
            self.split_off_suspects(&mut events);
            match self.plan(config, subscription, after, events).await {
                Err(Error::Store(store::Error::Conflict)) if conflicts < CONFLICTS => {
                    conflicts += 1;
                }
                planned => return planned.map(|()| true),
            }
        }
    }

    /// How many events the next batch may have.
    fn limit(&self, subscription: &ObjectKey) -> usize {
        self.pace
            .as_ref()
            .filter(|(last, _)| last == subscription)
            .map_or(*BATCH.start(), |(_, limit)| *limit)
    }

    /// Leaves a suspect alone in its batch.
    fn split_off_suspects(&self, events: &mut Vec<StoredEvent>) {
        let suspect = |event: &StoredEvent| self.suspects.contains_key(&event.seq);
        let length = match events.iter().position(suspect) {
            Some(0) => 1,
            Some(first) => first,
            None => return,
        };
        events.truncate(length);
    }

    async fn plan(
        &mut self,
        config: &Config,
        subscription: &Arc<Subscription>,
        after: u64,
        events: Vec<StoredEvent>,
    ) -> Result<(), Error> {
        let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
        let dispositions: Vec<_> = events.iter().map(|event| event.event.disposition).collect();
        let now = self.options.clock.now();
        let plans = match seqs.as_slice() {
            [seq] if self.tries(*seq) >= QUARANTINE_AFTER => {
                tracing::error!(
                    subscription = %subscription.key(),
                    seq,
                    "planning the event ended the process {QUARANTINE_AFTER} times: it is quarantined"
                );
                let why = Disposition::Quarantined;
                vec![route::set_aside(*seq, why, now, config.sequence)]
            }
            _ => {
                self.options.store.planning(&seqs)?;
                let began = Instant::now();
                let plans = self
                    .decide(config.sequence, subscription, events, now)
                    .await;
                let next = next_batch(seqs.len(), began.elapsed());
                self.pace = Some((subscription.key().clone(), next));
                if matches!(plans, Err(Error::Panicked)) {
                    for seq in &seqs {
                        *self.suspects.entry(*seq).or_default() += 1;
                    }
                }
                self.options.store.planning(&[])?;
                plans?
            }
        };
        let counted = count::Counts::of(&plans, &dispositions);
        let lanes = lanes_of(&plans);
        let due = plans.iter().flat_map(|plan| &plan.timers);
        let due = due.map(|timer| timer.due).min();
        self.options
            .store
            .plan(subscription.key(), after, plans)
            .await?;
        self.options.lanes.add(&lanes);
        counted.add_to(&self.options.metrics, subscription.key());
        if let Some(due) = due {
            self.timers.due(subscription.key(), due);
        }
        for seq in seqs {
            self.suspects.remove(&seq);
        }
        Ok(())
    }

    fn tries(&self, seq: u64) -> u32 {
        self.suspects.get(&seq).copied().unwrap_or_default()
    }

    async fn decide(
        &self,
        sequence: u64,
        subscription: &Arc<Subscription>,
        events: Vec<StoredEvent>,
        now: jiff::Timestamp,
    ) -> Result<Vec<Plan>, Error> {
        let subscription_key = subscription.key();
        let subscription = Arc::clone(subscription);
        let drafts = tokio::task::spawn_blocking(move || {
            events
                .iter()
                .map(|event| Draft::new(&subscription, event))
                .collect::<Vec<_>>()
        })
        .await
        .map_err(|_| Error::Panicked)?;
        let asked: Vec<_> = drafts.iter().map(|draft| draft.questions(now)).collect();
        let counts: Vec<usize> = asked.iter().map(Vec::len).collect();
        let questions: Vec<_> = asked.into_iter().flatten().collect();
        let answers = if questions.is_empty() {
            Vec::new()
        } else {
            self.options.store.guard(questions).await?
        };
        let keys = drafts.iter().flat_map(Draft::memories).cloned().collect();
        let mut overlay = self.recall(subscription_key, keys).await?;
        let evaluates = drafts.iter().any(Draft::evaluates);
        let plan = move || plan_all(drafts, &counts, &answers, &mut overlay, now, sequence);
        if evaluates {
            let planned = tokio::task::spawn_blocking(plan).await;
            planned.map_err(|_| Error::Panicked)
        } else {
            Ok(plan())
        }
    }

    /// What the rules of an append have remembered before.
    async fn recall(
        &self,
        subscription: &ObjectKey,
        keys: HashSet<MemoryKey>,
    ) -> Result<Overlay, Error> {
        if keys.is_empty() {
            return Ok(Overlay::default());
        }
        let keys: Vec<MemoryKey> = keys.into_iter().collect();
        let recalled = self
            .options
            .store
            .recall(subscription, keys.clone())
            .await?;
        let known = keys.into_iter().zip(recalled);
        Ok(Overlay::new(known.filter_map(|(key, recalled)| {
            recalled.map(|recalled| (key, recalled))
        })))
    }
}

/// How many events the next batch may have, where deciding so many took so long.
fn next_batch(events: usize, took: Duration) -> usize {
    let events = u32::try_from(events).unwrap_or(u32::MAX);
    let one = (took / events.max(1)).max(Duration::from_nanos(1));
    usize::try_from(PACE.as_nanos() / one.as_nanos())
        .unwrap_or(usize::MAX)
        .clamp(*BATCH.start(), *BATCH.end())
}

/// The lanes that have something to deliver.
fn lanes_of(plans: &[Plan]) -> HashSet<Lane> {
    plans
        .iter()
        .flat_map(|plan| &plan.deliveries)
        .filter(|delivery| delivery.dead.is_none() && delivery.waits_until.is_none())
        .map(|delivery| delivery.lane.clone())
        .collect()
}

/// Decides for good, one event after the other.
fn plan_all(
    drafts: Vec<Draft>,
    counts: &[usize],
    mut answers: &[GuardAnswer],
    overlay: &mut Overlay,
    now: jiff::Timestamp,
    sequence: u64,
) -> Vec<Plan> {
    drafts
        .into_iter()
        .zip(counts)
        .map(|(draft, count)| {
            let (own, rest) = answers.split_at_checked(*count).unwrap_or((answers, &[]));
            answers = rest;
            draft.plan(own, overlay, now, sequence)
        })
        .collect()
}

/// The lanes that firings have given something to deliver.
fn lanes_of_firings(timers: &[StoredTimer], firings: &[Firing]) -> HashSet<Lane> {
    let delivered: HashSet<_> = firings
        .iter()
        .flat_map(|firing| &firing.deliveries)
        .filter(|(_, fate)| matches!(fate, Fate::Deliver { .. }))
        .map(|(id, _)| *id)
        .collect();
    timers
        .iter()
        .flat_map(|timer| &timer.deliveries)
        .filter(|delivery| delivered.contains(&delivery.id))
        .map(|delivery| delivery.lane.clone())
        .collect()
}
