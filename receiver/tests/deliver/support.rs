//! A store with planned deliveries, servers to deliver to, and an engine between them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use hookswitch_crds::duration::Duration as Span;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{
    Auth, CircuitBreaker, Delivery, Destination, DestinationKind, Format, Header, HeaderValue,
    Http, OnAmbiguous, Ordering, ResolvedSecret, Transport,
};
use hookswitch_receiver::clock::Clock;
use hookswitch_receiver::config::Config;
use hookswitch_receiver::deliver;
use hookswitch_receiver::event::{Disposition, Event};
use hookswitch_receiver::metrics::Metrics;
use hookswitch_receiver::plan::{FrozenBody, FrozenRequest, Lane, NewDelivery, Plan};
use hookswitch_receiver::redact::Hidden;
use hookswitch_receiver::store::embedded::{self, Embedded};
use hookswitch_receiver::store::{Accepted, DeliveryState, NewEvent, Store};
use hookswitch_receiver::wake::Wake;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// In the credentials of every destination.
pub(crate) const PLANTED_SECRET: &str = "planted/secret";
/// In every event and delivery.
pub(crate) const PLANTED_TEXT: &str = "planted-text";
/// In every answer.
pub(crate) const PLANTED_ANSWER: &str = "planted-answer";

/// All that this process has logged, at the finest level. Every test begins to log before it does
/// anything else, so nothing is missed.
pub(crate) static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let lines = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || lines.clone())
        .init();
    log
});

/// Keeps what is logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A destination that answers with what a function of (how often the key came, the event's number) says;
/// `None` never answers.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    _task: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(
        answer: impl Fn(usize, &str) -> Option<u16> + Clone + Send + Sync + 'static,
    ) -> Self {
        let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let record = Arc::clone(&seen);
        let router = Router::new().fallback(async move |headers: HeaderMap, body: Bytes| {
            let key = headers["idempotency-key"].to_str().unwrap().to_owned();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let body = body.split(' ').next().unwrap_or_default().to_owned();
            let times = {
                let mut record = record.lock().unwrap();
                record.push((key.clone(), body.clone()));
                record.iter().filter(|(one, _)| *one == key).count()
            };
            let token = headers["authorization"].to_str().unwrap();
            let said = format!("{PLANTED_ANSWER}: {token} sent {PLANTED_TEXT}");
            match answer(times, &body) {
                Some(status) => (StatusCode::from_u16(status).unwrap(), said),
                None => std::future::pending().await,
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            seen,
            _task: task,
        }
    }

    /// The numbers of the events that came, in order.
    pub(crate) fn numbers(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(_, body)| body.clone()).collect()
    }

    /// How often each key came.
    pub(crate) fn keys(&self) -> HashMap<String, usize> {
        let mut keys = HashMap::new();
        for (key, _) in self.seen.lock().unwrap().iter() {
            *keys.entry(key.clone()).or_default() += 1;
        }
        keys
    }
}

pub(crate) fn settings() -> Delivery {
    Delivery {
        timeout: Span::from_secs(5),
        give_up_after: Span::from_secs(3600),
        backoff_initial: Span::from_millis(20),
        backoff_max: Span::from_millis(200),
        on_ambiguous: OnAmbiguous::Retry,
        rate_limit: None,
        ordering: Ordering::None,
        circuit_breaker: CircuitBreaker {
            failures: 1000,
            open_for: Span::from_secs(1),
        },
    }
}

fn subscription() -> ObjectKey {
    ObjectKey::new("support", "support")
}

pub(crate) fn lane(destination: &str) -> Lane {
    Lane {
        route: ObjectKey::new("support", "crm"),
        destination: destination.to_owned(),
    }
}

fn destination(name: &str, url: &str, delivery: Delivery) -> Destination {
    Destination {
        name: name.to_owned(),
        kind: DestinationKind::Http,
        transport: Transport::from(Http {
            url: url.to_owned(),
            method: "POST".to_owned(),
            headers: vec![Header {
                name: "Authorization".to_owned(),
                value: HeaderValue::Secret {
                    prefix: "Bearer ".to_owned(),
                    secret: ResolvedSecret {
                        reference: "crm/token".to_owned(),
                        value: Some(SecretBytes::new(PLANTED_SECRET.into())),
                    },
                },
            }],
            format: Format::Json,
            auth: Auth::None,
            signing_secrets: Vec::new(),
            private_networks: vec!["127.0.0.0/8".parse().unwrap()],
        }),
        address: None,
        writes_back: false,
        delivery,
        redact: None,
    }
}

/// A store, and an engine that runs while this lives.
pub(crate) struct System {
    pub(crate) store: Arc<Embedded>,
    pub(crate) metrics: Metrics,
    lanes: Wake<Lane>,
    shutdown: CancellationToken,
    engine: JoinHandle<Result<(), deliver::Error>>,
    _config: watch::Sender<Option<Arc<Config>>>,
}

