//! A store in memory that does what the planner needs, and fails where a test wants it to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::FutureExt as _;
use futures::future::ready;
use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use uuid::Uuid;

use crate::config::Planned;
use crate::event::Event;
use crate::plan::{
    Firing, Lane, Memory as Remembered, MemoryKey, NewTimer, Plan, Recalled, Remember, Scope,
    StoredTimer, TimerId, WaitingDelivery,
};
use crate::store::{
    Accepted, Claim, Due, Error, Finish, GuardAnswer, GuardQuestion, History, LaneStats, NewEvent,
    Pending, Purged, RemovedTimers, Render, Retention, Store, StoredEvent, TimerStats, TimersDue,
    Waiting,
};

/// Where a test makes the store fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    UnplannedSubscriptions,
    Unplanned,
    Guard,
    Recall,
    Plan,
    TimersDue,
    Fire,
    Timers,
}

#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// Others plan into it too.
    pub(super) shared: bool,
    pub(super) removed_since: HashMap<ObjectKey, Timestamp>,
    pub(super) events: BTreeMap<u64, Event>,
    pub(super) plans: BTreeMap<u64, Plan>,
    /// The sizes of appends in order, each with its subscription.
    pub(super) appends: Vec<(ObjectKey, usize)>,
    pub(super) marks: Vec<(Lane, [u8; 32], Uuid)>,
    pub(super) failures: VecDeque<(At, ObjectKey, Error)>,
    pub(super) suspects: Vec<(u64, u32)>,
    /// What was marked as being planned, in order; empty where it was cleared.
    pub(super) breadcrumbs: Vec<Vec<u64>>,
    planned: HashMap<ObjectKey, u64>,
    memories: HashMap<(ObjectKey, MemoryKey), Recalled>,
    pub(super) timers: Vec<(ObjectKey, StoredTimer)>,
    pub(super) fired: Vec<Firing>,
}

impl Memory {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Keeps an event without a plan.
    pub(super) fn add(&self, mut event: Event) -> u64 {
        let mut state = self.state();
        let seq = u64::try_from(state.events.len()).unwrap() + 1;
        event.uid = Uuid::from_u128(seq.into());
        state.events.insert(seq, event);
        seq
    }

    fn read<T: Send + 'static>(
        &self,
        at: At,
        subscription: Option<&ObjectKey>,
        read: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> Pending<'_, T> {
        let mut state = self.state();
        let fails = state.failures.front().is_some_and(|(failing, whose, _)| {
            *failing == at && subscription.is_none_or(|subscription| subscription == whose)
        });
        let result = if fails {
            Err(state.failures.pop_front().unwrap().2)
        } else {
            read(&mut state)
        };
        ready(result).boxed()
    }
}

fn unused<T: Send + 'static>() -> Pending<'static, T> {
    ready(Err(Error::Read("not in this double".to_owned()))).boxed()
}

