//! Recent events without a plan, by subscription: what the planner asks for next.
//!
//! The first ones are held whole, up to 4 MiB, so that planning keeps up with accepting without
//! reading them back; of the others only the place is known. It shows what is committed.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use hookswitch_crds::key::ObjectKey;

use super::codec::unsigned;
use crate::event::Event;
use crate::store::{StoredEvent, event_bytes};

/// Bytes of events that are held.
const HELD: u64 = 4 << 20;

/// All subscriptions' recent events without a plan.
#[derive(Debug, Default)]
pub(super) struct Recent {
    queues: HashMap<ObjectKey, Queue>,
    held: u64,
}

#[derive(Debug, Default)]
struct Queue {
    planned: i64,
    /// Earlier ones stand in the backlog.
    backlog: bool,
    waiting: VecDeque<Waiting>,
}

/// One of them.
pub(super) struct Waiting {
    pub(super) seq: i64,
    pub(super) event: Option<Event>,
}

/// Without the event's text.
impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiting").field(&self.seq).finish()
    }
}

impl Recent {
    /// Takes in what a transaction did to a subscription: how far it is planned, whether events wait
    /// in the backlog, which are no longer recent or unplanned, and which are new.
    pub(super) fn update(
        &mut self,
        key: &ObjectKey,
        planned: i64,
        backlog: bool,
        gone: i64,
        fresh: impl Iterator<Item = Waiting>,
    ) {
        if !self.queues.contains_key(key) {
            self.queues.insert(key.clone(), Queue::default());
        }
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        queue.planned = planned;
        queue.backlog = backlog;
        while let Some(first) = queue.waiting.pop_front_if(|first| first.seq <= gone) {
            let bytes = first.event.as_ref().map_or(0, event_bytes);
            self.held = self.held.saturating_sub(bytes);
        }
        for mut new in fresh.filter(|new| new.seq > gone) {
            new.event = new.event.and_then(|mut event| {
                let bytes = event_bytes(&event);
                let fits = self.held + bytes <= HELD;
                if fits {
                    self.held += bytes;
                    // The body is a piece of a larger buffer, which it would hold as well.
                    event.body = Bytes::copy_from_slice(&event.body);
                }
                fits.then_some(event)
            });
            queue.waiting.push_back(new);
        }
    }

    /// The last planned place and the next events, as many as are held; `None` where the file must be
    /// asked. They are given away: who asks again before they are planned, as after an error, is given
    /// them from the file.
    pub(super) fn take(
        &mut self,
        key: &ObjectKey,
        limit: usize,
    ) -> Option<(u64, Vec<StoredEvent>)> {
        let queue = self.queues.get_mut(key).filter(|queue| !queue.backlog)?;
        let mut events = Vec::with_capacity(limit.min(queue.waiting.len()));
        for waiting in queue.waiting.iter_mut().take(limit) {
            let Some(event) = waiting.event.take() else {
                break;
            };
            self.held = self.held.saturating_sub(event_bytes(&event));
            events.push(StoredEvent {
                seq: unsigned(waiting.seq),
                event,
            });
        }
        let all = queue.waiting.is_empty() || !events.is_empty();
        all.then(|| (unsigned(queue.planned), events))
    }

    /// The places of a subscription's events.
    pub(super) fn seqs(&self, key: &ObjectKey) -> impl Iterator<Item = i64> {
        self.queues
            .get(key)
            .into_iter()
            .flat_map(|queue| &queue.waiting)
            .map(|waiting| waiting.seq)
    }

    /// The places of all, by subscription.
    pub(super) fn all(&self) -> HashMap<ObjectKey, Vec<i64>> {
        self.queues
            .iter()
            .map(|(key, queue)| (key, queue.waiting.iter()))
            .filter(|(_, waiting)| waiting.len() > 0)
            .map(|(key, waiting)| (key.clone(), waiting.map(|one| one.seq).collect()))
            .collect()
    }

    /// Subscriptions that have any.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = &ObjectKey> {
        self.queues
            .iter()
            .filter(|(_, queue)| !queue.waiting.is_empty())
            .map(|(key, _)| key)
    }

    /// The first place of all.
    pub(super) fn first(&self) -> Option<i64> {
        self.queues
            .values()
            .filter_map(|queue| queue.waiting.front().map(|waiting| waiting.seq))
            .min()
    }
}
