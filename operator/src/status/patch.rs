//! Writes statuses, and tells of changes in Kubernetes Events.
//!
//! It looks at every object after each compile, and at those that are not as they should be whenever a receiver
//! loads something, and writes the few that differ. A mass of writes goes in batches, those first that someone
//! waits for, and each batch is decided by what is true then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use hookswitch_crds::condition::reason;
use hookswitch_crds::event_route::EventRoute;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::subscription::WebhookSubscription;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Transition;
use super::batch::{Batch, Id, Write};
use crate::compile::Kind;
use crate::index::Shared;
use crate::lease::Leadership;
use crate::metrics::{Metrics, kind};
use crate::receivers::Fleet;
use crate::reconcile::Outcome;
use crate::retry::Category;
use crate::{FIELD_MANAGER, clock};

/// How many at once.
const CONCURRENCY: usize = 16;
/// How long to wait for what follows a change of a status: mostly it is our own write that comes
/// back.
const ECHO: Duration = Duration::from_millis(500);
/// How long an object is left alone after its status could not be written.
const RETRY: Duration = Duration::from_secs(2);
/// How many Events are remembered at most, to count those that are told again: each is kept for minutes.
const REMEMBERED: usize = 1000;
/// The longest note of an Event, in bytes.
/// <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>
const NOTE: usize = 1024;

/// What the writer works with.
pub struct Options {
    /// The API server.
    pub client: Client,
    /// This instance's name, for Events.
    pub instance: String,
    /// What statuses stand there.
    pub index: Shared,
    /// What was compiled.
    pub outcome: watch::Receiver<Option<Arc<Outcome>>>,
    /// Who has loaded it.
    pub fleet: watch::Receiver<Option<Fleet>>,
    /// Notified when a status changes.
    pub observed: Arc<Notify>,
    /// Only the leader writes.
    pub leadership: Leadership,
    /// Counts writes.
    pub metrics: Metrics,
}

/// Writes statuses until `shutdown`.
pub async fn run(options: Options, shutdown: CancellationToken) {
    let mut writer = Writer {
        recorder: recorder(&options),
        told: 0,
        term: None,
        seen: None,
        touched: AtomicBool::new(false),
        open: None,
        options,
        resting: HashMap::new(),
    };
    let work = async {
        loop {
            writer.write_all().await;
            writer.changed().await;
        }
    };
    // What was cut off is written by whoever leads next.
    let _: Option<()> = shutdown.run_until_cancelled(work).await;
}

/// Tells of Events, and remembers which it told.
fn recorder(options: &Options) -> Recorder {
    let reporter = Reporter {
        controller: FIELD_MANAGER.to_owned(),
        instance: Some(options.instance.clone()),
    };
    Recorder::new(options.client.clone(), reporter)
}

struct Writer {
    options: Options,
    recorder: Recorder,
    /// How many Events it was given.
    told: usize,
    /// The term in which objects were looked at last,
    term: Option<i32>,
    /// what was compiled then, and the receivers that there were.
    seen: Option<(Arc<Outcome>, Fleet)>,
    /// A status changed since, perhaps by another hand.
    touched: AtomicBool,
    /// The objects that are not as they should be, or not programmed, and those that were not looked at yet. `None`:
    /// all are to be looked at.
    open: Option<Vec<Id>>,
    /// Objects that can't be written now, and until when.
    resting: HashMap<Id, Instant>,
}

