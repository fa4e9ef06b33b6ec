//! A receiver from its first line to its last: open, listen, work, drain, close.
//!
//! Every task has a name and an owner here. A task that ends before the shutdown is a fault, and
//! brings the process down in good order: a receiver without its planner would go on answering 200.

use std::convert::Infallible;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hookswitch_crds::key::ObjectKey;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::Follow;
use crate::metrics::Metrics;
use crate::observe::{self, Observed};
use crate::plan::Lane;
use crate::store::archive::Archive;
use crate::store::embedded::{self, Embedded};
use crate::store::jetstream::{self, JetStream};
use crate::store::{self, Store};
use crate::tls::{self, Tls};
use crate::wake::Wake;
use crate::{admin, deliver, ingress, janitor, planner, serve};

/// How a receiver is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where webhooks come in.
    pub listen: SocketAddr,
    /// Where `/livez`, `/readyz` and `/metrics` stand.
    pub metrics: SocketAddr,
    /// Where the admin API stands; `None` serves none. It has no login: loopback only.
    pub admin: Option<SocketAddr>,
    /// Where events are kept, or the copy of them.
    pub data: PathBuf,
    /// What keeps them.
    pub engine: Engine,
    /// Certificate and key; `None` serves plain HTTP.
    pub tls: Option<tls::Files>,
    /// Limits on requests, and the proxies that are believed.
    pub ingress: ingress::Settings,
    /// How long to go on serving after a shutdown was asked for, while `/readyz` says no: load
    /// balancers need a while to send no more. Zero where nobody balances.
    pub shutdown_delay: Duration,
    /// How long attempts under way may take to end at a shutdown.
    pub drain: Duration,
    /// How long after a start timers that began before it are held: senders try again meanwhile what
    /// they could not send. TG-Staff's longest pause between two tries is 5 minutes.
    pub timer_grace: Duration,
}

/// What keeps events.
#[derive(Debug, Clone)]
pub enum Engine {
    /// A file in the data directory.
    Embedded,
    /// A log that several receivers share.
    JetStream(Box<jetstream::Settings>),
}

/// Where a receiver listens, once it does.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    /// Webhooks.
    pub hooks: SocketAddr,
    /// Health and metrics.
    pub metrics: SocketAddr,
    /// The admin API.
    pub admin: Option<SocketAddr>,
}

