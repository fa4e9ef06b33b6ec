//! The store as a few maps: what an engine must look like from outside, without a thought for speed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use hookswitch_receiver::event::Disposition;
use hookswitch_receiver::plan::{Lane, MemoryKey, NewDelivery, Plan, Recalled, TimerId};
use hookswitch_receiver::store::{
    Accepted, AttemptRecord, Claim, DeliveryState, Due, Finish, GuardAnswer, GuardQuestion,
    MEMORY_BYTES, NewEvent, Next, PlanRecord, Purged, Retention, StoredDelivery, StoredEvent,
    TimerState, delivery_bytes, event_bytes,
};
use jiff::Timestamp;
use uuid::Uuid;

#[path = "model/timers.rs"]
mod timers;
#[path = "model/told.rs"]
mod told;

use timers::Timer;

/// Whether nothing came back of an attempt that says that it has had no effect.
fn may_have_taken_effect(record: &AttemptRecord) -> bool {
    let answer = record.answer.as_ref();
    answer.is_none_or(|answer| answer.ambiguous)
}

/// The whole state.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) events: BTreeMap<u64, Kept>,
    next_seq: u64,
    planned: BTreeMap<ObjectKey, u64>,
    dedup: Vec<(ObjectKey, String, [u8; 32], Timestamp)>,
    pub(crate) marks: Vec<Mark>,
    write_backs: Vec<(Lane, String, Timestamp)>,
    memories: HashMap<(ObjectKey, MemoryKey), Recalled>,
    pub(crate) timers: Vec<Timer>,
}

#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) event: StoredEvent,
    pub(crate) plan: Option<PlanRecord>,
    pub(crate) deliveries: Vec<Delivery>,
    /// When the last thing of it ended.
    ended: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) new: NewDelivery,
    pub(crate) state: DeliveryState,
    pub(crate) attempts: u32,
    pub(crate) records: Vec<AttemptRecord>,
    pub(crate) planned_at: Timestamp,
    pub(crate) due: Timestamp,
    pub(crate) ended: Timestamp,
    interrupted: bool,
}

#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) id: Uuid,
    lane: Lane,
    key: [u8; 32],
    claimed: Timestamp,
    pub(crate) until: Timestamp,
}

impl Delivery {
    /// A new one; it waits where one of its subject is pending.
    pub(crate) fn planned(new: NewDelivery, at: Timestamp, waits: bool) -> Self {
        let state = match new.dead {
            _ if new.waits_until.is_some() => DeliveryState::Waits {
                due: new.waits_until.unwrap(),
            },
            Some(reason) => DeliveryState::Dead(reason),
            None if waits => DeliveryState::Blocked,
            None => DeliveryState::Pending { due: at },
        };
        Self {
            new,
            state,
            attempts: 0,
            records: Vec::new(),
            planned_at: at,
            due: at,
            ended: at,
            interrupted: false,
        }
    }

    pub(crate) fn is_pending(&self) -> bool {
        !matches!(
            self.state,
            DeliveryState::Delivered | DeliveryState::Dead(_) | DeliveryState::Waits { .. }
        )
    }

    pub(crate) fn waits(&self) -> bool {
        matches!(self.state, DeliveryState::Waits { .. })
    }
}

impl Kept {
    fn bytes(&self) -> u64 {
        let deliveries: u64 = self
            .deliveries
            .iter()
            .map(|delivery| delivery_bytes(&delivery.new))
            .sum();
        event_bytes(&self.event.event) + deliveries
    }

    fn is_finished(&self) -> bool {
        self.plan.is_some()
            && self
                .deliveries
                .iter()
                .all(|delivery| delivery.state == DeliveryState::Delivered)
    }
}

