//! The delivery engine: brings planned deliveries to their destinations.
//!
//! ```text
//!  store.lanes() at start ┐                       ┌─ runner of lane A ─ claim ─ attempt ─ finish
//!                         ├─▶ supervisor ─ wakes ─┼─ runner of lane B ─ ...
//!  Wake<Lane> (planner) ──┘                       └─ (none for a lane without work)
//! ```
//!
//! Invariants:
//! - A lane is one destination of one route. Each lane with work has a runner of its own, with its own
//!   connections, limits and circuit breaker, and there is no queue or pool between lanes: what one
//!   destination does never slows another.
//! - A lane without work has no runner, and costs nothing.
//! - At least once: an attempt is durable before its bytes leave, and its outcome before it counts. A
//!   crash between the two makes the attempt ambiguous, and `onAmbiguous` decides.
//! - Where receivers share a store, what the configuration lacks is not taken for removed before the one that
//!   planned a delivery has had time to come.
//! - Every attempt sends the frozen method, content type and body with the same `Idempotency-Key`,
//!   under the headers, secrets and signatures of the current configuration.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::network::Network;
use self::wire::Wire;
use crate::clock::Clock;
use crate::config::Follow;
use crate::metrics::Metrics;
use crate::plan::Lane;
use crate::store::Store;
use crate::wake::Wake;

mod awaiting;
mod backoff;
mod breaker;
mod cloudevents;
mod durable;
mod enrich;
mod excerpt;
mod gather;
mod kind;
mod lane;
mod limit;
mod nats;
mod network;
mod outcome;
mod pause;
mod pool;
mod postgres;
mod report;
mod sign;
mod target;
mod wire;

#[cfg(test)]
mod tests;

/// The pause before the store is asked again for the lanes with work.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// What the engine works with.
pub struct Options {
    /// Where deliveries are kept.
    pub store: Arc<dyn Store>,
    /// The configuration; nothing is delivered before there is one.
    pub config: Follow,
    /// Where it counts.
    pub metrics: Metrics,
    /// The time of day.
    pub clock: Clock,
    /// Lanes that got something new. The engine is their one taker.
    pub lanes: Wake<Lane>,
    /// Stops new attempts.
    pub shutdown: CancellationToken,
    /// How long attempts in flight may go on after `shutdown`.
    pub drain: Duration,
}

/// Why the engine ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no way out.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// A lane's runner died. What it had claimed comes back with a restart of the process.
    #[error("the runner of a lane died; restart the process to recover its deliveries: {0}")]
    Runner(#[from] JoinError),
}

/// Delivers until `shutdown`, and then until attempts in flight have ended or `drain` has passed.
///
/// Cancellation: dropping the future aborts attempts in flight; their deliveries are interrupted, and
/// come back at the next start.
///
/// # Errors
/// Where it can't begin, or a runner dies: the process is to be restarted.
pub async fn run(options: Options) -> Result<(), Error> {
    let network = Network::system()?;
    Engine::new(options, network, Arc::new(wire::Network))
        .run()
        .await
}

/// Why deliveries to a destination wait until the configuration changes, where they do: a secret that
/// is missing, an address that may not be reached. Names secrets, and never holds one.
#[must_use]
pub fn held(destination: &hookswitch_crds::snapshot::Destination) -> Option<String> {
    target::held(destination).map(|held| held.to_string())
}

/// What runners share.
struct Engine {
    store: Arc<dyn Store>,
    config: Follow,
    metrics: Metrics,
    clock: Clock,
    lanes: Wake<Lane>,
    /// Lanes that may have got something whose look-ups are to be made.
    unrendered: Wake<Lane>,
    network: Network,
    wire: Arc<dyn Wire>,
    shutdown: CancellationToken,
    drain: Duration,
    /// Cancelled when the time to drain is over.
    drained: CancellationToken,
}

/// Works a lane off, woken when there is something new.
type Start = Box<dyn Fn(Lane, Arc<Notify>) -> BoxFuture<'static, ()> + Send>;

/// The runners of all lanes that have work.
struct Runners {
    start: Start,
    wakes: HashMap<Lane, Arc<Notify>>,
    tasks: JoinSet<Lane>,
}

