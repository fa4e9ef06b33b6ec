//! What the resolving of one spec may see: its own namespace, and what the operator grants it.

use super::secrets::Secrets;
use super::settings::Settings;

/// The surroundings of one spec. Whatever else comes to be looked up here belongs into what is noted of
/// lookups, or an object would not be resolved again when that changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// The namespace of the object.
    pub(super) namespace: &'a str,
    /// The Secrets that it may refer to.
    pub(super) secrets: Secrets<'a>,
    /// The `ConfigMap`s that it may refer to.
    pub(super) config_maps: Secrets<'a>,
    /// What whoever runs the operator decided.
    pub(super) settings: &'a Settings,
    /// Which of the object's specs it is.
    pub(super) version: Version,
}

/// A spec of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// The one that stands in the object.
    Current,
    /// The last one that was good, and that receivers serve.
    LastGood,
}
