//! The runner of a lane: takes what is due to its destination, for as long as there is anything.
//!
//! ```text
//!            ┌────────────────────────────────────────────────────────────────────────────────────┐
//!            ▼                                                                                    │
//!  decide what ended ─ follow the configuration ─ permission ─ due ─ write and claim ─ attempt ─ rest
//!                                                 (circuit,          (store.finish and
//!                                                  pause, rate)       store.claim, one sync,
//!                                                                     then bytes leave)
//! ```
//!
//! Invariants:
//! - Bytes leave only after the claim is durable; an outcome counts only once it is durable. Outcomes are
//!   written together with the next claims, and what was claimed leaves only once they are written.
//! - Waiting (a missing secret, an open circuit, a pause, the rate limit) claims nothing, so uses no
//!   attempt.
//! - What would be given up for lack of its destination waits first for the configuration that planned it.
//! - Order within a subject is the store's: what is blocked is not due.
//! - It ends when its lane has been empty for a while: long enough that neither its rate limit nor its
//!   warm connections are forgotten too early.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use hookswitch_crds::snapshot::{self, OnAmbiguous};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::Engine;
use super::awaiting::Awaiting;
use super::breaker::Breaker;
use super::durable::{STORE_PAUSE, claim, conclude};
use super::gather::Gathering;
use super::kind::{Class, Fault, Reply, Verdict, reason};
use super::limit::Limit;
use super::outcome::{Conclusion, overdue};
use super::pause::Pause;
use super::report::Report;
use super::target::{Attempted, Judged, Target};
use crate::config::Follow;
use crate::plan::{DeadReason, Lane};
use crate::store::{self, StoredDelivery};

/// A runner whose lane is empty ends after this time.
const LINGER: Duration = Duration::from_mins(1);

/// The time of day is looked at this often at least: it can jump, and tokio's clock does not.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// Deliveries that end without an attempt, at once.
const BATCH: usize = 256;

/// Works a lane off until it has been empty for a while, or until shutdown.
///
/// Cancellation: only by the engine's tokens. Dropped in the middle, attempts in flight are
/// interrupted, and the store gives them back at the next start.
pub(super) async fn run(engine: Arc<Engine>, lane: Lane, wake: Arc<Notify>) {
    Runner {
        config: engine.config.clone(),
        report: Report::new(&engine.metrics, &lane),
        engine,
        lane,
        wake,
        destination: Destination::Unknown,
        breaker: Breaker::new(),
        limit: Limit::new(None),
        pause: Pause::default(),
        attempts: JoinSet::new(),
        ended: Vec::new(),
        concluded: Vec::new(),
        alone: HashSet::new(),
        loaded: 0,
        awaiting: Awaiting::default(),
        empty_since: None,
        swept: false,
    }
    .run()
    .await;
}

/// A lane at work.
struct Runner {
    engine: Arc<Engine>,
    lane: Lane,
    wake: Arc<Notify>,
    config: Follow,
    report: Report,
    destination: Destination,
    breaker: Breaker,
    limit: Limit,
    pause: Pause,
    /// In flight.
    attempts: JoinSet<Ended>,
    /// Out of flight, and not decided yet.
    ended: Vec<Ended>,
    /// Decided, and not durable yet.
    concluded: Vec<Conclusion>,
    /// What was refused together with others, and is attempted alone.
    alone: HashSet<Uuid>,
    /// The sequence of the configuration.
    loaded: u64,
    /// What waits for another one.
    awaiting: Awaiting,
    empty_since: Option<Instant>,
    /// What was overdue when the circuit opened has been given up.
    swept: bool,
}

/// The lane's destination in the current configuration.
enum Destination {
    /// There is no configuration yet.
    Unknown,
    /// It is gone.
    Removed,
    /// Nothing can be sent to it until the configuration changes.
    Held(Arc<snapshot::Destination>),
    /// It can be attempted.
    Ready(Arc<Target>),
}

/// An attempt that has ended.
struct Ended {
    deliveries: Vec<StoredDelivery>,
    target: Arc<Target>,
    judged: Judged,
}

/// What comes next.
enum Pace {
    /// There may be more to do at once.
    Go,
    /// Nothing, until then or until something happens.
    Rest(Option<Instant>),
    /// The lane is empty.
    Empty,
    /// The lane is gone.
    End,
}