impl Model {
    pub(crate) fn accept(&mut self, new: &NewEvent) -> Result<Accepted, u64> {
        let event = &new.event;
        let alive = |until: &Timestamp| *until > event.accepted_at;
        let mut others = false;
        for (subscription, id, digest, until) in &self.dedup {
            if *subscription == event.subscription && *id == event.id && alive(until) {
                if *digest == new.digest {
                    return Ok(Accepted::Duplicate);
                }
                others = true;
            }
        }
        let bytes = event_bytes(event);
        if self.used(&event.subscription) + bytes > new.quota && bytes <= new.quota {
            let waiting = self.unplanned(&event.subscription);
            let oldest = waiting.first().map(|oldest| oldest.event.accepted_at);
            let before = oldest.map_or(event.accepted_at, |it| it.min(event.accepted_at));
            self.memories.retain(|(subscription, _), recalled| {
                *subscription != event.subscription || recalled.until > before
            });
        }
        loop {
            let used = self.used(&event.subscription);
            if used + bytes <= new.quota {
                break;
            }
            let oldest = self
                .events
                .values()
                .filter(|kept| kept.event.event.subscription == event.subscription)
                .filter(|kept| kept.is_finished())
                .map(|kept| (kept.ended, kept.event.seq))
                .min();
            match oldest {
                Some((_, seq)) if bytes <= new.quota => self.events.remove(&seq),
                _ => return Err(used),
            };
        }
        self.next_seq += 1;
        let seq = self.next_seq;
        let mut stored = event.clone();
        if others {
            stored.disposition = Disposition::IdReused;
        }
        self.dedup.push((
            event.subscription.clone(),
            event.id.clone(),
            new.digest,
            new.remember_until,
        ));
        self.events.insert(
            seq,
            Kept {
                event: StoredEvent { seq, event: stored },
                plan: None,
                deliveries: Vec::new(),
                ended: event.accepted_at,
            },
        );
        Ok(if others {
            Accepted::IdReused { seq }
        } else {
            Accepted::New { seq }
        })
    }

    pub(crate) fn seen(&self, new: &NewEvent, at: Timestamp) -> bool {
        self.dedup.iter().any(|(subscription, id, digest, until)| {
            (subscription, id, digest) == (&new.event.subscription, &new.event.id, &new.digest)
                && *until > at
        })
    }

    pub(crate) fn used(&self, subscription: &ObjectKey) -> u64 {
        let memories = self.memories.keys();
        let memories = memories.filter(|(whose, _)| whose == subscription).count();
        let memories = u64::try_from(memories).unwrap() * MEMORY_BYTES;
        let events: u64 = self
            .events
            .values()
            .filter(|kept| kept.event.event.subscription == *subscription)
            .map(Kept::bytes)
            .sum();
        events + memories
    }

    pub(crate) fn planned(&self, subscription: &ObjectKey) -> u64 {
        self.planned.get(subscription).copied().unwrap_or(0)
    }

    pub(crate) fn unplanned(&self, subscription: &ObjectKey) -> Vec<StoredEvent> {
        self.events
            .values()
            .filter(|kept| kept.plan.is_none())
            .map(|kept| kept.event.clone())
            .filter(|event| event.event.subscription == *subscription)
            .collect()
    }

    /// True: appended. False: a conflict.
    pub(crate) fn plan(&mut self, subscription: &ObjectKey, after: u64, plans: Vec<Plan>) -> bool {
        let next: Vec<u64> = self
            .unplanned(subscription)
            .iter()
            .map(|event| event.seq)
            .take(plans.len())
            .collect();
        let marks: Vec<Uuid> = plans
            .iter()
            .flat_map(|plan| plan.marks_consumed.clone())
            .collect();
        let there = marks.iter().enumerate().all(|(at, mark)| {
            self.marks.iter().any(|kept| kept.id == *mark) && !marks[..at].contains(mark)
        });
        if after != self.planned(subscription)
            || !there
            || !plans.iter().map(|plan| plan.seq).eq(next)
            || !self.can_cancel(subscription, &plans)
        {
            return false;
        }
        for plan in plans {
            self.append(subscription, plan);
        }
        true
    }

    fn append(&mut self, subscription: &ObjectKey, plan: Plan) {
        self.planned.insert(subscription.clone(), plan.seq);
        self.marks
            .retain(|mark| !plan.marks_consumed.contains(&mark.id));
        for new in &plan.timers {
            self.timers.push(Timer {
                subscription: subscription.clone(),
                id: TimerId {
                    scope: Arc::clone(&new.key.scope),
                    seq: plan.seq,
                },
                digest: new.key.digest,
                at: new.at,
                due: new.due,
                once: new.once.clone(),
                state: TimerState::Waits,
            });
        }
        for id in &plan.cancelled {
            let at = plan.planned_at;
            let by = Some(self.events[&plan.seq].event.event.uid);
            self.end_timer(subscription, id, TimerState::Cancelled { at, by }, at);
            let kept = self.events.get_mut(&id.seq).unwrap();
            kept.deliveries.retain(|delivery| !delivery.waits());
        }
        self.remember(subscription, plan.remember);
        for new in plan.deliveries {
            let waits = new.ordered_by.is_some()
                && self.events.values().any(|kept| {
                    kept.event.event.subscription == *subscription
                        && kept.deliveries.iter().any(|other| {
                            other.is_pending()
                                && other.new.lane == new.lane
                                && other.new.ordered_by == new.ordered_by
                        })
                });
            self.count_write_back(&new, plan.planned_at);
            self.events
                .get_mut(&plan.seq)
                .unwrap()
                .deliveries
                .push(Delivery::planned(new, plan.planned_at, waits));
        }
        let kept = self.events.get_mut(&plan.seq).unwrap();
        kept.ended = plan.planned_at;
        if let Some(why) = plan.set_aside {
            kept.event.event.disposition = why;
        }
        kept.plan = Some(PlanRecord {
            sequence: plan.sequence,
            planned_at: plan.planned_at,
            verdicts: plan.verdicts,
            suppressions: plan.suppressions,
            damaged: false,
        });
    }

