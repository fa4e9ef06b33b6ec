//! An object's conditions, folded from its problems.

use hookswitch_crds::condition::reason;

use super::context::Version;
use super::report::{Condition, Effect, Problem, Serving};

/// How many problems a condition's message tells of.
const TOLD: usize = 8;
/// How many characters it tells of each.
const LENGTH: usize = 600;

impl Condition {
    pub(super) fn is_true(reason: &'static str, message: String) -> Self {
        Self {
            status: true,
            reason,
            message,
        }
    }

    pub(super) fn is_false(reason: &'static str, message: String) -> Self {
        Self {
            status: false,
            reason,
            message,
        }
    }
}

/// Whether the current spec is valid and in force, everywhere that it asks for.
pub(super) fn accepted(problems: &[Problem]) -> Condition {
    accepted_but_for(problems, |problem| {
        problem.effect == Effect::Refused || is_of_a_parent(problem)
    })
}

/// The same of a route, whatever the subscriptions say that it names.
pub(super) fn accepted_apart_from_parents(problems: &[Problem]) -> Condition {
    accepted_but_for(problems, |problem| problem.effect == Effect::Refused)
}

fn accepted_but_for(problems: &[Problem], fails: impl Fn(&&Problem) -> bool + Copy) -> Condition {
    if let Some(first) = problems.iter().find(fails) {
        return Condition::is_false(first.reason, tell(problems.iter().filter(fails)));
    }
    let warnings = problems.iter().filter(|it| it.effect == Effect::Warning);
    Condition::is_true(reason::ACCEPTED, tell(warnings))
}

fn is_of_a_parent(problem: &Problem) -> bool {
    matches!(
        problem.reason,
        reason::NO_MATCHING_SUBSCRIPTION | reason::NOT_ALLOWED_BY_SUBSCRIPTION
    )
}

/// Whether all that it refers to exists.
pub(super) fn resolved_refs(problems: &[Problem]) -> Condition {
    let missing = || {
        problems.iter().filter(|it| {
            matches!(
                it.reason,
                reason::SECRET_NOT_FOUND
                    | reason::SECRET_KEY_MISSING
                    | reason::SECRET_INVALID
                    | reason::DESTINATION_NOT_FOUND
            ) || (it.reason == reason::WORD_LIST_INVALID && it.effect == Effect::Unresolved)
        })
    };
    match missing().next() {
        Some(first) => Condition::is_false(first.reason, tell(missing())),
        None => Condition::is_true(reason::RESOLVED_REFS, String::new()),
    }
}

/// `Some` where the current spec is not programmed, whatever the receivers do.
pub(super) fn programmed(
    version: Option<Version>,
    serving: Option<Serving>,
    generation: i64,
) -> Option<Condition> {
    match (version, serving) {
        (Some(Version::Current), _) => None,
        (Some(Version::LastGood), Some(serving)) => Some(Condition::is_false(
            reason::LAST_GOOD_KEPT,
            if serving.generation == generation {
                "it is served without what it may not have any more".to_owned()
            } else {
                format!(
                    "generation {} is served until this one is accepted",
                    serving.generation
                )
            },
        )),
        (Some(Version::LastGood), None) | (None, _) => Some(Condition::is_false(
            reason::PENDING,
            "nothing of it is served until it is accepted".to_owned(),
        )),
    }
}

/// The first problems, each with its field, and how many more there are.
fn tell<'a>(problems: impl Iterator<Item = &'a Problem> + Clone) -> String {
    let told: Vec<String> = problems.clone().take(TOLD).map(brief).collect();
    match problems.count().saturating_sub(TOLD) {
        0 => told.join("; "),
        more => format!("{}; and {more} more", told.join("; ")),
    }
}

/// A problem in a length that a condition has room for: Kubernetes allows 32768 bytes in all.
fn brief(problem: &Problem) -> String {
    let text = problem.to_string();
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
