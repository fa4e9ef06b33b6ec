//! What a receiver remembers between the events of a case: its store, as far as rules can tell, and its clock.
//!
//! Time passes only where a case says so. A timer fires at its due time; a receiver takes some seconds more.
//! What can be delivered is delivered at once, and never refused.

use std::collections::HashMap;
use std::sync::Arc;

use hookswitch_receiver::config::Subscription;
use hookswitch_receiver::event::{Disposition, Event};
use hookswitch_receiver::plan::{
    EchoMark, Fate, Lane, Memory, MemoryKey, NewDelivery, Plan, Recalled, Remember, StoredTimer,
    TimerId, WaitingDelivery,
};
use hookswitch_receiver::route::{self, Draft, Overlay};
use hookswitch_receiver::store::{GuardAnswer, GuardQuestion, StoredEvent};
use jiff::Timestamp;
use uuid::Uuid;

/// It.
#[derive(Debug, Default)]
pub(super) struct World {
    now: Timestamp,
    events: HashMap<u64, Arc<StoredEvent>>,
    memories: HashMap<MemoryKey, Recalled>,
    marks: Vec<Mark>,
    /// Lane, subject and time.
    write_backs: Vec<(Lane, String, Timestamp)>,
    timers: Vec<Timer>,
}

/// An echo that is waited for.
#[derive(Debug)]
struct Mark {
    id: Uuid,
    lane: Lane,
    key: [u8; 32],
    until: Timestamp,
}

/// A timer that waits, with what waits for it.
#[derive(Debug)]
struct Timer {
    timer: StoredTimer,
    deliveries: Vec<NewDelivery>,
}

/// A timer that has fired.
#[derive(Debug)]
pub(super) struct Fired {
    pub(super) timer: TimerId,
    pub(super) event: Arc<StoredEvent>,
    /// Those that are sent, and those that are dead now.
    pub(super) deliveries: Vec<NewDelivery>,
}

impl World {
    /// One in which nothing has happened, whose clock stands at that time.
    pub(super) fn at(now: Timestamp) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The place of the next event.
    pub(super) fn next(&self) -> u64 {
        u64::try_from(self.events.len()).map_or(u64::MAX, |count| count + 1)
    }

    /// What becomes of an event: routed once, however often it comes. `None` for one that came before.
    pub(super) fn take(
        &mut self,
        subscription: &Subscription,
        mut event: Event,
        sequence: u64,
    ) -> Option<(Arc<StoredEvent>, Plan)> {
        let mut same = self.events.values().filter(|it| it.event.id == event.id);
        match same.next() {
            Some(one) if one.event.body == event.body => return None,
            Some(_) => event.disposition = Disposition::IdReused,
            None => {}
        }
        let seq = self.next();
        let stored = Arc::new(StoredEvent { seq, event });
        self.events.insert(seq, Arc::clone(&stored));
        let draft = Draft::new(subscription, &stored);
        let answers = self.answers(&draft.questions(self.now));
        let plan = draft.plan(&answers, &mut self.overlay(), self.now, sequence);
        self.apply(&stored, &plan);
        Some((stored, plan))
    }

    fn apply(&mut self, event: &StoredEvent, plan: &Plan) {
        self.marks
            .retain(|mark| !plan.marks_consumed.contains(&mark.id));
        self.timers
            .retain(|waiting| !plan.cancelled.contains(&waiting.timer.id));
        self.remember(plan.remember.iter());
        for new in &plan.timers {
            let scope = &new.key.scope;
            let of = |it: &&NewDelivery| {
                it.waits_until.is_some() && it.lane.route == scope.route && it.rule == scope.rule
            };
            let deliveries: Vec<_> = plan.deliveries.iter().filter(of).cloned().collect();
            let timer = StoredTimer {
                id: TimerId {
                    scope: Arc::clone(scope),
                    seq: event.seq,
                },
                digest: new.key.digest,
                at: new.at,
                due: new.due,
                subject: event.event.subject.clone(),
                once: new.once.clone(),
                deliveries: deliveries
                    .iter()
                    .map(|it| WaitingDelivery {
                        id: it.id,
                        lane: it.lane.clone(),
                        dead: it.dead,
                    })
                    .collect(),
            };
            self.timers.push(Timer { timer, deliveries });
        }
        for delivery in &plan.deliveries {
            if delivery.dead.is_none() && delivery.waits_until.is_none() {
                self.write_back(delivery);
            }
        }
    }

