//! `after`: deliveries that wait, unless something happens meanwhile.
//!
//! What is remembered of each key:
//!
//! ```text
//!            start                    due, and all before it is planned
//!  nothing ────────▶ pending ──────────────────────────────────────────▶ fired
//!     ▲                 │ a cancel, no earlier than the start               │ a cancel, no
//!     │ in time         ▼                                                   │ earlier than
//!     └──────────── cancelled ◀─────────────────────────────────────────────┘ the start
//! ```
//!
//! - A start while one is pending, or after one has fired, is ignored: only a cancel makes room.
//! - A cancel is remembered where nothing is pending too: a start from before it comes too late.
//! - A cancel from after the due time comes too late for a timer that has not fired yet, because events
//!   wait to be planned or the sender is given time: it still fires, and the key is free for the next start.
//! - One event may do both: it cancels first, then starts. So `unless` with the rule's own types waits
//!   for silence.
//! - `unless.when` that names `first` is decided where both events are known: an event that may cancel
//!   a start that has not come yet is remembered as *seen*, and asked again when the start comes.
//!
//! What is sent is rendered when the timer starts, and guarded twice: what the first event decides, at
//! the start; what depends on the moment, `once` and the rate of write-backs, at the firing.

use std::sync::Arc;

use hookswitch_crds::expression::{EvalError, Variables, WordLists};
use jiff::{SignedDuration, Timestamp};

use crate::config::{self, Subscription};
use crate::event::{Event, LATEST};
use crate::plan::{DeadReason, Guard, Part};
use crate::plan::{
    Fate, Firing, Memory, MemoryKey, NewTimer, OnceTerms, Outcome, Plan, Remember, Scope,
    StoredTimer, Suppression, TimerId, WaitState, WriteBack,
};
use crate::store::{GuardAnswer, GuardQuestion, StoredEvent};
use hookswitch_crds::snapshot::GuardMode;

use super::{Overlay, once, render};

/// How long it is remembered that a timer has fired. Only a cancel re-arms it before that.
const FIRED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A wait that an event is about to start.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) key: MemoryKey,
    at: Timestamp,
    due: Timestamp,
}

/// A wait that an event cancels, or may cancel.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) key: MemoryKey,
    at: Timestamp,
    /// False: `unless.when` is to be asked with the first event.
    decided: bool,
}

/// What an event starts, where its rule fires.
pub(super) fn start(
    after: &config::After,
    event: &Event,
    variables: &Variables<'_>,
) -> Result<Start, EvalError> {
    let text = once::key_text(&after.key, variables)?;
    let at = event.occurred_at();
    let due = at.checked_add(after.wait.to_std());
    Ok(Start {
        key: MemoryKey::new(&after.scope, &text),
        at,
        due: due.unwrap_or(Timestamp::MAX),
    })
}

/// What an event cancels; an error is of which expression. An event without the key, or without a field
/// that `when` names, cancels nothing.
pub(super) fn stop<'a, 'v: 'a>(
    after: &config::After,
    event: &Event,
    variables: impl Fn() -> &'a Variables<'v>,
) -> Result<Option<Stop>, (&'static str, EvalError)> {
    let Some(unless) = &after.unless else {
        return Ok(None);
    };
    if !unless.types.is_empty() && !unless.types.contains(&event.r#type) {
        return Ok(None);
    }
    let missing = |name: &'static str, error| match error {
        EvalError::MissingField(_) => Ok(None),
        error => Err((name, error)),
    };
    let decided = match unless.when.as_ref().filter(|_| !unless.names_first) {
        None => unless.when.is_none(),
        Some(when) => match when.evaluate_bool(variables()) {
            Ok(true) => true,
            Ok(false) => return Ok(None),
            Err(error) => return missing("after.unless.when", error),
        },
    };
    match once::key_text(&after.key, variables()) {
        Ok(text) => Ok(Some(Stop {
            key: MemoryKey::new(&after.scope, &text),
            at: event.occurred_at(),
            decided,
        })),
        Err(error) => missing("after.key", error),
    }
}

impl Stop {
    /// Whether the event itself is needed to decide.
    pub(super) fn needs_event(&self) -> bool {
        !self.decided
    }

