//! Which subscriptions have timers to fire, and from when on they may.
//!
//! ```text
//!  start ─────────── due ─── SETTLE ──▶ fires, once every event accepted before its due time is planned
//!           │ the process was away
//!           └── back ─────── grace ───▶ fires, then: a sender that could not reach us tries again
//! ```
//!
//! Guarantees: nothing fires before its due time by the clock of this process, nor before what was
//! accepted by then is planned. What a start, or a jump of the clock, may have kept from us gets the time
//! of a sender's longest pause between two tries.
//!
//! The time of day may jump. A wait on tokio's clock is cut at [`LOOK`], so that a jump is seen soon: one
//! forward is like having been away (a machine that slept), one back lets timers wait for their time
//! to come again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hookswitch_crds::key::ObjectKey;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Error, Planner, count, lanes_of_firings};
use crate::config::{Config, Subscription};
use crate::plan::MemoryKey;
use crate::route;
use crate::store::{TimerStats, TimersDue};

/// From the due time, until what was accepted before it is in the store: the longest that the ingress
/// waits for that, and some more.
pub(super) const SETTLE: SignedDuration = SignedDuration::from_secs(5);
/// A firing that comes so long after its due time is late.
pub(super) const LATE: SignedDuration = SignedDuration::from_mins(1);
/// The most timers that fire in one append.
const FIRED: usize = 64;
/// The longest wait between two looks at the time of day.
const LOOK: Duration = Duration::from_secs(15);
/// Before timers are looked at again whose rule may be in a configuration that is to come.
const AWAITED: Duration = Duration::from_mins(1);
/// Before the store is asked again that failed.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);
/// A difference between the two clocks that is a jump.
const JUMP: SignedDuration = SignedDuration::from_secs(5);

/// When to look at which subscription's timers.
#[derive(Debug)]
pub(super) struct Timers {
    /// When to look next.
    next: HashMap<ObjectKey, Timestamp>,
    /// Whose time has come, until it is their turn.
    ripe: HashSet<ObjectKey>,
    awake: Awake,
    /// From a start or a jump on.
    grace: SignedDuration,
    /// When to ask the store which rules have timers.
    sweep: Option<Instant>,
}

/// What a look for timers of rules that are gone leaves to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Nothing,
    /// Timers whose rule is gone, or not here yet.
    Awaited,
    /// More to remove.
    More,
}

/// Since when this process has been here without a gap.
#[derive(Debug, Clone, Copy)]
struct Awake {
    since: Timestamp,
    /// The last look at both clocks.
    seen: (Timestamp, Instant),
}

impl Awake {
    fn look(&mut self, now: Timestamp, instant: Instant) {
        let (wall, steady) = self.seen;
        let passed =
            SignedDuration::try_from(instant.duration_since(steady)).unwrap_or(SignedDuration::MAX);
        let jumped = now.duration_since(wall).saturating_sub(passed);
        if jumped >= JUMP {
            tracing::info!(
                seconds = jumped.as_secs(),
                "the clock jumped forward: timers give senders time"
            );
            self.since = now;
        }
        self.since = self.since.min(now);
        self.seen = (now, instant);
    }
}