impl Runner {
    async fn run(mut self) {
        while !self.engine.shutdown.is_cancelled() {
            self.settle();
            self.follow();
            let mut pace = match &self.destination {
                Destination::Unknown | Destination::Held(_) => Pace::Rest(None),
                Destination::Removed => self.bury().await,
                Destination::Ready(target) => self.advance(Arc::clone(target)).await,
            };
            if !self.concluded.is_empty() {
                self.write().await;
                // Others of their subjects may be due now.
                pace = Pace::Go;
            }
            match pace {
                Pace::Go => self.empty_since = None,
                Pace::Rest(until) => self.rest(until).await,
                Pace::Empty if self.lingered() => {
                    self.report.circuit_forgotten();
                    break;
                }
                Pace::Empty => self.rest(Some(self.linger_until())).await,
                Pace::End => break,
            }
        }
        self.drain().await;
    }

    /// Takes over what the configuration says now.
    fn follow(&mut self) {
        let spec = {
            let config = self.config.borrow_and_update();
            let Some(config) = config.as_ref() else {
                return;
            };
            self.loaded = config.sequence;
            config.lanes.get(&self.lane).cloned()
        };
        let Some(spec) = spec else {
            self.destination = Destination::Removed;
            return;
        };
        let current = match &self.destination {
            Destination::Unknown | Destination::Removed => None,
            Destination::Held(spec) => Some(spec),
            Destination::Ready(target) => Some(&target.spec),
        };
        if current.is_some_and(|current| Arc::ptr_eq(current, &spec) || *current == spec) {
            return;
        }
        self.limit.follow(spec.delivery.rate_limit);
        self.destination = match Target::prepare(&spec, &self.engine.network, &self.engine.wire) {
            Ok(target) => Destination::Ready(Arc::new(target)),
            Err(held) => {
                tracing::warn!(lane = %self.lane, reason = %held, "deliveries are held until the configuration changes");
                Destination::Held(spec)
            }
        };
    }

    /// Starts what may start now.
    async fn advance(&mut self, target: Arc<Target>) -> Pace {
        let room = match self.permission() {
            Ok(0) => return Pace::Rest(None),
            Ok(room) => room,
            Err(until) => {
                return match self.give_up_overdue(&target).await {
                    Ok(()) => Pace::Rest(Some(until)),
                    Err(error) => self.store_failed(&error),
                };
            }
        };
        let now = self.engine.clock.now();
        let most = target.api().batch.as_ref().map_or(0, |batch| batch.most);
        let limit = room.max(most) + self.awaiting.hiding();
        let due = match self.engine.store.due(&self.lane, now, limit).await {
            Ok(due) => due,
            Err(error) => return self.store_failed(&error),
        };
        self.report.store_works();
        self.report.damaged(due.damaged);
        if due.damaged > 0 && due.ready.is_empty() {
            // What waited behind them may go.
            return Pace::Go;
        }
        if due.ready.is_empty() {
            return match due.next {
                Some(next) => Pace::Rest(Some(self.instant(next))),
                None if self.attempts.is_empty() => Pace::Empty,
                None => Pace::Rest(None),
            };
        }
        let found = due.ready.len();
        let (claims, conclusions) = self.sort(due.ready, room, &target);
        if self.awaiting.count() == found && !self.awaiting.looked(&self.lane) {
            let next = due.next.into_iter().chain(self.awaiting.until()).min();
            return Pace::Rest(next.map(|next| self.instant(next)));
        }
        self.concluded.extend(conclusions);
        let concluded = std::mem::take(&mut self.concluded);
        let claimed = claims.len();
        let written = conclude(&self.engine, &mut self.report, concluded);
        let ((), won) = tokio::join!(written, claim(&self.engine, claims));
        match won {
            // Somebody else is at it: looking again at once would find the same.
            Ok(won) if won.is_empty() && claimed > 0 => {
                Pace::Rest(Some(Instant::now() + STORE_PAUSE))
            }
            Ok(won) => {
                for deliveries in won {
                    self.attempt(deliveries, &target);
                }
                Pace::Go
            }
            Err(error) => self.store_failed(&error),
        }
    }

