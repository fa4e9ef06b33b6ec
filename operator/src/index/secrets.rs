//! Secrets, or `ConfigMap`s: the names of all, and the data of those that are referred to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;

use super::{Source, Wanted};
use crate::compile::SecretData;

/// A version of an object: the API server's `resourceVersion`, of which only equality counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);

impl Version {
    /// Of what could not be got: no object has it, so it is wanted on.
    #[must_use]
    pub const fn none() -> Self {
        Self(String::new())
    }
}

#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// Every Secret that there is, by the watch.
    seen: BTreeMap<ObjectKey, Version>,
    /// Those that are referred to, whether they exist or not.
    referenced: BTreeSet<ObjectKey>,
    /// The data of those that are referred to.
    fetched: BTreeMap<ObjectKey, Fetched>,
}

#[derive(Debug)]
struct Fetched {
    /// The version that the watch had told of, and the one that came: the same, unless the Secret
    /// changed in between.
    seen: Version,
    version: Version,
    data: Arc<SecretData>,
}

impl Secrets {
    /// A Secret exists in this version; tells whether that matters.
    pub(super) fn seen(&mut self, key: ObjectKey, version: Version) -> bool {
        let matters = self.referenced.contains(&key) && !self.has(&key, &version);
        self.seen.insert(key, version);
        matters
    }

    /// A Secret is gone; tells whether that matters.
    pub(super) fn gone(&mut self, key: &ObjectKey) -> bool {
        let existed = self.seen.remove(key).is_some();
        self.fetched.remove(key);
        existed && self.referenced.contains(key)
    }

    /// Forgets those that are gone; tells whether that matters.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&ObjectKey) -> bool) -> bool {
        let gone: Vec<ObjectKey> = self
            .seen
            .keys()
            .filter(|key| is_gone(key))
            .cloned()
            .collect();
        let matters = gone.iter().filter(|key| self.gone(key)).count();
        matters > 0
    }

    pub(super) fn refer(&mut self, referenced: BTreeSet<ObjectKey>) {
        self.fetched.retain(|key, _| referenced.contains(key));
        self.referenced = referenced;
    }

    pub(super) fn wanted(&self, source: Source) -> impl Iterator<Item = Wanted> {
        let referenced = self.referenced.iter();
        let existing = referenced.filter_map(|key| Some((key, self.seen.get(key)?)));
        existing
            .filter(|(key, version)| !self.has(key, version))
            .map(move |(key, version)| Wanted {
                source,
                key: key.clone(),
                version: version.clone(),
                known: self.fetched.contains_key(key),
            })
    }

    pub(super) fn fetched(
        &mut self,
        key: &ObjectKey,
        seen: Version,
        version: Version,
        data: SecretData,
    ) {
        // One that was deleted meanwhile must not come back.
        if self.seen.contains_key(key) && self.referenced.contains(key) {
            let fetched = Fetched {
                seen,
                version,
                data: Arc::new(data),
            };
            self.fetched.insert(key.clone(), fetched);
        }
    }

    pub(super) fn data(&self) -> BTreeMap<ObjectKey, Arc<SecretData>> {
        let fetched = self.fetched.iter();
        fetched
            .map(|(key, it)| (key.clone(), Arc::clone(&it.data)))
            .collect()
    }

    fn has(&self, key: &ObjectKey, version: &Version) -> bool {
        let fetched = self.fetched.get(key);
        fetched.is_some_and(|it| it.seen == *version || it.version == *version)
    }
}
