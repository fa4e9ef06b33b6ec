//! Last good: an object has at most two specs that could be served, its current one and the last
//! one that was.
//!
//! ```text
//! current spec ──resolve──▶ no problem that refuses it ──▶ served
//!                           refused ─┐
//! previous snapshot's spec ──resolve─┴▶ still possible ──▶ served, LastGoodKept
//!                                       not any more ────▶ not served
//! ```
//!
//! The last good spec is resolved anew each time, against today's Secrets, grants and claims: it
//! keeps no right that it has lost. It belongs to the object that had it: one that is deleted and
//! made anew under its name starts from nothing.

use std::sync::Arc;

use hookswitch_crds::condition::reason;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{JsonText, Origin};
use jiff::Timestamp;
use kube::core::object::HasSpec;
use serde::de::DeserializeOwned;

use super::context::{Context, Version};
use super::problems::Problems;
use super::secrets::{Lookups, Secrets};
use super::written::Written;
use super::{Objects, Settings, Unreadable};

/// An object, whether or not it could be read.
#[derive(Debug)]
pub(super) struct Object<'a, K> {
    pub(super) key: ObjectKey,
    pub(super) uid: &'a str,
    pub(super) created: Option<Timestamp>,
    pub(super) generation: i64,
    /// The object, or why it can't be read.
    pub(super) source: Result<&'a Arc<Written<K>>, &'a str>,
}

impl<'a, K> Object<'a, K> {
    /// One that could be read.
    pub(super) fn read(source: &'a Arc<Written<K>>) -> Self {
        Self {
            key: source.key.clone(),
            uid: &source.uid,
            created: source.created,
            generation: source.generation,
            source: Ok(source),
        }
    }

    /// One that could not.
    pub(super) fn unreadable(unreadable: &'a Unreadable) -> Self {
        let Unreadable {
            kind: _,
            key,
            uid,
            created,
            generation,
            message,
        } = unreadable;
        Self {
            key: key.clone(),
            uid,
            created: *created,
            generation: *generation,
            source: Err(message),
        }
    }
}

/// The specs of an object that could be served.
#[derive(Debug, Clone)]
pub(super) struct Versions<T> {
    pub(super) key: ObjectKey,
    pub(super) created: Option<Timestamp>,
    pub(super) generation: i64,
    /// The current spec, where nothing refuses it.
    pub(super) current: Option<T>,
    /// The current spec, where something does.
    pub(super) refused: Option<T>,
    /// Another one that was served before, where it still can be.
    pub(super) last_good: Option<T>,
    /// Those of the current spec.
    pub(super) problems: Problems,
}

/// What was decided about an object.
#[derive(Debug)]
pub(super) struct Decision<T> {
    pub(super) key: ObjectKey,
    pub(super) generation: i64,
    /// What is served of it, and from which spec.
    pub(super) served: Option<(Version, T)>,
    /// The current spec, where it is refused and could be read.
    pub(super) refused: Option<T>,
    /// Those of the current spec.
    pub(super) problems: Problems,
}

impl<T> Decision<T> {
    /// The spec that is served, whichever it is.
    pub(super) fn served(&self) -> Option<&T> {
        self.served.as_ref().map(|(_, served)| served)
    }

    /// Which spec is served.
    pub(super) fn version(&self) -> Option<Version> {
        self.served.as_ref().map(|(version, _)| *version)
    }
}

impl<T> Versions<T> {
    /// The current spec if it can be served, else the last good one.
    pub(super) fn choose(self) -> Decision<T> {
        let current = self.current.map(|it| (Version::Current, it));
        let last_good = self.last_good.map(|it| (Version::LastGood, it));
        Decision {
            key: self.key,
            generation: self.generation,
            served: current.or(last_good),
            refused: self.refused,
            problems: self.problems,
        }
    }
}

/// Resolves the specs of an object.
///
/// `previous` is what the previous snapshot served under the object's name, and `since` what a new entry
/// says. What is looked up is noted in `lookups`: of Secrets, and of `ConfigMap`s.
pub(super) fn resolve<K: HasSpec<Spec: DeserializeOwned>, T>(
    object: &Object<'_, K>,
    (previous, since): (Option<&Origin>, u64),
    objects: &Objects,
    settings: &Settings,
    (lookups, config_maps): (&Lookups, &Lookups),
    resolve: impl Fn(&K::Spec, Origin, &Context<'_>, &mut Problems) -> T,
) -> Versions<T> {
    let context = |version| Context {
        namespace: &object.key.namespace,
        secrets: Secrets::of(&objects.secrets, &object.key.namespace, lookups),
        config_maps: Secrets::of(&objects.config_maps, &object.key.namespace, config_maps),
        settings,
        version,
    };
    let mut problems = Problems::default();
    let written = match object.source {
        Err(message) => Err(message.to_owned()),
        Ok(source) => match source.spec.read::<K::Spec>() {
            Ok(spec) => Ok((spec, &source.spec)),
            Err(error) => Err(error.to_string()),
        },
    };
    let written = written
        .map_err(|message| problems.refused("spec", reason::UNREADABLE, message))
        .ok();
    let resolved = written.as_ref().map(|(spec, text)| {
        let since = previous.map_or(since, |it| it.since);
        let origin = Origin {
            key: object.key.clone(),
            uid: object.uid.to_owned(),
            generation: object.generation,
            since,
            spec: JsonText::clone(text),
        };
        resolve(spec, origin, &context(Version::Current), &mut problems)
    });
    let (current, refused) = if problems.none_refused() {
        (resolved, None)
    } else {
        (None, resolved)
    };
    let last_good = previous
        .filter(|origin| origin.uid == object.uid)
        .filter(|origin| match &written {
            Some((_, text)) if current.is_some() => **text != origin.spec,
            _ => true,
        })
        .and_then(|origin| {
            let spec: K::Spec = origin.spec.read().ok()?;
            let mut problems = Problems::default();
            let origin = origin.clone();
            let resolved = resolve(&spec, origin, &context(Version::LastGood), &mut problems);
            Some(resolved).filter(|_| problems.none_refused())
        });
    Versions {
        key: object.key.clone(),
        created: object.created,
        generation: object.generation,
        current,
        refused,
        last_good,
        problems,
    }
}
