//! What became of each object, for its status, for `lint` and for the terminal.

use std::collections::BTreeMap;
use std::fmt;

use hookswitch_crds::condition::reason;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{self, Origin};

use super::attach::Parent;
use super::conditions;
use super::settings::Settings;
use super::versions::Decision;

/// What became of a `WebhookSubscription`.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookSubscriptionReport {
    /// The generation that the conditions are about.
    pub generation: i64,
    /// What is served of it.
    pub serving: Option<Serving>,
    /// Its conditions.
    pub conditions: Conditions,
    /// Where senders reach it; `None` where it is not served, or the base URL is not known.
    pub url: Option<String>,
    /// How many routes are attached.
    pub attached_routes: usize,
    /// All that is wrong with it, or not as its author may think; broken rules of the schema first.
    pub problems: Vec<Problem>,
}

/// What became of an `EventRoute`.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRouteReport {
    /// The generation that the conditions are about.
    pub generation: i64,
    /// What is served of it.
    pub serving: Option<Serving>,
    /// Its conditions over all of its parents.
    pub conditions: Conditions,
    /// Its conditions at each subscription that it names, sorted.
    pub parents: Box<[(ObjectKey, Conditions)]>,
    /// All that is wrong with it, or not as its author may think; broken rules of the schema first.
    pub problems: Vec<Problem>,
}

/// The entry of the snapshot that an object has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving {
    /// The generation of the spec that is served; an older one than the report's while the last
    /// good spec is kept.
    pub generation: i64,
    /// The snapshot's sequence that last changed what the entry resolves to: the object is
    /// programmed once every receiver has loaded it.
    pub since: u64,
}

impl Serving {
    fn of(origin: &Origin) -> Self {
        Self {
            generation: origin.generation,
            since: origin.since,
        }
    }
}

/// An object's conditions, as far as compiling decides them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// Is the current spec valid, and in force?
    pub accepted: Condition,
    /// Does all that it refers to exist?
    pub resolved_refs: Condition,
    /// `Some` where it is false whatever the receivers do; else they decide, by [`Serving::since`].
    pub programmed: Option<Condition>,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// True or False.
    pub status: bool,
    /// One word, a constant.
    pub reason: &'static str,
    /// What is wrong, where, and the remedy; may be empty where nothing is.
    pub message: String,
}

/// Something that is wrong with an object, or not as its author may think.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field: `spec.rules[2].when`. Keys that are no identifier are quoted: `body["a.b"]`.
    pub field: String,
    /// The reason of the condition that it makes false, or would.
    pub reason: &'static str,
    /// What is wrong and the remedy, without the field.
    pub message: String,
    /// What it does to the object.
    pub effect: Effect,
}

/// What a problem does to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The spec is not served; the last good one is, if there is one.
    Refused,
    /// The spec is served, and what needs the reference waits for it.
    Unresolved,
    /// The spec is served, but its author may not expect how.
    Warning,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The report of a subscription.
pub(super) fn subscription(
    decision: Decision<()>,
    entry: Option<&snapshot::Subscription>,
    attached_routes: usize,
    settings: &Settings,
) -> WebhookSubscriptionReport {
    let version = decision.version();
    let serving = entry.map(|entry| Serving::of(&entry.origin));
    let problems = decision.problems.into_vec();
    WebhookSubscriptionReport {
        generation: decision.generation,
        serving,
        conditions: Conditions {
            accepted: conditions::accepted(&problems),
            resolved_refs: conditions::resolved_refs(&problems),
            programmed: conditions::programmed(version, serving, decision.generation),
        },
        url: entry
            .zip(settings.base_url.as_deref())
            .map(|(entry, base)| format!("{}{}", base.trim_end_matches('/'), entry.path)),
        attached_routes,
        problems,
    }
}

/// The report of a route.
pub(super) fn route(
    decision: Decision<()>,
    entry: Option<&snapshot::Route>,
    parents: Vec<Parent>,
) -> EventRouteReport {
    let version = decision.version();
    let serving = entry.map(|entry| Serving::of(&entry.origin));
    let problems = decision.problems.into_vec();
    let own = Conditions {
        accepted: conditions::accepted_apart_from_parents(&problems),
        resolved_refs: conditions::resolved_refs(&problems),
        programmed: conditions::programmed(version, serving, decision.generation),
    };
    let detached = || Condition::is_false(reason::PENDING, "it is not attached".to_owned());
    let parents = parents.into_iter().map(|Parent { key, refusal }| {
        let conditions = match refusal {
            None => own.clone(),
            Some(refusal) => Conditions {
                accepted: refusal,
                programmed: Some(detached()),
                ..own.clone()
            },
        };
        (key, conditions)
    });
    let parents: BTreeMap<ObjectKey, Conditions> = parents.collect();
    let is_attached = entry.is_some_and(|entry| !entry.subscriptions.is_empty());
    let programmed = match own.programmed {
        None if !is_attached => Some(detached()),
        programmed => programmed,
    };
    EventRouteReport {
        generation: decision.generation,
        serving,
        conditions: Conditions {
            accepted: conditions::accepted(&problems),
            resolved_refs: own.resolved_refs,
            programmed,
        },
        parents: parents.into_iter().collect(),
        problems,
    }
}