    /// Cancels what the event cancels. Gives what there is to say about it.
    pub(super) fn apply(
        &self,
        (after, words): (&config::After, Option<&WordLists>),
        event: Option<&Arc<StoredEvent>>,
        accepted_at: Timestamp,
        overlay: &mut Overlay,
        plan: &mut Plan,
    ) -> Option<&'static str> {
        let known = overlay.recall(&self.key, accepted_at).cloned();
        let (state, at) = match known.as_ref().map(|known| known.memory) {
            Some(Memory::Wait { state, at }) => (Some(state), at),
            Some(Memory::Claimed | Memory::State { .. }) | None => (None, Timestamp::MIN),
        };
        let first = known.as_ref().and_then(|known| known.event.as_ref());
        let holds = |first: Option<&Arc<StoredEvent>>| {
            self.decided || unless_holds(after, words, event, first).unwrap_or(false)
        };
        let mut said = None;
        let next = match state {
            // From before the start: nothing to do with it.
            Some(WaitState::Pending { .. } | WaitState::Fired { .. }) if self.at < at => {
                return None;
            }
            Some(WaitState::Pending { seq }) if holds(first) => {
                if self.at
                    < at.checked_add(after.wait.to_std())
                        .unwrap_or(Timestamp::MAX)
                {
                    plan.cancelled.push(TimerId {
                        scope: Arc::clone(&self.key.scope),
                        seq,
                    });
                    said = Some("after: the wait is cancelled");
                } else {
                    said = Some("after: too late to cancel the wait; the next one may start");
                }
                WaitState::Cancelled
            }
            Some(WaitState::Fired { .. }) if first.is_none() || holds(first) => {
                said = Some("after: the next wait may start");
                WaitState::Cancelled
            }
            Some(WaitState::Pending { .. } | WaitState::Fired { .. }) => return None,
            // An older one says no more.
            Some(WaitState::Cancelled | WaitState::Seen { .. }) if self.at <= at => return None,
            Some(WaitState::Cancelled | WaitState::Seen { .. }) | None => {
                if self.decided {
                    WaitState::Cancelled
                } else {
                    WaitState::Seen { seq: plan.seq }
                }
            }
        };
        let event = match next {
            WaitState::Seen { .. } => event.cloned(),
            _ => None,
        };
        let remember = Remember {
            key: self.key.clone(),
            memory: Memory::Wait {
                state: next,
                at: self.at,
            },
            // A start from before it is taken for true no later than that.
            until: self
                .at
                .max(accepted_at)
                .checked_add(LATEST)
                .unwrap_or(Timestamp::MAX),
        };
        overlay.remember(plan, remember, event);
        said
    }
}

impl Start {
    /// Whether the wait may start, and if not, why not.
    pub(super) fn check(
        &self,
        (after, words): (&config::After, Option<&WordLists>),
        event: Option<&Arc<StoredEvent>>,
        accepted_at: Timestamp,
        overlay: &Overlay,
    ) -> Result<(), Outcome> {
        let known = overlay.recall(&self.key, accepted_at);
        match known.map(|known| known.memory) {
            Some(Memory::Wait { state, at }) => match state {
                WaitState::Pending { .. } => Err(Outcome::WaitsAlready),
                WaitState::Fired { .. } => Err(Outcome::AlreadyFired),
                WaitState::Cancelled if self.at < at => Err(Outcome::CancelledBefore),
                WaitState::Seen { .. } if self.at < at => {
                    let seen = known.and_then(|known| known.event.as_ref());
                    // The seen event is the later one here, whatever came in first.
                    if unless_holds(after, words, seen, event).unwrap_or(false) {
                        Err(Outcome::CancelledBefore)
                    } else {
                        Ok(())
                    }
                }
                WaitState::Cancelled | WaitState::Seen { .. } => Ok(()),
            },
            Some(Memory::Claimed | Memory::State { .. }) | None => Ok(()),
        }
    }

    /// Starts it: what the plan's deliveries of the rule wait for.
    pub(super) fn begin(
        &self,
        once: Vec<OnceTerms>,
        event: Option<&Arc<StoredEvent>>,
        overlay: &mut Overlay,
        plan: &mut Plan,
    ) {
        plan.timers.push(NewTimer {
            key: self.key.clone(),
            at: self.at,
            due: self.due,
            once,
        });
        let remember = Remember {
            key: self.key.clone(),
            memory: Memory::Wait {
                state: WaitState::Pending { seq: plan.seq },
                at: self.at,
            },
            until: Timestamp::MAX,
        };
        overlay.remember(plan, remember, event.cloned());
    }

    /// When it is to fire.
    pub(super) fn due(&self) -> Timestamp {
        self.due
    }
}

/// `unless.when` over a later event and the first one; `None` where it can't be told.
fn unless_holds(
    after: &config::After,
    words: Option<&WordLists>,
    later: Option<&Arc<StoredEvent>>,
    first: Option<&Arc<StoredEvent>>,
) -> Option<bool> {
    let when = after.unless.as_ref()?.when.as_ref()?;
    let later = render::expression_event(&later?.event);
    let first = render::expression_event(&first?.event);
    let variables = Variables::new(&later).with_first(&first);
    let variables = match words {
        Some(words) => variables.with_words(words),
        None => variables,
    };
    when.evaluate_bool(&variables).ok()
}