impl Timers {
    pub(super) fn starting_at(now: Timestamp, grace: Duration) -> Self {
        Self {
            grace: SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX),
            next: HashMap::new(),
            ripe: HashSet::new(),
            awake: Awake {
                since: now,
                seen: (now, Instant::now()),
            },
            sweep: None,
        }
    }

    /// Timers that began before then are held; `None` once senders have had time.
    fn held_before(&self, now: Timestamp) -> Option<Timestamp> {
        let since = self.awake.since;
        (now < self.grace_ends()).then_some(since)
    }

    /// When nothing is held any more.
    fn grace_ends(&self) -> Timestamp {
        self.awake
            .since
            .saturating_add(self.grace)
            .unwrap_or(Timestamp::MAX)
    }

    /// Looks at a subscription's timers at that time, or before.
    fn at(&mut self, subscription: &ObjectKey, at: Timestamp) {
        match self.next.get_mut(subscription) {
            Some(next) => *next = at.min(*next),
            None => drop(self.next.insert(subscription.clone(), at)),
        }
    }

    /// The same for a timer that is due then.
    pub(super) fn due(&mut self, subscription: &ObjectKey, due: Timestamp) {
        self.at(
            subscription,
            due.saturating_add(SETTLE).unwrap_or(Timestamp::MAX),
        );
    }

    /// Looks at a subscription's timers at its next turn.
    fn again(&mut self, subscription: &ObjectKey) {
        self.ripe.insert(subscription.clone());
    }

    /// Whether it is time to look at a subscription's timers.
    fn take(&mut self, subscription: &ObjectKey, now: Timestamp) -> bool {
        let is_time = self.next.get(subscription).is_some_and(|next| *next <= now);
        if is_time {
            self.next.remove(subscription);
        }
        self.ripe.remove(subscription) || is_time
    }

    /// Subscriptions whose time has come since the last call.
    pub(super) fn ripen(&mut self, now: Timestamp) -> Vec<ObjectKey> {
        self.awake.look(now, Instant::now());
        let ripe = self.next.extract_if(|_, next| *next <= now);
        let ripe: Vec<_> = ripe.map(|(subscription, _)| subscription).collect();
        self.ripe.extend(ripe.iter().cloned());
        ripe
    }

    /// Lets a subscription's timers wait until the configuration changes.
    pub(super) fn forget(&mut self, subscription: &ObjectKey) {
        self.next.remove(subscription);
        self.ripe.remove(subscription);
    }

    /// Asks the store again which rules have timers: the configuration has changed.
    pub(super) fn look_for_all(&mut self) {
        self.sweep = Some(Instant::now());
    }

    /// Waits until there may be something to do; never where nothing waits.
    pub(super) async fn wait(&self, now: Timestamp) {
        let next = self.next.values().min().map(|next| {
            let left = next.duration_since(now).max(SignedDuration::ZERO);
            let left = Duration::try_from(left).unwrap_or(LOOK);
            Instant::now() + left.min(LOOK)
        });
        match next.into_iter().chain(self.sweep).min() {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }
}

impl Planner {
    /// Looks for timers of rules that are gone, and for those that wait, where it is time to.
    pub(super) async fn sweep_timers(&mut self) {
        if self.timers.sweep.is_none_or(|due| due > Instant::now()) {
            return;
        }
        let Some(config) = self.options.config.borrow().clone() else {
            // Nothing says which rules there are.
            self.timers.sweep = None;
            return;
        };
        self.timers.sweep = match self.try_sweep(&config).await {
            Ok(Left::Nothing) => None,
            Ok(Left::Awaited) => Some(Instant::now() + AWAITED),
            Ok(Left::More) => Some(Instant::now()),
            Err(error) => {
                tracing::warn!(category = error.category(), %error, "can't look for timers; will try again");
                Some(Instant::now() + SWEEP_AGAIN)
            }
        };
    }

    async fn try_sweep(&mut self, config: &Config) -> Result<Left, Error> {
        let store = Arc::clone(&self.options.store);
        let now = self.options.clock.now();
        let mut left = Left::Nothing;
        for stats in store.timers().await? {
            let TimerStats {
                subscription,
                scope,
                pending: _,
            } = &stats;
            if is_served(config, &stats) {
                self.timers.at(subscription, now);
                continue;
            }
            if self.is_awaited(config, &stats, now).await? {
                // Due meanwhile, it fires: it was guarded when it was started, but for the rate.
                self.timers.at(subscription, now);
                left = left.max(Left::Awaited);
                continue;
            }
            let removed = store.remove_timers(subscription, scope, now).await?;
            if removed.removed > 0 {
                tracing::info!(
                    %subscription,
                    route = %scope.route,
                    rule = scope.rule,
                    timers = removed.removed,
                    "timers are cancelled: their rule is gone, or waits for something else now"
                );
            }
            count::removed(&self.options.metrics, scope, removed.removed);
            if removed.more {
                left = Left::More;
            }
        }
        Ok(left)
    }

    /// Whether another receiver started timers of a rule that this one may not have yet.
    async fn is_awaited(
        &self,
        config: &Config,
        stats: &TimerStats,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let store = &self.options.store;
        if !store.is_shared() {
            return Ok(false);
        }
        let planned = store
            .timers_planned(&stats.subscription, &stats.scope)
            .await?;
        let until = planned.and_then(|planned| planned.awaits(config.sequence, now));
        Ok(until.is_some())
    }

    /// Fires what is ripe of a subscription; whether there may be more.
    pub(super) async fn fire(&mut self, subscription: &Arc<Subscription>) -> Result<bool, Error> {
        let now = self.options.clock.now();
        let key = subscription.key();
        if !self.timers.take(key, now) {
            return Ok(false);
        }
        let fired = self.fire_ripe(subscription, now).await;
        if fired.is_err() {
            self.timers.again(key);
        }
        fired
    }