impl System {
    /// Opens the store of a directory, and delivers what is in it to these destinations.
    pub(crate) fn start(dir: &Path, destinations: &[(&str, &Server, Delivery)]) -> Self {
        LazyLock::force(&LOG);
        let metrics = Metrics::new().unwrap();
        let store = Embedded::open(embedded::Options {
            dir: dir.to_owned(),
            metrics: metrics.clone(),
        });
        let store = Arc::new(store.unwrap());
        let lanes = destinations.iter().map(|(name, server, delivery)| {
            let destination = destination(name, &server.url, delivery.clone());
            (Arc::new(lane(name)), Arc::new(destination))
        });
        let config = watch::Sender::new(Some(Arc::new(Config {
            lanes: lanes.collect(),
            ..Config::default()
        })));
        let (lanes, shutdown) = (Wake::default(), CancellationToken::new());
        let engine = deliver::run(deliver::Options {
            store: store.clone(),
            config: config.subscribe(),
            metrics: metrics.clone(),
            clock: Clock::System,
            lanes: lanes.clone(),
            shutdown: shutdown.clone(),
            drain: Duration::from_secs(5),
        });
        Self {
            engine: tokio::spawn(engine),
            store,
            metrics,
            lanes,
            shutdown,
            _config: config,
        }
    }

    /// Accepts events with these numbers, and plans one delivery of each to each destination. Events
    /// of a number share the subject of `number % subjects`.
    pub(crate) async fn plan(
        &self,
        destinations: &[&str],
        numbers: std::ops::Range<u64>,
        subjects: u64,
    ) {
        let (mut after, mut plans) = (
            self.store.unplanned(&subscription(), 1).await.unwrap().0,
            Vec::new(),
        );
        let first = after;
        for number in numbers {
            let accepted = self.store.accept(event(number)).await.unwrap();
            let Accepted::New { seq } = accepted else {
                panic!("{accepted:?}");
            };
            after = seq;
            let deliveries = destinations
                .iter()
                .map(|destination| delivery(destination, number, subjects));
            plans.push(Plan {
                remember: Vec::new(),
                timers: Vec::new(),
                cancelled: Vec::new(),
                seq,
                sequence: 1,
                planned_at: Timestamp::now(),
                verdicts: Vec::new(),
                suppressions: Vec::new(),
                deliveries: deliveries.collect(),
                marks_consumed: Vec::new(),
                set_aside: None,
            });
        }
        assert!(after > first);
        self.store
            .plan(&subscription(), first, plans)
            .await
            .unwrap();
        let lanes: Vec<_> = destinations.iter().map(|name| lane(name)).collect();
        self.lanes.add(&lanes);
    }

    /// Waits until this many deliveries are in a state.
    pub(crate) async fn until(&self, count: usize, state: impl Fn(DeliveryState) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            let histories = self.store.scan(0, 10_000).await.unwrap();
            let deliveries = histories.iter().flat_map(|history| &history.deliveries);
            let found = deliveries.filter(|one| state(one.state)).count();
            if found == count {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{found} of {count} deliveries came to the state"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends as a well-behaved process does.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.engine.await.unwrap().unwrap();
        self.store.close().await.unwrap();
    }

    /// Ends in the middle of what it does.
    pub(crate) async fn abandon(self) {
        self.engine.abort();
        assert!(self.engine.await.unwrap_err().is_cancelled());
        self.store.close().await.unwrap();
    }
}

fn event(number: u64) -> NewEvent {
    let body = Bytes::from(format!(
        "{{\"number\":{number},\"text\":\"{PLANTED_TEXT}\"}}"
    ));
    let now = Timestamp::now();
    NewEvent {
        digest: Sha256::digest(&body).into(),
        event: Event {
            uid: Uuid::from_u128(u128::from(number)),
            subscription: subscription(),
            id: number.to_string(),
            r#type: "message.received".to_owned(),
            time: None,
            accepted_at: now,
            subject: None,
            sender: None,
            hops: 0,
            content_type: Some("application/json".to_owned()),
            disposition: Disposition::Route,
            body,
        },
        remember_until: now + Duration::from_hours(1),
        quota: 1 << 30,
    }
}

fn delivery(destination: &str, number: u64, subjects: u64) -> NewDelivery {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    for (byte, letter) in id[8..].iter_mut().zip(destination.bytes()) {
        *byte = letter;
    }
    NewDelivery {
        id: Uuid::from_bytes(id),
        lane: lane(destination),
        rule: "rule".to_owned(),
        request: Some(FrozenRequest {
            kind: DestinationKind::Http,
            method: "POST".to_owned(),
            content_type: "application/json".to_owned(),
            cloud_event_headers: false,
            address: None,
            hidden: Hidden::default(),
            body: FrozenBody::Rendered(Bytes::from(format!("{number} {PLANTED_TEXT}"))),
        }),
        ordered_by: (subjects > 0).then(|| (number % subjects).to_string()),
        echo: None,
        write_back: None,
        dead: None,
        waits_until: None,
    }
}
