//! What a batch of plans adds to the metrics, counted once it is durable.

use std::collections::HashMap;

use hookswitch_crds::key::ObjectKey;

use crate::event::Disposition;
use crate::metrics::Metrics;
use crate::plan::{Guard, Lane, Outcome, Plan};

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
}

impl Counts {
    /// Counts plans and the dispositions of their events.
    pub(super) fn of(plans: &[Plan], dispositions: &[Disposition]) -> Self {
        let mut counts = Self::default();
        for (plan, disposition) in plans.iter().zip(dispositions) {
            if let Some(reason) = unmatched(plan, *disposition) {
                *counts.unmatched.entry(reason).or_default() += 1;
            }
            for verdict in &plan.verdicts {
                let key = (verdict.route.clone(), verdict.rule.clone(), verdict.outcome);
                *counts.verdicts.entry(key).or_default() += 1;
            }
            for suppression in &plan.suppressions {
                let key = (suppression.lane.clone(), suppression.guard);
                *counts.suppressed.entry(key).or_default() += 1;
            }
        }
        counts
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
    }
}

/// Why no rule fired; `None` where one did, or would have but for an error.
fn unmatched(plan: &Plan, disposition: Disposition) -> Option<&'static str> {
    if plan.quarantined {
        return Some(Disposition::Quarantined.label());
    }
    if disposition != Disposition::Route {
        return Some(disposition.label());
    }
    let any = |wanted: Outcome| {
        plan.verdicts
            .iter()
            .any(|verdict| verdict.outcome == wanted)
    };
    if any(Outcome::Fired)
        || any(Outcome::AlreadyDone)
        || any(Outcome::Error)
        || !plan.deliveries.is_empty()
    {
        None
    } else if any(Outcome::MissingField) {
        Some(MISSING_FIELD)
    } else {
        Some(NO_RULE)
    }
}
