//! When did an entry last change? `sequence` and `since`.
//!
//! `since` answers for the status: an object is programmed once every receiver has loaded the
//! sequence that last changed what its entry resolves to. A new generation that resolves to the
//! same is noted in the snapshot and leaves `since` alone.

use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{FORMAT, Origin, Route, Snapshot, Subscription};

/// An entry of the snapshot.
pub(super) trait Entry: Clone + PartialEq + std::fmt::Debug {
    fn origin(&self) -> &Origin;
    fn origin_mut(&mut self) -> &mut Origin;
}

impl Entry for Subscription {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn origin_mut(&mut self) -> &mut Origin {
        &mut self.origin
    }
}

impl Entry for Route {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn origin_mut(&mut self) -> &mut Origin {
        &mut self.origin
    }
}

/// The snapshot of these entries, after the previous one. Entries are sorted here. Those that are as they
/// were are the previous ones themselves.
pub(super) fn stamp(
    subscriptions: Vec<Arc<Subscription>>,
    routes: Vec<Arc<Route>>,
    previous: &Snapshot,
) -> Snapshot {
    let next = previous.sequence + 1;
    let subscriptions = entries(subscriptions, &previous.subscriptions, next);
    let routes = entries(routes, &previous.routes, next);
    let unchanged = previous.format == FORMAT
        && all_same(&subscriptions, &previous.subscriptions)
        && all_same(&routes, &previous.routes);
    Snapshot {
        format: FORMAT,
        sequence: if unchanged { previous.sequence } else { next },
        subscriptions,
        routes,
    }
}

fn entries<E: Entry>(mut entries: Vec<Arc<E>>, previous: &[Arc<E>], next: u64) -> Vec<Arc<E>> {
    entries.sort_by(|a, b| a.origin().key.cmp(&b.origin().key));
    let mut previous = Finder::new(previous);
    for entry in &mut entries {
        let before = previous.find(&entry.origin().key);
        if before.is_some_and(|before| Arc::ptr_eq(entry, before)) {
            continue;
        }
        if let Some(before) = before
            && resolves_alike(Arc::make_mut(entry), before)
        {
            if **entry == **before {
                *entry = Arc::clone(before);
            }
        } else if entry.origin().since != next {
            Arc::make_mut(entry).origin_mut().since = next;
        }
    }
    entries
}

/// Finds entries by name. Mostly they are asked for in their order, and the next one is it.
#[derive(Debug)]
pub(super) struct Finder<'a, E> {
    /// Sorted by key.
    entries: &'a [Arc<E>],
    next: usize,
}

impl<'a, E: Entry> Finder<'a, E> {
    pub(super) fn new(entries: &'a [Arc<E>]) -> Self {
        Self { entries, next: 0 }
    }

    pub(super) fn find(&mut self, key: &ObjectKey) -> Option<&'a Arc<E>> {
        let next = self.entries.get(self.next);
        let index = if next.is_some_and(|it| it.origin().key == *key) {
            self.next
        } else {
            let entries = self.entries;
            entries
                .binary_search_by(|it| it.origin().key.cmp(key))
                .ok()?
        };
        self.next = index + 1;
        self.entries.get(index)
    }
}

/// True where two entries differ at most in when and from which text they were made; `entry` has the
/// `since` of the one before then.
fn resolves_alike<E: Entry>(entry: &mut E, before: &E) -> bool {
    let own = entry.origin().clone();
    let origin = entry.origin_mut();
    origin.generation = before.origin().generation;
    origin.since = before.origin().since;
    origin.spec.clone_from(&before.origin().spec);
    let alike = entry == before;
    let since = if alike {
        before.origin().since
    } else {
        own.since
    };
    *entry.origin_mut() = Origin { since, ..own };
    alike
}

fn all_same<E: Entry>(entries: &[Arc<E>], previous: &[Arc<E>]) -> bool {
    let mut pairs = entries.iter().zip(previous);
    entries.len() == previous.len() && pairs.all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
}
