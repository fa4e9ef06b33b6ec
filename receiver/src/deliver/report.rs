//! What a lane tells: each thing that happens is counted and logged in one place.
//!
//! Logs name deliveries by id and outcomes by their bounded reason; what a destination said is kept
//! with the attempt for `explain`, and is never logged.

use prometheus::Histogram;
use tokio::task::JoinError;

use super::outcome::Conclusion;
use crate::metrics::Metrics;
use crate::plan::{DeadReason, Lane};
use crate::store::{self, Next};

/// The `outcome` label of a delivery that arrived; the others are those of
/// [`crate::plan::DeadReason::label`].
const DELIVERED: &str = "delivered";

/// Counts and logs for one lane.
pub(super) struct Report {
    metrics: Metrics,
    lane: Lane,
    route: String,
    /// `hookswitch_delivery_attempt_seconds` of the lane.
    pub(super) attempt_seconds: Histogram,
    store_failing: bool,
}

impl Report {
    pub(super) fn new(metrics: &Metrics, lane: &Lane) -> Self {
        let route = lane.route.to_string();
        Self {
            attempt_seconds: metrics
                .delivery_attempt_seconds
                .with_label_values(&[route.as_str(), &lane.destination]),
            metrics: metrics.clone(),
            lane: lane.clone(),
            route,
            store_failing: false,
        }
    }

    /// An outcome is durable.
    pub(super) fn concluded(&self, conclusion: &Conclusion, current: bool) {
        let Conclusion { delivery, finish } = conclusion;
        let reason = finish.answer.as_ref().map(|answer| answer.reason.as_str());
        let status = finish.answer.as_ref().and_then(|answer| answer.status);
        let (id, attempts, lane) = (delivery.id, finish.attempts, &self.lane);
        if !current {
            tracing::warn!(%id, attempts, %lane, "an attempt's outcome came too late: another one is current");
            return;
        }
        match finish.next {
            Next::Delivered => {
                let accepted_at = delivery.event.event.accepted_at;
                self.metrics
                    .event_delivery_seconds
                    .with_label_values(&self.labels())
                    .observe(finish.at.duration_since(accepted_at).as_secs_f64().max(0.0));
                self.count_end(DELIVERED);
                tracing::debug!(%id, attempts, %lane, status, "delivered");
            }
            Next::RetryAt(at) => {
                let [route, destination] = self.labels();
                self.metrics
                    .delivery_retries
                    .with_label_values(&[route, destination, reason.unwrap_or_default()])
                    .inc();
                tracing::info!(%id, attempts, %lane, reason, status, %at, "attempt failed: will be repeated");
            }
            Next::Dead(dead) => {
                self.count_end(dead.label());
                tracing::warn!(%id, attempts, %lane, reason, status, dead = dead.label(), "delivery failed: moved to the dead letters");
            }
        }
    }

    /// The store has found rows that are damaged, and moved them to the dead letters. It has logged
    /// each.
    pub(super) fn damaged(&self, count: u64) {
        if count > 0 {
            let [route, destination] = self.labels();
            self.metrics
                .deliveries
                .with_label_values(&[route, destination, DeadReason::Damaged.label()])
                .inc_by(count);
        }
    }

    /// The circuit may have opened or closed.
    pub(super) fn circuit(&self, was_open: bool, is_open: bool) {
        if was_open == is_open {
            return;
        }
        self.metrics
            .circuit_open
            .with_label_values(&self.labels())
            .set(i64::from(is_open));
        if is_open {
            tracing::warn!(lane = %self.lane, "circuit opened: the destination keeps failing");
        } else {
            tracing::info!(lane = %self.lane, "circuit closed: the destination works again");
        }
    }

    /// The runner ends, and the state of the circuit with it.
    pub(super) fn circuit_forgotten(&self) {
        self.metrics
            .circuit_open
            .with_label_values(&self.labels())
            .set(0);
    }

    /// The store failed; said once until it works again.
    pub(super) fn store_failed(&mut self, error: &store::Error) {
        if !self.store_failing {
            self.store_failing = true;
            tracing::error!(lane = %self.lane, %error, "the store failed: deliveries wait");
        }
    }

    /// The store works.
    pub(super) fn store_works(&mut self) {
        if self.store_failing {
            self.store_failing = false;
            tracing::info!(lane = %self.lane, "the store works again");
        }
    }

    /// The time to drain is over.
    pub(super) fn left_behind(&self, attempts: usize) {
        tracing::warn!(lane = %self.lane, attempts, "attempts are interrupted: the time to drain is over");
    }

    /// The task of an attempt did not end by itself.
    pub(super) fn attempt_lost(&self, error: &JoinError) {
        tracing::error!(lane = %self.lane, %error, "an attempt was lost: it is interrupted until the next start");
    }

    /// The lane is gone, and so is the state of its circuit.
    pub(super) fn removed(&self) {
        // An error says that there is none.
        drop(
            self.metrics
                .circuit_open
                .remove_label_values(&self.labels()),
        );
        tracing::info!(lane = %self.lane, "the destination is gone, and nothing waits for it any more");
    }

    fn count_end(&self, outcome: &str) {
        let [route, destination] = self.labels();
        self.metrics
            .deliveries
            .with_label_values(&[route, destination, outcome])
            .inc();
    }

    fn labels(&self) -> [&str; 2] {
        [&self.route, &self.lane.destination]
    }
}
