//! What rules remember, and timers.

use std::collections::BTreeMap;
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use hookswitch_receiver::plan::{
    DeadReason, Fate, Firing, Lane, Memory, MemoryKey, OnceTerms, Plan, Recalled, Remember, Scope,
    StoredTimer, TimerId, WaitState, WaitingDelivery,
};
use hookswitch_receiver::store::{DeliveryState, TimerState, TimerStats, TimersDue};
use jiff::Timestamp;
use uuid::Uuid;

use super::Model;

#[derive(Debug)]
pub(crate) struct Timer {
    pub(crate) subscription: ObjectKey,
    pub(crate) id: TimerId,
    pub(super) digest: [u8; 16],
    pub(super) at: Timestamp,
    pub(super) due: Timestamp,
    pub(super) once: Vec<OnceTerms>,
    pub(crate) state: TimerState,
}

impl Model {
    pub(super) fn remember(&mut self, subscription: &ObjectKey, all: Vec<Remember>) {
        for remember in all {
            let recalled = Recalled {
                memory: remember.memory,
                until: remember.until,
                event: None,
            };
            let key = (subscription.clone(), remember.key);
            self.memories.insert(key, recalled);
        }
    }

    fn waiting(&mut self, subscription: &ObjectKey, id: &TimerId) -> Option<&mut Timer> {
        self.timers.iter_mut().find(|timer| {
            timer.subscription == *subscription
                && timer.id == *id
                && timer.state == TimerState::Waits
        })
    }

    pub(super) fn can_cancel(&mut self, subscription: &ObjectKey, plans: &[Plan]) -> bool {
        let mut ended: Vec<&TimerId> = Vec::new();
        for (at, plan) in plans.iter().enumerate() {
            for id in &plan.cancelled {
                let started = plans[..at].iter().any(|before| {
                    before.seq == id.seq && before.timers.iter().any(|it| it.key.scope == id.scope)
                });
                if ended.contains(&id) || !(started || self.waiting(subscription, id).is_some()) {
                    return false;
                }
                ended.push(id);
            }
        }
        true
    }

    pub(super) fn end_timer(
        &mut self,
        subscription: &ObjectKey,
        id: &TimerId,
        state: TimerState,
        at: Timestamp,
    ) {
        self.waiting(subscription, id).unwrap().state = state;
        let kept = self.events.get_mut(&id.seq).unwrap();
        kept.ended = kept.ended.max(at);
    }

    /// True: fired. False: a conflict.
    pub(crate) fn fire(
        &mut self,
        subscription: &ObjectKey,
        after: u64,
        firings: Vec<Firing>,
    ) -> bool {
        let mut distinct: Vec<&TimerId> = Vec::new();
        for firing in &firings {
            if distinct.contains(&&firing.timer)
                || self.waiting(subscription, &firing.timer).is_none()
            {
                return false;
            }
            distinct.push(&firing.timer);
        }
        if after != self.planned(subscription) {
            return false;
        }
        for firing in firings {
            let (id, at) = (&firing.timer, firing.at);
            self.end_timer(subscription, id, TimerState::Fired { at }, at);
            let waiting: Vec<Uuid> = self.events[&id.seq]
                .deliveries
                .iter()
                .filter(|delivery| delivery.waits())
                .map(|delivery| delivery.new.id)
                .collect();
            for delivery in waiting {
                let fate = firing.deliveries.iter().find(|(id, _)| *id == delivery);
                self.fate(subscription, delivery, fate.map(|(_, fate)| fate), at);
            }
            self.remember(subscription, firing.remember);
            let plan = self
                .events
                .get_mut(&firing.timer.seq)
                .unwrap()
                .plan
                .as_mut();
            plan.unwrap().suppressions.extend(firing.suppressions);
        }
        true
    }

    fn fate(&mut self, subscription: &ObjectKey, id: Uuid, fate: Option<&Fate>, at: Timestamp) {
        let (_, delivery) = self.find(id).unwrap();
        let (lane, subject) = (delivery.new.lane.clone(), delivery.new.ordered_by.clone());
        let behind = subject.is_some() && self.has_pending(subscription, &lane, subject.as_ref());
        let (seq, delivery) = self.find(id).unwrap();
        delivery.planned_at = at;
        delivery.due = at;
        match fate {
            Some(Fate::Deliver { write_back }) => {
                delivery.state = if behind {
                    DeliveryState::Blocked
                } else {
                    DeliveryState::Pending { due: at }
                };
                if let Some(write_back) = write_back {
                    self.write_backs
                        .push((lane, write_back.subject.clone(), at));
                }
            }
            Some(Fate::Dead(reason)) => {
                delivery.state = DeliveryState::Dead(*reason);
                delivery.ended = at;
            }
            Some(Fate::Drop) | None => {
                let kept = self.events.get_mut(&seq).unwrap();
                kept.deliveries.retain(|delivery| delivery.new.id != id);
            }
        }
    }