/// What [`fire`] needs to know from the store about the rate of write-backs, in the order of its
/// answers.
#[must_use]
pub fn firing_questions(
    subscription: &Subscription,
    timer: &StoredTimer,
    now: Timestamp,
) -> Vec<GuardQuestion> {
    let Some(route) = route_of(subscription, &timer.id.scope) else {
        return Vec::new();
    };
    let Some(limit) = route.spec.loop_guard.per_subject else {
        return Vec::new();
    };
    timer
        .deliveries
        .iter()
        .filter(|delivery| writes_back(route, &delivery.lane.destination))
        .map(|delivery| GuardQuestion {
            lane: delivery.lane.clone(),
            echo_key: None,
            at: now,
            subject: timer.subject.clone().unwrap_or_default(),
            since: now.checked_sub(limit.window.to_std()).unwrap_or(now),
        })
        .collect()
}

/// What a timer's firing looks up in the memory of its subscription.
pub fn firing_memories(timer: &StoredTimer) -> impl Iterator<Item = MemoryKey> {
    let once = timer.once.iter().map(|terms| once_key(timer, terms));
    std::iter::once(timer.key()).chain(once)
}

/// Decides what becomes of a timer's deliveries. `answers` are those of [`firing_questions`], and
/// `overlay` knows what [`firing_memories`] names and what the firings before it have done.
#[must_use]
pub fn fire(
    subscription: &Subscription,
    timer: &StoredTimer,
    answers: &[GuardAnswer],
    overlay: &mut Overlay,
    now: Timestamp,
) -> Firing {
    let mut firing = Firing {
        timer: timer.id.clone(),
        at: now,
        deliveries: Vec::new(),
        remember: Vec::new(),
        suppressions: Vec::new(),
    };
    let key = timer.key();
    if let Some(Memory::Wait {
        state: WaitState::Pending { seq },
        at,
    }) = overlay.recall(&key, now).map(|known| known.memory)
        && seq == timer.id.seq
    {
        let remember = Remember {
            key,
            memory: Memory::Wait {
                state: WaitState::Fired { seq },
                at,
            },
            until: now.checked_add(FIRED).unwrap_or(Timestamp::MAX),
        };
        overlay.note(&remember, None);
        firing.remember.push(remember);
    }
    let route = route_of(subscription, &timer.id.scope);
    let limit = route.and_then(|route| route.spec.loop_guard.per_subject);
    let subject = timer.subject.as_deref().unwrap_or_default();
    let mut answers = answers.iter();
    for delivery in &timer.deliveries {
        let lane = &delivery.lane;
        let counted =
            limit.filter(|_| route.is_some_and(|route| writes_back(route, &lane.destination)));
        let answer = counted.and_then(|_| answers.next());
        let once = timer
            .once
            .iter()
            .find(|terms| terms.destination == lane.destination);
        let claim = once.map(|terms| Remember {
            key: once_key(timer, terms),
            memory: Memory::Claimed,
            until: now
                .checked_add(terms.window.to_std())
                .unwrap_or(Timestamp::MAX),
        });
        let claimed = |claim: &Remember| overlay.recall(&claim.key, now).is_some();
        let over = counted.is_some_and(|limit| {
            let known = answer.map_or(0, |answer| answer.write_backs);
            known.saturating_add(overlay.write_backs(lane, subject)) >= limit.limit
        });
        let enforced = route.is_none_or(|route| route.spec.loop_guard.mode == GuardMode::Enforce);
        let fate = if let Some(reason) = delivery.dead {
            Fate::Dead(reason)
        } else if claim.as_ref().is_some_and(claimed) {
            Fate::Drop
        } else {
            if over {
                firing.suppressions.push(Suppression {
                    lane: lane.clone(),
                    rule: timer.id.scope.rule.clone(),
                    guard: Guard::Rate,
                    enforced,
                });
            }
            if over && enforced {
                Fate::Dead(DeadReason::LoopRate)
            } else {
                if let Some(claim) = claim {
                    overlay.note(&claim, None);
                    firing.remember.push(claim);
                }
                if counted.is_some() {
                    overlay.count(lane, subject);
                }
                Fate::Deliver {
                    write_back: counted.map(|limit| WriteBack {
                        subject: subject.to_owned(),
                        window: limit.window,
                    }),
                }
            }
        };
        firing.deliveries.push((delivery.id, fate));
    }
    firing
}

fn once_key(timer: &StoredTimer, terms: &OnceTerms) -> MemoryKey {
    MemoryKey {
        scope: Arc::new(Scope {
            route: timer.id.scope.route.clone(),
            rule: timer.id.scope.rule.clone(),
            part: Part::Once(terms.destination.clone()),
        }),
        digest: terms.digest,
    }
}

fn route_of<'a>(subscription: &'a Subscription, scope: &Scope) -> Option<&'a config::Route> {
    let mut routes = subscription.routes.iter();
    let route = routes.find(|route| route.spec.origin.key == scope.route);
    route.map(|route| &**route)
}

fn writes_back(route: &config::Route, destination: &str) -> bool {
    let mut destinations = route.spec.destinations.iter();
    destinations.any(|it| it.name == destination && it.writes_back)
}
