//! When did an entry last change? `sequence` and `since`.
//!
//! `since` answers for the status: an object is programmed once every receiver has loaded the
//! sequence that last changed what its entry resolves to. A new generation that resolves to the
//! same is noted in the snapshot and leaves `since` alone.

use hookswitch_crds::snapshot::{FORMAT, Origin, Route, Snapshot, Subscription};

/// An entry of the snapshot.
trait Entry: PartialEq {
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

/// The snapshot of these entries, after the previous one. Entries are sorted here.
pub(super) fn stamp(
    subscriptions: Vec<Subscription>,
    routes: Vec<Route>,
    previous: &Snapshot,
) -> Snapshot {
    let next = previous.sequence + 1;
    let subscriptions = entries(subscriptions, &previous.subscriptions, next);
    let routes = entries(routes, &previous.routes, next);
    let unchanged = previous.format == FORMAT
        && subscriptions == previous.subscriptions
        && routes == previous.routes;
    Snapshot {
        format: FORMAT,
        sequence: if unchanged { previous.sequence } else { next },
        subscriptions,
        routes,
    }
}

fn entries<E: Entry>(mut entries: Vec<E>, previous: &[E], next: u64) -> Vec<E> {
    entries.sort_by(|a, b| a.origin().key.cmp(&b.origin().key));
    for entry in &mut entries {
        let key = &entry.origin().key;
        let before = previous
            .binary_search_by(|it| it.origin().key.cmp(key))
            .ok()
            .and_then(|index| previous.get(index));
        entry.origin_mut().since = match before {
            Some(before) if resolves_alike(entry, before) => before.origin().since,
            _ => next,
        };
    }
    entries
}

/// True where two entries differ at most in when and from which text they were made.
fn resolves_alike<E: Entry>(entry: &mut E, before: &E) -> bool {
    let own = entry.origin().clone();
    let origin = entry.origin_mut();
    origin.generation = before.origin().generation;
    origin.since = before.origin().since;
    origin.spec.clone_from(&before.origin().spec);
    let alike = entry == before;
    *entry.origin_mut() = own;
    alike
}
