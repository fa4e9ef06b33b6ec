//! A destination that records every effect.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// 200, at once.
    Works,
    /// This status, without an effect.
    Fails(u16),
    /// Takes the request and never answers.
    Hangs,
    /// 200, after this time; the effect is there at once.
    Slow(Duration),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// Its body.
    pub body: Value,
    /// When it came.
    pub at: Instant,
}

/// An HTTP API that honours `Idempotency-Key`: the same key has one effect, and another body under
/// the same key is refused, as Zendesk does.
#[derive(Debug)]
pub struct Destination {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<Record>>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Record {
    behaviour: Behaviour,
    arrivals: Vec<Instant>,
    /// Requests that are not answered yet, and the most of them since somebody watches.
    under_way: usize,
    most: usize,
    effects: Vec<Received>,
    seen: HashMap<String, Bytes>,
    conflicts: Vec<String>,
}

impl Destination {
    /// Starts one that works.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(Record {
            behaviour: Behaviour::Works,
            arrivals: Vec::new(),
            under_way: 0,
            most: 0,
            effects: Vec::new(),
            seen: HashMap::new(),
            conflicts: Vec::new(),
        }));
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&state));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("the destination serves");
        });
        Self {
            address,
            state,
            server,
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Changes how it answers from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.record().behaviour = behaviour;
    }

    /// Every request that came, effect or not.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.record().arrivals.len()
    }

    /// When each request came, after the first so many.
    #[must_use]
    pub fn arrivals(&self, after: usize) -> Vec<Instant> {
        let record = self.record();
        record.arrivals.get(after..).unwrap_or_default().to_vec()
    }

    /// Begins to count anew how many requests there are at once.
    pub fn watch_crowd(&self) {
        let mut record = self.record();
        record.most = record.under_way;
    }

    /// The most requests at once since then.
    #[must_use]
    pub fn crowd(&self) -> usize {
        self.record().most
    }

    /// Every effect, in order.
    #[must_use]
    pub fn effects(&self) -> Vec<Received> {
        self.record().effects.clone()
    }

    /// The effects after the first so many.
    #[must_use]
    pub fn effects_after(&self, count: usize) -> Vec<Received> {
        let record = self.record();
        record.effects.get(count..).unwrap_or_default().to_vec()
    }

    /// How many effects there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.record().effects.len()
    }

    /// Keys that came with two different bodies: there must be none.
    #[must_use]
    pub fn conflicts(&self) -> Vec<String> {
        self.record().conflicts.clone()
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<Record>) -> MutexGuard<'_, Record> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that is not answered yet. Where the other side hangs up, it is dropped too.
struct UnderWay(Arc<Mutex<Record>>);

impl UnderWay {
    fn begin(state: &Arc<Mutex<Record>>) -> Self {
        let mut record = lock(state);
        record.arrivals.push(Instant::now());
        record.under_way += 1;
        record.most = record.most.max(record.under_way);
        Self(Arc::clone(state))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.0).under_way -= 1;
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(
    State(state): State<Arc<Mutex<Record>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let _under_way = UnderWay::begin(&state);
    let behaviour = lock(&state).behaviour;
    match behaviour {
        Behaviour::Works => lock(&state).effect(&headers, &body),
        Behaviour::Slow(time) => {
            let answer = lock(&state).effect(&headers, &body);
            tokio::time::sleep(time).await;
            answer
        }
        Behaviour::Fails(status) => StatusCode::from_u16(status).expect("a status code"),
        Behaviour::Hangs => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            StatusCode::GATEWAY_TIMEOUT
        }
    }
}

impl Record {
    fn effect(&mut self, headers: &HeaderMap, body: &Bytes) -> StatusCode {
        let Some(key) = headers
            .get("idempotency-key")
            .and_then(|key| key.to_str().ok())
        else {
            return StatusCode::BAD_REQUEST;
        };
        if let Some(before) = self.seen.get(key) {
            if before == body {
                return StatusCode::OK;
            }
            self.conflicts.push(key.to_owned());
            return StatusCode::BAD_REQUEST;
        }
        self.seen.insert(key.to_owned(), body.clone());
        self.effects.push(Received {
            headers: headers
                .iter()
                .map(|(name, value)| {
                    (
                        name.to_string(),
                        String::from_utf8_lossy(value.as_bytes()).into_owned(),
                    )
                })
                .collect(),
            body: serde_json::from_slice(body).unwrap_or(Value::Null),
            at: Instant::now(),
        });
        StatusCode::OK
    }
}
