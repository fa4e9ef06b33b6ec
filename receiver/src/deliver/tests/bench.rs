//! An engine on a bench: a store in memory, a script in place of the network, and virtual time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{
    Auth, Delivery, Destination, DestinationKind, Format, Http, OnAmbiguous, Transport,
};
use http::Response;
use jiff::Timestamp;
use reqwest::Client;
use rustls::RootCertStore;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::memory::Memory;
use super::{event, settings};
use crate::clock::Clock;
use crate::config::Config;
use crate::deliver::kind::{Fault, Reply, reason};
use crate::deliver::network::{Lookup, Network};
use crate::deliver::wire::{Outgoing, Wire};
use crate::deliver::{Engine, Error, Options};
use crate::metrics::Metrics;
use crate::plan::{FrozenBody, FrozenRequest, Lane};
use crate::redact::Hidden;
use crate::store::{DeliveryState, StoredDelivery, StoredEvent};
use crate::wake::Wake;

/// An engine that runs.
pub(in crate::deliver) struct Bench {
    pub(in crate::deliver) store: Arc<Memory>,
    pub(in crate::deliver) script: Arc<Script>,
    pub(in crate::deliver) config: watch::Sender<Option<Arc<Config>>>,
    pub(in crate::deliver) lanes: Wake<Lane>,
    pub(in crate::deliver) unrendered: Wake<Lane>,
    pub(in crate::deliver) metrics: Metrics,
    pub(in crate::deliver) clock: Clock,
    pub(in crate::deliver) start: Instant,
    pub(in crate::deliver) shutdown: CancellationToken,
    engine: JoinHandle<Result<(), Error>>,
    next_id: u128,
}

/// A request that reached the script.
#[derive(Debug, Clone)]
pub(in crate::deliver) struct Seen {
    pub(in crate::deliver) at: Duration,
    pub(in crate::deliver) request: Arc<Outgoing>,
}

impl Seen {
    /// A header's text.
    pub(in crate::deliver) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers.get(name)?.to_str().ok()
    }
}

/// What the script does with the request that comes as the n-th (from 0) to a host.
pub(in crate::deliver) type Step = Arc<dyn Fn(usize) -> (Duration, Reply) + Send + Sync>;

/// Answers in place of the network, a host at a time.
pub(in crate::deliver) struct Script {
    start: Instant,
    steps: Mutex<HashMap<String, Step>>,
    seen: Mutex<BTreeMap<String, Vec<Seen>>>,
}

impl Script {
    /// Answers of a host.
    pub(in crate::deliver) fn on(
        &self,
        host: &str,
        step: impl Fn(usize) -> (Duration, Reply) + Send + Sync + 'static,
    ) {
        let mut steps = self.steps.lock().unwrap();
        steps.insert(host.to_owned(), Arc::new(step));
    }

    /// What has reached a host.
    pub(in crate::deliver) fn seen(&self, host: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.get(host).cloned().unwrap_or_default()
    }

    /// When each request reached the host, in seconds from the start.
    pub(in crate::deliver) fn seconds(&self, host: &str) -> Vec<u64> {
        self.seen(host)
            .iter()
            .map(|seen| seen.at.as_secs())
            .collect()
    }
}

impl Wire for Script {
    fn send(&self, _: &Client, request: Outgoing, timeout: Duration) -> BoxFuture<'static, Reply> {
        let host = request.url.host_str().unwrap().to_owned();
        let nth = {
            let mut seen = self.seen.lock().unwrap();
            let seen = seen.entry(host.clone()).or_default();
            seen.push(Seen {
                at: self.start.elapsed(),
                request: Arc::new(request),
            });
            seen.len() - 1
        };
        let step = self.steps.lock().unwrap().get(&host).cloned();
        let (takes, reply) = match step {
            Some(step) => step(nth),
            None => (Duration::ZERO, status(200)),
        };
        async move {
            if tokio::time::timeout(timeout, tokio::time::sleep(takes))
                .await
                .is_err()
            {
                return no_answer(reason::TIMEOUT);
            }
            reply
        }
        .boxed()
    }
}

