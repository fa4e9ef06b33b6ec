//! The compiler: from objects to the snapshot that receivers follow, and to what became of each
//! object.
//!
//! ```text
//! Objects ─┬─ resolve each spec ─┬─ claim paths ─┬─ attach routes ─ stamp ─▶ Snapshot
//!          │  (current and last  │ (oldest wins) │ (allowedRoutes)    │
//! previous ┘   good)             │               │                    │
//! Snapshot                       └───────────────┴── problems ────────┴──▶ reports
//! ```
//!
//! Invariants:
//! - It is a pure function: the same objects, in any order, after the same snapshot give the same
//!   snapshot and the same reports. It reads no clock and does no IO.
//! - Compiling again changes nothing: not the sequence, not an entry's `since`.
//! - Objects meet only where they refer to each other, or want the same path. Nothing that one
//!   namespace writes can keep another's object from being served.
//! - After a spec is resolved, nothing reads it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use hookswitch_crds::event_route::EventRoute;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::Snapshot;
use hookswitch_crds::subscription::WebhookSubscription;
use jiff::Timestamp;

mod advice;
mod attach;
mod conditions;
mod context;
mod destination;
mod effective;
mod headers;
mod network;
mod paths;
mod preset;
mod problems;
mod report;
mod route;
mod secrets;
mod settings;
mod stamp;
mod subscription;
mod unsupported;
mod verification;
mod versions;

pub use effective::effective;
pub use report::{
    Condition, Conditions, Effect, EventRouteReport, Problem, Serving, WebhookSubscriptionReport,
};
pub use settings::{Ceilings, Namespaces, PathGrant, PrivateGrant, Settings};

use attach::{NamespaceLabels, Parent};
use versions::{Decision, Object, Versions};

/// All that is compiled. Names are unique within a kind; of two objects with one name the later
/// counts.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// In any order.
    pub subscriptions: Vec<Arc<WebhookSubscription>>,
    /// In any order.
    pub routes: Vec<Arc<EventRoute>>,
    /// The data of the Secrets that objects refer to; more do no harm.
    pub secrets: BTreeMap<ObjectKey, BTreeMap<String, SecretBytes>>,
    /// The labels of namespaces. One that is not listed has its name alone.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Objects that exist and can't be read: what was served of them stays.
    pub unreadable: Vec<Unreadable>,
}

/// An object that can't be read as its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// What it should be.
    pub kind: Kind,
    /// Its name.
    pub key: ObjectKey,
    /// Its UID; empty in standalone mode.
    pub uid: String,
    /// Its age; `None` in standalone mode.
    pub created: Option<Timestamp>,
    /// Its generation.
    pub generation: i64,
    /// What is wrong with it, and the remedy.
    pub message: String,
}

/// The kinds of objects that are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A `WebhookSubscription`.
    WebhookSubscription,
    /// An `EventRoute`.
    EventRoute,
}

/// What the objects compile to.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// For the receivers.
    pub snapshot: Snapshot,
    /// What became of each subscription.
    pub subscriptions: BTreeMap<ObjectKey, WebhookSubscriptionReport>,
    /// What became of each route.
    pub routes: BTreeMap<ObjectKey, EventRouteReport>,
}

/// Compiles the objects into the snapshot after `previous`.
#[must_use]
pub fn compile(objects: &Objects, previous: &Snapshot, settings: &Settings) -> Compiled {
    let subscriptions = paths::claim(resolve_subscriptions(objects, previous, settings));
    let mut routes = resolve_routes(objects, previous, settings);
    let parents = attach_routes(&mut routes, objects, &subscriptions);

    let (subscriptions, entries) = split(subscriptions, |resolved| resolved.entry);
    let (routes, route_entries) = split(routes, |resolved| resolved.entry);
    let snapshot = stamp::stamp(entries, route_entries, previous);

    Compiled {
        subscriptions: report_subscriptions(subscriptions, &snapshot, settings),
        routes: report_routes(routes, parents, &snapshot),
        snapshot,
    }
}

fn resolve_subscriptions(
    objects: &Objects,
    previous: &Snapshot,
    settings: &Settings,
) -> Vec<Versions<subscription::Resolved>> {
    let readable = objects.subscriptions.iter();
    let readable = readable.map(|it| Object::read(&it.metadata, &it.spec));
    let origins = previous.subscriptions.iter().map(|it| &it.origin);
    let origins = by_key(origins, |origin| &origin.key);
    all(readable, Kind::WebhookSubscription, objects)
        .map(|object| {
            let origin = origins.get(&object.key).copied();
            versions::resolve(&object, origin, objects, settings, subscription::resolve)
        })
        .collect()
}

