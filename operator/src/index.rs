//! What the API server holds, as far as compiling needs it: fed by watches, synchronously.
//!
//! ```text
//! watches ─ apply, delete, reset ─▶ Index ─ objects ─▶ compile
//!                                     │
//!                                     └─ wanted ─▶ get what is referred to ──────────────── fetched ─┐
//!                                     ▲                                                            │
//!                                     └────────────────────────────────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - Each object is parsed alone: one that can't be read as its kind is [`Unreadable`], and the others
//!   go on.
//! - It is complete once every watch has listed what there is; before that nothing may be compiled,
//!   or what was not yet seen would count as deleted.
//! - Of Secrets and `ConfigMap`s it knows all names, and the data of only those that an object refers
//!   to.
//! - Data once fetched stays until what it is of is known to be gone: an API server that fails takes no
//!   key away from anyone.
//! - Nothing here waits, and nothing reads a clock.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use hookswitch_crds::event_route::{EventRoute, EventRouteStatus};
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{Origin, Snapshot};
use hookswitch_crds::subscription::{WebhookSubscription, WebhookSubscriptionStatus};
use kube::api::DynamicObject;

use crate::compile::{Kind, Objects, Unreadable};
use crate::standing;

mod entries;
mod references;
mod secrets;

pub use entries::{Entry, Watched};
pub use secrets::Version;

use entries::Entries;
use secrets::Secrets;

/// A watch that feeds the index: a kind of object, in one namespace or in all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Watch {
    /// What it is about.
    pub source: Source,
    /// Where; `None` for everywhere.
    pub namespace: Option<String>,
}

/// What watches are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// `WebhookSubscription`s.
    Subscriptions,
    /// `EventRoute`s.
    Routes,
    /// The labels of namespaces.
    Namespaces,
    /// The metadata of Secrets.
    Secrets,
    /// The metadata of `ConfigMap`s.
    ConfigMaps,
}

/// What a change touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing that matters here.
    Nothing,
    /// An object's status, and nothing that is compiled.
    Status,
    /// Something that is compiled.
    Input,
}

/// The index.
#[derive(Debug, Default)]
pub struct Index {
    subscriptions: Entries<WebhookSubscription>,
    routes: Entries<EventRoute>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    secrets: Secrets,
    config_maps: Secrets,
    /// Watches that have not listed all yet.
    awaited: BTreeSet<Watch>,
}

impl Index {
    /// An empty one, which is complete once each of these has listed what there is.
    #[must_use]
    pub fn awaiting(watches: impl IntoIterator<Item = Watch>) -> Self {
        Self {
            awaited: watches.into_iter().collect(),
            ..Self::default()
        }
    }

