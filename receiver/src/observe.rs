//! `/livez`, `/readyz` and `/metrics`: what the process says about itself.
//!
//! - `/livez` fails where only a restart helps: the store has stopped.
//! - `/readyz` fails while a webhook would not be accepted: no configuration, a store that can't
//!   write, a shutdown. The body names each check, so that a person sees which one it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hookswitch_crds::key::ObjectKey;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Follow;
use crate::metrics::{DOWN, Metrics};
use crate::plan::Lane;
use crate::store::{self, Store};

/// What the endpoints look at.
#[derive(Clone)]
pub struct Observed {
    /// Is there a configuration?
    pub config: Follow,
    /// Does it work? How long are its queues?
    pub store: Arc<dyn Store>,
    /// What is scraped.
    pub metrics: Metrics,
    /// For ages.
    pub clock: Clock,
    /// Cancelled when the shutdown begins.
    pub leaving: CancellationToken,
}

/// The endpoints.
pub fn router(observed: Observed) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(Arc::new(Endpoints {
            observed,
            sampled: Mutex::new(HashSet::new()),
            rules: Mutex::new(HashSet::new()),
            waiting: Mutex::new(HashSet::new()),
        }))
}

struct Endpoints {
    observed: Observed,
    /// Lanes whose gauges are set: one that the store no longer lists goes back to zero.
    sampled: Mutex<HashSet<Lane>>,
    /// The same for rules with timers, by route and rule.
    rules: Mutex<HashSet<(String, String)>>,
    /// The same for subscriptions with events that wait.
    waiting: Mutex<HashSet<ObjectKey>>,
}

/// A check's name, and what is wrong where it fails.
type Check = (&'static str, Result<(), String>);

async fn livez(State(endpoints): State<Arc<Endpoints>>) -> Response {
    let stopped = match endpoints.observed.store.health() {
        Err(error @ (store::Error::Stopped(_) | store::Error::Corrupt(_))) => {
            Err(error.to_string())
        }
        Ok(()) | Err(_) => Ok(()),
    };
    answer(&[("store", stopped)])
}

async fn readyz(State(endpoints): State<Arc<Endpoints>>) -> Response {
    let Observed {
        config,
        store,
        leaving,
        metrics: _,
        clock: _,
    } = &endpoints.observed;
    answer(&[
        (
            "config",
            config
                .borrow()
                .is_some()
                .then_some(())
                .ok_or_else(|| "no configuration has been loaded yet".to_owned()),
        ),
        ("store", store.health().map_err(|error| error.to_string())),
        (
            "draining",
            (!leaving.is_cancelled())
                .then_some(())
                .ok_or_else(|| "shutting down".to_owned()),
        ),
    ])
}

/// The form of Kubernetes' own health endpoints: a line for each check.
fn answer(checks: &[Check]) -> Response {
    let failed = checks.iter().any(|(_, result)| result.is_err());
    let lines: String = checks
        .iter()
        .map(|(name, result)| match result {
            Ok(()) => format!("[+]{name} ok\n"),
            Err(why) => format!("[-]{name} failed: {why}\n"),
        })
        .collect();
    let status = if failed {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (status, lines).into_response()
}

async fn scrape(State(endpoints): State<Arc<Endpoints>>) -> Response {
    endpoints.sample_health();
    for sampled in [
        endpoints.sample_queues().await,
        endpoints.sample_waiting().await,
    ] {
        if let Err(error) = sampled {
            tracing::warn!(%error, "queues could not be sampled; their metrics are old");
        }
    }
    if let Err(error) = endpoints.sample_timers().await {
        tracing::warn!(%error, "timers could not be sampled; their metrics are old");
    }
    match endpoints.observed.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl Endpoints {
    /// Sets the gauges of every rule that has timers.
    async fn sample_timers(&self) -> Result<(), store::Error> {
        let Observed { store, metrics, .. } = &self.observed;
        let mut pending: HashMap<(String, String), u64> = HashMap::new();
        for stats in store.timers().await? {
            let rule = (stats.scope.route.to_string(), stats.scope.rule);
            *pending.entry(rule).or_default() += stats.pending;
        }
        let mut waiting = self.rules.lock().await;
        for (route, rule) in waiting.drain() {
            let labels = [route.as_str(), rule.as_str()];
            metrics.timers_pending.with_label_values(&labels).set(0);
        }
        for ((route, rule), count) in pending {
            let labels = [route.as_str(), rule.as_str()];
            metrics
                .timers_pending
                .with_label_values(&labels)
                .set(gauge(count));
            waiting.insert((route, rule));
        }
        Ok(())
    }

    /// Sets what tells whether the store works.
    fn sample_health(&self) {
        let Observed { store, metrics, .. } = &self.observed;
        let health = store.health();
        metrics.store_up.set(i64::from(health.is_ok()));
        let why = health.as_ref().err().map(store::Error::category);
        for reason in DOWN {
            metrics
                .store_down
                .with_label_values(&[reason])
                .set(i64::from(why == Some(reason)));
        }
    }

    /// Sets the gauges of events without a plan, by subscription.
    async fn sample_waiting(&self) -> Result<(), store::Error> {
        let Observed {
            store,
            metrics,
            clock,
            ..
        } = &self.observed;
        let waiting = store.waiting().await?;
        let now = clock.now();
        let mut sampled = self.waiting.lock().await;
        let mut gone = std::mem::take(&mut *sampled);
        for one in waiting {
            let labels = [one.subscription.to_string()];
            let age = one
                .oldest
                .map_or(0, |oldest| now.duration_since(oldest).as_secs().max(0));
            metrics
                .events_waiting
                .with_label_values(&labels)
                .set(gauge(one.events));
            metrics
                .events_waiting_oldest_seconds
                .with_label_values(&labels)
                .set(age);
            gone.remove(&one.subscription);
            sampled.insert(one.subscription);
        }
        for subscription in gone {
            let labels = [subscription.to_string()];
            metrics.events_waiting.with_label_values(&labels).set(0);
            metrics
                .events_waiting_oldest_seconds
                .with_label_values(&labels)
                .set(0);
        }
        Ok(())
    }

    /// Sets the gauges of every lane from the store.
    async fn sample_queues(&self) -> Result<(), store::Error> {
        let Observed {
            store,
            metrics,
            clock,
            ..
        } = &self.observed;
        let lanes = store.lanes().await?;
        let now = clock.now();
        let mut sampled = self.sampled.lock().await;
        let mut gone = std::mem::take(&mut *sampled);
        for stats in lanes {
            let route = stats.lane.route.to_string();
            let labels = [route.as_str(), stats.lane.destination.as_str()];
            let age = stats
                .oldest
                .map_or(0, |oldest| now.duration_since(oldest).as_secs().max(0));
            metrics
                .queue_depth
                .with_label_values(&labels)
                .set(gauge(stats.pending));
            metrics
                .queue_oldest_seconds
                .with_label_values(&labels)
                .set(age);
            metrics
                .dead_letters
                .with_label_values(&labels)
                .set(gauge(stats.dead));
            gone.remove(&stats.lane);
            sampled.insert(stats.lane);
        }
        for lane in gone {
            let route = lane.route.to_string();
            let labels = [route.as_str(), lane.destination.as_str()];
            for family in [
                &metrics.queue_depth,
                &metrics.queue_oldest_seconds,
                &metrics.dead_letters,
            ] {
                family.with_label_values(&labels).set(0);
            }
        }
        Ok(())
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
