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

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hookswitch_crds::event_route::EventRoute;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{self, Snapshot};
use hookswitch_crds::subscription::WebhookSubscription;
use jiff::Timestamp;

mod advice;
mod attach;
mod cache;
mod conditions;
mod context;
mod destination;
mod effective;
mod enrich;
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
mod verification;
mod versions;
mod word_lists;
mod written;

pub use effective::effective;
pub use report::{
    Condition, Conditions, Effect, EventRouteReport, Problem, Serving, WebhookSubscriptionReport,
};
pub use secrets::SecretData;
pub use settings::{Ceilings, Namespaces, PathGrant, PrivateGrant, Settings};
pub use written::Written;

use attach::{NamespaceLabels, Parent};
use cache::{Cache, Resolved};
use stamp::Finder;
use versions::{Decision, Object, Versions};

/// All that is compiled. Names are unique within a kind; of two objects with one name the later
/// counts.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// In any order.
    pub subscriptions: Vec<Arc<Written<WebhookSubscription>>>,
    /// In any order.
    pub routes: Vec<Arc<Written<EventRoute>>>,
    /// The data of the Secrets that objects refer to; more do no harm.
    pub secrets: BTreeMap<ObjectKey, Arc<SecretData>>,
    /// The data of the `ConfigMap`s that objects refer to; more do no harm.
    pub config_maps: BTreeMap<ObjectKey, Arc<SecretData>>,
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
    Compiler::default().compile(objects, previous, settings)
}

/// Compiles again and again, and resolves only what changed: what it gives is what [`compile`] gives.
///
/// An object is known to be the same by its `Arc`: whoever hands objects in keeps them.
#[derive(Debug, Default)]
pub struct Compiler {
    settings: Option<Settings>,
    subscriptions: Cache<WebhookSubscription, subscription::Resolved>,
    routes: Cache<EventRoute, route::Resolved>,
    resolved: usize,
}

impl Compiler {
    /// Compiles the objects into the snapshot after `previous`.
    pub fn compile(
        &mut self,
        objects: &Objects,
        previous: &Snapshot,
        settings: &Settings,
    ) -> Compiled {
        if self.settings.as_ref() != Some(settings) {
            *self = Self {
                settings: Some(settings.clone()),
                ..Self::default()
            };
        }
        self.resolved = 0;
        let subscriptions = paths::claim(self.resolve_subscriptions(objects, previous, settings));
        let mut routes = self.resolve_routes(objects, previous, settings);
        let parents = attach_routes(&mut routes, objects, &subscriptions);

        let (subscriptions, entries) = split(subscriptions);
        let (routes, route_entries) = split(routes);
        let snapshot = stamp::stamp(entries, route_entries, previous);
        self.subscriptions
            .settle(&subscriptions, &snapshot.subscriptions);
        self.routes.settle(&routes, &snapshot.routes);

        Compiled {
            subscriptions: report_subscriptions(subscriptions, &snapshot, settings),
            routes: report_routes(routes, parents, &snapshot),
            snapshot,
        }
    }

    /// How many objects the last compile had to resolve.
    #[must_use]
    pub fn resolved(&self) -> usize {
        self.resolved
    }

    fn resolve_subscriptions(
        &mut self,
        objects: &Objects,
        previous: &Snapshot,
        settings: &Settings,
    ) -> Vec<Versions<subscription::Resolved>> {
        let next = previous.sequence + 1;
        let mut entries = Finder::new(&previous.subscriptions);
        let readable = objects.subscriptions.iter().map(Object::read);
        let all = all(readable, Kind::WebhookSubscription, objects).map(|object| {
            let past = entries.find(&object.key);
            let cache = &mut self.subscriptions;
            let (versions, resolved) = cache.versions(
                &object,
                (past, next),
                objects,
                settings,
                subscription::resolve,
            );
            self.resolved += usize::from(resolved);
            versions
        });
        all.collect()
    }