/// Why a receiver did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be opened.
    #[error("opening the store in {}: {source}", data.display())]
    Store {
        /// The directory.
        data: PathBuf,
        /// Why.
        source: store::Error,
    },
    /// The certificate can't be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// An address could not be listened on.
    #[error("listening on {address} for {what}: {source}")]
    Listen {
        /// `webhooks`, `metrics` or `admin`.
        what: &'static str,
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

/// Runs a receiver until `shutdown` is cancelled, or until it can't go on. `on_listening` is called
/// once, when connections are accepted.
///
/// Guarantees: returns only when nothing of it runs any more and the store is closed.
/// Cancellation: don't drop it; cancel `shutdown`.
///
/// # Errors
/// Where it could not start, or a task of it ended by itself.
pub async fn run(
    options: Options,
    config: Follow,
    metrics: Metrics,
    clock: Clock,
    shutdown: CancellationToken,
    on_listening: impl FnOnce(Listening),
) -> Result<(), Error> {
    raise_file_limit();
    let tls = match options.tls.clone() {
        Some(files) => Some(Tls::load(files).await?),
        None => None,
    };
    let wakes = Wakes::default();
    let store = tokio::select! {
        store = open(&options, &metrics, &wakes) => store?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let hooks = listen("webhooks", options.listen).await?;
    let health = listen("metrics", options.metrics).await?;
    let admin = match options.admin {
        Some(asked) => Some((listen("admin", asked).await?, asked)),
        None => None,
    };
    on_listening(Listening {
        hooks: address(&hooks, options.listen),
        metrics: address(&health, options.metrics),
        admin: admin
            .as_ref()
            .map(|(listener, asked)| address(listener, *asked)),
    });

    let receiver = Receiver {
        store,
        config,
        metrics,
        clock,
        wakes,
        appends: TaskTracker::new(),
        leaving: CancellationToken::new(),
        draining: CancellationToken::new(),
        stop: CancellationToken::new(),
    };
    let mut intake = receiver.intake(hooks, tls, options.ingress);
    let admin = admin.map(|(listener, _)| listener);
    let mut work = receiver.work(health, admin, options.drain, options.timer_grace);
    let fault = tokio::select! {
        () = shutdown.cancelled() => None,
        ended = intake.first_to_end() => Some(ended),
        ended = work.first_to_end() => Some(ended),
    };
    let fault = match fault {
        None => {
            let delay = options.shutdown_delay;
            receiver.take_leave(delay, &mut intake, &mut work).await
        }
        fault => fault,
    };
    receiver.shut_down(intake, work).await;
    fault.map_or(Ok(()), Err)
}

/// Who tells whom that there is something to do.
#[derive(Default)]
struct Wakes {
    /// From the ingress, and from a shared store, to the planner.
    accepted: Wake<ObjectKey>,
    /// From the planner, and from a shared store, to the delivery engine.
    lanes: Wake<Lane>,
    /// From a shared store to the planner: what is to be planned here has changed.
    moved: Arc<Notify>,
}

/// What the tasks of a receiver share.
struct Receiver {
    store: Arc<dyn Archive>,
    config: Follow,
    metrics: Metrics,
    clock: Clock,
    wakes: Wakes,
    /// Appends that outlive their requests: the sender hung up, the event is kept all the same.
    appends: TaskTracker,
    /// Cancelled first: new senders should go elsewhere, and those that come are served.
    leaving: CancellationToken,
    /// Cancelled next: nothing new comes in.
    draining: CancellationToken,
    /// Cancelled when all that came in is durable.
    stop: CancellationToken,
}

impl Receiver {
    /// What takes events in.
    fn intake(
        &self,
        listener: TcpListener,
        tls: Option<Tls>,
        settings: ingress::Settings,
    ) -> Tasks {
        let hooks = ingress::Hooks::new(ingress::Options {
            config: self.config.clone(),
            store: self.store(),
            metrics: self.metrics.clone(),
            clock: self.clock,
            accepted: self.wakes.accepted.clone(),
            appends: self.appends.clone(),
            draining: self.draining.clone(),
            settings,
        });
        let mut tasks = Tasks::default();
        let server = serve::serve(
            listener,
            hooks,
            tls,
            serve::Limits::default(),
            self.draining.clone(),
        );
        tasks.spawn("webhook server", server);
        tasks
    }

    /// What works on them, and tells about it.
    fn work(
        &self,
        health: TcpListener,
        admin: Option<TcpListener>,
        drain: Duration,
        timer_grace: Duration,
    ) -> Tasks {
        let planner = planner::run(planner::Options {
            store: self.store(),
            config: self.config.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock,
            accepted: self.wakes.accepted.clone(),
            lanes: self.wakes.lanes.clone(),
            moved: Arc::clone(&self.wakes.moved),
            timer_grace,
            shutdown: self.stop.clone(),
        });
        let deliver = deliver::run(deliver::Options {
            store: self.store(),
            config: self.config.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock,
            lanes: self.wakes.lanes.clone(),
            shutdown: self.stop.clone(),
            drain,
        });
        let janitor = janitor::run(
            self.store(),
            self.config.clone(),
            self.clock,
            self.stop.clone(),
        );
        let router = observe::router(Observed {
            config: self.config.clone(),
            store: self.store(),
            metrics: self.metrics.clone(),
            clock: self.clock,
            leaving: self.leaving.clone(),
        });
        let observe = serve::serve(
            health,
            router,
            None,
            serve::Limits::default(),
            self.stop.clone(),
        );
        let mut tasks = Tasks::default();
        tasks.spawn("planner", planner);
        tasks.spawn_fallible("delivery engine", deliver);
        tasks.spawn("janitor", janitor);
        tasks.spawn("metrics server", observe);
        if let Some(listener) = admin {
            tasks.spawn("admin server", self.admin(listener));
        }
        tasks
    }

    /// What answers a person's questions.
    fn admin(&self, listener: TcpListener) -> impl Future<Output = ()> + Send + use<> {
        let router = admin::router(admin::Options {
            store: Arc::clone(&self.store),
            config: self.config.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock,
            lanes: self.wakes.lanes.clone(),
            shutdown: self.stop.clone(),
        });
        serve::serve(
            listener,
            router,
            None,
            serve::Limits::default(),
            self.stop.clone(),
        )
    }

    /// As most tasks see it.
    fn store(&self) -> Arc<dyn Store> {
        let store: Arc<dyn Store> = Arc::<dyn Archive>::clone(&self.store);
        store
    }

    /// Is unready and serves, until load balancers had time to see it; gives the task that ended
    /// meanwhile, which none should.
    async fn take_leave(
        &self,
        delay: Duration,
        intake: &mut Tasks,
        work: &mut Tasks,
    ) -> Option<Error> {
        self.leaving.cancel();
        if delay.is_zero() {
            return None;
        }
        tracing::info!(?delay, "leaving: not ready any more, and still serving");
        tokio::select! {
            () = tokio::time::sleep(delay) => None,
            ended = intake.first_to_end() => Some(ended),
            ended = work.first_to_end() => Some(ended),
        }
    }

    /// Ends everything in the order that loses nothing: first what takes events in, then what works
    /// on them, then the store.
    async fn shut_down(self, mut intake: Tasks, mut work: Tasks) {
        tracing::info!("shutting down: no new requests");
        self.leaving.cancel();
        self.draining.cancel();
        intake.join().await;
        self.appends.close();
        self.appends.wait().await;
        self.stop.cancel();
        work.join().await;
        match self.store.close().await {
            Ok(()) => tracing::info!("the store is closed"),
            Err(error) => {
                tracing::error!(%error, "the store could not be closed; it recovers at the next start");
            }
        }
    }
}

async fn open(
    options: &Options,
    metrics: &Metrics,
    wakes: &Wakes,
) -> Result<Arc<dyn Archive>, Error> {
    if let Engine::JetStream(settings) = &options.engine {
        let settings = jetstream::Options {
            dir: options.data.clone(),
            metrics: metrics.clone(),
            settings: (**settings).clone(),
            accepted: wakes.accepted.clone(),
            lanes: wakes.lanes.clone(),
            moved: Arc::clone(&wakes.moved),
        };
        return match Box::pin(JetStream::open(settings)).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(source) => Err(Error::Store {
                data: options.data.clone(),
                source,
            }),
        };
    }
    let settings = embedded::Options {
        dir: options.data.clone(),
        metrics: metrics.clone(),
    };
    let opened = tokio::task::spawn_blocking(move || Embedded::open(settings))
        .await
        .map_err(|error| Error::Task {
            task: "opening of the store",
            why: error.to_string(),
        })?;
    match opened {
        Ok(store) => Ok(Arc::new(store)),
        Err(source) => Err(Error::Store {
            data: options.data.clone(),
            source,
        }),
    }
}

/// Each connection is an open file, in and out. Many systems give a process 1,024 at first, and more
/// where it asks.
fn raise_file_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit on open files could not be raised"),
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen {
            what,
            address,
            source,
        })
}

/// The port that was given, where port 0 was asked for.
fn address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

/// Named tasks with one owner.
#[derive(Default)]
struct Tasks {
    set: JoinSet<Result<(), String>>,
    names: std::collections::HashMap<tokio::task::Id, &'static str>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_fallible(name, async move {
            task.await;
            Ok::<(), Infallible>(())
        });
    }

    fn spawn_fallible<E: Display>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let handle = self
            .set
            .spawn(async move { task.await.map_err(|error| error.to_string()) });
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