impl Engine {
    fn new(options: Options, network: Network, wire: Arc<dyn Wire>) -> Arc<Self> {
        let Options {
            store,
            config,
            metrics,
            clock,
            lanes,
            shutdown,
            drain,
        } = options;
        Arc::new(Self {
            store,
            config,
            metrics,
            clock,
            lanes,
            unrendered: Wake::default(),
            network,
            wire,
            shutdown,
            drain,
            drained: CancellationToken::new(),
        })
    }

    /// Delivers, and makes the look-ups of what is to be delivered.
    async fn run(self: Arc<Self>) -> Result<(), Error> {
        let look_ups = enrich::run(Arc::clone(&self));
        tokio::try_join!(self.supervise(), look_ups).map(|((), ())| ())
    }

    async fn supervise(self: Arc<Self>) -> Result<(), Error> {
        let engine = Arc::clone(&self);
        let mut runners =
            Runners::new(move |lane, wake| Box::pin(lane::run(Arc::clone(&engine), lane, wake)));
        self.shutdown.run_until_cancelled(self.configured()).await;
        for lane in self.pending_lanes().await {
            runners.wake(lane);
        }
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                lanes = self.lanes.take() => {
                    self.unrendered.add(lanes.iter().filter(|lane| self.looks_up(lane)));
                    for lane in lanes {
                        runners.wake(lane);
                    }
                }
                Some(ended) = runners.tasks.join_next() => runners.ended(ended?),
            }
        }
        runners.drain(&self).await
    }

    /// Whether a lane's deliveries may have look-ups.
    fn looks_up(&self, lane: &Lane) -> bool {
        let config = self.config.borrow();
        let routes = config.as_ref().map(|config| &config.routes);
        let route = routes.and_then(|routes| routes.get(&lane.route));
        route.is_some_and(|route| route.rules.iter().any(|rule| !rule.enrich.is_empty()))
    }

    /// Waits for a configuration.
    async fn configured(&self) {
        let mut config = self.config.clone();
        if config.wait_for(Option::is_some).await.is_err() {
            self.shutdown.cancelled().await;
        }
    }

    /// Lanes that have something pending, from before this start.
    async fn pending_lanes(&self) -> Vec<Lane> {
        let mut failing = false;
        while !self.shutdown.is_cancelled() {
            match self.store.lanes().await {
                Ok(lanes) => {
                    let pending = lanes.into_iter().filter(|stats| stats.pending > 0);
                    return pending.map(|stats| stats.lane).collect();
                }
                Err(error) if failing => tracing::debug!(%error, "the store still fails"),
                Err(error) => tracing::error!(%error, "the store failed: deliveries wait"),
            }
            failing = true;
            self.shutdown.run_until_cancelled(sleep(STORE_PAUSE)).await;
        }
        Vec::new()
    }
}

impl Runners {
    fn new(start: impl Fn(Lane, Arc<Notify>) -> BoxFuture<'static, ()> + Send + 'static) -> Self {
        Self {
            start: Box::new(start),
            wakes: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Tells a lane's runner that there is something new; starts it where there is none.
    fn wake(&mut self, lane: Lane) {
        if let Some(wake) = self.wakes.get(&lane) {
            wake.notify_one();
            return;
        }
        let wake = Arc::new(Notify::new());
        self.wakes.insert(lane.clone(), Arc::clone(&wake));
        let running = (self.start)(lane.clone(), wake);
        self.tasks.spawn(async move {
            running.await;
            lane
        });
    }

    /// A runner has ended. One that was woken while it ended starts again.
    fn ended(&mut self, lane: Lane) {
        use futures::FutureExt as _;
        let woken = self
            .wakes
            .remove(&lane)
            .is_some_and(|wake| wake.notified().now_or_never().is_some());
        if woken {
            self.wake(lane);
        }
    }

    /// Waits for all runners, and tells them when the time is over.
    async fn drain(mut self, engine: &Engine) -> Result<(), Error> {
        let drained = engine.drained.clone();
        let mut over = std::pin::pin!(sleep(engine.drain));
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => drop(ended?),
                    None => return Ok(()),
                },
                () = &mut over, if !drained.is_cancelled() => drained.cancel(),
            }
        }
    }
}