    fn remember<'a>(&mut self, all: impl Iterator<Item = &'a Remember>) {
        for Remember { key, memory, until } in all {
            let event = match memory {
                Memory::Wait { state, .. } => state.seq().and_then(|seq| self.events.get(&seq)),
                Memory::Claimed | Memory::State { .. } => None,
            };
            let recalled = Recalled {
                memory: *memory,
                until: *until,
                event: event.cloned(),
            };
            self.memories.insert(key.clone(), recalled);
        }
    }

    fn write_back(&mut self, delivery: &NewDelivery) {
        if let Some(write_back) = &delivery.write_back {
            let subject = write_back.subject.clone();
            self.write_backs
                .push((delivery.lane.clone(), subject, self.now));
        }
    }

    /// A write-back is sent that leaves a mark.
    pub(super) fn sent(&mut self, delivery: &NewDelivery, echo: Option<EchoMark>) {
        if let Some(EchoMark { key, window }) = echo {
            let until = self.now.checked_add(window.to_std());
            self.marks.push(Mark {
                id: delivery.id,
                lane: delivery.lane.clone(),
                key,
                until: until.unwrap_or(Timestamp::MAX),
            });
        }
    }

    /// Lets time pass, and fires what is due until then.
    pub(super) fn pass(
        &mut self,
        subscription: &Subscription,
        time: std::time::Duration,
    ) -> Vec<Fired> {
        let until = self.now.checked_add(time).unwrap_or(Timestamp::MAX);
        let mut fired = Vec::new();
        loop {
            let due = self.timers.iter().enumerate();
            let due = due.filter(|(_, waiting)| waiting.timer.due <= until);
            let first = due.min_by_key(|(_, waiting)| (waiting.timer.due, waiting.timer.id.seq));
            let Some(at) = first.map(|(at, _)| at) else {
                break;
            };
            let waiting = self.timers.remove(at);
            self.now = self.now.max(waiting.timer.due);
            fired.extend(self.fire(subscription, waiting));
        }
        self.now = until;
        fired
    }

    fn fire(&mut self, subscription: &Subscription, waiting: Timer) -> Option<Fired> {
        let Timer { timer, deliveries } = waiting;
        let event = Arc::clone(self.events.get(&timer.id.seq)?);
        let questions = route::firing_questions(subscription, &timer, self.now);
        let answers = self.answers(&questions);
        let mut overlay = self.overlay();
        let firing = route::fire(subscription, &timer, &answers, &mut overlay, self.now);
        self.remember(firing.remember.iter());
        let mut free = Vec::new();
        for mut delivery in deliveries {
            let fate = firing.deliveries.iter().find(|(id, _)| *id == delivery.id);
            delivery.waits_until = None;
            match fate.map(|(_, fate)| fate) {
                Some(Fate::Deliver { write_back }) => {
                    delivery.write_back.clone_from(write_back);
                    self.write_back(&delivery);
                }
                Some(Fate::Dead(reason)) => delivery.dead = Some(*reason),
                Some(Fate::Drop) | None => continue,
            }
            free.push(delivery);
        }
        Some(Fired {
            timer: timer.id,
            event,
            deliveries: free,
        })
    }

    fn overlay(&self) -> Overlay {
        let memories = self.memories.iter();
        Overlay::new(memories.map(|(key, recalled)| (key.clone(), recalled.clone())))
    }

    fn answers(&self, questions: &[GuardQuestion]) -> Vec<GuardAnswer> {
        let answer = |question: &GuardQuestion| {
            let marks = self.marks.iter().filter(|mark| {
                mark.lane == question.lane
                    && Some(mark.key) == question.echo_key
                    && mark.until > question.at
            });
            let write_backs = self.write_backs.iter().filter(|(lane, subject, at)| {
                *lane == question.lane && *subject == question.subject && *at >= question.since
            });
            GuardAnswer {
                marks: marks.map(|mark| mark.id).collect(),
                write_backs: u32::try_from(write_backs.count()).unwrap_or(u32::MAX),
            }
        };
        questions.iter().map(answer).collect()
    }
}
