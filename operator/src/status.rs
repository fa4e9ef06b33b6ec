//! What each object's status should say.
//!
//! ```text
//! report (compile) ─┐
//! where it is kept ─┼─ draft ─ compare with what stands there ─▶ a status to write, if any
//! receivers ────────┘
//! ```
//!
//! Invariants:
//! - A status that says so already is not written.
//! - `lastTransitionTime` moves only when a condition's status does.
//! - Conditions of others are left alone.

use std::borrow::Cow;

use hookswitch_crds::condition::{reason, status};
use hookswitch_crds::event_route::{EventRouteStatus, RouteParentStatus, SubscriptionRef};
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::FORMAT;
use hookswitch_crds::subscription::WebhookSubscriptionStatus;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::apply::{Full, Layout, Placed};
use crate::compile::{self, Conditions, EventRouteReport, Serving, WebhookSubscriptionReport};
use crate::receivers::{Fleet, reads};
use crate::standing::{self, TYPES};

mod batch;
pub mod patch;

/// The longest message that a condition may have, in bytes.
const MESSAGE: usize = 32_768;

/// All that a status depends on but the object itself.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Where its entry is kept; `None` where it has none.
    pub placed: Option<&'a Placed>,
    /// In which shards entries are kept.
    pub layout: Layout,
    /// Who should have loaded them.
    pub fleet: &'a Fleet,
    /// For conditions that change.
    pub now: Timestamp,
}

/// A condition that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Its type.
    pub condition: &'static str,
    /// What it is now.
    pub now: compile::Condition,
}

/// A status to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft<Status> {
    /// All of it.
    pub status: Status,
    /// What changed in it.
    pub transitions: Vec<Transition>,
}

/// The status of a subscription, where it is not what stands there.
#[must_use]
pub fn subscription(
    report: &WebhookSubscriptionReport,
    written: &standing::Subscription,
    view: View<'_>,
) -> Option<Draft<WebhookSubscriptionStatus>> {
    let folded = Folded::new(&report.conditions, view);
    let serving = serving(report.serving, view.placed);
    let url = report.url.as_ref().filter(|_| is_served(view.placed));
    let attached_routes = Some(i32::try_from(report.attached_routes).unwrap_or(i32::MAX));
    let standing::Subscription {
        observed_generation,
        serving_generation,
        url: written_url,
        attached_routes: written_routes,
        conditions,
    } = written;
    let stands = *observed_generation == Some(report.generation)
        && *serving_generation == serving
        && written_url.as_deref() == url.map(String::as_str)
        && *written_routes == attached_routes
        && folded.stand(report.generation, conditions);
    (!stands).then(|| Draft {
        transitions: folded.transitions(conditions),
        status: WebhookSubscriptionStatus {
            observed_generation: Some(report.generation),
            serving_generation: serving,
            url: url.cloned(),
            attached_routes,
            conditions: folded.conditions(report.generation, conditions, view.now),
        },
    })
}

/// The status of a route, where it is not what stands there.
#[must_use]
pub fn route(
    key: &ObjectKey,
    report: &EventRouteReport,
    written: &standing::Route,
    view: View<'_>,
) -> Option<Draft<EventRouteStatus>> {
    let folded = Folded::new(&report.conditions, view);
    let serving = serving(report.serving, view.placed);
    let standing::Route {
        observed_generation,
        serving_generation,
        parents: written_parents,
        conditions,
    } = written;
    let stands = *observed_generation == Some(report.generation)
        && *serving_generation == serving
        && parents_stand(key, report, written_parents, view)
        && folded.stand(report.generation, conditions);
    (!stands).then(|| Draft {
        transitions: folded.transitions(conditions),
        status: EventRouteStatus {
            observed_generation: Some(report.generation),
            serving_generation: serving,
            parents: parents(key, report, written_parents, view),
            conditions: folded.conditions(report.generation, conditions, view.now),
        },
    })
}

/// Whether what is written of a route's parents is what should be.
fn parents_stand(
    key: &ObjectKey,
    report: &EventRouteReport,
    written: &[standing::Parent],
    view: View<'_>,
) -> bool {
    let mut pairs = report.parents.iter().zip(written);
    report.parents.len() == written.len()
        && pairs.all(|((parent, conditions), written)| {
            is_of(written, parent, key)
                && Folded::new(conditions, view).stand(report.generation, &written.conditions)
        })
}

fn parents(
    key: &ObjectKey,
    report: &EventRouteReport,
    written: &[standing::Parent],
    view: View<'_>,
) -> Vec<RouteParentStatus> {
    let none = standing::Conditions::default();
    let parents = report.parents.iter().map(|(parent, conditions)| {
        let before = written.iter().find(|it| is_of(it, parent, key));
        let before = before.map_or(&none, |it| &it.conditions);
        let folded = Folded::new(conditions, view);
        RouteParentStatus {
            subscription_ref: SubscriptionRef {
                name: parent.name.clone(),
                namespace: elsewhere(parent, key).map(str::to_owned),
            },
            conditions: folded.conditions(report.generation, before, view.now),
        }
    });
    parents.collect()
}

/// Whether what is written in a route's status is of that parent.
fn is_of(written: &standing::Parent, parent: &ObjectKey, route: &ObjectKey) -> bool {
    *written.name == *parent.name && written.namespace.as_deref() == elsewhere(parent, route)
}

/// A parent's namespace, where it is not the route's own.
fn elsewhere<'a>(parent: &'a ObjectKey, route: &ObjectKey) -> Option<&'a str> {
    Some(parent.namespace.as_str()).filter(|it| *it != route.namespace)
}