    /// How many attempts may start now; an error says when to ask again.
    fn permission(&mut self) -> Result<usize, Instant> {
        let now = Instant::now();
        if let Some(until) = self.pause.until(now) {
            return Err(until);
        }
        let room = self.breaker.room(self.attempts.len(), now)?;
        if room > 0 {
            self.limit.ready()?;
        }
        Ok(room)
    }

    /// Tells deliveries to attempt from those that end without one, and gathers them into requests.
    fn sort(
        &mut self,
        ready: Vec<StoredDelivery>,
        room: usize,
        target: &Target,
    ) -> (Vec<Vec<StoredDelivery>>, Vec<Conclusion>) {
        let now = self.engine.clock.now();
        let settings = &target.spec.delivery;
        let mut claims = Gathering::new(target.api().batch.as_ref(), room);
        let mut conclusions = Vec::new();
        let (engine, loaded) = (&self.engine, self.loaded);
        self.awaiting.look();
        for delivery in ready {
            if delivery.request.kind != target.spec.kind {
                if self.awaiting.takes(engine, &delivery, loaded, now) {
                    continue;
                }
                conclusions.push(Conclusion::dead(
                    delivery,
                    now,
                    DeadReason::DestinationRemoved,
                ));
            } else if delivery.interrupted && settings.on_ambiguous == OnAmbiguous::DeadLetter {
                conclusions.push(Conclusion::interrupted(delivery, now));
            } else {
                let alone = self.alone.contains(&delivery.id);
                if claims.add(delivery, alone, || self.limit.take()).is_err() {
                    break;
                }
            }
        }
        (claims.done(), conclusions)
    }

    /// Sends claimed deliveries, in one request.
    fn attempt(&mut self, deliveries: Vec<StoredDelivery>, target: &Arc<Target>) {
        let target = Arc::clone(target);
        let clock = self.engine.clock;
        let seconds = self.report.attempt_seconds.clone();
        self.attempts.spawn(async move {
            let timer = seconds.start_timer();
            let sending = target.attempt(&deliveries, clock.now());
            let caught = AssertUnwindSafe(sending).catch_unwind().await;
            let reply = caught.unwrap_or_else(|_| {
                Reply::NoAnswer(Fault {
                    reason: reason::INTERNAL,
                    detail: "the attempt panicked".to_owned(),
                })
            });
            timer.observe_duration();
            Ended {
                judged: target.judge(&deliveries, &reply, clock.now()),
                target,
                deliveries,
            }
        });
    }

    /// Decides what follows from attempts that have ended.
    fn settle(&mut self) {
        while let Some(ended) = self.attempts.try_join_next() {
            self.ended
                .extend(ended.inspect_err(|error| self.report.attempt_lost(error)));
        }
        for ended in std::mem::take(&mut self.ended) {
            let conclusions = self.decide(ended);
            self.concluded.extend(conclusions);
        }
    }

    /// Makes durable what was decided.
    async fn write(&mut self) {
        let concluded = std::mem::take(&mut self.concluded);
        conclude(&self.engine, &mut self.report, concluded).await;
    }

    /// What follows from an attempt, for its deliveries and for the lane.
    fn decide(&mut self, ended: Ended) -> Vec<Conclusion> {
        let Ended {
            deliveries,
            target,
            judged: Judged { lane, each },
        } = ended;
        let settings = &target.spec.delivery;
        self.learn(&lane, settings);
        let now = self.engine.clock.now();
        let mut conclusions = Vec::with_capacity(deliveries.len());
        for (delivery, Attempted { verdict, answer }) in deliveries.into_iter().zip(each) {
            if verdict.class == Class::Alone {
                self.alone.insert(delivery.id);
            } else if matches!(verdict.class, Class::Delivered | Class::Refused) {
                self.alone.remove(&delivery.id);
            }
            let conclusion = Conclusion::attempted(delivery, &verdict, answer, settings, now);
            conclusions.push(conclusion);
        }
        conclusions
    }

    /// What an attempt tells about the destination.
    fn learn(&mut self, verdict: &Verdict, settings: &snapshot::Delivery) {
        let now = Instant::now();
        let was_open = self.breaker.is_open();
        if verdict.is_failure() {
            self.breaker.failed(settings.circuit_breaker, now);
            self.swept = false;
        } else {
            self.breaker.succeeded();
        }
        self.report.circuit(was_open, self.breaker.is_open());
        if verdict.pause {
            self.pause.extend(verdict.retry_after, settings, now);
        } else if verdict.class == Class::Delivered {
            self.pause.over();
        }
    }

