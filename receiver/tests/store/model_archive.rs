//! What the [`Model`] says to a person's questions, and what it makes of their changes.

use hookswitch_receiver::plan::Lane;
use hookswitch_receiver::store::DeliveryState;
use hookswitch_receiver::store::archive::{
    DeadChange, DeadLetter, DeadQuery, EventHead, EventQuery, EventSummary, Replay, Stage,
};
use uuid::Uuid;

use crate::model::{Delivery, Kept, Model};

impl Model {
    /// Oldest first.
    pub(crate) fn summaries(&self, query: &EventQuery) -> Vec<EventSummary> {
        let all = self.events.values().map(|kept| EventSummary {
            head: head(kept),
            plan: kept.plan.clone(),
            pending: count(kept, |it| it.is_pending() || it.waits()),
            delivered: count(kept, |it| it.state == DeliveryState::Delivered),
            dead: count(kept, is_dead),
        });
        all.filter(|one| {
            let head = &one.head;
            query
                .subscription
                .as_ref()
                .is_none_or(|it| *it == head.subscription)
                && query.id.as_ref().is_none_or(|it| *it == head.id)
                && query.r#type.as_ref().is_none_or(|it| *it == head.r#type)
                && (query.subject.is_none() || query.subject == head.subject)
                && query.since.is_none_or(|it| head.accepted_at >= it)
                && query.until.is_none_or(|it| head.accepted_at < it)
                && query.verdict.matches(head, one.plan.as_ref())
                && match query.state {
                    None => true,
                    Some(Stage::Pending) => one.pending > 0,
                    Some(Stage::Delivered) => one.delivered > 0,
                    Some(Stage::Dead) => one.dead > 0,
                }
        })
        .collect()
    }

    /// In accept order; their places are 0.
    pub(crate) fn dead_letters(&self, query: &DeadQuery) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        for kept in self.events.values() {
            for delivery in &kept.deliveries {
                let DeliveryState::Dead(reason) = delivery.state else {
                    continue;
                };
                letters.push(DeadLetter {
                    place: 0,
                    event: head(kept),
                    id: delivery.new.id,
                    lane: delivery.new.lane.clone(),
                    rule: delivery.new.rule.clone(),
                    reason,
                    ended_at: delivery.ended,
                    attempts: delivery.attempts,
                    rendered: delivery.new.request.is_some(),
                    last: delivery.records.last().cloned(),
                });
            }
        }
        letters.retain(|letter| {
            query
                .ids
                .as_ref()
                .is_none_or(|ids| ids.contains(&letter.id))
                && query
                    .subscription
                    .as_ref()
                    .is_none_or(|it| *it == letter.event.subscription)
                && query
                    .destination
                    .as_ref()
                    .is_none_or(|it| *it == letter.lane.destination)
                && query.reason.is_none_or(|it| it == letter.reason)
                && query.since.is_none_or(|it| letter.ended_at >= it)
                && query.until.is_none_or(|it| letter.ended_at < it)
        });
        letters
    }

    pub(crate) fn retry(&mut self, change: &DeadChange) -> bool {
        let Some((seq, at)) = self.find_dead(change) else {
            return false;
        };
        let delivery = &self.events[&seq].deliveries[at];
        if delivery.new.request.is_none() {
            return false;
        }
        let (lane, subject) = (delivery.new.lane.clone(), delivery.new.ordered_by.clone());
        let waits = self.is_busy(seq, &lane, subject.as_deref());
        let delivery = &mut self.events.get_mut(&seq).unwrap().deliveries[at];
        delivery.due = change.at;
        delivery.planned_at = change.at;
        delivery.state = if waits {
            DeliveryState::Blocked
        } else {
            DeliveryState::Pending { due: change.at }
        };
        true
    }

    pub(crate) fn discard(&mut self, change: &DeadChange) -> bool {
        let Some((seq, at)) = self.find_dead(change) else {
            return false;
        };
        self.events.get_mut(&seq).unwrap().deliveries.remove(at);
        true
    }

    pub(crate) fn replay(&mut self, replay: Replay) -> u64 {
        let Replay {
            seq,
            at,
            deliveries,
            claims: _,
        } = replay;
        let planned = self
            .events
            .get(&seq)
            .is_some_and(|kept| kept.plan.is_some());
        let mut made = 0;
        for new in deliveries.into_iter().filter(|_| planned) {
            if new.request.is_none() || new.dead.is_some() {
                continue;
            }
            let deliveries = &self.events[&seq].deliveries;
            let same = deliveries.iter().position(|it| it.new.id == new.id);
            let broken = same.filter(|at| {
                let same = &deliveries[*at];
                is_dead(same) && same.new.request.is_none()
            });
            if same.is_some() && broken.is_none() {
                continue;
            }
            let waits = self.is_busy(seq, &new.lane, new.ordered_by.as_deref());
            self.count_write_back(&new, at);
            let delivery = Delivery::planned(new, at, waits);
            let deliveries = &mut self.events.get_mut(&seq).unwrap().deliveries;
            match broken {
                Some(place) => deliveries[place] = delivery,
                None => deliveries.push(delivery),
            }
            made += 1;
        }
        made
    }

    /// A dead letter with so many attempts: its event and its place there.
    fn find_dead(&self, change: &DeadChange) -> Option<(u64, usize)> {
        self.events.iter().find_map(|(seq, kept)| {
            let at = kept.deliveries.iter().position(|delivery| {
                delivery.new.id == change.id
                    && is_dead(delivery)
                    && delivery.attempts == change.attempts
            })?;
            Some((*seq, at))
        })
    }

    /// Whether something of the subject is pending in the lane.
    fn is_busy(&self, seq: u64, lane: &Lane, subject: Option<&str>) -> bool {
        let subscription = &self.events[&seq].event.event.subscription;
        subject.is_some()
            && self
                .events
                .values()
                .filter(|kept| kept.event.event.subscription == *subscription)
                .flat_map(|kept| &kept.deliveries)
                .any(|other| {
                    other.is_pending()
                        && other.new.lane == *lane
                        && other.new.ordered_by.as_deref() == subject
                })
    }

    /// Dead letters, with their attempts.
    pub(crate) fn dead(&self) -> Vec<(Uuid, u32)> {
        self.events
            .values()
            .flat_map(|kept| &kept.deliveries)
            .filter(|delivery| is_dead(delivery))
            .map(|delivery| (delivery.new.id, delivery.attempts))
            .collect()
    }
}

fn is_dead(delivery: &Delivery) -> bool {
    matches!(delivery.state, DeliveryState::Dead(_))
}

fn count(kept: &Kept, is: impl Fn(&Delivery) -> bool) -> u64 {
    u64::try_from(kept.deliveries.iter().filter(|it| is(it)).count()).unwrap()
}

fn head(kept: &Kept) -> EventHead {
    let event = &kept.event.event;
    EventHead {
        seq: kept.event.seq,
        uid: event.uid,
        subscription: event.subscription.clone(),
        id: event.id.clone(),
        r#type: event.r#type.clone(),
        accepted_at: event.accepted_at,
        subject: event.subject.clone(),
        sender: event.sender.clone(),
        disposition: event.disposition,
        bytes: u64::try_from(event.body.len()).unwrap(),
    }
}