/// An answer.
pub(in crate::deliver) fn status(status: u16) -> Reply {
    answer(status, &[], "")
}

/// An answer with headers and a body.
pub(in crate::deliver) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Reply::Answered {
        answer: response.body(Bytes::from(body.to_owned())).unwrap(),
        whole: true,
    }
}

/// No answer to a request that was sent.
pub(in crate::deliver) fn no_answer(reason: &'static str) -> Reply {
    Reply::NoAnswer(Fault {
        reason,
        detail: "scripted".to_owned(),
    })
}

/// No connection.
pub(in crate::deliver) fn not_sent() -> Reply {
    Reply::NotSent(Fault {
        reason: reason::CONNECT,
        detail: "scripted".to_owned(),
    })
}

/// At once.
pub(in crate::deliver) const AT_ONCE: Duration = Duration::ZERO;

/// Finds nothing.
struct Nowhere;

impl Lookup for Nowhere {
    fn lookup(
        &self,
        _: String,
        _: tokio::sync::OwnedSemaphorePermit,
    ) -> BoxFuture<'static, std::io::Result<Vec<std::net::IpAddr>>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }
}

/// The lane of route `support/crm` to a destination.
pub(in crate::deliver) fn lane(destination: &str) -> Lane {
    Lane {
        route: ObjectKey::new("support", "crm"),
        destination: destination.to_owned(),
    }
}

/// A destination at `https://{name}/hook`.
pub(in crate::deliver) fn destination(name: &str, delivery: Delivery) -> Destination {
    Destination {
        name: name.to_owned(),
        kind: DestinationKind::Http,
        transport: Transport::from(Http {
            url: format!("https://{name}/hook"),
            method: "POST".to_owned(),
            headers: Vec::new(),
            format: Format::Json,
            auth: Auth::None,
            signing_secrets: Vec::new(),
            private_networks: Vec::new(),
        }),
        address: None,
        writes_back: false,
        delivery,
        redact: None,
    }
}

/// What a destination speaks HTTP with.
pub(in crate::deliver) fn http(destination: &mut Destination) -> &mut Http {
    match &mut destination.transport {
        Transport::Http(http) => http,
        other => panic!("{other:?}"),
    }
}

/// A configuration with these destinations.
pub(in crate::deliver) fn config(destinations: Vec<Destination>) -> Arc<Config> {
    let lanes = destinations
        .into_iter()
        .map(|destination| (Arc::new(lane(&destination.name)), Arc::new(destination)));
    Arc::new(Config {
        lanes: lanes.collect(),
        ..Config::default()
    })
}

/// Settings with another answer to ambiguity.
pub(in crate::deliver) fn on_ambiguous(on_ambiguous: OnAmbiguous) -> Delivery {
    Delivery {
        on_ambiguous,
        ..settings()
    }
}

impl Bench {
    /// Starts an engine for these destinations.
    pub(in crate::deliver) fn new(destinations: Vec<Destination>) -> Self {
        Self::with(destinations, Memory::default())
    }

    /// The same with what a store holds already.
    pub(in crate::deliver) fn with(destinations: Vec<Destination>, store: Memory) -> Self {
        let start = Instant::now();
        let store = Arc::new(store);
        let script = Arc::new(Script {
            start,
            steps: Mutex::default(),
            seen: Mutex::default(),
        });
        let config = watch::Sender::new(Some(config(destinations)));
        let lanes = Wake::default();
        let metrics = Metrics::new().unwrap();
        let clock = Clock::starting_at("2026-01-02T03:04:05Z".parse().unwrap());
        let shutdown = CancellationToken::new();
        let options = Options {
            store: store.clone(),
            config: config.subscribe(),
            metrics: metrics.clone(),
            clock,
            lanes: lanes.clone(),
            shutdown: shutdown.clone(),
            drain: Duration::from_secs(5),
        };
        let network = Network::new(RootCertStore::empty(), Arc::new(Nowhere)).unwrap();
        let engine = Engine::new(options, network, script.clone());
        let unrendered = engine.unrendered.clone();
        Self {
            engine: tokio::spawn(engine.run()),
            store,
            script,
            config,
            lanes,
            unrendered,
            metrics,
            clock,
            start,
            shutdown,
            next_id: 0,
        }
    }

