//! An object as it was written.

use std::marker::PhantomData;

use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::JsonText;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::object::HasSpec;
use serde::Serialize;

/// An object of a kind: the part of its metadata that is compiled, and its spec as text, which is read only when
/// it is resolved.
#[derive(Debug, Clone)]
pub struct Written<K> {
    pub(super) key: ObjectKey,
    pub(super) uid: String,
    pub(super) created: Option<Timestamp>,
    pub(super) generation: i64,
    pub(super) spec: JsonText,
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
        // Without a namespace it is in `default`, as kubectl has it.
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let name = metadata.name.as_deref().unwrap_or_default();
        Ok(Self {
            key: ObjectKey::new(namespace, name),
            uid: metadata.uid.clone().unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map(|it| it.0),
            generation: metadata.generation.unwrap_or_default(),
            spec: JsonText::of(spec)?,
            kind: PhantomData,
        })
    }
}
