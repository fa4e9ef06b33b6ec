//! The statuses that are written next, and what is looked at again after that.
//!
//! Invariants:
//! - Of ten thousand that differ no more is made than is written.
//! - What is left out of `open` is as it should be and programmed: it stays so for as long as nothing is compiled,
//!   no other hand writes statuses, and receivers only load more.

use std::collections::HashMap;

use hookswitch_crds::event_route::EventRoute;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::subscription::WebhookSubscription;
use jiff::Timestamp;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::{Draft, Transition, View};
use crate::apply::Placed;
use crate::compile::{EventRouteReport, Kind, WebhookSubscriptionReport};
use crate::index::{Entry, Index};
use crate::receivers::Fleet;
use crate::reconcile::Outcome;
use crate::walk::Walk;

/// How many are written before all are looked at again.
const BATCH: usize = 64;
/// An object.
pub(super) type Id = (Kind, ObjectKey);

/// A status to write.
pub(super) struct Write {
    pub(super) id: Id,
    pub(super) uid: String,
    pub(super) status: Json,
    pub(super) transitions: Vec<Transition>,
}

/// The statuses that are written next.
pub(super) struct Batch<'a> {
    outcome: &'a Outcome,
    fleet: &'a Fleet,
    now: Timestamp,
    resting: &'a HashMap<Id, Instant>,
    urgent: Vec<Write>,
    others: Vec<Write>,
    /// What has to be looked at again.
    open: Vec<Id>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        outcome: &'a Outcome,
        (fleet, now): (&'a Fleet, Timestamp),
        resting: &'a HashMap<Id, Instant>,
    ) -> Self {
        Self {
            outcome,
            fleet,
            now,
            resting,
            urgent: Vec::new(),
            others: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Looks at these, sorted by name.
    pub(super) fn subscriptions<'b>(
        &mut self,
        entries: impl Iterator<Item = (&'b ObjectKey, &'b Entry<WebhookSubscription>)>,
    ) {
        let outcome = self.outcome;
        let mut reports = Walk::of(&outcome.subscriptions);
        let mut placed = Walk::of(&outcome.placements.subscriptions);
        for (key, entry) in entries {
            self.subscription(key, entry, reports.find(key), placed.find(key));
        }
    }

    /// Looks at these routes, sorted by name.
    pub(super) fn routes<'b>(
        &mut self,
        entries: impl Iterator<Item = (&'b ObjectKey, &'b Entry<EventRoute>)>,
    ) {
        let outcome = self.outcome;
        let mut reports = Walk::of(&outcome.routes);
        let mut placed = Walk::of(&outcome.placements.routes);
        for (key, entry) in entries {
            self.route(key, entry, reports.find(key), placed.find(key));
        }
    }

    /// Looks at one object.
    pub(super) fn one(&mut self, index: &Index, (kind, key): &Id) {
        let Outcome {
            subscriptions,
            routes,
            placements,
        } = self.outcome;
        match kind {
            Kind::WebhookSubscription => {
                if let Some(entry) = index.subscription_status(key) {
                    let placed = placements.subscriptions.get(key);
                    self.subscription(key, entry, subscriptions.get(key), placed);
                }
            }
            Kind::EventRoute => {
                if let Some(entry) = index.route_status(key) {
                    self.route(key, entry, routes.get(key), placements.routes.get(key));
                }
            }
        }
    }

    fn view<'b>(&self, placed: Option<&'b Placed>) -> View<'b>
    where
        'a: 'b,
    {
        View {
            placed,
            layout: self.outcome.placements.layout,
            fleet: self.fleet,
            now: self.now,
        }
    }

    fn subscription(
        &mut self,
        key: &ObjectKey,
        entry: &Entry<WebhookSubscription>,
        report: Option<&WebhookSubscriptionReport>,
        placed: Option<&Placed>,
    ) {
        let view = self.view(placed);
        // Of a spec that came since, the next compile tells.
        if let Some(report) = report.filter(|it| it.generation == entry.generation) {
            let status = &entry.status;
            let urgent = status.observed_generation != Some(report.generation);
            let is_done = status.conditions.are_programmed();
            self.add(
                Kind::WebhookSubscription,
                key,
                &entry.uid,
                (urgent, is_done),
                || super::subscription(report, status, view),
            );
        }
    }

    fn route(
        &mut self,
        key: &ObjectKey,
        entry: &Entry<EventRoute>,
        report: Option<&EventRouteReport>,
        placed: Option<&Placed>,
    ) {
        let view = self.view(placed);
        if let Some(report) = report.filter(|it| it.generation == entry.generation) {
            let status = &entry.status;
            let urgent = status.observed_generation != Some(report.generation);
            let is_done = status.conditions.are_programmed();
            self.add(Kind::EventRoute, key, &entry.uid, (urgent, is_done), || {
                super::route(key, report, status, view)
            });
        }
    }

    /// Adds an object's status where there is room, and `draft` says that there is one to write. It is urgent where its
    /// author waits for an answer, as it is about a new generation. One that is done, and has none to write, need not
    /// be looked at again while receivers only go on.
    fn add<S: serde::Serialize>(
        &mut self,
        kind: Kind,
        key: &ObjectKey,
        uid: &str,
        (urgent, is_done): (bool, bool),
        draft: impl FnOnce() -> Option<Draft<S>>,
    ) {
        let id = || (kind, key.clone());
        let writes = if urgent {
            &mut self.urgent
        } else {
            &mut self.others
        };
        if writes.len() >= BATCH {
            self.open.push(id());
            return;
        }
        let Some(Draft {
            status,
            transitions,
        }) = draft()
        else {
            if !is_done {
                self.open.push(id());
            }
            return;
        };
        self.open.push(id());
        if self.resting.contains_key(&id()) {
            return;
        }
        writes.extend(serde_json::to_value(status).ok().map(|status| Write {
            id: id(),
            uid: uid.to_owned(),
            status,
            transitions,
        }));
    }

    /// At most [`BATCH`], those first that someone waits for; and what has to be looked at again.
    pub(super) fn done(self) -> (Vec<Write>, Vec<Id>) {
        let Self {
            urgent,
            others,
            open,
            ..
        } = self;
        let writes = urgent.into_iter().chain(others);
        (writes.take(BATCH).collect(), open)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::tests::{NOW, accepted, fleet, key, layout, placed};
    use super::*;
    use crate::apply::Placements;

    /// Looks at the one object that there is, and writes what is due; tells how many writes that were, and whether
    /// it has to be looked at again.
    fn look(index: &mut Index, outcome: &Outcome, fleet: &Fleet) -> (usize, bool) {
        let resting = HashMap::new();
        let mut batch = Batch::new(outcome, (fleet, NOW.parse().unwrap()), &resting);
        batch.subscriptions(index.subscription_statuses());
        let (writes, open) = batch.done();
        for write in &writes {
            let mut answer = object();
            answer.data["status"] = write.status.clone();
            index.wrote_status(write.id.0, &write.id.1, &write.uid, answer);
        }
        (writes.len(), !open.is_empty())
    }

    fn object() -> kube::api::DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": key().name, "namespace": key().namespace, "uid": "u", "generation": 1},
            "spec": {"provider": "TGStaff", "verification": {"unverified": true}},
        }))
        .unwrap()
    }

    #[test]
    fn an_object_is_looked_at_again_until_every_receiver_serves_it() {
        let mut index = Index::default();
        index.apply(Kind::WebhookSubscription, object());
        let outcome = Outcome {
            subscriptions: BTreeMap::from([(key(), accepted(1, 7))]),
            routes: BTreeMap::new(),
            placements: Placements {
                layout: layout(1),
                subscriptions: BTreeMap::from([(key(), placed(&[0], 7, None))]),
                routes: BTreeMap::new(),
            },
        };
        let mut look = |loaded: &[&[u64]]| look(&mut index, &outcome, &fleet(loaded));
        assert_eq!(look(&[&[6], &[6]]), (1, true), "it is pending");
        assert_eq!(look(&[&[7], &[6]]), (0, true), "one has it");
        assert_eq!(look(&[&[7], &[7]]), (1, true), "it is programmed");
        assert_eq!(look(&[&[7], &[7]]), (0, false));
        assert_eq!(look(&[&[8], &[7]]), (0, false));
        assert_eq!(look(&[&[6]]), (1, true), "not any more");
    }
}