    fn has_pending(&self, subscription: &ObjectKey, lane: &Lane, subject: Option<&String>) -> bool {
        self.events.values().any(|kept| {
            kept.event.event.subscription == *subscription
                && kept.deliveries.iter().any(|other| {
                    other.is_pending()
                        && other.new.lane == *lane
                        && other.new.ordered_by.as_ref() == subject
                })
        })
    }

    /// How many were removed.
    pub(crate) fn remove_timers(
        &mut self,
        subscription: &ObjectKey,
        scope: &Scope,
        at: Timestamp,
    ) -> u64 {
        let gone: Vec<TimerId> = self
            .timers
            .iter()
            .filter(|timer| timer.subscription == *subscription && *timer.id.scope == *scope)
            .filter(|timer| timer.state == TimerState::Waits)
            .map(|timer| timer.id.clone())
            .collect();
        for id in &gone {
            let same = |memory: &Memory| matches!(memory, Memory::Wait { state: WaitState::Pending { seq }, .. } if *seq == id.seq);
            let digest = self.waiting(subscription, id).unwrap().digest;
            self.memories.retain(|(whose, key), recalled| {
                let own = whose == subscription && key.scope == id.scope && key.digest == digest;
                !(own && same(&recalled.memory))
            });
            self.end_timer(subscription, id, TimerState::Removed { at }, at);
            let kept = self.events.get_mut(&id.seq).unwrap();
            kept.deliveries.retain(|delivery| !delivery.waits());
        }
        u64::try_from(gone.len()).unwrap()
    }

    pub(crate) fn timers_due(
        &self,
        subscription: &ObjectKey,
        now: Timestamp,
        since: Timestamp,
    ) -> TimersDue {
        let own = || {
            self.timers
                .iter()
                .filter(|timer| timer.subscription == *subscription)
                .filter(|timer| timer.state == TimerState::Waits)
        };
        let mut timers: Vec<StoredTimer> = own()
            .filter(|timer| timer.due <= now && timer.at >= since)
            .map(|timer| {
                let kept = &self.events[&timer.id.seq];
                StoredTimer {
                    id: timer.id.clone(),
                    digest: timer.digest,
                    at: timer.at,
                    due: timer.due,
                    subject: kept.event.event.subject.clone(),
                    once: timer.once.clone(),
                    deliveries: kept
                        .deliveries
                        .iter()
                        .filter(|delivery| delivery.waits())
                        .map(|delivery| WaitingDelivery {
                            id: delivery.new.id,
                            lane: delivery.new.lane.clone(),
                            dead: delivery.new.dead.or_else(|| {
                                let broken = delivery.new.request.is_none();
                                broken.then_some(DeadReason::RuleError)
                            }),
                        })
                        .collect(),
                }
            })
            .collect();
        timers.sort_by_key(|timer| (timer.due, timer.id.seq));
        TimersDue {
            timers,
            next: own().map(|timer| timer.due).filter(|due| *due > now).min(),
        }
    }

    pub(crate) fn timer_stats(&self) -> Vec<TimerStats> {
        let mut counts: BTreeMap<(ObjectKey, Scope), u64> = BTreeMap::new();
        for timer in &self.timers {
            if timer.state == TimerState::Waits {
                let key = (timer.subscription.clone(), (*timer.id.scope).clone());
                *counts.entry(key).or_default() += 1;
            }
        }
        let stats = counts
            .into_iter()
            .map(|((subscription, scope), pending)| TimerStats {
                subscription,
                scope,
                pending,
            });
        stats.collect()
    }

    /// What counts at that time.
    pub(crate) fn recall(
        &self,
        subscription: &ObjectKey,
        key: &MemoryKey,
        at: Timestamp,
    ) -> Option<Recalled> {
        let found = self.memories.get(&(subscription.clone(), key.clone()));
        let mut recalled = found.filter(|recalled| recalled.until > at)?.clone();
        if let Memory::Wait { state, .. } = recalled.memory {
            let kept = state.seq().and_then(|seq| self.events.get(&seq));
            recalled.event = kept.map(|kept| Arc::new(kept.event.clone()));
        }
        Some(recalled)
    }
}