/// The generation that receivers serve.
fn serving(serving: Option<Serving>, placed: Option<&Placed>) -> Option<i64> {
    match placed.and_then(|placed| placed.full) {
        Some(full) => full.serving,
        None => serving.map(|it| it.generation),
    }
}

/// Whether any spec of it is in the snapshot.
fn is_served(placed: Option<&Placed>) -> bool {
    placed.is_some_and(|placed| placed.full != Some(Full { serving: None }))
}

impl View<'_> {
    /// Whether every living receiver has loaded the entry.
    fn programmed(&self) -> compile::Condition {
        let Some(placed) = self.placed else {
            return no(reason::PENDING, "it is not part of the snapshot yet");
        };
        if let Some(full) = placed.full {
            let served = match full.serving {
                Some(generation) => format!("generation {generation} is served"),
                None => "nothing of it is served".to_owned(),
            };
            return no(
                reason::SNAPSHOT_FULL,
                format!(
                    "the snapshot has no room for it, and {served}: raise snapshot.shards, or make \
                     objects smaller"
                ),
            );
        }
        if self.fleet.live.is_empty() {
            return no(
                reason::NO_RECEIVERS,
                "no receiver is live: see the receivers' pods",
            );
        }
        let late = || {
            self.fleet
                .live
                .iter()
                .filter(|it| !has_loaded(it, placed, self.layout))
        };
        if late().next().is_none() {
            return compile::Condition {
                status: true,
                reason: reason::PROGRAMMED,
                message: String::new(),
            };
        }
        let format = self.layout.format;
        match late().find(|it| !reads(it, format)) {
            Some(report) if report.formats.iter().all(|it| *it < format) => no(
                reason::RECEIVER_TOO_OLD,
                format!("a receiver can't read format {format} of the snapshot: upgrade it"),
            ),
            Some(_) => no(
                reason::PENDING,
                format!(
                    "a receiver is newer, and reads no format up to {FORMAT} of the snapshot: \
                     upgrade the operator"
                ),
            ),
            None => no(
                reason::PENDING,
                "not every live receiver has loaded it yet: the annotation hookswitch.dev/loaded of \
                 their Leases tells which",
            ),
        }
    }
}

/// Whether a receiver has loaded an entry from every shard that it is in.
fn has_loaded(
    report: &hookswitch_crds::receiver_lease::Report,
    placed: &Placed,
    layout: Layout,
) -> bool {
    // A list of another length is of another number of shards.
    let same_count = u32::try_from(report.loaded.len()) == Ok(layout.count);
    let mut shards = placed
        .shards
        .iter()
        .filter_map(|it| usize::try_from(*it).ok());
    same_count
        && shards.all(|shard| {
            let loaded = report.loaded.get(shard);
            loaded.is_some_and(|loaded| *loaded >= placed.since)
        })
}

/// An object's conditions with the receivers' part in them.
struct Folded<'a>([Cow<'a, compile::Condition>; TYPES.len()]);

impl<'a> Folded<'a> {
    fn new(conditions: &'a Conditions, view: View<'_>) -> Self {
        let Conditions {
            accepted,
            resolved_refs,
            programmed,
        } = conditions;
        let programmed = match programmed {
            Some(decided) => Cow::Borrowed(decided),
            None => Cow::Owned(view.programmed()),
        };
        Self([
            Cow::Borrowed(accepted),
            Cow::Borrowed(resolved_refs),
            programmed,
        ])
    }

    /// Whether they are written already. It is asked of every object at every change, so nothing is made
    /// for it.
    fn stand(&self, generation: i64, written: &standing::Conditions) -> bool {
        self.0
            .iter()
            .zip(written.iter())
            .all(|(condition, before)| {
                before.is_some_and(|before| {
                    before.observed_generation == Some(generation)
                        && before.status == Some(condition.status)
                        && *before.reason == *condition.reason
                        && *before.message == *bounded(&condition.message)
                })
            })
    }

    fn conditions(
        &self,
        generation: i64,
        written: &standing::Conditions,
        now: Timestamp,
    ) -> Vec<Condition> {
        let conditions = TYPES.iter().zip(&self.0).zip(written.iter());
        let conditions = conditions.map(|((type_, condition), before)| {
            let before = before.filter(|before| before.status == Some(condition.status));
            Condition {
                type_: (*type_).to_owned(),
                status: word(condition.status).to_owned(),
                reason: condition.reason.to_owned(),
                message: bounded(&condition.message).to_owned(),
                observed_generation: Some(generation),
                last_transition_time: Time(
                    before.map_or_else(|| whole_seconds(now), |it| it.last_transition_time),
                ),
            }
        });
        conditions.collect()
    }

    /// The conditions whose status or reason is another than was written. One that is true from the start is
    /// none: of an object that is as it should be, only that it is programmed is told.
    fn transitions(&self, written: &standing::Conditions) -> Vec<Transition> {
        let conditions = TYPES.iter().zip(&self.0).zip(written.iter());
        let changed = conditions.filter(|((_, now), before)| {
            before.map_or(!now.status, |before| {
                *before.reason != *now.reason || before.status != Some(now.status)
            })
        });
        changed
            .map(|((condition, now), _)| Transition {
                condition,
                now: now.clone().into_owned(),
            })
            .collect()
    }
}

/// As a condition's status is written.
const fn word(status: bool) -> &'static str {
    if status { status::TRUE } else { status::FALSE }
}

/// As the API server keeps it.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn bounded(message: &str) -> &str {
    let end = message.floor_char_boundary(MESSAGE.min(message.len()));
    message.get(..end).unwrap_or_default()
}

fn no(reason: &'static str, message: impl Into<String>) -> compile::Condition {
    compile::Condition {
        status: false,
        reason,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