    fn resolve_routes(
        &mut self,
        objects: &Objects,
        previous: &Snapshot,
        settings: &Settings,
    ) -> Vec<Decision<route::Resolved>> {
        let next = previous.sequence + 1;
        let mut entries = Finder::new(&previous.routes);
        let readable = objects.routes.iter().map(Object::read);
        let all = all(readable, Kind::EventRoute, objects).map(|object| {
            let past = entries.find(&object.key);
            let cache = &mut self.routes;
            let (versions, resolved) =
                cache.versions(&object, (past, next), objects, settings, route::resolve);
            self.resolved += usize::from(resolved);
            versions.choose()
        });
        all.collect()
    }
}

impl Resolved for subscription::Resolved {
    type Entry = snapshot::Subscription;

    fn entry_mut(&mut self) -> &mut Arc<Self::Entry> {
        &mut self.entry
    }
}

impl Resolved for route::Resolved {
    type Entry = snapshot::Route;

    fn entry_mut(&mut self) -> &mut Arc<Self::Entry> {
        &mut self.entry
    }
}

/// The objects of a kind, one for each name.
fn all<'a, K: 'a>(
    readable: impl Iterator<Item = Object<'a, K>>,
    kind: Kind,
    objects: &'a Objects,
) -> impl Iterator<Item = Object<'a, K>> {
    let unreadable = objects.unreadable.iter().filter(move |it| it.kind == kind);
    let all = unreadable.map(Object::unreadable).chain(readable);
    let all: BTreeMap<ObjectKey, Object<'a, K>> = all.map(|it| (it.key.clone(), it)).collect();
    all.into_values()
}

/// Attaches the routes to those subscriptions that are served; tells of each route's parents, in their order.
fn attach_routes(
    routes: &mut [Decision<route::Resolved>],
    objects: &Objects,
    subscriptions: &[Decision<subscription::Resolved>],
) -> Vec<Vec<Parent>> {
    let subscriptions = subscriptions.iter();
    let subscriptions = subscriptions.map(|it| (&it.key, it.served())).collect();
    let labels = NamespaceLabels(&objects.namespaces);
    let routes = routes.iter_mut();
    routes
        .map(|it| attach::attach(it, &subscriptions, labels))
        .collect()
}

/// Parts what is served from what was decided.
fn split<T: Resolved>(decisions: Vec<Decision<T>>) -> (Vec<Decision<()>>, Vec<Arc<T::Entry>>) {
    let mut entries = Vec::new();
    let decided = decisions.into_iter().map(|decision| Decision {
        key: decision.key,
        generation: decision.generation,
        served: decision.served.map(|(version, mut served)| {
            entries.push(Arc::clone(served.entry_mut()));
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
    let mut attached: HashMap<&ObjectKey, usize> = HashMap::new();
    for key in snapshot.routes.iter().flat_map(|it| &it.subscriptions) {
        *attached.entry(key).or_default() += 1;
    }
    let mut entries = Finder::new(&snapshot.subscriptions);
    let reports = decisions.into_iter().map(|decision| {
        let key = decision.key.clone();
        let entry = entries.find(&key).map(Arc::as_ref);
        let routes = attached.get(&key).copied().unwrap_or_default();
        (key, report::subscription(decision, entry, routes, settings))
    });
    reports.collect()
}

fn report_routes(
    decisions: Vec<Decision<()>>,
    parents: Vec<Vec<Parent>>,
    snapshot: &Snapshot,
) -> BTreeMap<ObjectKey, EventRouteReport> {
    let mut entries = Finder::new(&snapshot.routes);
    let reports = decisions.into_iter().zip(parents);
    let reports = reports.map(|(decision, parents)| {
        let key = decision.key.clone();
        let entry = entries.find(&key).map(Arc::as_ref);
        (key, report::route(decision, entry, parents))
    });
    reports.collect()
}

#[cfg(test)]
mod tests;
