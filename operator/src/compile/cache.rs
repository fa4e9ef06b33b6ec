//! What objects resolved to before: one whose inputs are the same is not resolved again.
//!
//! ```text
//!            ┌─ the object ─┐
//!  inputs ───┼─ its Secrets ┼─ as they were ─▶ what it resolved to then
//!            └─ its entry  ─┘  another one ───▶ resolve, and keep
//! ```
//!
//! Invariants:
//! - Resolving has no input but those three and the settings: what comes from here is what resolving
//!   anew would give, whatever was compiled in between.
//! - An entry is kept once: that of the snapshot itself. What it is attached to and its `since` are set
//!   anew by each compile, and mean nothing here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::Origin;
use kube::core::object::HasSpec;
use serde::de::DeserializeOwned;

use super::context::{Context, Version};
use super::problems::Problems;
use super::secrets::Lookups;
use super::stamp::{Entry, Finder};
use super::versions::{self, Decision, Object, Versions};
use super::written::Written;
use super::{Objects, Settings};

/// What a spec resolves to.
pub(super) trait Resolved: Clone {
    type Entry: Entry;

    /// What the snapshot gets.
    fn entry_mut(&mut self) -> &mut Arc<Self::Entry>;
}

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct Cache<K, T: Resolved>(HashMap<ObjectKey, Known<K, T>>);

/// An object as it was resolved, and what from.
#[derive(Debug)]
struct Known<K, T: Resolved> {
    object: Arc<Written<K>>,
    /// The entry that the snapshot had of it.
    past: Option<Arc<T::Entry>>,
    lookups: Lookups,
    config_maps: Lookups,
    versions: Versions<T>,
}

impl<K, T: Resolved> Default for Cache<K, T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: HasSpec<Spec: DeserializeOwned>, T: Resolved> Cache<K, T> {
    /// The specs of an object that could be served; tells too whether they had to be resolved. A new entry
    /// says `since`.
    pub(super) fn versions(
        &mut self,
        object: &Object<'_, K>,
        (past, since): (Option<&Arc<T::Entry>>, u64),
        objects: &Objects,
        settings: &Settings,
        resolve: impl Fn(&K::Spec, Origin, &Context<'_>, &mut Problems) -> T,
    ) -> (Versions<T>, bool) {
        if let Some(known) = self.0.get(&object.key)
            && known.holds(object, past, objects)
        {
            return (known.versions.clone(), false);
        }
        let lookups = Lookups::default();
        let config_maps = Lookups::default();
        let origin = past.map(|entry| entry.origin());
        let mut versions = versions::resolve(
            object,
            (origin, since),
            objects,
            settings,
            (&lookups, &config_maps),
            resolve,
        );
        let resolved = versions.current.iter_mut().chain(&mut versions.last_good);
        for entry in resolved.map(Resolved::entry_mut) {
            share(entry, past);
        }
        match object.source {
            Ok(source) => {
                let known = Known {
                    object: Arc::clone(source),
                    past: past.cloned(),
                    lookups,
                    config_maps,
                    versions: versions.clone(),
                };
                self.0.insert(object.key.clone(), known);
            }
            // They are few, and nothing of them is resolved but what was served before.
            Err(_) => {
                self.0.remove(&object.key);
            }
        }
        (versions, true)
    }

    /// Takes in what was decided, and the entries of the snapshot that came of it: the next compile
    /// builds on them. Forgets objects that are gone.
    pub(super) fn settle(&mut self, decisions: &[Decision<()>], entries: &[Arc<T::Entry>]) {
        let mut entries = Finder::new(entries);
        let mut there = 0;
        for decision in decisions {
            let key = &decision.key;
            let entry = decision
                .version()
                .and_then(|version| Some((version, entries.find(key)?)));
            let Some(known) = self.0.get_mut(key) else {
                continue;
            };
            there += 1;
            let Versions {
                current, last_good, ..
            } = &mut known.versions;
            // What resolving after that snapshot would find: see `versions::resolve`.
            match entry {
                Some((Version::Current, entry)) => {
                    if let Some(current) = current {
                        *current.entry_mut() = Arc::clone(entry);
                    }
                    *last_good = None;
                }
                Some((Version::LastGood, entry)) => {
                    if let Some(last_good) = last_good {
                        *last_good.entry_mut() = Arc::clone(entry);
                    }
                }
                None => *last_good = None,
            }
            known.past = entry.map(|(_, entry)| Arc::clone(entry));
        }
        // Of those that can't be read there is a decision, and nothing here.
        if self.0.len() > there {
            let decided: HashSet<&ObjectKey> = decisions.iter().map(|it| &it.key).collect();
            self.0.retain(|key, _| decided.contains(key));
        }
    }
}

impl<K, T: Resolved> Known<K, T> {
    /// Whether resolving anew would give the same.
    fn holds(
        &self,
        object: &Object<'_, K>,
        past: Option<&Arc<T::Entry>>,
        objects: &Objects,
    ) -> bool {
        let same_object = object
            .source
            .is_ok_and(|source| Arc::ptr_eq(source, &self.object));
        same_object
            && same_past(self.past.as_ref(), past)
            && self.lookups.hold(&objects.secrets, &object.key.namespace)
            && self
                .config_maps
                .hold(&objects.config_maps, &object.key.namespace)
    }
}

/// Keeps an entry that is as the snapshot has it once, also where the operator has just started.
fn share<E: Entry>(entry: &mut Arc<E>, past: Option<&Arc<E>>) {
    if let Some(past) = past.filter(|past| **past == *entry) {
        *entry = Arc::clone(past);
    }
}

/// Whether two entries are one to who resolves: of an entry only its origin is looked at.
fn same_past<E: Entry>(one: Option<&Arc<E>>, other: Option<&Arc<E>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) if Arc::ptr_eq(one, other) => true,
        (Some(one), Some(other)) => {
            let (one, other) = (one.origin(), other.origin());
            one.uid == other.uid && one.generation == other.generation && one.spec == other.spec
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}
