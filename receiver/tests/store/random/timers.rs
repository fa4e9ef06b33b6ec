//! Timers, and what plans remember, among the random operations.

use std::sync::Arc;

use hookswitch_crds::duration::Duration;
use hookswitch_crds::key::ObjectKey;
use hookswitch_receiver::plan::{
    DeadReason, Fate, Firing, Guard, Memory, MemoryKey, NewTimer, OnceTerms, Part, Plan, Remember,
    Scope, Suppression, TimerId, WaitState, WriteBack,
};
use hookswitch_receiver::store::{Error, TimerState};
use jiff::Timestamp;

use super::{Engine, LANES, Run, Wish};
use crate::support::{at, key, lane};

/// A key of `once`.
pub(super) fn claim_key(destination: &str, key: u8) -> MemoryKey {
    key_of(wait_part(Part::Once(destination.to_owned())), key)
}

pub(super) fn key_of(scope: Scope, key: u8) -> MemoryKey {
    MemoryKey::new(&Arc::new(scope), &format!("key {key}"))
}

/// What waits; two of them.
pub(super) fn wait_scope(version: u64) -> Scope {
    wait_part(Part::After(version % 2))
}

pub(super) fn wait_part(part: Part) -> Scope {
    Scope {
        route: key("route"),
        rule: "rule".to_owned(),
        part,
    }
}

/// What a plan's rule remembers, and the timer that it starts where a delivery waits.
pub(super) fn remember(plan: &mut Plan, wishes: &[Wish], due: Option<Timestamp>, now: i64) {
    plan.remember = wishes
        .iter()
        .filter_map(|wish| {
            Some(Remember {
                key: claim_key(LANES[wish.lane], wish.once?),
                memory: Memory::Claimed,
                until: at(now + 12),
            })
        })
        .collect();
    for wish in wishes {
        if let Some(rank) = wish.subject {
            plan.remember.push(Remember {
                key: key_of(wait_part(Part::Transition), rank),
                memory: Memory::State {
                    rank: i64::from(rank) - 1,
                    at: at(now),
                    reopened: wish.dead.then(|| at(now - 5)),
                },
                until: at(now + 20),
            });
        }
    }
    if let Some(due) = due {
        let seq = plan.seq;
        let version = seq % 2;
        let key = key_of(wait_scope(version), 7);
        let once = wishes.iter().filter_map(|wish| {
            Some(OnceTerms {
                destination: LANES[wish.lane].to_owned(),
                digest: [wish.once?; 16],
                window: Duration::from_secs(9),
            })
        });
        plan.timers.push(NewTimer {
            key: key.clone(),
            at: at(now - i64::from(wishes.len() > 1)),
            due,
            once: once.collect(),
        });
        plan.remember.push(Remember {
            key,
            memory: Memory::Wait {
                state: match seq % 4 {
                    0 => WaitState::Seen { seq },
                    1 => WaitState::Cancelled,
                    _ => WaitState::Pending { seq },
                },
                at: at(now),
            },
            until: at(1_000_000),
        });
    }
}

impl<E: Engine> Run<E> {
    /// Lets the last plan cancel a timer; one that does not wait where it is not to be real.
    pub(super) fn cancel(&self, subscription: &ObjectKey, plans: &mut [Plan], real: bool) {
        let started = plans.first().filter(|plan| !plan.timers.is_empty());
        let started = started.map(|plan| TimerId {
            scope: Arc::clone(&plan.timers[0].key.scope),
            seq: plan.seq,
        });
        if let Some(last) = plans.last_mut() {
            let mut waiting = self.model.timers.iter().filter(|timer| {
                timer.subscription == *subscription && timer.state == TimerState::Waits
            });
            let known = waiting.next().map(|timer| timer.id.clone());
            let never = TimerId {
                scope: Arc::new(wait_scope(0)),
                seq: 999,
            };
            // One of the same append, where it has two plans.
            let own = started.filter(|started| started.seq != last.seq);
            let cancelled = own.or(known).filter(|_| real).unwrap_or(never);
            last.cancelled.push(cancelled);
        }
    }

    pub(super) async fn fire(&mut self, pick: usize, stale: bool, fates: u8) {
        let waiting = self
            .model
            .timers
            .iter()
            .filter(|timer| timer.state == TimerState::Waits || pick.is_multiple_of(8));
        let waiting: Vec<_> = waiting.collect();
        let Some(picked) = pick
            .checked_rem(waiting.len())
            .and_then(|at| waiting.get(at))
        else {
            return;
        };
        let subscription = picked.subscription.clone();
        let kept = self.model.events.get(&picked.id.seq);
        let deliveries = kept.map(|kept| kept.deliveries.iter().filter(|it| it.waits()));
        let deliveries = deliveries.into_iter().flatten().zip(0_u8..);
        let firing = Firing {
            timer: picked.id.clone(),
            at: at(self.now),
            deliveries: deliveries
                .map(|(delivery, place)| {
                    let fate = match (fates >> (2 * place.min(3))) & 3 {
                        _ if delivery.new.request.is_none() => Fate::Dead(DeadReason::RuleError),
                        0 => Fate::Drop,
                        1 => Fate::Dead(DeadReason::LoopRate),
                        some => Fate::Deliver {
                            write_back: (some == 2).then(|| WriteBack {
                                subject: "s".to_owned(),
                                window: Duration::from_secs(15),
                            }),
                        },
                    };
                    (delivery.new.id, fate)
                })
                .collect(),
            remember: vec![Remember {
                key: key_of(wait_scope(fates.into()), 7),
                memory: Memory::Wait {
                    state: WaitState::Fired { seq: picked.id.seq },
                    at: at(self.now - 3),
                },
                until: at(self.now + 20),
            }],
            suppressions: (0..fates % 3)
                .map(|place| Suppression {
                    lane: lane(LANES[usize::from(place)]),
                    rule: "rule".to_owned(),
                    guard: Guard::Rate,
                    enforced: place == 1,
                })
                .collect(),
        };
        let after = self.model.planned(&subscription) + u64::from(stale);
        let store = self.engine.store();
        let outcome = store.fire(&subscription, after, vec![firing.clone()]).await;
        if self.model.fire(&subscription, after, vec![firing]) {
            outcome.unwrap();
        } else {
            assert!(matches!(outcome, Err(Error::Conflict)), "{outcome:?}");
        }
    }
}