    /// True once every watch has listed what there is.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.awaited.is_empty()
    }

    /// The watches that have not.
    #[must_use]
    pub fn awaited(&self) -> &BTreeSet<Watch> {
        &self.awaited
    }

    /// Takes an object of a kind in, as it is now.
    pub fn apply(&mut self, kind: Kind, object: DynamicObject) -> Change {
        match kind {
            Kind::WebhookSubscription => self.subscriptions.apply(object),
            Kind::EventRoute => self.routes.apply(object),
        }
    }

    /// Forgets an object.
    pub fn delete(&mut self, kind: Kind, key: &ObjectKey) -> Change {
        match kind {
            Kind::WebhookSubscription => self.subscriptions.delete(key),
            Kind::EventRoute => self.routes.delete(key),
        }
    }

    /// Takes in what the API server answered to the writing of a status: the watch tells of it later.
    /// An object that was deleted or made anew meanwhile is left alone.
    pub fn wrote_status(&mut self, kind: Kind, key: &ObjectKey, uid: &str, answer: DynamicObject) {
        match kind {
            Kind::WebhookSubscription => self.subscriptions.wrote_status(key, uid, answer),
            Kind::EventRoute => self.routes.wrote_status(key, uid, answer),
        }
    }

    /// Takes the labels of a namespace in.
    pub fn apply_namespace(&mut self, name: &str, labels: BTreeMap<String, String>) -> Change {
        match self.namespaces.insert(name.to_owned(), labels) {
            Some(before) if self.namespaces.get(name) == Some(&before) => Change::Nothing,
            _ => Change::Input,
        }
    }

    /// Forgets a namespace.
    pub fn delete_namespace(&mut self, name: &str) -> Change {
        input(self.namespaces.remove(name).is_some())
    }

    /// Takes in that a Secret exists in this version.
    pub fn apply_secret(&mut self, key: ObjectKey, version: Version) -> Change {
        input(self.secrets.seen(key, version))
    }

    /// Forgets a Secret.
    pub fn delete_secret(&mut self, key: &ObjectKey) -> Change {
        input(self.secrets.gone(key))
    }

    /// Takes in that a `ConfigMap` exists in this version.
    pub fn apply_config_map(&mut self, key: ObjectKey, version: Version) -> Change {
        input(self.config_maps.seen(key, version))
    }

    /// Forgets a `ConfigMap`.
    pub fn delete_config_map(&mut self, key: &ObjectKey) -> Change {
        input(self.config_maps.gone(key))
    }

    /// A watch has listed what there is: whatever else it knew of is gone.
    pub fn reset(&mut self, watch: &Watch, listed: &BTreeSet<ObjectKey>) -> Change {
        let namespace = watch.namespace.as_deref();
        let is_gone = |key: &ObjectKey| {
            namespace.is_none_or(|namespace| key.namespace == namespace) && !listed.contains(key)
        };
        let forgotten = match watch.source {
            Source::Subscriptions => self.subscriptions.forget(is_gone),
            Source::Routes => self.routes.forget(is_gone),
            Source::Secrets => self.secrets.forget(is_gone),
            Source::ConfigMaps => self.config_maps.forget(is_gone),
            Source::Namespaces => {
                let before = self.namespaces.len();
                self.namespaces
                    .retain(|name, _| listed.iter().any(|key| key.name == *name));
                self.namespaces.len() != before
            }
        };
        // The first one may have been what the index waited for, however little it listed.
        input(self.awaited.remove(watch) || forgotten)
    }

    /// Finds out which Secrets and `ConfigMap`s objects refer to, in their specs and in those that `previous` still
    /// serves, and forgets the data of all others.
    pub fn refer(&mut self, previous: &Snapshot) {
        let subscriptions = previous.subscriptions.iter().map(|it| &it.origin);
        let routes = previous.routes.iter().map(|it| &it.origin);
        let others = self.subscriptions.unknown(subscriptions);
        let others = others.chain(self.routes.unknown(routes));
        let mut elsewhere = Vec::new();
        let mut config_maps_elsewhere = Vec::new();
        for Origin { key, spec, .. } in others {
            // The text of one that is JSON no more refers to nothing.
            let spec = spec.read().unwrap_or_default();
            elsewhere.extend(references::in_spec(&key.namespace, &spec));
            config_maps_elsewhere.extend(references::config_maps_in_spec(&key.namespace, &spec));
        }
        let secrets = self
            .subscriptions
            .references()
            .chain(self.routes.references());
        self.secrets.refer(each(secrets.chain(&elsewhere)));
        let config_maps = self
            .subscriptions
            .config_maps()
            .chain(self.routes.config_maps());
        self.config_maps
            .refer(each(config_maps.chain(&config_maps_elsewhere)));
    }

    /// The Secrets and `ConfigMap`s that are referred to and whose data is not known in the version seen last.
    #[must_use]
    pub fn wanted(&self) -> Vec<Wanted> {
        let secrets = self.secrets.wanted(Source::Secrets);
        let config_maps = self.config_maps.wanted(Source::ConfigMaps);
        secrets.chain(config_maps).collect()
    }

    /// Takes the data of a Secret in. `seen` is the version for which it was wanted, `version` the
    /// one that came.
    pub fn fetched(
        &mut self,
        key: &ObjectKey,
        seen: Version,
        version: Version,
        data: BTreeMap<String, SecretBytes>,
    ) {
        self.secrets.fetched(key, seen, version, data);
    }

    /// The same for a `ConfigMap`.
    pub fn fetched_config_map(
        &mut self,
        key: &ObjectKey,
        seen: Version,
        version: Version,
        data: BTreeMap<String, SecretBytes>,
    ) {
        self.config_maps.fetched(key, seen, version, data);
    }

    /// All that is compiled.
    #[must_use]
    pub fn objects(&self) -> Objects {
        let mut unreadable: Vec<Unreadable> = self.subscriptions.unreadable().collect();
        unreadable.extend(self.routes.unreadable());
        Objects {
            subscriptions: self.subscriptions.readable().collect(),
            routes: self.routes.readable().collect(),
            secrets: self.secrets.data(),
            config_maps: self.config_maps.data(),
            namespaces: self.namespaces.clone(),
            unreadable,
        }
    }

    /// The status of every subscription, as the API server has it.
    pub fn subscription_statuses(
        &self,
    ) -> impl Iterator<Item = (&ObjectKey, &Entry<WebhookSubscription>)> {
        self.subscriptions.iter()
    }

    /// That of one subscription.
    #[must_use]
    pub fn subscription_status(&self, key: &ObjectKey) -> Option<&Entry<WebhookSubscription>> {
        self.subscriptions.get(key)
    }

    /// The status of every route, as the API server has it.
    pub fn route_statuses(&self) -> impl Iterator<Item = (&ObjectKey, &Entry<EventRoute>)> {
        self.routes.iter()
    }

    /// That of one route.
    #[must_use]
    pub fn route_status(&self, key: &ObjectKey) -> Option<&Entry<EventRoute>> {
        self.routes.get(key)
    }
}

/// A Secret or a `ConfigMap` whose data is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// [`Source::Secrets`] or [`Source::ConfigMaps`].
    pub source: Source,
    /// Its name.
    pub key: ObjectKey,
    /// The version that was seen last.
    pub version: Version,
    /// True where older data is at hand: compiling need not wait.
    pub known: bool,
}

impl Watched for WebhookSubscription {
    type Status = WebhookSubscriptionStatus;
    type Standing = standing::Subscription;
    const KIND: Kind = Kind::WebhookSubscription;
}

impl Watched for EventRoute {
    type Status = EventRouteStatus;
    type Standing = standing::Route;
    const KIND: Kind = Kind::EventRoute;
}

/// Each once. Many objects refer to few, so only these are copied.
fn each<'a>(keys: impl Iterator<Item = &'a ObjectKey>) -> BTreeSet<ObjectKey> {
    let each: HashSet<&ObjectKey> = keys.collect();
    each.into_iter().cloned().collect()
}

fn input(changed: bool) -> Change {
    if changed {
        Change::Input
    } else {
        Change::Nothing
    }
}

/// The index, shared by the watches that feed it and those who read it.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Mutex<Index>>);

impl Shared {
    /// Shares it.
    #[must_use]
    pub fn new(index: Index) -> Self {
        Self(Arc::new(Mutex::new(index)))
    }

    /// Works with it; everyone else waits meanwhile.
    pub fn with<T>(&self, work: impl FnOnce(&mut Index) -> T) -> T {
        // It is whole after each of its calls, whoever panicked in between.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
