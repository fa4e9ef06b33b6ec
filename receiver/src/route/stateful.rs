//! What of a rule depends on earlier events: `transition` and `after`.
//!
//! Keys, ranks and times are worked out with the rule; what they mean is decided when the event is planned,
//! with what the store remembers and what the events before it in the same append have done.

use std::collections::{HashMap, HashSet};

use hookswitch_crds::expression::Variables;

use crate::config;
use crate::event::Event;
use crate::plan::{MemoryKey, Outcome, Plan, Verdict};

use super::timer::{self, Start, Stop};
use super::transition::{self, Failure, TransitionDraft};
use super::{Draft, Overlay, RouteDraft, rules};

/// A rule's part in it.
#[derive(Debug)]
pub(super) struct Stateful {
    /// The rule's place in its route.
    place: usize,
    transition: Option<TransitionDraft>,
    start: Option<Start>,
    pub(super) stop: Option<Stop>,
}

/// What is decided of a route's rules.
#[derive(Debug, Default)]
pub(super) struct Decided<'a> {
    /// Rules that deliver nothing of this event.
    pub(super) held_back: HashSet<&'a str>,
    /// Rules whose deliveries wait.
    pub(super) starts: HashMap<&'a str, &'a Start>,
}

impl Stateful {
    pub(super) fn of(place: usize) -> Self {
        Self {
            place,
            transition: None,
            start: None,
            stop: None,
        }
    }

    /// Itself, where there is anything in it.
    pub(super) fn some(self) -> Option<Self> {
        let any = self.transition.is_some() || self.start.is_some() || self.stop.is_some();
        any.then_some(self)
    }

    /// Whether the event itself is needed to decide.
    pub(super) fn needs_event(&self, rule: &config::Rule) -> bool {
        let unless = rule.after.as_ref().and_then(|after| after.unless.as_ref());
        self.stop.as_ref().is_some_and(Stop::needs_event)
            || (self.start.is_some() && unless.is_some_and(|unless| unless.names_first))
    }

    /// Evaluates what a rule that fires needs.
    pub(super) fn evaluate<'a, 'v: 'a>(
        &mut self,
        rule: &config::Rule,
        event: &Event,
        variables: impl Fn() -> &'a Variables<'v>,
    ) -> Result<(), Failure> {
        if let Some(spec) = &rule.transition {
            self.transition = Some(transition::draft(spec, event, variables())?);
        }
        if let Some(after) = &rule.after {
            let start = timer::start(after, event, variables());
            match start {
                Ok(start) => self.start = Some(start),
                Err(error) => {
                    // Without its wait the rule does nothing, and so moves no state.
                    self.transition = None;
                    return Err(("after.key", error));
                }
            }
        }
        Ok(())
    }

    /// What is looked up in memory.
    pub(super) fn memories(&self) -> impl Iterator<Item = &MemoryKey> {
        let transition = self.transition.as_ref().map(|it| &it.key);
        let start = self.start.as_ref().map(|it| &it.key);
        let stop = self.stop.as_ref().map(|it| &it.key);
        transition.into_iter().chain(start).chain(stop)
    }
}

/// Decides for the rules of a route, in their order.
pub(super) fn decide<'a>(
    draft: &Draft,
    route: &'a RouteDraft,
    verdicts: &mut [Verdict],
    overlay: &mut Overlay,
    plan: &mut Plan,
) -> Decided<'a> {
    let mut decided = Decided::default();
    let event = draft.event.as_ref();
    let words = route.route.words.as_ref();
    for stateful in &route.stateful {
        let Some(rule) = route.route.rules.get(stateful.place) else {
            continue;
        };
        let key = &route.route.spec.origin.key;
        let verdict = verdicts
            .iter_mut()
            .find(|verdict| verdict.rule == rule.name && verdict.route == *key);
        let Some(verdict) = verdict else {
            continue;
        };
        if let (Some(stop), Some(after)) = (&stateful.stop, &rule.after)
            && let Some(said) = stop.apply((after, words), event, draft.accepted_at, overlay, plan)
        {
            rules::note(&mut verdict.detail, said);
        }
        if let Some(transition) = &stateful.transition {
            match transition.step(overlay.recall(&transition.key, draft.accepted_at)) {
                Ok(remember) => overlay.remember(plan, remember, None),
                Err(said) => {
                    verdict.outcome = Outcome::WouldGoBack;
                    rules::note(&mut verdict.detail, said);
                    decided.held_back.insert(&rule.name);
                    continue;
                }
            }
        }
        if let (Some(start), Some(after)) = (&stateful.start, &rule.after) {
            match start.check((after, words), event, draft.accepted_at, overlay) {
                Ok(()) => drop(decided.starts.insert(&rule.name, start)),
                Err(outcome) => {
                    verdict.outcome = outcome;
                    decided.held_back.insert(&rule.name);
                }
            }
        }
    }
    decided
}

/// Starts the timers that something waits for.
pub(super) fn start(
    draft: &Draft,
    route: &RouteDraft,
    decided: &Decided<'_>,
    verdicts: &mut [Verdict],
    overlay: &mut Overlay,
    plan: &mut Plan,
) {
    let key = &route.route.spec.origin.key;
    // In the order of the rules.
    for stateful in &route.stateful {
        let Some((name, start)) = route
            .route
            .rules
            .get(stateful.place)
            .and_then(|rule| decided.starts.get_key_value(rule.name.as_str()))
        else {
            continue;
        };
        let waits = plan.deliveries.iter().any(|delivery| {
            delivery.waits_until.is_some() && delivery.rule == *name && delivery.lane.route == *key
        });
        if !waits {
            continue;
        }
        let once = route
            .deliveries
            .iter()
            .filter(|delivery| delivery.rule == *name)
            .filter_map(|delivery| {
                let once = delivery.once.as_ref()?;
                Some(once.terms(&delivery.lane.destination))
            });
        start.begin(once.collect(), draft.event.as_ref(), overlay, plan);
        for verdict in verdicts.iter_mut() {
            let own = verdict.rule == *name && verdict.route == *key;
            if own && verdict.outcome == Outcome::Fired {
                verdict.outcome = Outcome::Waits;
            }
        }
    }
}
