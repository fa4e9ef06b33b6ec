//! `/livez`, `/readyz` and `/metrics`: what the process says about itself.
//!
//! - `/livez` answers while the process can: a task that ends brings the process down by itself.
//! - `/readyz` fails until every watch has listed what there is: an instance that is not ready would
//!   have nothing to lead with. One that stands by is ready.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::index::Shared;
use crate::lease::Leadership;
use crate::metrics::Metrics;

/// What the endpoints look at.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Is it complete?
    pub index: Shared,
    /// Does this instance lead?
    pub leadership: Leadership,
    /// What is scraped.
    pub metrics: Metrics,
}

/// Serves until `shutdown`.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(
    listener: TcpListener,
    observed: Observed,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(observed);
    let ended = shutdown.clone();
    let serve = axum::serve(listener, router)
        .with_graceful_shutdown(async move { ended.cancelled().await })
        .into_future();
    // A scraper that keeps its connection open must not keep the process.
    tokio::select! {
        served = serve => served,
        () = async {
            shutdown.cancelled().await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        } => Ok(()),
    }
}

async fn readyz(State(observed): State<Observed>) -> Response {
    let awaited = observed.index.with(|index| index.awaited().clone());
    if awaited.is_empty() {
        return "[+]watches ok\n".into_response();
    }
    let lines: Vec<String> = awaited
        .iter()
        .map(|watch| {
            let namespace = watch.namespace.as_deref().unwrap_or("all namespaces");
            let source = watch.source;
            format!("[-]watch of {source:?} in {namespace} failed: not listed yet\n")
        })
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines.concat()).into_response()
}

async fn scrape(State(observed): State<Observed>) -> Response {
    let leading = observed.leadership.term().is_some();
    observed.metrics.leading.set(i64::from(leading));
    match observed.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