    /// Plans a delivery now.
    pub(in crate::deliver) fn plan(&mut self, destination: &str) -> Uuid {
        self.plan_in_order(destination, None)
    }

    /// Plans several.
    pub(in crate::deliver) fn plan_many(&mut self, destination: &str, count: usize) -> Vec<Uuid> {
        (0..count).map(|_| self.plan(destination)).collect()
    }

    /// Plans a delivery that goes in order.
    pub(in crate::deliver) fn plan_in_order(
        &mut self,
        destination: &str,
        subject: Option<&str>,
    ) -> Uuid {
        self.next_id += 1;
        let delivery = delivery(self.next_id, destination, self.clock.now());
        let id = delivery.id;
        self.store.add(delivery, subject);
        self.lanes.add([&lane(destination)]);
        id
    }

    /// Plans a delivery of a request.
    pub(super) fn plan_request(&mut self, destination: &str, request: FrozenRequest) -> Uuid {
        self.next_id += 1;
        let delivery = StoredDelivery {
            request,
            ..delivery(self.next_id, destination, self.clock.now())
        };
        let id = delivery.id;
        self.store.add(delivery, None);
        self.lanes.add([&lane(destination)]);
        id
    }

    /// Replaces the configuration.
    pub(in crate::deliver) fn configure(&self, destinations: Vec<Destination>) {
        self.config.send_replace(Some(config(destinations)));
    }

    /// The same with a sequence.
    pub(in crate::deliver) fn configure_as(&self, sequence: u64, destinations: Vec<Destination>) {
        let lanes = config(destinations).lanes.clone();
        self.config.send_replace(Some(Arc::new(Config {
            sequence,
            lanes,
            ..Config::default()
        })));
    }

    /// Lets virtual time pass, with all that happens in it.
    pub(in crate::deliver) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.quiet().await;
    }

    /// Lets everything that can happen now happen.
    pub(in crate::deliver) async fn quiet(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    /// Passes time until a delivery is in a state.
    pub(in crate::deliver) async fn until(&self, id: Uuid, state: impl Fn(DeliveryState) -> bool) {
        let reached = async {
            loop {
                let changed = self.store.changed.notified();
                if state(self.store.row(id).state) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(Duration::from_hours(24 * 30), reached)
            .await
            .is_err()
        {
            panic!("it never came: {:?}", self.store.row(id).state);
        }
    }

    /// Stops the engine, and waits for its end.
    pub(in crate::deliver) async fn stop(self) -> Arc<Memory> {
        self.shutdown.cancel();
        self.engine.await.unwrap().unwrap();
        self.store
    }
}

/// A delivery of [`event`], planned and due then.
pub(in crate::deliver) fn delivery(id: u128, destination: &str, at: Timestamp) -> StoredDelivery {
    StoredDelivery {
        id: Uuid::from_u128(id),
        lane: lane(destination),
        rule: "rule".to_owned(),
        event: Arc::new(StoredEvent {
            seq: 1,
            event: event(),
        }),
        request: FrozenRequest {
            kind: DestinationKind::Http,
            method: "POST".to_owned(),
            content_type: "application/json".to_owned(),
            cloud_event_headers: false,
            address: None,
            hidden: Hidden::default(),
            body: FrozenBody::Event,
        },
        attempts: 0,
        planned_at: at,
        sequence: 1,
        due: at,
        interrupted: false,
        doubtful: false,
    }
}