fn resolve_routes(
    objects: &Objects,
    previous: &Snapshot,
    settings: &Settings,
) -> Vec<Decision<route::Resolved>> {
    let readable = objects.routes.iter();
    let readable = readable.map(|it| Object::read(&it.metadata, &it.spec));
    let origins = previous.routes.iter().map(|it| &it.origin);
    let origins = by_key(origins, |origin| &origin.key);
    all(readable, Kind::EventRoute, objects)
        .map(|object| {
            let origin = origins.get(&object.key).copied();
            versions::resolve(&object, origin, objects, settings, route::resolve).choose()
        })
        .collect()
}

/// The objects of a kind, one for each name.
fn all<'a, Spec: 'a>(
    readable: impl Iterator<Item = Object<'a, Spec>>,
    kind: Kind,
    objects: &'a Objects,
) -> impl Iterator<Item = Object<'a, Spec>> {
    let unreadable = objects.unreadable.iter().filter(move |it| it.kind == kind);
    let all = unreadable.map(Object::unreadable).chain(readable);
    let all: BTreeMap<ObjectKey, Object<'a, Spec>> = all.map(|it| (it.key.clone(), it)).collect();
    all.into_values()
}

/// Attaches the routes to those subscriptions that are served; tells of each route's parents.
fn attach_routes(
    routes: &mut [Decision<route::Resolved>],
    objects: &Objects,
    subscriptions: &[Decision<subscription::Resolved>],
) -> BTreeMap<ObjectKey, Vec<Parent>> {
    let subscriptions = subscriptions.iter();
    let subscriptions = subscriptions.map(|it| (&it.key, it.served())).collect();
    let labels = NamespaceLabels(&objects.namespaces);
    let parents = routes.iter_mut().map(|it| {
        let key = it.key.clone();
        (key, attach::attach(it, &subscriptions, labels))
    });
    parents.collect()
}

/// Parts what is served from what was decided.
fn split<T, Entry>(
    decisions: Vec<Decision<T>>,
    entry: impl Fn(T) -> Entry,
) -> (Vec<Decision<()>>, Vec<Entry>) {
    let mut entries = Vec::new();
    let decided = decisions.into_iter().map(|decision| Decision {
        key: decision.key,
        generation: decision.generation,
        served: decision.served.map(|(version, served)| {
            entries.push(entry(served));
            (version, ())
        }),
        refused: None,
        problems: decision.problems,
    });
    (decided.collect(), entries)
}

fn report_subscriptions(
    decisions: Vec<Decision<()>>,
    snapshot: &Snapshot,
    settings: &Settings,
) -> BTreeMap<ObjectKey, WebhookSubscriptionReport> {
    let entries = by_key(&snapshot.subscriptions, |it| &it.origin.key);
    let mut attached: BTreeMap<&ObjectKey, usize> = BTreeMap::new();
    for key in snapshot.routes.iter().flat_map(|it| &it.subscriptions) {
        *attached.entry(key).or_default() += 1;
    }
    let reports = decisions.into_iter().map(|decision| {
        let key = decision.key.clone();
        let entry = entries.get(&key).copied();
        let routes = attached.get(&key).copied().unwrap_or_default();
        (key, report::subscription(decision, entry, routes, settings))
    });
    reports.collect()
}

fn report_routes(
    decisions: Vec<Decision<()>>,
    mut parents: BTreeMap<ObjectKey, Vec<Parent>>,
    snapshot: &Snapshot,
) -> BTreeMap<ObjectKey, EventRouteReport> {
    let entries = by_key(&snapshot.routes, |it| &it.origin.key);
    let reports = decisions.into_iter().map(|decision| {
        let key = decision.key.clone();
        let entry = entries.get(&key).copied();
        let parents = parents.remove(&key).unwrap_or_default();
        (key, report::route(decision, entry, parents))
    });
    reports.collect()
}

fn by_key<'a, T>(
    items: impl IntoIterator<Item = &'a T>,
    key: impl Fn(&'a T) -> &'a ObjectKey,
) -> BTreeMap<&'a ObjectKey, &'a T> {
    items.into_iter().map(|item| (key(item), item)).collect()
}

#[cfg(test)]
mod tests;