    pub(crate) fn count_write_back(&mut self, new: &NewDelivery, at: Timestamp) {
        let live = new.dead.is_none() && new.waits_until.is_none();
        if let Some(write_back) = new.write_back.clone().filter(|_| live) {
            self.write_backs
                .push((new.lane.clone(), write_back.subject, at));
        }
    }

    pub(crate) fn claim(&mut self, claim: &Claim) -> bool {
        let Some((_, delivery)) = self.find(claim.id) else {
            return false;
        };
        let ready = matches!(delivery.state, DeliveryState::Pending { .. });
        if !ready || delivery.attempts != claim.attempts {
            return false;
        }
        delivery.state = DeliveryState::Claimed;
        delivery.attempts += 1;
        delivery.interrupted = false;
        delivery.records.push(AttemptRecord {
            number: delivery.attempts,
            started_at: claim.at,
            finished_at: None,
            answer: None,
        });
        if let Some(echo) = delivery.new.echo {
            let mark = Mark {
                id: claim.id,
                lane: delivery.new.lane.clone(),
                key: echo.key,
                claimed: claim.at,
                until: claim.at + echo.window.to_std(),
            };
            self.marks.retain(|kept| kept.id != claim.id);
            self.marks.push(mark);
        }
        true
    }

    pub(crate) fn finish(&mut self, finish: &Finish) -> bool {
        let Some((seq, delivery)) = self.find(finish.id) else {
            return false;
        };
        let goes_on = delivery
            .records
            .last()
            .is_some_and(|record| record.finished_at.is_none());
        if !delivery.is_pending()
            || delivery.attempts != finish.attempts
            || (finish.answer.is_some() && !goes_on)
        {
            return false;
        }
        if let Some(record) = delivery.records.last_mut().filter(|_| goes_on) {
            record.finished_at = Some(finish.at);
            record.answer.clone_from(&finish.answer);
        }
        let refused = finish.next != Next::Delivered
            && finish
                .answer
                .as_ref()
                .is_some_and(|answer| !answer.ambiguous);
        let mut earlier = delivery.records.iter().rev().skip(1);
        let earlier = earlier.any(may_have_taken_effect);
        delivery.interrupted = false;
        delivery.state = match finish.next {
            Next::Delivered => DeliveryState::Delivered,
            Next::Dead(reason) => DeliveryState::Dead(reason),
            Next::RetryAt(due) => {
                delivery.due = due;
                match delivery.state {
                    DeliveryState::Blocked => DeliveryState::Blocked,
                    _ => DeliveryState::Pending { due },
                }
            }
        };
        let ended = !delivery.is_pending();
        if ended {
            delivery.ended = finish.at;
        }
        let (lane, subject) = (delivery.new.lane.clone(), delivery.new.ordered_by.clone());
        if refused && !earlier {
            self.marks.retain(|mark| mark.id != finish.id);
        }
        if ended {
            let kept = self.events.get_mut(&seq).unwrap();
            kept.ended = kept.ended.max(finish.at);
            let subscription = kept.event.event.subscription.clone();
            if subject.is_some() {
                self.unblock(&subscription, &lane, subject.as_deref());
            }
        }
        true
    }

    fn unblock(&mut self, subscription: &ObjectKey, lane: &Lane, subject: Option<&str>) {
        let head = self
            .events
            .values_mut()
            .filter(|kept| kept.event.event.subscription == *subscription)
            .flat_map(|kept| &mut kept.deliveries)
            .find(|other| {
                other.is_pending()
                    && other.new.lane == *lane
                    && other.new.ordered_by.as_deref() == subject
            });
        if let Some(head) = head.filter(|head| head.state == DeliveryState::Blocked) {
            head.state = DeliveryState::Pending { due: head.due };
        }
    }

