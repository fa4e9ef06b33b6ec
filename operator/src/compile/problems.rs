//! Collects what is wrong with one spec, while it is resolved.

use hookswitch_crds::condition::reason;
use hookswitch_crds::validation::Violation;

use super::report::{Effect, Problem};

/// The problems of one spec, in the order in which they were found.
///
/// A field has one problem at most: what follows from a mistake is not a second one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// The spec can't be served.
    pub(super) fn refused(
        &mut self,
        field: impl Into<String>,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.push(Effect::Refused, field.into(), reason, message.into());
    }

    /// The spec breaks rules of its schema. In a cluster the API server would have refused it, unless
    /// the rule is newer than the object.
    pub(super) fn broken_rules(&mut self, violations: Vec<Violation>) {
        for Violation { field, message } in violations {
            self.refused(field, reason::UNREADABLE, message);
        }
    }

    /// The spec is served, and what needs the reference waits.
    pub(super) fn unresolved(
        &mut self,
        field: impl Into<String>,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.push(Effect::Unresolved, field.into(), reason, message.into());
    }

    /// The spec is served, but its author may not expect how.
    pub(super) fn warning(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.push(
            Effect::Warning,
            field.into(),
            reason::ACCEPTED,
            message.into(),
        );
    }

    fn push(&mut self, effect: Effect, field: String, reason: &'static str, message: String) {
        if self.0.iter().all(|problem| problem.field != field) {
            self.0.push(Problem {
                field,
                reason,
                message,
                effect,
            });
        }
    }

    /// True where a field, or one in it, has a problem.
    pub(super) fn any_under(&self, field: &str) -> bool {
        self.0
            .iter()
            .any(|problem| problem.field.starts_with(field))
    }

    /// True where the spec can be served.
    pub(super) fn none_refused(&self) -> bool {
        self.0
            .iter()
            .all(|problem| problem.effect != Effect::Refused)
    }

    /// Those found, in order.
    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}
