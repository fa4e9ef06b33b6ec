//! The objects of one kind, each parsed alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::Origin;
use kube::api::{DynamicObject, ObjectMeta};
use kube::core::object::HasSpec;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{Change, references};
use crate::compile::{Kind, Unreadable, Written};
use crate::walk::Walk;

/// A kind of object that is compiled.
pub trait Watched: HasSpec<Spec: Serialize + DeserializeOwned> {
    /// Its status.
    type Status: DeserializeOwned + Default;
    /// What is kept of that.
    type Standing: From<Self::Status> + PartialEq + std::fmt::Debug;
    /// Its kind.
    const KIND: Kind;
}

/// An object, and what its status says.
#[derive(Debug)]
pub struct Entry<K: Watched> {
    /// The object without its status, or why it can't be read.
    pub object: Result<Arc<Written<K>>, Box<Unreadable>>,
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Its status; empty where that can't be read, since it is written anew anyway.
    pub status: K::Standing,
    /// The Secrets that it refers to.
    references: Box<[ObjectKey]>,
    /// The `ConfigMap`s that it refers to.
    config_maps: Box<[ObjectKey]>,
}

/// The objects of one kind, by name. Boxed, as a map has room for nearly twice what is in it.
#[derive(Debug)]
pub(super) struct Entries<K: Watched>(BTreeMap<ObjectKey, Box<Entry<K>>>);

impl<K: Watched> Default for Entries<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Watched> Entries<K> {
    pub(super) fn apply(&mut self, object: DynamicObject) -> Change {
        let DynamicObject {
            types: _,
            metadata,
            mut data,
        } = object;
        let key = key_of(&metadata);
        let uid = metadata.uid.clone().unwrap_or_default();
        let generation = metadata.generation.unwrap_or_default();
        let status = status::<K>(&mut data);
        if let Some(known) = self.0.get_mut(&key)
            && known.uid == uid
            && known.generation == generation
        {
            // The API server counts generations: the spec is the same.
            if known.status == status {
                return Change::Nothing;
            }
            known.status = status;
            return Change::Status;
        }
        let spec = data.get_mut("spec").map(Json::take).unwrap_or_default();
        let references = references::in_spec(&key.namespace, &spec).collect();
        let config_maps = references::config_maps_in_spec(&key.namespace, &spec).collect();
        let entry = Entry {
            object: read(&key, &metadata, spec),
            uid,
            generation,
            status,
            references,
            config_maps,
        };
        self.0.insert(key, Box::new(entry));
        Change::Input
    }

    /// Only ever of an object that is known: one that is gone must not come back.
    pub(super) fn wrote_status(&mut self, key: &ObjectKey, uid: &str, answer: DynamicObject) {
        if let Some(known) = self.0.get_mut(key).filter(|known| known.uid == uid) {
            let mut data = answer.data;
            known.status = status::<K>(&mut data);
        }
    }

    pub(super) fn delete(&mut self, key: &ObjectKey) -> Change {
        super::input(self.0.remove(key).is_some())
    }

    /// Forgets those that are gone; tells whether there were any.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&ObjectKey) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|key, _| !is_gone(key));
        self.0.len() != before
    }

    /// The entries of a snapshot, sorted by name, whose specs it does not know, nor so their references.
    pub(super) fn unknown<'a>(
        &self,
        origins: impl Iterator<Item = &'a Origin>,
    ) -> impl Iterator<Item = &'a Origin> {
        let mut known = Walk::of(&self.0);
        origins.filter(move |origin| {
            let known = known.find(&origin.key);
            known.is_none_or(|it| it.uid != origin.uid || it.generation != origin.generation)
        })
    }

    pub(super) fn references(&self) -> impl Iterator<Item = &ObjectKey> {
        self.0.values().flat_map(|it| &it.references)
    }

    pub(super) fn config_maps(&self) -> impl Iterator<Item = &ObjectKey> {
        self.0.values().flat_map(|it| &it.config_maps)
    }

    pub(super) fn readable(&self) -> impl Iterator<Item = Arc<Written<K>>> {
        self.0
            .values()
            .filter_map(|it| it.object.as_ref().ok().cloned())
    }

    pub(super) fn unreadable(&self) -> impl Iterator<Item = Unreadable> {
        self.0
            .values()
            .filter_map(|it| it.object.as_ref().err().map(|it| Unreadable::clone(it)))
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Entry<K>> {
        self.0.get(key).map(Box::as_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Entry<K>)> {
        self.0.iter().map(|(key, entry)| (key, entry.as_ref()))
    }
}

fn status<K: Watched>(data: &mut Json) -> K::Standing {
    let status = data.get_mut("status").map(Json::take).unwrap_or_default();
    let status: K::Status = serde_json::from_value(status).unwrap_or_default();
    status.into()
}

/// The name of an object in a namespace; a cluster-wide one has an empty namespace.
pub(crate) fn key_of(metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

fn read<K: Watched>(
    key: &ObjectKey,
    metadata: &ObjectMeta,
    spec: Json,
) -> Result<Arc<Written<K>>, Box<Unreadable>> {
    let unreadable = |message: String| {
        Box::new(Unreadable {
            kind: K::KIND,
            key: key.clone(),
            uid: metadata.uid.clone().unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map(|it| it.0),
            generation: metadata.generation.unwrap_or_default(),
            message,
        })
    };
    let spec: K::Spec = serde_path_to_error::deserialize(spec).map_err(|error| {
        let message = format!(
            "spec.{}: {}; upgrade the operator if the field is new, or correct it",
            error.path(),
            error.inner()
        );
        unreadable(message)
    })?;
    match Written::new(metadata, &spec) {
        Ok(written) => Ok(Arc::new(written)),
        Err(error) => Err(unreadable(format!("spec: {error}"))),
    }
}