impl Writer {
    /// Waits until there may be something to write.
    async fn changed(&mut self) {
        let rested = self.resting.values().min().copied();
        let rested = async {
            match rested {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let echo = async {
            self.options.observed.notified().await;
            self.touched.store(true, Ordering::Relaxed);
            sleep(ECHO).await;
        };
        // Those who tell end with the process; until then nothing changes any more.
        let told = async {
            let told = tokio::select! {
                told = self.options.outcome.changed() => told,
                told = self.options.fleet.changed() => told,
            };
            if told.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = told => {}
            () = echo => {}
            () = rested => {}
        }
    }

    /// Writes every status that is not what it should be.
    async fn write_all(&mut self) {
        loop {
            let term = Some(self.options.leadership.lead().await.number());
            if self.term != term {
                self.open = None;
                self.term = term;
            }
            let writes = self.due();
            if writes.is_empty() {
                return;
            }
            let told: usize = writes.iter().map(|it| it.transitions.len()).sum();
            self.told += told;
            if self.told > REMEMBERED {
                self.recorder = recorder(&self.options);
                self.told = told;
            }
            let this = &*self;
            let failed: Vec<Id> = futures::stream::iter(writes)
                .map(|write| this.write(write))
                .buffer_unordered(CONCURRENCY)
                .filter_map(std::future::ready)
                .collect()
                .await;
            let until = Instant::now() + RETRY;
            self.resting
                .extend(failed.into_iter().map(|id| (id, until)));
        }
    }

    /// The next batch of statuses that are not what they should be.
    fn due(&mut self) -> Vec<Write> {
        let outcome = self.options.outcome.borrow_and_update().clone();
        let fleet = self.options.fleet.borrow_and_update().clone();
        let (Some(outcome), Some(fleet)) = (outcome, fleet) else {
            return Vec::new();
        };
        // While nothing is compiled and receivers only load more, what is as it should be stays so.
        let went_on = self.seen.as_ref().is_some_and(|(compiled, seen)| {
            Arc::ptr_eq(compiled, &outcome) && fleet.went_on_from(seen)
        });
        let touched = self.touched.swap(false, Ordering::Relaxed);
        if touched || !went_on {
            self.open = None;
        }
        let now = Instant::now();
        self.resting.retain(|_, until| *until > now);
        let mut batch = Batch::new(&outcome, (&fleet, clock::now()), &self.resting);
        self.options.index.with(|index| match &self.open {
            None => {
                batch.subscriptions(index.subscription_statuses());
                batch.routes(index.route_statuses());
            }
            Some(open) => {
                for id in open {
                    batch.one(index, id);
                }
            }
        });
        let (writes, open) = batch.done();
        self.open = Some(open);
        self.seen = Some((outcome, fleet));
        writes
    }

    /// Writes a status; gives the object where that failed.
    async fn write(&self, write: Write) -> Option<Id> {
        let Write {
            id,
            uid,
            status,
            transitions,
        } = write;
        let (kind, key) = &id;
        let resource = resource(*kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.options.client.clone(), &key.namespace, &resource);
        // With its UID, so that one made anew under the name does not get it.
        let patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api
            .patch_status(&key.name, &params, &Patch::Apply(&patch))
            .await
        {
            Ok(object) => {
                self.options
                    .metrics
                    .status_writes
                    .with_label_values(&[label(*kind)])
                    .inc();
                self.options
                    .index
                    .with(|index| index.wrote_status(*kind, key, &uid, object));
                self.tell(&resource, key, uid, transitions).await;
                None
            }
            Err(error) => {
                match Category::of(&error) {
                    // Deleted meanwhile, or made anew.
                    Category::NotFound | Category::Conflict => {}
                    _ => {
                        tracing::warn!(object = %key, kind = resource.kind, %error, "the status can't be written");
                    }
                }
                Some(id)
            }
        }
    }

    /// Tells of changes in Events. One that can't be published is only logged: the condition tells.
    async fn tell(
        &self,
        resource: &ApiResource,
        key: &ObjectKey,
        uid: String,
        transitions: Vec<Transition>,
    ) {
        let regarding = ObjectReference {
            api_version: Some(resource.api_version.clone()),
            kind: Some(resource.kind.clone()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: Some(uid),
            ..ObjectReference::default()
        };
        for transition in transitions {
            let Some(event) = event(transition) else {
                continue;
            };
            if let Err(error) = self.recorder.publish(&event, &regarding).await {
                tracing::debug!(object = %key, %error, "an Event can't be published");
            }
        }
    }
}

/// The Event of a change. That receivers are about to load something is none.
fn event(transition: Transition) -> Option<Event> {
    let Transition { condition, now } = transition;
    if now.reason == reason::PENDING {
        return None;
    }
    let (type_, truth) = if now.status {
        (EventType::Normal, "True")
    } else {
        (EventType::Warning, "False")
    };
    let mut note = format!("{condition} is {truth}");
    if !now.message.is_empty() {
        note = format!("{note}: {}", now.message);
    }
    note.truncate(note.floor_char_boundary(NOTE));
    Some(Event {
        type_,
        reason: now.reason.to_owned(),
        note: Some(note),
        action: "Compile".to_owned(),
        secondary: None,
    })
}

/// How the API server knows a kind.
pub(crate) fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::WebhookSubscription => of::<WebhookSubscription>(),
        Kind::EventRoute => of::<EventRoute>(),
    }
}

fn of<K: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::WebhookSubscription => kind::SUBSCRIPTION,
        Kind::EventRoute => kind::ROUTE,
    }
}
