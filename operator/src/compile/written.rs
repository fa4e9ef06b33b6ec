//! An object as it was written.

use std::marker::PhantomData;

use hookswitch_crds::snapshot::Spec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::object::HasSpec;
use serde::Serialize;

/// An object of a kind: the part of its metadata that is compiled, and its spec as text, which is read only when
/// it is resolved.
#[derive(Debug, Clone)]
pub struct Written<K> {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Spec,
    kind: PhantomData<fn() -> K>,
}

impl<K> Written<K> {
    /// An object that was read.
    ///
    /// # Errors
    /// Where its spec can't be written as JSON.
    pub fn of(object: &K) -> Result<Self, serde_json::Error>
    where
        K: HasSpec<Spec: Serialize> + Resource,
    {
        Self::new(object.meta(), object.spec())
    }

    /// The object of a spec.
    ///
    /// # Errors
    /// Where the spec can't be written as JSON.
    pub fn new(metadata: &ObjectMeta, spec: &K::Spec) -> Result<Self, serde_json::Error>
    where
        K: HasSpec<Spec: Serialize>,
    {
        // Of the rest nothing is compiled, and managed fields are larger than most specs.
        let metadata = ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp.clone(),
            ..ObjectMeta::default()
        };
        Ok(Self {
            metadata,
            spec: Spec::of(spec)?,
            kind: PhantomData,
        })
    }
}
