//! The driver: whenever something changes, from objects to what receivers serve.
//!
//! ```text
//! changed ─ settle ─ read what is stored ─ fetch Secrets ─ compile ─ write ─ publish the outcome
//!    ▲                                                                 │
//!    └───────────── another wrote first: read again ◀──────────────────┘
//! ```
//!
//! Invariants:
//! - Only the leader gets here, only with a complete index, and only once the receivers' Leases are
//!   known.
//! - Nothing is compiled while a Secret that exists was never got: a key that only has not come yet
//!   must not look like one that is missing.
//! - What was compiled is told to objects only after it was written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::secret::SecretBytes;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::apply::secrets::{self, Secrets};
use crate::apply::{self, Layout, Placements, Plan, PlanError, Stored};
use crate::compile::{Compiled, Compiler, EventRouteReport, Settings, WebhookSubscriptionReport};
use crate::index::{Shared, Source, Version, Wanted};
use crate::lease::Leadership;
use crate::metrics::{Metrics, kind};
use crate::receivers::Fleet;
use crate::receivers::leases::Leases;
use crate::retry::{Backoff, Category};

/// How long nothing must change before it is compiled, and the longest that is waited for that:
/// `kubectl apply -f` of a folder is one compile, and a storm of changes holds nobody up.
const QUIET: Duration = Duration::from_millis(50);
const STORM: Duration = Duration::from_millis(500);
/// How many Secrets are got at once.
const CONCURRENCY: usize = 16;
/// How soon a Secret is asked for again whose older data serves meanwhile.
const STALE: Duration = Duration::from_secs(5);
/// How long a right may take to come, after which a Secret that can't be got counts as empty.
const RIGHTS: Duration = Duration::from_secs(30);
/// How often it is looked whether the Secrets hold what was written.
const LOOK: Duration = Duration::from_secs(30);
/// How often it is looked whether this instance still leads.
const TICK: Duration = Duration::from_secs(1);

/// What a compile came to, once it was written.
#[derive(Debug)]
pub struct Outcome {
    /// What became of each subscription.
    pub subscriptions: BTreeMap<ObjectKey, WebhookSubscriptionReport>,
    /// What became of each route.
    pub routes: BTreeMap<ObjectKey, EventRouteReport>,
    /// Where their entries are kept.
    pub placements: Placements,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The snapshot's Secrets can't be read or written.
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
    /// The snapshot can't be kept.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A Secret or a `ConfigMap` that objects refer to can't be got.
    #[error("can't get {key}, which objects refer to: {source}")]
    Fetch {
        /// Its name.
        key: ObjectKey,
        /// Why.
        source: kube::Error,
    },
    /// The compiler crashed.
    #[error("the compiler failed: {0}")]
    Compile(String),
}

impl Error {
    /// Its kind.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::Secrets(error) => error.category(),
            Self::Plan(error) => secrets::category(error),
            Self::Fetch { source, .. } => Category::of(source),
            Self::Compile(_) => Category::Internal,
        }
    }
}

/// What the driver works with.
pub struct Options {
    /// The API server.
    pub client: Client,
    /// What there is to compile.
    pub index: Shared,
    /// Counts its changes.
    pub inputs: watch::Receiver<u64>,
    /// The snapshot's Secrets.
    pub secrets: Secrets,
    /// The receivers' Leases.
    pub leases: Leases,
    /// The receivers.
    pub fleet: watch::Receiver<Option<Fleet>>,
    /// Only the leader works.
    pub leadership: Leadership,
    /// What whoever runs the operator decided.
    pub settings: Arc<Settings>,
    /// How many shards.
    pub shards: u32,
    /// Counts and times.
    pub metrics: Metrics,
    /// Where outcomes go.
    pub outcome: watch::Sender<Option<Arc<Outcome>>>,
}

/// Reconciles until `shutdown`.
pub async fn run(options: Options, shutdown: CancellationToken) {
    let mut driver = Driver {
        looked: Instant::now(),
        options,
        term: None,
        stored: None,
        layout: None,
        compiler: Compiler::default(),
        refused: None,
        rest: None,
        again: None,
        backoff: Backoff::default(),
    };
    let work = async {
        loop {
            driver.due().await;
            driver.attempt().await;
        }
    };
    // A write that is cut off is found by whoever leads next.
    let _: Option<()> = shutdown.run_until_cancelled(work).await;
}