    async fn fire_ripe(
        &mut self,
        subscription: &Arc<Subscription>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let store = Arc::clone(&self.options.store);
        let key = subscription.key();
        let held = self.timers.held_before(now);
        let due_by = now.saturating_sub(SETTLE).unwrap_or(Timestamp::MIN);
        let TimersDue { mut timers, next } = store
            .timers_due(key, due_by, held.unwrap_or(Timestamp::MIN), FIRED)
            .await?;
        if let Some(next) = next {
            self.timers.due(key, next);
        }
        if held.is_some() {
            let ends = self.timers.grace_ends();
            self.timers.at(key, ends);
        }
        let mut more = timers.len() == FIRED;
        if timers.is_empty() {
            return Ok(false);
        }
        let (after, waiting) = store.unplanned(key, 1).await?;
        if let Some(first) = waiting.first() {
            let before = timers.len();
            timers.retain(|timer| timer.due <= first.event.accepted_at);
            more |= timers.len() < before;
        }
        if more {
            self.timers.again(key);
        }
        if timers.is_empty() {
            return Ok(more);
        }

        let asked = timers
            .iter()
            .map(|timer| route::firing_questions(subscription, timer, now));
        let asked: Vec<_> = asked.collect();
        let counts: Vec<usize> = asked.iter().map(Vec::len).collect();
        let questions: Vec<_> = asked.into_iter().flatten().collect();
        let answers = if questions.is_empty() {
            Vec::new()
        } else {
            store.guard(questions).await?
        };
        let keys: HashSet<MemoryKey> = timers.iter().flat_map(route::firing_memories).collect();
        let mut overlay = self.recall(key, keys).await?;
        let mut answers = answers.as_slice();
        let firings: Vec<_> = timers
            .iter()
            .zip(counts)
            .map(|(timer, count)| {
                let (own, rest) = answers.split_at_checked(count).unwrap_or((answers, &[]));
                answers = rest;
                route::fire(subscription, timer, own, &mut overlay, now)
            })
            .collect();
        store.fire(key, after, firings.clone()).await?;
        self.options.lanes.add(&lanes_of_firings(&timers, &firings));
        count::fired(&self.options.metrics, &timers, &firings);
        Ok(more)
    }
}

/// Whether the configuration has the rule still, waiting for the same.
fn is_served(config: &Config, stats: &TimerStats) -> bool {
    let subscription = config.subscriptions.get(&stats.subscription);
    subscription.is_some_and(|subscription| {
        let routes = subscription.routes.iter();
        routes
            .flat_map(|route| &route.rules)
            .filter_map(|rule| rule.after.as_ref())
            .any(|after| *after.scope == stats.scope)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_forward_is_like_having_been_away_and_one_back_is_not() {
        let begin = Instant::now();
        let later = |seconds| begin + Duration::from_secs(seconds);
        let mut timers = Timers::starting_at(at(0), Duration::from_mins(6));
        assert_eq!(timers.held_before(at(0)), Some(at(0)));
        assert_eq!(timers.held_before(at(359)), Some(at(0)));
        assert_eq!(timers.held_before(at(360)), None);
        // Both clocks go on, then the machine sleeps for an hour.
        timers.awake.look(at(1000), later(1000));
        assert_eq!(timers.held_before(at(1000)), None);
        timers.awake.look(at(4610), later(1010));
        assert_eq!(timers.held_before(at(4610)), Some(at(4610)));
        assert_eq!(timers.grace_ends(), at(4610 + 360));
        // Back by an hour: no longer away than it is late now.
        timers.awake.look(at(1020), later(1020));
        assert_eq!(timers.held_before(at(1020)), Some(at(1020)));
        assert_eq!(timers.held_before(at(1020 + 360)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_cut_so_that_a_jump_is_seen() {
        let mut timers = Timers::starting_at(at(0), Duration::from_mins(6));
        let key = ObjectKey::new("a", "b");
        timers.due(&key, at(3600));
        let begin = Instant::now();
        timers.wait(at(0)).await;
        assert_eq!(begin.elapsed(), LOOK);
        assert!(timers.ripen(at(3604)).is_empty());
        assert_eq!(timers.ripen(at(3605)), std::slice::from_ref(&key));
        assert!(timers.ripen(at(3606)).is_empty(), "it is told once");
        assert!(timers.take(&key, at(3606)) && !timers.take(&key, at(9999)));
        timers.at(&key, at(9000));
        assert!(!timers.take(&key, at(8999)));
        assert!(timers.take(&key, at(9000)));
    }
}
