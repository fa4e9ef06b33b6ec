//! The admin API: what a person asks about events, and does to what has ended. `hookswitch events`,
//! `explain`, `dead-letters` and `replay` speak it.
//!
//! | | |
//! |---|---|
//! | `GET /v1/events` | a page of events, by filter; `wait` holds on until there is one |
//! | `GET /v1/events/{id}` | all that is known of an event: by our uid, the sender's id, or a dead letter's key |
//! | `GET /v1/dead-letters`, `GET /v1/dead-letters/{id}` | a page of dead letters; one of them |
//! | `POST /v1/dead-letters/retry`, `.../drop` | a page of dead letters is attempted again, or removed |
//! | `POST /v1/replay` | a page of events gets the deliveries that it lacks |
//!
//! It has no login. Invariants that stand in for one:
//! - It listens on loopback only: who reaches it is on the machine, or may forward a pod's ports.
//! - A browser on that machine is no way in: see `guard`.
//! - Whatever goes through many events goes in pages, and a page that is asked for twice changes
//!   nothing the second time.
//! - Bodies are told where the person asked for them, and secrets never: none are in the store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Config, Follow};
use crate::metrics::Metrics;
use crate::plan::Lane;
use crate::store;
use crate::store::archive::Archive;
use crate::wake::Wake;

mod dead;
mod events;
mod explain;
pub mod filter;
mod guard;
mod replay;
pub mod view;

/// Where it listens, unless told otherwise.
pub const LISTEN: &str = "127.0.0.1:9091";

/// Reads an address to listen on.
///
/// # Errors
/// Where it is not loopback.
pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("write an address and a port, as in {LISTEN}"))?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("the admin API has no login, so it listens on loopback only; from elsewhere reach it by `kubectl port-forward` or `ssh -L`".to_owned())
}

/// What the API works with.
#[derive(Clone)]
pub struct Options {
    /// What is asked.
    pub store: Arc<dyn Archive>,
    /// What is in use.
    pub config: Follow,
    /// Whether circuits are open.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Told which lanes have something to deliver again.
    pub lanes: Wake<Lane>,
    /// Once cancelled nobody is kept waiting.
    pub shutdown: CancellationToken,
}

impl Options {
    fn current(&self) -> Arc<Config> {
        self.config.borrow().clone().unwrap_or_default()
    }
}

/// Why something that was asked is not done.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The question is wrong.
    #[error("{0}")]
    Question(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Question(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let error = self.to_string();
        (status, Json(view::Failure { error })).into_response()
    }
}

/// The API.
pub fn router(options: Options) -> Router {
    Router::new()
        .route("/v1/events", get(list_events))
        .route("/v1/events/{id}", get(explain_event))
        .route("/v1/dead-letters", get(list_dead))
        .route("/v1/dead-letters/{id}", get(show_dead))
        .route("/v1/dead-letters/retry", post(retry_dead))
        .route("/v1/dead-letters/drop", post(drop_dead))
        .route("/v1/replay", post(replay_events))
        .fallback(async || Error::NotFound("there is no such path".to_owned()))
        .layer(middleware::from_fn(guard::check))
        .with_state(Arc::new(options))
}

type Shared = State<Arc<Options>>;

async fn list_events(
    State(options): Shared,
    RawQuery(query): RawQuery,
) -> Result<Json<view::Events>, Error> {
    events::list(&options, parameters(query)).await.map(Json)
}

async fn explain_event(
    State(options): Shared,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<view::Explained>, Error> {
    let parameters = parameters(query);
    events::explain(&options, &id, parameters).await.map(Json)
}

async fn list_dead(
    State(options): Shared,
    RawQuery(query): RawQuery,
) -> Result<Json<view::DeadLetters>, Error> {
    dead::list(&options, parameters(query)).await.map(Json)
}

async fn show_dead(
    State(options): Shared,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<view::DeadLetterShown>, Error> {
    dead::show(&options, &id, parameters(query)).await.map(Json)
}

async fn retry_dead(
    State(options): Shared,
    body: axum::body::Bytes,
) -> Result<Json<view::Changed>, Error> {
    let change = dead::change(&options, read(&body)?, dead::Change::Retry);
    change.await.map(Json)
}

async fn drop_dead(
    State(options): Shared,
    body: axum::body::Bytes,
) -> Result<Json<view::Changed>, Error> {
    let change = dead::change(&options, read(&body)?, dead::Change::Drop);
    change.await.map(Json)
}

async fn replay_events(
    State(options): Shared,
    body: axum::body::Bytes,
) -> Result<Json<view::Replayed>, Error> {
    replay::replay(&options, read(&body)?).await.map(Json)
}

/// A request's body; what is not JSON of that form is told with its place.
fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Question(format!("the body: {error}")))
}

/// What stands behind the `?`; of a name that comes twice the last counts.
fn parameters(query: Option<String>) -> Parameters {
    let query = query.unwrap_or_default();
    Parameters(
        url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
    )
}

/// A query's parameters, each taken once: what is left over is a mistake.
struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// A number or a bool.
    fn take<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.0.remove(name) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| Error::Question(format!("{name}: `{text}` can't be used")))
    }

    /// The rest, as a filter.
    fn rest<T: serde::de::DeserializeOwned>(self) -> Result<T, Error> {
        let fields = self.0.into_iter().map(|(name, text)| (name, text.into()));
        serde_json::from_value(serde_json::Value::Object(fields.collect()))
            .map_err(|error| Error::Question(error.to_string()))
    }
}

/// Things on one page: what was asked for, within bounds.
fn page_size(asked: Option<usize>) -> usize {
    asked.unwrap_or(50).clamp(1, 200)
}
