//! What a batch of plans adds to the metrics, counted once it is durable.

use std::collections::HashMap;
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;

use crate::event::Disposition;
use crate::metrics::{Metrics, timer};
use crate::plan::{
    DeadReason, Fate, Firing, Guard, Lane, Outcome, Plan, Scope, StoredTimer, WaitingDelivery,
};

use super::timers::LATE;

/// The reason of an event that was routed and that no rule took.
const NO_RULE: &str = "no_rule";
/// The same, where a rule would have but for a field that the event does not have.
const MISSING_FIELD: &str = "missing_field";

/// Counts of one batch.
#[derive(Debug, Default)]
pub(super) struct Counts {
    unmatched: HashMap<&'static str, u64>,
    verdicts: HashMap<(ObjectKey, String, Outcome), u64>,
    suppressed: HashMap<(Lane, Guard), u64>,
    timers: HashMap<(ObjectKey, String, &'static str), u64>,
    /// Deliveries that ended with the plan: no lane will ever see them.
    dead: HashMap<(Lane, DeadReason), u64>,
}

impl Counts {
    /// Counts plans and the dispositions of their events.
    pub(super) fn of(plans: &[Plan], dispositions: &[Disposition]) -> Self {
        let mut counts = Self::default();
        for (plan, disposition) in plans.iter().zip(dispositions) {
            if let Some(reason) = unmatched(plan, *disposition) {
                *counts.unmatched.entry(reason).or_default() += 1;
            }
            let verdicts = plan.verdicts.iter();
            // Whether a rule that does not name the type is looked at depends on what ends its wait.
            for verdict in verdicts.filter(|it| it.outcome != Outcome::TypeNotMatched) {
                let key = (verdict.route.clone(), verdict.rule.clone(), verdict.outcome);
                *counts.verdicts.entry(key).or_default() += 1;
            }
            let started = plan.timers.iter().map(|timer| &timer.key.scope);
            counts.timers(started, timer::STARTED);
            let cancelled = plan.cancelled.iter().map(|timer| &timer.scope);
            counts.timers(cancelled, timer::CANCELLED);
            for suppression in &plan.suppressions {
                let key = (suppression.lane.clone(), suppression.guard);
                *counts.suppressed.entry(key).or_default() += 1;
            }
            for delivery in &plan.deliveries {
                // One that waits for a timer ends with that, if at all.
                if let Some(reason) = delivery.dead
                    && delivery.waits_until.is_none()
                {
                    let key = (delivery.lane.clone(), reason);
                    *counts.dead.entry(key).or_default() += 1;
                }
            }
        }
        counts
    }

    fn timers<'a>(&mut self, scopes: impl Iterator<Item = &'a Arc<Scope>>, outcome: &'static str) {
        for scope in scopes {
            let key = (scope.route.clone(), scope.rule.clone(), outcome);
            *self.timers.entry(key).or_default() += 1;
        }
    }

    /// Adds them to the metrics.
    pub(super) fn add_to(self, metrics: &Metrics, subscription: &ObjectKey) {
        let subscription = subscription.to_string();
        for (reason, count) in self.unmatched {
            metrics
                .events_unmatched
                .with_label_values(&[subscription.as_str(), reason])
                .inc_by(count);
        }
        for ((route, rule, outcome), count) in self.verdicts {
            metrics
                .rule_verdicts
                .with_label_values(&[route.to_string().as_str(), &rule, outcome.label()])
                .inc_by(count);
        }
        for ((route, rule, outcome), count) in self.timers {
            add_timers(metrics, &route, &rule, outcome, count);
        }
        for ((lane, guard), count) in self.suppressed {
            metrics
                .loop_suppressed
                .with_label_values(&[
                    lane.route.to_string().as_str(),
                    &lane.destination,
                    guard.label(),
                ])
                .inc_by(count);
        }
        for ((lane, reason), count) in self.dead {
            add_dead(metrics, &lane, reason, count);
            tracing::warn!(%lane, dead = reason.label(), count, "deliveries moved to the dead letters when they were planned");
        }
    }
}

/// Counts deliveries that are dead before any lane has seen them.
fn add_dead(metrics: &Metrics, lane: &Lane, reason: DeadReason, count: u64) {
    metrics
        .deliveries
        .with_label_values(&[
            lane.route.to_string().as_str(),
            &lane.destination,
            reason.label(),
        ])
        .inc_by(count);
}

/// Counts timers that were removed because their rule is gone.
pub(super) fn removed(metrics: &Metrics, scope: &Scope, count: u64) {
    if count > 0 {
        add_timers(metrics, &scope.route, &scope.rule, timer::REMOVED, count);
    }
}

/// Counts firings of timers, what the loop guard found in them, and deliveries that ended with them.
pub(super) fn fired(metrics: &Metrics, timers: &[StoredTimer], firings: &[Firing]) {
    for (timer, firing) in timers.iter().zip(firings) {
        let late = firing.at.duration_since(timer.due) > LATE;
        let outcome = if late { timer::LATE } else { timer::FIRED };
        let scope = &timer.id.scope;
        if late {
            tracing::warn!(
                route = %scope.route,
                rule = scope.rule,
                due = %timer.due,
                "a timer fired late: events or the receiver itself were held up"
            );
        }
        add_timers(metrics, &scope.route, &scope.rule, outcome, 1);
        for (id, fate) in &firing.deliveries {
            let delivery = timer.deliveries.iter().find(|one| one.id == *id);
            if let (Fate::Dead(reason), Some(WaitingDelivery { lane, .. })) = (fate, delivery) {
                add_dead(metrics, lane, *reason, 1);
                tracing::warn!(%id, %lane, dead = reason.label(), "delivery moved to the dead letters when its timer fired");
            }
        }
        for suppression in &firing.suppressions {
            metrics
                .loop_suppressed
                .with_label_values(&[
                    suppression.lane.route.to_string().as_str(),
                    &suppression.lane.destination,
                    suppression.guard.label(),
                ])
                .inc();
        }
    }
}

fn add_timers(metrics: &Metrics, route: &ObjectKey, rule: &str, outcome: &str, count: u64) {
    metrics
        .timers
        .with_label_values(&[route.to_string().as_str(), rule, outcome])
        .inc_by(count);
}

/// Why no rule fired; `None` where one did, or would have but for an error.
fn unmatched(plan: &Plan, disposition: Disposition) -> Option<&'static str> {
    if let Some(why) = plan.set_aside {
        return Some(why.label());
    }
    if disposition != Disposition::Route {
        return Some(disposition.label());
    }
    let mut outcomes = plan.verdicts.iter().map(|verdict| verdict.outcome);
    if outcomes.clone().any(Outcome::took) || !plan.deliveries.is_empty() {
        None
    } else if outcomes.any(|outcome| outcome == Outcome::MissingField) {
        Some(MISSING_FIELD)
    } else {
        Some(NO_RULE)
    }
}