struct Driver {
    options: Options,
    /// The term in which `stored` was read.
    term: Option<i32>,
    /// What the Secrets hold, as far as is known.
    stored: Option<Arc<Stored>>,
    /// When the Secrets were last known to hold that.
    looked: Instant,
    /// How it was written last.
    layout: Option<Layout>,
    /// Knows what objects resolved to. One that crashed starts again from nothing.
    compiler: Compiler,
    /// Since when Secrets are refused.
    refused: Option<Instant>,
    /// Until when to rest after a failure.
    rest: Option<Instant>,
    /// When to work again without a change.
    again: Option<Instant>,
    backoff: Backoff,
}

impl Driver {
    async fn attempt(&mut self) {
        match self.reconcile().await {
            Ok(()) => self.backoff.reset(),
            Err(error) => {
                let category = error.category();
                let wait = self.backoff.next(category);
                match category {
                    Category::Conflict | Category::NotLeader => {
                        tracing::info!(%error, "reading again what is stored");
                    }
                    _ => tracing::error!(%error, retry = ?wait, "what changed is not served yet"),
                }
                let errors = &self.options.metrics.reconcile_errors;
                errors.with_label_values(&[category.as_str()]).inc();
                // Whether a failed write took effect is for the next read to tell.
                self.stored = None;
                self.rest = Some(Instant::now() + wait);
                self.again = self.rest;
            }
        }
    }

    async fn reconcile(&mut self) -> Result<(), Error> {
        let stored = self.stored().await?;
        self.fetch(&stored).await?;
        let (reports, plan) = self.compile(stored.clone()).await?;
        let placements = self.write(&stored, plan).await?;
        self.publish(reports, placements);
        Ok(())
    }

    /// What the Secrets hold. At the start of a term they are read anew, and taken over.
    async fn stored(&mut self) -> Result<Arc<Stored>, Error> {
        if let Some(stored) = &self.stored {
            return Ok(Arc::clone(stored));
        }
        let remembered = self
            .options
            .fleet
            .borrow()
            .as_ref()
            .map_or(0, |it| it.greatest);
        let mut stored = self.options.secrets.read(remembered).await?;
        let term = self.options.leadership.term();
        let term = term
            .map(|it| it.number())
            .ok_or(secrets::Error::NotLeader)?;
        if self.term != Some(term) {
            let secrets = &self.options.secrets;
            secrets
                .take_over(&mut stored, &self.options.leadership)
                .await?;
            if let Err(error) = self.options.leases.make().await {
                tracing::error!(%error, "receivers without a Lease can't tell what they serve");
            }
            self.term = Some(term);
        }
        Ok(self.keep(stored))
    }