impl Store for Memory {
    fn accept(&self, _: NewEvent) -> Pending<'_, Accepted> {
        unused()
    }

    fn seen(&self, _: &ObjectKey, _: &str, _: [u8; 32], _: Timestamp) -> Pending<'_, bool> {
        unused()
    }

    fn unplanned_subscriptions(&self) -> Pending<'_, Vec<ObjectKey>> {
        self.read(At::UnplannedSubscriptions, None, |state| {
            let plans = &state.plans;
            let unplanned = state
                .events
                .iter()
                .filter(|(seq, _)| !plans.contains_key(seq));
            let mut keys: Vec<_> = unplanned
                .map(|(_, event)| event.subscription.clone())
                .collect();
            keys.sort();
            keys.dedup();
            Ok(keys)
        })
    }

    fn unplanned(
        &self,
        subscription: &ObjectKey,
        limit: usize,
    ) -> Pending<'_, (u64, Vec<StoredEvent>)> {
        self.read(At::Unplanned, Some(subscription), |state| {
            let after = state.planned.get(subscription).copied().unwrap_or_default();
            let events = state
                .events
                .range(after + 1..)
                .filter(|(_, event)| event.subscription == *subscription)
                .take(limit)
                .map(|(seq, event)| StoredEvent {
                    seq: *seq,
                    event: event.clone(),
                })
                .collect();
            Ok((after, events))
        })
    }

    fn waiting(&self) -> Pending<'_, Vec<Waiting>> {
        let state = self.state();
        let mut waiting: BTreeMap<&ObjectKey, Waiting> = BTreeMap::new();
        let unplanned = |seq: &u64| !state.plans.contains_key(seq);
        for (_, event) in state.events.iter().filter(|(seq, _)| unplanned(seq)) {
            waiting
                .entry(&event.subscription)
                .or_insert_with(|| Waiting {
                    subscription: event.subscription.clone(),
                    events: 0,
                    oldest: Some(event.accepted_at),
                    removed_since: state.removed_since.get(&event.subscription).copied(),
                })
                .events += 1;
        }
        ready(Ok(waiting.into_values().collect())).boxed()
    }

    fn guard(&self, questions: Vec<GuardQuestion>) -> Pending<'_, Vec<GuardAnswer>> {
        self.read(At::Guard, None, |state| {
            Ok(questions
                .iter()
                .map(|question| answer(state, question))
                .collect())
        })
    }

    fn recall(
        &self,
        subscription: &ObjectKey,
        keys: Vec<MemoryKey>,
    ) -> Pending<'_, Vec<Option<Recalled>>> {
        self.read(At::Recall, Some(subscription), |state| {
            let events = &state.events;
            let recall = |key| {
                let found = state.memories.get(&(subscription.clone(), key));
                found.cloned().map(|mut recalled| {
                    if let Remembered::Wait { state, .. } = recalled.memory
                        && let Some(seq) = state.seq()
                    {
                        let event = events[&seq].clone();
                        recalled.event = Some(Arc::new(StoredEvent { seq, event }));
                    }
                    recalled
                })
            };
            Ok(keys.into_iter().map(recall).collect())
        })
    }

    fn plan(&self, subscription: &ObjectKey, after: u64, plans: Vec<Plan>) -> Pending<'_, ()> {
        self.read(At::Plan, Some(subscription), |state| {
            let last = state.planned.entry(subscription.clone()).or_default();
            if *last != after {
                return Err(Error::Conflict);
            }
            *last = plans.last().map_or(after, |plan| plan.seq);
            state.appends.push((subscription.clone(), plans.len()));
            for plan in plans {
                for mark in &plan.marks_consumed {
                    let Some(at) = state.marks.iter().position(|(_, _, id)| id == mark) else {
                        return Err(Error::Conflict);
                    };
                    state.marks.remove(at);
                }
                remember(state, subscription, &plan.remember);
                for id in &plan.cancelled {
                    state.timers.retain(|(_, timer)| timer.id != *id);
                }
                for new in &plan.timers {
                    let timer = stored(&plan, new, state);
                    state.timers.push((subscription.clone(), timer));
                }
                let twice = state.plans.insert(plan.seq, plan);
                assert!(twice.is_none(), "an event is planned once");
            }
            Ok(())
        })
    }

    fn timers_due(
        &self,
        subscription: &ObjectKey,
        now: Timestamp,
        since: Timestamp,
        limit: usize,
    ) -> Pending<'_, TimersDue> {
        self.read(At::TimersDue, Some(subscription), |state| {
            let own = || {
                let own = state.timers.iter().filter(|(key, _)| key == subscription);
                own.map(|(_, timer)| timer)
            };
            let mut timers: Vec<_> = own()
                .filter(|timer| timer.due <= now && timer.at >= since)
                .cloned()
                .collect();
            timers.sort_by_key(|timer| timer.due);
            timers.truncate(limit);
            let next = own().map(|timer| timer.due).filter(|due| *due > now).min();
            Ok(TimersDue { timers, next })
        })
    }

    fn fire(&self, subscription: &ObjectKey, after: u64, firings: Vec<Firing>) -> Pending<'_, ()> {
        self.read(At::Fire, Some(subscription), |state| {
            if state.planned.get(subscription).copied().unwrap_or_default() != after {
                return Err(Error::Conflict);
            }
            for firing in firings {
                let before = state.timers.len();
                state.timers.retain(|(_, timer)| timer.id != firing.timer);
                assert_eq!(state.timers.len() + 1, before, "a timer fires once");
                remember(state, subscription, &firing.remember);
                state.fired.push(firing);
            }
            Ok(())
        })
    }

    fn timers(&self) -> Pending<'_, Vec<TimerStats>> {
        self.read(At::Timers, None, |state| {
            let stats = state.timers.iter().map(|(subscription, timer)| TimerStats {
                subscription: subscription.clone(),
                scope: (*timer.id.scope).clone(),
                pending: 1,
            });
            Ok(stats.collect())
        })
    }

    fn is_shared(&self) -> bool {
        self.state().shared
    }

    fn timers_planned(
        &self,
        subscription: &ObjectKey,
        scope: &Scope,
    ) -> Pending<'_, Option<Planned>> {
        self.read(At::Timers, Some(subscription), |state| {
            let own = state.timers.iter();
            let own = own.filter(|(key, timer)| key == subscription && *timer.id.scope == *scope);
            let plans = own.map(|(_, timer)| &state.plans[&timer.id.seq]);
            let planned = plans.map(|plan| Planned {
                sequence: plan.sequence,
                at: plan.planned_at,
            });
            Ok(planned.max_by_key(|planned| planned.sequence))
        })
    }

    fn remove_timers(
        &self,
        subscription: &ObjectKey,
        scope: &Scope,
        _: Timestamp,
    ) -> Pending<'_, RemovedTimers> {
        self.read(At::Timers, Some(subscription), |state| {
            let found = state
                .timers
                .iter()
                .position(|(key, timer)| key == subscription && *timer.id.scope == *scope);
            if let Some(at) = found {
                state.timers.remove(at);
            }
            Ok(RemovedTimers {
                removed: u64::from(found.is_some()),
                more: found.is_some(),
            })
        })
    }

    fn due(&self, _: &Lane, _: Timestamp, _: usize) -> Pending<'_, Due> {
        unused()
    }

    fn unrendered(&self, _: &Lane, _: Timestamp, _: usize) -> Pending<'_, Due> {
        unused()
    }

    fn render(&self, _: Vec<Render>) -> Pending<'_, Vec<bool>> {
        unused()
    }

    fn claim(&self, _: Vec<Claim>) -> Pending<'_, Vec<bool>> {
        unused()
    }

    fn finish(&self, _: Vec<Finish>) -> Pending<'_, Vec<bool>> {
        unused()
    }

    fn scan(&self, _: u64, _: usize) -> Pending<'_, Vec<History>> {
        unused()
    }

    fn history(&self, _: Uuid) -> Pending<'_, Option<History>> {
        unused()
    }

    fn lanes(&self) -> Pending<'_, Vec<LaneStats>> {
        unused()
    }

    fn purge(
        &self,
        _: Timestamp,
        _: Vec<(ObjectKey, Retention)>,
        _: Retention,
    ) -> Pending<'_, Purged> {
        unused()
    }

    fn planning(&self, seqs: &[u64]) -> Result<(), Error> {
        self.state().breadcrumbs.push(seqs.to_vec());
        Ok(())
    }

    fn suspects(&self) -> Vec<(u64, u32)> {
        self.state().suspects.clone()
    }

    fn health(&self) -> Result<(), Error> {
        Ok(())
    }

    fn close(&self) -> Pending<'_, ()> {
        unused()
    }
}