    /// With the circuit open, gives up what is past its time: the failure that opened it speaks for
    /// them. Without this, what a dead destination has queued would shrink by one attempt at a time.
    async fn give_up_overdue(&mut self, target: &Target) -> Result<(), store::Error> {
        while self.breaker.is_open() && !self.swept {
            let now = self.engine.clock.now();
            let due = self.engine.store.due(&self.lane, now, BATCH).await?;
            self.report.damaged(due.damaged);
            let overdue: Vec<_> = due
                .ready
                .into_iter()
                .filter(|delivery| overdue(delivery, &target.spec.delivery, now))
                .map(|delivery| Conclusion::dead(delivery, now, DeadReason::GaveUp))
                .collect();
            self.swept = overdue.is_empty();
            conclude(&self.engine, &mut self.report, overdue).await;
        }
        Ok(())
    }

    /// Moves all that is pending to the dead letters: the destination is gone.
    async fn bury(&mut self) -> Pace {
        let limit = BATCH + self.awaiting.hiding();
        let all = self.engine.store.due(&self.lane, Timestamp::MAX, limit);
        let due = match all.await {
            Ok(due) => due,
            Err(error) => return self.store_failed(&error),
        };
        self.report.damaged(due.damaged);
        let now = self.engine.clock.now();
        self.awaiting.look();
        let mut gone = due.ready;
        gone.retain(|delivery| {
            let (engine, loaded) = (&self.engine, self.loaded);
            !self.awaiting.takes(engine, delivery, loaded, now)
        });
        let more = self.awaiting.looked(&self.lane);
        if gone.is_empty() && (due.damaged > 0 || more) {
            return Pace::Go;
        }
        if gone.is_empty() && self.awaiting.count() > 0 {
            let until = self.awaiting.until();
            return Pace::Rest(until.map(|until| self.instant(until)));
        }
        if gone.is_empty() {
            return if self.attempts.is_empty() {
                self.report.removed();
                Pace::End
            } else {
                Pace::Rest(None)
            };
        }
        let dead = |delivery| Conclusion::dead(delivery, now, DeadReason::DestinationRemoved);
        let gone = gone.into_iter().map(dead).collect();
        conclude(&self.engine, &mut self.report, gone).await;
        Pace::Go
    }

    /// Waits until then, or until something happens: an attempt ends, there is something new, the
    /// configuration changes, shutdown.
    async fn rest(&mut self, until: Option<Instant>) {
        let latest = Instant::now() + LONGEST_REST;
        let until = until.map_or(latest, |until| until.min(latest));
        tokio::select! {
            () = self.engine.shutdown.cancelled() => {}
            Some(ended) = self.attempts.join_next() => {
                self.ended.extend(ended.inspect_err(|error| self.report.attempt_lost(error)));
            }
            () = self.wake.notified() => {}
            Ok(()) = self.config.changed() => {}
            () = sleep_until(until) => {}
        }
    }

    /// Lets attempts in flight end, until the time to drain is over.
    async fn drain(mut self) {
        loop {
            self.settle();
            self.write().await;
            tokio::select! {
                ended = self.attempts.join_next() => match ended {
                    Some(ended) => self.ended.extend(ended.inspect_err(|error| self.report.attempt_lost(error))),
                    None => break,
                },
                () = self.engine.drained.cancelled() => {
                    self.settle();
                    self.write().await;
                    self.report.left_behind(self.attempts.len());
                    break;
                }
            }
        }
    }

    fn store_failed(&mut self, error: &store::Error) -> Pace {
        self.report.store_failed(error);
        Pace::Rest(Some(Instant::now() + STORE_PAUSE))
    }

    fn lingered(&mut self) -> bool {
        self.empty_since.get_or_insert_with(Instant::now);
        Instant::now() >= self.linger_until()
    }

    fn linger_until(&self) -> Instant {
        let since = self.empty_since.unwrap_or_else(Instant::now);
        since + LINGER.max(self.limit.refill())
    }

    /// The moment of tokio's clock at a time of day.
    fn instant(&self, at: Timestamp) -> Instant {
        let wait = at.duration_since(self.engine.clock.now());
        Instant::now() + Duration::try_from(wait).unwrap_or(Duration::ZERO)
    }
}