    /// Gets what objects refer to, as far as it is not known. Where older data serves, a failure is
    /// made good later.
    async fn fetch(&mut self, stored: &Stored) -> Result<(), Error> {
        let wanted = self.options.index.with(|index| {
            index.refer(&stored.snapshot);
            index.wanted()
        });
        let client = &self.options.client;
        let mut fetched = futures::stream::iter(wanted)
            .map(|wanted| async move {
                let got = get(client, &wanted).await;
                (wanted, got)
            })
            .buffer_unordered(CONCURRENCY);
        let mut failed = None;
        while let Some((wanted, got)) = fetched.next().await {
            let Wanted {
                source,
                key,
                version,
                known,
            } = wanted;
            let index = &self.options.index;
            let take = |came, data| {
                index.with(|it| match source {
                    Source::ConfigMaps => it.fetched_config_map(&key, version.clone(), came, data),
                    _ => it.fetched(&key, version.clone(), came, data),
                });
            };
            match got {
                Ok(Some((came, data))) => take(Version(came), data),
                // Deleted; the watch says so soon.
                Ok(None) => {
                    index.with(|it| match source {
                        Source::ConfigMaps => it.delete_config_map(&key),
                        _ => it.delete_secret(&key),
                    });
                }
                Err(error) if known => {
                    tracing::warn!(?source, object = %key, %error, "its older data serves until it can be got");
                    self.again = Some(Instant::now() + STALE);
                }
                // An API server that has just started knows no roles yet. If it is not that, it must not stop
                // everyone else, and is asked for again now and then.
                Err(error)
                    if Category::of(&error) == Category::Forbidden
                        && self.refused.get_or_insert_with(Instant::now).elapsed() > RIGHTS =>
                {
                    tracing::error!(?source, object = %key, %error, "it counts as empty: let the operator's role get it");
                    index.with(|it| match source {
                        Source::ConfigMaps => it.fetched_config_map(
                            &key,
                            Version::none(),
                            Version::none(),
                            BTreeMap::new(),
                        ),
                        _ => it.fetched(&key, Version::none(), Version::none(), BTreeMap::new()),
                    });
                    self.again = Some(Instant::now() + STALE);
                }
                Err(error) => {
                    failed = Some(Error::Fetch {
                        source: error,
                        key: key.clone(),
                    });
                }
            }
        }
        if failed.is_none() && self.again.is_none() {
            self.refused = None;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Compiles, and decides what to write. The work of one core, away from what must answer.
    async fn compile(&mut self, stored: Arc<Stored>) -> Result<(Reports, Plan), Error> {
        let objects = self.options.index.with(|index| index.objects());
        let metrics = &self.options.metrics;
        let unreadable = |kind| {
            let unreadable = objects.unreadable.iter();
            unreadable.filter(|it| it.kind == kind).count()
        };
        for (label, kind, readable) in [
            (
                kind::SUBSCRIPTION,
                crate::compile::Kind::WebhookSubscription,
                objects.subscriptions.len(),
            ),
            (
                kind::ROUTE,
                crate::compile::Kind::EventRoute,
                objects.routes.len(),
            ),
        ] {
            let count = i64::try_from(readable + unreadable(kind)).unwrap_or(i64::MAX);
            metrics
                .compiled_objects
                .with_label_values(&[label])
                .set(count);
        }
        let layout = self.layout();
        self.layout = Some(layout);
        let settings = Arc::clone(&self.options.settings);
        let timer = metrics.compile_seconds.start_timer();
        let mut compiler = std::mem::take(&mut self.compiler);
        let work = tokio::task::spawn_blocking(move || {
            let Compiled {
                snapshot,
                subscriptions,
                routes,
            } = compiler.compile(&objects, &stored.snapshot, &settings);
            let plan = apply::plan(&stored, snapshot, layout);
            (compiler, (subscriptions, routes), plan)
        });
        let (compiler, reports, plan) = work
            .await
            .map_err(|error| Error::Compile(error.to_string()))?;
        timer.observe_duration();
        tracing::debug!(resolved = compiler.resolved(), "compiled");
        self.compiler = compiler;
        Ok((reports, plan?))
    }

    /// Writes what changed.
    async fn write(&mut self, stored: &Stored, mut plan: Plan) -> Result<Placements, Error> {
        let metrics = &self.options.metrics;
        for (index, bytes) in &plan.sizes {
            let gauge = metrics
                .snapshot_bytes
                .with_label_values(&[&index.to_string()]);
            gauge.set(i64::try_from(*bytes).unwrap_or(i64::MAX));
        }
        let placements = std::mem::take(&mut plan.placed);
        let Placements {
            layout: _,
            subscriptions,
            routes,
        } = &placements;
        let placed = subscriptions.values().chain(routes.values());
        let full = placed.filter(|it| it.full.is_some()).count();
        if full > 0 {
            tracing::error!(
                objects = full,
                "the snapshot has no room for them: raise snapshot.shards"
            );
        }
        let changes = !plan.is_empty();
        let secrets = &self.options.secrets;
        let stored = secrets
            .write(stored, plan, &self.options.leadership)
            .await?;
        let sequence = stored.snapshot.sequence;
        if changes {
            tracing::info!(
                sequence,
                subscriptions = stored.snapshot.subscriptions.len(),
                routes = stored.snapshot.routes.len(),
                "the snapshot is written"
            );
        }
        metrics
            .snapshot_sequence
            .set(i64::try_from(sequence).unwrap_or(i64::MAX));
        self.keep(stored);
        Ok(placements)
    }

    fn publish(&self, (subscriptions, routes): Reports, placements: Placements) {
        let outcome = Outcome {
            subscriptions,
            routes,
            placements,
        };
        self.options.outcome.send_replace(Some(Arc::new(outcome)));
    }

    fn keep(&mut self, stored: Stored) -> Arc<Stored> {
        let stored = Arc::new(stored);
        self.stored = Some(Arc::clone(&stored));
        self.looked = Instant::now();
        stored
    }

    fn layout(&self) -> Layout {
        let fleet = self.options.fleet.borrow();
        Layout {
            count: self.options.shards,
            format: fleet
                .as_ref()
                .map_or(hookswitch_crds::snapshot::FORMAT, Fleet::format),
        }
    }

    /// Waits until there is something to do, and it has settled.
    async fn due(&mut self) {
        let mut due = false;
        loop {
            let term = self.options.leadership.lead().await;
            if self.term != Some(term.number()) {
                self.stored = None;
                due = true;
            }
            due |= self.layout != Some(self.layout()) || self.is_behind_the_receivers();
            due |= self.again.is_some_and(|again| again <= Instant::now());
            due |= self.was_touched().await;
            if due && self.is_complete() && self.rest.is_none_or(|it| it <= Instant::now()) {
                break;
            }
            tokio::select! {
                () = changed(&mut self.options.inputs) => due = true,
                () = changed(&mut self.options.fleet) => {}
                () = until(self.again) => {}
                () = sleep(TICK) => {}
            }
        }
        self.rest = None;
        self.again = None;
        let storm = Instant::now() + STORM;
        loop {
            let quiet = storm.min(Instant::now() + QUIET);
            if timeout_at(quiet, changed(&mut self.options.inputs))
                .await
                .is_err()
            {
                return;
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.options.index.with(|index| index.is_complete())
            && self.options.fleet.borrow().is_some()
    }

    /// Whether a receiver has loaded more than the Secrets ever held, as after a restore.
    fn is_behind_the_receivers(&mut self) -> bool {
        let greatest = self
            .options
            .fleet
            .borrow()
            .as_ref()
            .map_or(0, |it| it.greatest);
        let behind = |stored: &Arc<Stored>| stored.snapshot.sequence < greatest;
        let behind = self.stored.as_ref().is_some_and(behind);
        if behind {
            self.stored = None;
        }
        behind
    }

    /// Whether another hand was at the Secrets; looked at now and then, since any write finds out.
    async fn was_touched(&mut self) -> bool {
        let Some(stored) = self.stored.clone().filter(|_| self.looked.elapsed() > LOOK) else {
            return false;
        };
        self.looked = Instant::now();
        match self.options.secrets.are(&stored).await {
            Ok(true) => false,
            Ok(false) => {
                tracing::warn!("another hand was at the snapshot's Secrets: they are read again");
                self.stored = None;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "whether the snapshot is whole can't be told");
                false
            }
        }
    }
}

type Reports = (
    BTreeMap<ObjectKey, WebhookSubscriptionReport>,
    BTreeMap<ObjectKey, EventRouteReport>,
);

/// The data of a Secret or a `ConfigMap`, and the version that it is of; `None` where it is gone.
async fn get(
    client: &Client,
    wanted: &Wanted,
) -> Result<Option<(String, BTreeMap<String, SecretBytes>)>, kube::Error> {
    let (namespace, name) = (&wanted.key.namespace, &wanted.key.name);
    if wanted.source == Source::ConfigMaps {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        return Ok(api.get_opt(name).await?.map(|it| {
            let texts = it.data.unwrap_or_default().into_iter();
            let texts = texts.map(|(key, text)| (key, SecretBytes::new(text.into_bytes())));
            let bytes = it.binary_data.unwrap_or_default().into_iter();
            let bytes = bytes.map(|(key, value)| (key, SecretBytes::new(value.0)));
            let version = it.metadata.resource_version.unwrap_or_default();
            (version, texts.chain(bytes).collect())
        }));
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(name).await?.map(|it| {
        let data = it.data.unwrap_or_default().into_iter();
        let data = data.map(|(key, value)| (key, SecretBytes::new(value.0)));
        let version = it.metadata.resource_version.unwrap_or_default();
        (version, data.collect())
    }))
}

/// Waits for a change. Those who tell of changes end with the process; until then nothing changes.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
