//! Who has which path.
//!
//! A path has one subscription: the oldest that wants it, and among those of the same age the
//! first by namespace and name. Going through them in that order, each takes the path of its
//! current spec if that is free, else the one of its last good spec. No younger subscription can
//! so take a path from an older one, and the order of the objects makes no difference.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use hookswitch_crds::condition::reason;
use hookswitch_crds::key::ObjectKey;

use super::subscription::Resolved;
use super::versions::{Decision, Versions};

/// Gives out the paths, and with them decides which spec of each subscription is served.
pub(super) fn claim(mut subscriptions: Vec<Versions<Resolved>>) -> Vec<Decision<Resolved>> {
    subscriptions.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
    let mut owners: BTreeMap<String, ObjectKey> = BTreeMap::new();
    let mut take =
        |resolved: &Resolved, key: &ObjectKey| match owners.entry(resolved.entry.path.clone()) {
            Entry::Vacant(free) => {
                free.insert(key.clone());
                Ok(())
            }
            Entry::Occupied(taken) => Err(taken.get().clone()),
        };
    let decide = |mut versions: Versions<Resolved>| {
        if let Some(current) = &versions.current
            && let Err(owner) = take(current, &versions.key)
        {
            let path = &current.entry.path;
            versions.problems.refused(
                "spec.path",
                reason::PATH_CONFLICT,
                format!("{path} belongs to the subscription {owner}: choose another path"),
            );
            versions.refused = versions.current.take();
        }
        if versions.current.is_none() {
            let key = &versions.key;
            versions.last_good = versions.last_good.filter(|it| take(it, key).is_ok());
        }
        versions.choose()
    };
    subscriptions.into_iter().map(decide).collect()
}
