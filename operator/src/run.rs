//! An operator from its first line to its last.
//!
//! Every task has a name and an owner here. A task that ends before the shutdown is a fault, and
//! brings the process down: an operator without one of its watches would go on with what it saw last.
//! At a shutdown the work ends first and the Lease is given back last, so that the next leader finds
//! nothing of this one under way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::apply::secrets::Secrets;
use crate::compile::Settings;
use crate::health::{self, Observed};
use crate::index::{Index, Shared};
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::receivers::leases::Leases;
use crate::reconcile;
use crate::status::patch;
use crate::watch::{Feed, Signals, needed};

/// How an operator is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The namespace of the snapshot, the receivers and their Leases.
    pub namespace: String,
    /// This process, in the leader's Lease and in Events: no other may have it.
    pub identity: String,
    /// The namespaces to serve; `None` for all.
    pub watch_namespaces: Option<Vec<String>>,
    /// What the receivers' Leases are named after.
    pub receiver: String,
    /// How many receivers there may be.
    pub receivers: u32,
    /// How many Secrets the snapshot is kept in.
    pub shards: u32,
    /// What objects may ask for.
    pub settings: Settings,
    /// Where `/livez`, `/readyz` and `/metrics` stand.
    pub metrics: SocketAddr,
}

/// Why an operator did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address could not be listened on.
    #[error("listening on {address} for metrics: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A task ended by itself.
    #[error("the {task} ended: {why}")]
    Task {
        /// Its name.
        task: &'static str,
        /// A panic, or what it said.
        why: String,
    },
}

/// Runs an operator until `shutdown` is cancelled, or until it can't go on.
///
/// Guarantees: returns only when nothing of it runs any more and the Lease is given back, or could
/// not be. Cancellation: don't drop it; cancel `shutdown`.
///
/// # Errors
/// Where it could not start, or a task of it ended by itself.
pub async fn run(
    options: Options,
    client: Client,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let listener = TcpListener::bind(options.metrics).await;
    let listener = listener.map_err(|source| Error::Listen {
        address: options.metrics,
        source,
    })?;
    let address = listener.local_addr().unwrap_or(options.metrics);
    tracing::info!(
        metrics = %address,
        namespace = options.namespace,
        identity = options.identity,
        "operating"
    );

    let stop = CancellationToken::new();
    let retire = CancellationToken::new();
    let (candidate, leadership) =
        Candidate::new(client.clone(), &options.namespace, options.identity.clone());
    let mut office = Tasks::default();
    office.spawn("leader election", candidate.run(retire.clone()));

    let mut work = Tasks::default();
    work.spawn_all(options, client, metrics, &leadership, listener, &stop);
    let fault = tokio::select! {
        () = shutdown.cancelled() => None,
        ended = work.first_to_end() => Some(ended),
        ended = office.first_to_end() => Some(ended),
    };
    tracing::info!("shutting down");
    stop.cancel();
    work.join().await;
    retire.cancel();
    office.join().await;
    fault.map_or(Ok(()), Err)
}

impl Tasks {
    /// Everything but the election.
    fn spawn_all(
        &mut self,
        options: Options,
        client: Client,
        metrics: Metrics,
        leadership: &crate::lease::Leadership,
        listener: TcpListener,
        stop: &CancellationToken,
    ) {
        let Options {
            namespace,
            identity,
            watch_namespaces,
            receiver,
            receivers,
            shards,
            settings,
            metrics: _,
        } = options;
        let watches = needed(watch_namespaces.as_deref());
        let index = Shared::new(Index::awaiting(watches.clone()));
        let observed = Observed {
            index: index.clone(),
            leadership: leadership.clone(),
            metrics: metrics.clone(),
        };
        self.spawn_fallible(
            "metrics server",
            health::serve(listener, observed, stop.clone()),
        );

        let (inputs, follow_inputs) = watch::channel(0);
        let statuses = Arc::new(Notify::new());
        let feed = Feed {
            client: client.clone(),
            index: index.clone(),
            signals: Signals {
                inputs,
                statuses: Arc::clone(&statuses),
            },
        };
        for watch in watches {
            let follow = feed
                .clone()
                .follow(watch, watch_namespaces.clone(), stop.clone());
            self.spawn("watch", follow);
        }

        let leases = Leases::new(client.clone(), &namespace, &receiver, receivers);
        let (fleet, follow_fleet) = watch::channel(None);
        let live = metrics.receivers_live.clone();
        self.spawn(
            "watch of the receivers",
            leases.clone().follow(fleet, live, stop.clone()),
        );

        let (outcome, follow_outcome) = watch::channel(None);
        let writer = patch::Options {
            client: client.clone(),
            instance: identity,
            index: index.clone(),
            outcome: follow_outcome,
            fleet: follow_fleet.clone(),
            observed: statuses,
            leadership: leadership.clone(),
            metrics: metrics.clone(),
        };
        self.spawn("status writer", patch::run(writer, stop.clone()));
        let driver = reconcile::Options {
            secrets: Secrets::new(client.clone(), &namespace, shards),
            client,
            index,
            inputs: follow_inputs,
            leases,
            fleet: follow_fleet,
            leadership: leadership.clone(),
            settings: Arc::new(settings),
            shards,
            metrics,
            outcome,
        };
        self.spawn("reconciler", reconcile::run(driver, stop.clone()));
    }
}

/// Named tasks with one owner.
#[derive(Default)]
struct Tasks {
    set: JoinSet<Result<(), String>>,
    names: HashMap<tokio::task::Id, &'static str>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_fallible(name, async move {
            task.await;
            Ok::<(), std::convert::Infallible>(())
        });
    }

    fn spawn_fallible<E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let task = async move { task.await.map_err(|error| error.to_string()) };
        let handle = self.set.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Waits for a task to end, which none should. Cancelling it loses nothing.
    async fn first_to_end(&mut self) -> Error {
        match self.set.join_next_with_id().await {
            Some(Ok((id, ended))) => {
                self.fault(id, ended.err().unwrap_or_else(|| "it returned".to_owned()))
            }
            Some(Err(error)) => self.fault(error.id(), error.to_string()),
            None => std::future::pending().await,
        }
    }

    /// Waits for all of them to end.
    async fn join(&mut self) {
        while let Some(ended) = self.set.join_next_with_id().await {
            let fault = match ended {
                Ok((_, Ok(()))) => continue,
                Ok((id, Err(why))) => self.fault(id, why),
                Err(error) => self.fault(error.id(), error.to_string()),
            };
            tracing::error!(error = %fault, "a task failed during the shutdown");
        }
    }

    fn fault(&self, id: tokio::task::Id, why: String) -> Error {
        Error::Task {
            task: self.names.get(&id).copied().unwrap_or("unnamed task"),
            why,
        }
    }
}
