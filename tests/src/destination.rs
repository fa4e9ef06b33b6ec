//! A destination that records every effect.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// Its body.
    pub body: Value,
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
    requests: u64,
    effects: Vec<Received>,
    seen: HashMap<String, Bytes>,
    conflicts: Vec<String>,
}

impl Destination {
    /// Starts one that works.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(Record {
            behaviour: Behaviour::Works,
            requests: 0,
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
    pub fn requests(&self) -> u64 {
        self.record().requests
    }

    /// Every effect, in order.
    #[must_use]
    pub fn effects(&self) -> Vec<Received> {
        self.record().effects.clone()
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

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    let behaviour = {
        let mut record = state.lock().unwrap_or_else(PoisonError::into_inner);
        record.requests += 1;
        record.behaviour
    };
    match behaviour {
        Behaviour::Works => state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .effect(&headers, &body),
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
        });
        StatusCode::OK
    }
}
