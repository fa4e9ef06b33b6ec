//! Which receivers requests may go to, as a Service of Kubernetes knows it: those that said at the last look
//! that they are ready. A request goes to one of them by turns; to nobody where none is ready.
//!
//! Kubernetes looks every `periodSeconds` of the readiness probe: 2 in the chart. A receiver that is replaced in
//! order is taken out by hand here, as the removal of its pod does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::hookswitch::Hookswitch;
use crate::sender;

/// How often each is looked at, and how long a look may take.
const PERIOD: Duration = Duration::from_secs(2);

/// The receivers behind one name. Clones are the same.
#[derive(Debug, Clone)]
pub struct Service {
    endpoints: Arc<Mutex<Vec<Endpoint>>>,
    turn: Arc<AtomicUsize>,
    _looker: Arc<Looker>,
}

/// A receiver.
#[derive(Debug, Clone)]
struct Endpoint {
    name: usize,
    hooks: SocketAddr,
    metrics: SocketAddr,
    ready: bool,
}

/// Ends with the last clone.
#[derive(Debug)]
struct Looker(JoinHandle<()>);

impl Drop for Looker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}

impl Service {
    /// One without receivers.
    #[must_use]
    pub fn new() -> Self {
        sender::crypto();
        let endpoints = Arc::default();
        let looker = tokio::spawn(look(Arc::clone(&endpoints)));
        Self {
            endpoints,
            turn: Arc::default(),
            _looker: Arc::new(Looker(looker)),
        }
    }

    /// Takes in a receiver that is ready, under its number.
    pub fn add(&self, name: usize, receiver: &Hookswitch) {
        self.add_at(name, receiver.hooks, receiver.metrics);
    }

    /// The same, by where it takes webhooks in and where it tells that it is ready.
    pub fn add_at(&self, name: usize, hooks: SocketAddr, metrics: SocketAddr) {
        self.remove(name);
        self.lock().push(Endpoint {
            name,
            hooks,
            metrics,
            ready: true,
        });
    }

    /// Sends nothing to it from now on.
    pub fn remove(&self, name: usize) {
        self.lock().retain(|endpoint| endpoint.name != name);
    }

    /// Where the next request goes.
    #[must_use]
    pub fn next(&self) -> Option<SocketAddr> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let endpoints = self.lock();
        let ready = endpoints.iter().filter(|endpoint| endpoint.ready);
        let count = ready.clone().count();
        let mut ready = ready.map(|endpoint| endpoint.hooks);
        ready.nth(turn.checked_rem(count)?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Endpoint>> {
        lock(&self.endpoints)
    }
}

fn lock(endpoints: &Mutex<Vec<Endpoint>>) -> std::sync::MutexGuard<'_, Vec<Endpoint>> {
    endpoints.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at all of them, again and again.
async fn look(endpoints: Arc<Mutex<Vec<Endpoint>>>) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PERIOD)
        .build()
        .expect("a client");
    let mut period = tokio::time::interval(PERIOD);
    loop {
        period.tick().await;
        let all = lock(&endpoints).clone();
        let looks = all.into_iter().map(async |endpoint| {
            let url = format!("http://{}/readyz", endpoint.metrics);
            let answer = client.get(url).send().await;
            let ready = answer.is_ok_and(|answer| answer.status() == 200);
            // Who was started anew since is another one.
            for other in lock(&endpoints).iter_mut() {
                if other.metrics == endpoint.metrics {
                    other.ready = ready;
                }
            }
        });
        futures::future::join_all(looks).await;
    }
}
