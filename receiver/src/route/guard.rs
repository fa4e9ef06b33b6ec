//! The loop guard: which deliveries would go round for ever.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hookswitch_crds::snapshot::{GuardMode, LoopGuard, Ordering};
use jiff::Timestamp;
use uuid::Uuid;

use crate::plan::{
    DeadReason, Guard, Lane, MemoryKey, NewDelivery, Plan, Recalled, Remember, Suppression,
    WriteBack,
};
use crate::store::{GuardAnswer, StoredEvent};

use super::once::OnceDraft;
use super::stateful::Decided;
use super::{DeliveryDraft, Draft, RouteDraft};

/// What the events of one append have done before the store knows of it, so that each sees the ones
/// before it, and what the store remembers. Begin with a new one for each append.
#[derive(Debug, Default)]
pub struct Overlay {
    consumed: HashSet<Uuid>,
    /// By lane and subject.
    write_backs: HashMap<(Lane, String), u32>,
    /// What the store remembers, and the events before this one since.
    memories: HashMap<MemoryKey, Recalled>,
}

impl Overlay {
    /// One that knows what the store remembers for the append's [`Draft::memories`].
    #[must_use]
    pub fn new(memories: impl IntoIterator<Item = (MemoryKey, Recalled)>) -> Self {
        Self {
            memories: memories.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Whether it has been asked for a key, or has seen it change.
    #[must_use]
    pub fn knows(&self, key: &MemoryKey) -> bool {
        self.memories.contains_key(key)
    }

    /// Learns what the store remembers.
    pub fn learn(&mut self, memories: impl IntoIterator<Item = (MemoryKey, Option<Recalled>)>) {
        let known = memories.into_iter();
        self.memories
            .extend(known.filter_map(|(key, recalled)| Some((key, recalled?))));
    }

    /// What is remembered for a key, for an event accepted then.
    pub(super) fn recall(&self, key: &MemoryKey, accepted_at: Timestamp) -> Option<&Recalled> {
        self.memories
            .get(key)
            .filter(|recalled| recalled.until > accepted_at)
    }

    /// Remembers from now on. `event` is the one that a [`crate::plan::WaitState`] names.
    pub(super) fn remember(
        &mut self,
        plan: &mut Plan,
        remember: Remember,
        event: Option<Arc<StoredEvent>>,
    ) {
        self.note(&remember, event);
        plan.remember.push(remember);
    }

    /// Remembers what is written down elsewhere.
    pub(super) fn note(&mut self, remember: &Remember, event: Option<Arc<StoredEvent>>) {
        let recalled = Recalled {
            memory: remember.memory,
            until: remember.until,
            event,
        };
        self.memories.insert(remember.key.clone(), recalled);
    }

    pub(super) fn write_backs(&self, lane: &Lane, subject: &str) -> u32 {
        self.write_backs
            .get(&(lane.clone(), subject.to_owned()))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn count(&mut self, lane: &Lane, subject: &str) {
        *self
            .write_backs
            .entry((lane.clone(), subject.to_owned()))
            .or_default() += 1;
    }
}

/// Puts the route's deliveries into the plan, as far as `once` and the guard let them. Gives those
/// that `once` left out.
pub(super) fn apply<'a>(
    draft: &Draft,
    route: &'a RouteDraft,
    answers: Vec<(&Lane, &GuardAnswer)>,
    decided: &Decided<'_>,
    overlay: &mut Overlay,
    plan: &mut Plan,
) -> Vec<&'a DeliveryDraft> {
    let settings = &route.route.spec.loop_guard;
    let echo = answers
        .iter()
        .flat_map(|(_, answer)| &answer.marks)
        .find(|mark| !overlay.consumed.contains(*mark))
        .copied();
    if let Some(mark) = echo {
        overlay.consumed.insert(mark);
        plan.marks_consumed.push(mark);
    }
    // What finds a loop in every write-back of the event alike.
    let found = if listed(draft, settings) {
        Some(Guard::Sender)
    } else if echo.is_some() {
        Some(Guard::Echo)
    } else if draft.hops >= settings.max_hops {
        Some(Guard::Hops)
    } else {
        None
    };
    let known: HashMap<&Lane, u32> = answers
        .into_iter()
        .map(|(lane, answer)| (lane, answer.write_backs))
        .collect();

    let mut done = Vec::new();
    for delivery in &route.deliveries {
        let rule = delivery.rule.as_str();
        if decided.held_back.contains(rule) {
            continue;
        }
        let waits_until = decided.starts.get(rule).map(|start| start.due());
        let waits = waits_until.is_some();
        // Of what waits, `once` and the rate are asked when the timer fires.
        let claimed = |once: &OnceDraft| overlay.recall(&once.key, draft.accepted_at).is_some();
        if !waits && delivery.once.as_ref().is_some_and(claimed) {
            done.push(delivery);
            continue;
        }
        if delivery.request.is_none() {
            plan.deliveries.push(NewDelivery {
                waits_until,
                ..delivery.broken()
            });
            continue;
        }
        if !delivery.destination.writes_back {
            if !waits {
                claim(delivery, overlay, plan);
            }
            plan.deliveries.push(NewDelivery {
                waits_until,
                ..delivery.live(draft, settings)
            });
            continue;
        }
        let subject = draft.guarded_subject();
        let limit = settings.per_subject.filter(|_| !waits);
        let over = limit.is_some_and(|limit| {
            let known = known.get(&delivery.lane).copied().unwrap_or_default();
            known.saturating_add(overlay.write_backs(&delivery.lane, subject)) >= limit.limit
        });
        let found = found.or_else(|| over.then_some(Guard::Rate));
        let enforced = settings.mode == GuardMode::Enforce;
        if let Some(guard) = found {
            plan.suppressions.push(Suppression {
                lane: delivery.lane.clone(),
                rule: delivery.rule.clone(),
                guard,
                enforced,
            });
        }
        let dead = match found.filter(|_| enforced) {
            Some(Guard::Sender | Guard::Echo) => continue,
            Some(Guard::Hops) => Some(DeadReason::LoopHops),
            Some(Guard::Rate) => Some(DeadReason::LoopRate),
            None => None,
        };
        let mut planned = delivery.live(draft, settings);
        planned.waits_until = waits_until;
        if waits {
            planned.write_back = None;
        }
        if dead.is_none() && !waits {
            overlay.count(&delivery.lane, subject);
            claim(delivery, overlay, plan);
        } else if dead.is_some() {
            // A dead letter waits for nobody, and nobody for it.
            planned.ordered_by = None;
            planned.dead = dead;
        }
        plan.deliveries.push(planned);
    }
    done
}

/// What is not delivered claims nothing: the next event of the key has its effect.
fn claim(delivery: &DeliveryDraft, overlay: &mut Overlay, plan: &mut Plan) {
    if let Some(once) = &delivery.once {
        overlay.remember(plan, once.claim(), None);
    }
}

/// Whether the event's sender is one whose events are never written back.
fn listed(draft: &Draft, settings: &LoopGuard) -> bool {
    draft.sender.as_ref().is_some_and(|sender| {
        let sender = sender.to_lowercase();
        settings
            .senders
            .iter()
            .any(|listed| listed.to_lowercase() == sender)
    })
}

impl DeliveryDraft {
    /// As it is delivered where nothing stops it.
    fn live(&self, draft: &Draft, settings: &LoopGuard) -> NewDelivery {
        let ordered = self.destination.delivery.ordering == Ordering::PerSubject;
        NewDelivery {
            id: self.id,
            lane: self.lane.clone(),
            rule: self.rule.clone(),
            request: self.request.clone(),
            ordered_by: draft.subject.clone().filter(|_| ordered),
            echo: self.echo,
            write_back: settings
                .per_subject
                .filter(|_| self.destination.writes_back)
                .map(|limit| WriteBack {
                    subject: draft.guarded_subject().to_owned(),
                    window: limit.window,
                }),
            dead: None,
            waits_until: None,
        }
    }
}
