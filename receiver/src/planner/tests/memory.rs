//! A store in memory that does what the planner needs, and fails where a test wants it to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use futures::FutureExt as _;
use futures::future::ready;
use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use uuid::Uuid;

use crate::event::Event;
use crate::plan::{Lane, MemoryKey, Plan, Recalled};
use crate::store::{
    Accepted, Claim, Due, Error, Finish, GuardAnswer, GuardQuestion, History, LaneStats, NewEvent,
    Pending, Purged, Retention, Store, StoredEvent,
};

/// Where a test makes the store fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    UnplannedSubscriptions,
    Unplanned,
    Guard,
    Recall,
    Plan,
}

#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
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
            let recall = |key| state.memories.get(&(subscription.clone(), key)).cloned();
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
                for remember in &plan.remember {
                    let recalled = Recalled {
                        memory: remember.memory,
                        until: remember.until,
                    };
                    let key = (subscription.clone(), remember.key.clone());
                    state.memories.insert(key, recalled);
                }
                let twice = state.plans.insert(plan.seq, plan);
                assert!(twice.is_none(), "an event is planned once");
            }
            Ok(())
        })
    }

    fn due(&self, _: &Lane, _: Timestamp, _: usize) -> Pending<'_, Due> {
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