fn remember(state: &mut State, subscription: &ObjectKey, all: &[Remember]) {
    for remember in all {
        let recalled = Recalled {
            memory: remember.memory,
            until: remember.until,
            event: None,
        };
        let key = (subscription.clone(), remember.key.clone());
        state.memories.insert(key, recalled);
    }
}

fn stored(plan: &Plan, new: &NewTimer, state: &State) -> StoredTimer {
    let scope = &new.key.scope;
    let waits = |lane: &Lane, rule: &str| lane.route == scope.route && rule == scope.rule;
    StoredTimer {
        id: TimerId {
            scope: Arc::clone(scope),
            seq: plan.seq,
        },
        digest: new.key.digest,
        at: new.at,
        due: new.due,
        subject: state.events[&plan.seq].subject.clone(),
        once: new.once.clone(),
        deliveries: plan
            .deliveries
            .iter()
            .filter(|it| it.waits_until.is_some() && waits(&it.lane, &it.rule))
            .map(|it| WaitingDelivery {
                id: it.id,
                lane: it.lane.clone(),
                dead: it.dead,
            })
            .collect(),
    }
}

fn answer(state: &State, question: &GuardQuestion) -> GuardAnswer {
    let marks = state
        .marks
        .iter()
        .filter(|(lane, key, _)| *lane == question.lane && Some(*key) == question.echo_key)
        .map(|(_, _, id)| *id)
        .collect();
    let write_backs = state
        .plans
        .values()
        .filter(|plan| plan.planned_at >= question.since)
        .flat_map(|plan| &plan.deliveries)
        .filter(|delivery| delivery.dead.is_none() && delivery.lane == question.lane)
        .filter_map(|delivery| delivery.write_back.as_ref())
        .filter(|write_back| write_back.subject == question.subject)
        .count();
    GuardAnswer {
        marks,
        write_backs: u32::try_from(write_backs).unwrap(),
    }
}