    fn find(&mut self, id: Uuid) -> Option<(u64, &mut Delivery)> {
        self.events.iter_mut().find_map(|(seq, kept)| {
            kept.deliveries
                .iter_mut()
                .find(|delivery| delivery.new.id == id)
                .map(|delivery| (*seq, delivery))
        })
    }

    /// All that is past its retention, however many calls it takes.
    pub(crate) fn purge(
        &mut self,
        now: Timestamp,
        retention: impl Fn(&ObjectKey) -> Retention,
    ) -> Purged {
        let mut purged = Purged::default();
        // What an event that waits for its plan may ask for is kept, for a day.
        let mut events = self.events.values();
        let waiting = events.find(|kept| kept.plan.is_none());
        let oldest = waiting.map(|kept| kept.event.event.accepted_at);
        let before = oldest
            .map_or(now, |oldest| oldest.min(now))
            .max(now - jiff::SignedDuration::from_hours(24));
        self.memories.retain(|_, recalled| recalled.until > before);
        for kept in self.events.values_mut() {
            let keep = retention(&kept.event.event.subscription).dead_letters;
            let before = kept.deliveries.len();
            kept.deliveries.retain(|delivery| {
                !matches!(delivery.state, DeliveryState::Dead(_))
                    || delivery.ended + keep.to_std() > now
            });
            purged.dead_letters += u64::try_from(before - kept.deliveries.len()).unwrap();
        }
        self.events.retain(|_, kept| {
            let keep = retention(&kept.event.event.subscription).finished;
            let past = kept.is_finished() && kept.ended + keep.to_std() <= now;
            purged.events += u64::from(past);
            !past
        });
        purged
    }

    /// The process ended while these were claimed.
    pub(crate) fn restart(&mut self) {
        for delivery in self
            .events
            .values_mut()
            .flat_map(|kept| &mut kept.deliveries)
        {
            if delivery.state == DeliveryState::Claimed {
                delivery.state = DeliveryState::Pending { due: delivery.due };
                delivery.interrupted = true;
            }
        }
    }

    pub(crate) fn due(&self, lane: &Lane, now: Timestamp) -> Due {
        let mut due = Due::default();
        let waiting = self.events.values().flat_map(|kept| {
            let in_lane = |delivery: &&Delivery| delivery.new.lane == *lane;
            let event = Arc::new(kept.event.clone());
            let sequence = kept.plan.as_ref().map_or(0, |plan| plan.sequence);
            kept.deliveries
                .iter()
                .filter(in_lane)
                .filter(|delivery| matches!(delivery.state, DeliveryState::Pending { .. }))
                .map(move |delivery| (Arc::clone(&event), sequence, delivery))
        });
        for (event, sequence, delivery) in waiting {
            if delivery.due > now {
                due.next = Some(due.next.map_or(delivery.due, |next| next.min(delivery.due)));
                continue;
            }
            due.ready.push(StoredDelivery {
                id: delivery.new.id,
                lane: lane.clone(),
                rule: delivery.new.rule.clone(),
                event,
                request: delivery.new.request.clone().unwrap(),
                attempts: delivery.attempts,
                planned_at: delivery.planned_at,
                sequence,
                due: delivery.due,
                interrupted: delivery.interrupted,
                doubtful: delivery.records.iter().any(may_have_taken_effect),
            });
        }
        due.ready.sort_by_key(|delivery| delivery.due);
        due
    }

    pub(crate) fn guard(&self, question: &GuardQuestion) -> GuardAnswer {
        let mut marks: Vec<&Mark> = self
            .marks
            .iter()
            .filter(|mark| {
                mark.lane == question.lane
                    && Some(mark.key) == question.echo_key
                    && mark.until > question.at
            })
            .collect();
        marks.sort_by_key(|mark| (mark.claimed, mark.id));
        let write_backs = self
            .write_backs
            .iter()
            .filter(|(lane, subject, at)| {
                *lane == question.lane && *subject == question.subject && *at >= question.since
            })
            .count();
        GuardAnswer {
            marks: marks.into_iter().map(|mark| mark.id).take(64).collect(),
            write_backs: u32::try_from(write_backs).unwrap(),
        }
    }
}
