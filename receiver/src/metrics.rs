//! The receiver's Prometheus metrics: names, labels and label values in one place.
//!
//! Labels are bounded: an event type that no rule or subscription names is [`OTHER`]; never an id, a
//! URL or the text of an error.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// The label value for what nobody named.
pub const OTHER: &str = "other";

/// Seconds, for what should take milliseconds.
const FAST: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 4.0,
];
/// Seconds, for what other systems answer.
const ATTEMPT: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Seconds, for what may wait for hours.
const DELIVERY: &[f64] = &[
    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0, 86400.0,
];
/// Appends in a commit.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Values of the `reason` label of `hookswitch_store_down`: a full disk and servers that are
/// away heal by themselves, the others need a restart at least.
pub const DOWN: [&str; 4] = ["full", "unavailable", "stopped", "corrupt"];

/// Every metric of the receiver. Cloning is cheap: all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// `hookswitch_requests_total{subscription,outcome}`: answers given; see [`outcome`].
    pub requests: IntCounterVec,
    /// `hookswitch_ack_seconds{subscription}`: from the request's head to the answer.
    pub ack_seconds: HistogramVec,
    /// `hookswitch_events_total{subscription,type}`: new events made durable.
    pub events: IntCounterVec,
    /// `hookswitch_events_without_id_total{subscription}`: known again by their bodies only.
    pub events_without_id: IntCounterVec,
    /// `hookswitch_events_unmatched_total{subscription,reason}`: kept, and fired no rule.
    pub events_unmatched: IntCounterVec,
    /// `hookswitch_verification_key_matches_total{subscription,key}`: which secret still matches.
    pub verification_key_matches: IntCounterVec,
    /// `hookswitch_rule_verdicts_total{route,rule,verdict}`.
    pub rule_verdicts: IntCounterVec,
    /// `hookswitch_loop_suppressed_total{route,destination,reason}`; in `Observe` mode too.
    pub loop_suppressed: IntCounterVec,
    /// `hookswitch_timers_total{route,rule,outcome}`: see [`timer`].
    pub timers: IntCounterVec,
    /// `hookswitch_timers_pending{route,rule}`.
    pub timers_pending: IntGaugeVec,
    /// `hookswitch_deliveries_total{route,destination,outcome}`: `delivered`, or why it is dead.
    pub deliveries: IntCounterVec,
    /// `hookswitch_delivery_retries_total{route,destination,reason}`.
    pub delivery_retries: IntCounterVec,
    /// `hookswitch_delivery_attempt_seconds{route,destination}`.
    pub delivery_attempt_seconds: HistogramVec,
    /// `hookswitch_event_delivery_seconds{route,destination}`: from accept to delivered.
    pub event_delivery_seconds: HistogramVec,
    /// `hookswitch_look_ups_total{route,rule,look_up,outcome}`: `found`, `cached`, or why not.
    pub look_ups: IntCounterVec,
    /// `hookswitch_look_up_seconds{route,rule,look_up}`: one request.
    pub look_up_seconds: HistogramVec,
    /// `hookswitch_circuit_open{route,destination}`: 1 while it is open.
    pub circuit_open: IntGaugeVec,
    /// `hookswitch_queue_depth{route,destination}`.
    pub queue_depth: IntGaugeVec,
    /// `hookswitch_queue_oldest_seconds{route,destination}`: age of the oldest pending delivery's event.
    pub queue_oldest_seconds: IntGaugeVec,
    /// `hookswitch_dead_letters{route,destination}`.
    pub dead_letters: IntGaugeVec,
    /// `hookswitch_events_waiting{subscription}`: accepted, and not planned yet.
    pub events_waiting: IntGaugeVec,
    /// `hookswitch_events_waiting_oldest_seconds{subscription}`: age of the oldest of them.
    pub events_waiting_oldest_seconds: IntGaugeVec,
    /// `hookswitch_store_up`: 1 while an event would be kept.
    pub store_up: IntGauge,
    /// `hookswitch_store_down{reason}`: 1 for what keeps it from that; see [`DOWN`].
    pub store_down: IntGaugeVec,
    /// `hookswitch_store_damaged_rows_total{table}`: rows found damaged of which nothing else tells.
    pub store_damaged_rows: IntCounterVec,
    /// `hookswitch_store_commit_seconds`: one group commit, its sync included.
    pub store_commit_seconds: Histogram,
    /// `hookswitch_store_batch_size`: appends in one group commit.
    pub store_batch_size: Histogram,
    /// `hookswitch_config_sequence`: the snapshot in use.
    pub config_sequence: IntGauge,
    /// `hookswitch_config_reload_seconds`: making a snapshot ready.
    pub config_reload_seconds: Histogram,
}

/// Values of the `outcome` label of `hookswitch_requests_total`.
pub mod outcome {
    /// 200: new and durable.
    pub const ACCEPTED: &str = "accepted";
    /// 200: durable before.
    pub const DUPLICATE: &str = "duplicate";
    /// 200: the same id with another body; kept, not routed.
    pub const ID_REUSED: &str = "id_reused";
    /// 200: a test request, signed or not, or a handshake.
    pub const PING: &str = "ping";
    /// 401: no signature header.
    pub const SIGNATURE_MISSING: &str = "signature_missing";
    /// 401: no secret matches the signature.
    pub const SIGNATURE_MISMATCH: &str = "signature_mismatch";
    /// 401: the signature can't be read.
    pub const SIGNATURE_MALFORMED: &str = "signature_malformed";
    /// 401: the timestamp is missing, unreadable or out of tolerance.
    pub const TIMESTAMP: &str = "timestamp";
    /// 401: a header token is missing or wrong.
    pub const HEADER: &str = "header";
    /// 401: the source address is not in `sourceRanges`.
    pub const ADDRESS: &str = "address";
    /// 404: no subscription has the path.
    pub const NO_SUCH_PATH: &str = "no_such_path";
    /// 405: neither POST nor HEAD.
    pub const METHOD: &str = "method";
    /// 400: the body ended early, or is malformed.
    pub const INCOMPLETE: &str = "incomplete";
    /// 408: the request did not arrive in time.
    pub const TIMEOUT: &str = "timeout";
    /// 413: over `limits.bodyBytes`.
    pub const TOO_LARGE: &str = "too_large";
    /// 415: a compressed body.
    pub const ENCODING: &str = "encoding";
    /// 503: over the subscription's rate limit.
    pub const RATE_LIMITED: &str = "rate_limited";
    /// 503: over the subscription's `storedBytes`.
    pub const QUOTA: &str = "quota";
    /// 503: the store is down, full or past the deadline.
    pub const STORE: &str = "store";
    /// 503: a verification secret is missing.
    pub const SECRET_MISSING: &str = "secret_missing";
    /// 503: no configuration yet.
    pub const NO_CONFIG: &str = "no_config";
    /// 503: shutting down.
    pub const DRAINING: &str = "draining";
    /// 503: too many requests at once: unsigned pings of one source, or bodies in memory.
    pub const OVERLOADED: &str = "overloaded";
}

/// Values of the `outcome` label of `hookswitch_timers_total`.
pub mod timer {
    /// An event started it.
    pub const STARTED: &str = "started";
    /// It fired in time.
    pub const FIRED: &str = "fired";
    /// It fired more than a minute after it was due.
    pub const LATE: &str = "late";
    /// A later event cancelled it.
    pub const CANCELLED: &str = "cancelled";
    /// Its rule was removed, or waits for something else now.
    pub const REMOVED: &str = "removed";
}

impl Metrics {
    /// A fresh registry with every metric in it.
    ///
    /// # Errors
    /// Only where two metrics share a name.
    #[expect(clippy::too_many_lines, reason = "it is a list")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = Make(&registry);
        let lane = &["route", "destination"];
        let metrics = Self {
            requests: make.counters(
                "requests_total",
                "Requests answered",
                &["subscription", "outcome"],
            )?,
            ack_seconds: make.histograms(
                "ack_seconds",
                "From a request's head to its answer",
                FAST,
                &["subscription"],
            )?,
            events: make.counters(
                "events_total",
                "New events made durable",
                &["subscription", "type"],
            )?,
            events_without_id: make.counters(
                "events_without_id_total",
                "New events without an id of the sender's",
                &["subscription"],
            )?,
            events_unmatched: make.counters(
                "events_unmatched_total",
                "Events kept that fired no rule",
                &["subscription", "reason"],
            )?,
            verification_key_matches: make.counters(
                "verification_key_matches_total",
                "Signatures matched, by secret",
                &["subscription", "key"],
            )?,
            rule_verdicts: make.counters(
                "rule_verdicts_total",
                "Decisions of rules",
                &["route", "rule", "verdict"],
            )?,
            loop_suppressed: make.counters(
                "loop_suppressed_total",
                "Write-backs that the loop guard stopped, or in Observe mode would have",
                &["route", "destination", "reason"],
            )?,
            timers: make.counters(
                "timers_total",
                "Timers that were started, and what became of them",
                &["route", "rule", "outcome"],
            )?,
            timers_pending: make.gauges(
                "timers_pending",
                "Timers that wait",
                &["route", "rule"],
            )?,
            deliveries: make.counters(
                "deliveries_total",
                "Deliveries that ended",
                &["route", "destination", "outcome"],
            )?,
            delivery_retries: make.counters(
                "delivery_retries_total",
                "Attempts that will be repeated",
                &["route", "destination", "reason"],
            )?,
            delivery_attempt_seconds: make.histograms(
                "delivery_attempt_seconds",
                "One attempt",
                ATTEMPT,
                lane,
            )?,
            event_delivery_seconds: make.histograms(
                "event_delivery_seconds",
                "From accept to delivered",
                DELIVERY,
                lane,
            )?,
            look_ups: make.counters(
                "look_ups_total",
                "Look-ups of bodies, by what came of them",
                &["route", "rule", "look_up", "outcome"],
            )?,
            look_up_seconds: make.histograms(
                "look_up_seconds",
                "One request of a look-up",
                ATTEMPT,
                &["route", "rule", "look_up"],
            )?,
            circuit_open: make.gauges(
                "circuit_open",
                "1 while the circuit breaker is open",
                lane,
            )?,
            queue_depth: make.gauges(
                "queue_depth",
                "Deliveries neither delivered nor dead",
                lane,
            )?,
            queue_oldest_seconds: make.gauges(
                "queue_oldest_seconds",
                "Age of the oldest pending delivery's event",
                lane,
            )?,
            dead_letters: make.gauges("dead_letters", "Dead letters kept", lane)?,
            events_waiting: make.gauges(
                "events_waiting",
                "Events accepted and not planned yet",
                &["subscription"],
            )?,
            events_waiting_oldest_seconds: make.gauges(
                "events_waiting_oldest_seconds",
                "Age of the oldest event that is not planned yet",
                &["subscription"],
            )?,
            store_up: make.gauge("store_up", "1 while an event would be kept")?,
            store_down: make.gauges(
                "store_down",
                "1 for the reason why no event would be kept",
                &["reason"],
            )?,
            store_damaged_rows: make.counters(
                "store_damaged_rows_total",
                "Rows found damaged that are neither events nor deliveries",
                &["table"],
            )?,
            store_commit_seconds: make.histogram(
                "store_commit_seconds",
                "One group commit with its sync",
                FAST,
            )?,
            store_batch_size: make.histogram(
                "store_batch_size",
                "Appends in a group commit",
                BATCH,
            )?,
            config_sequence: make.gauge("config_sequence", "Sequence of the snapshot in use")?,
            config_reload_seconds: make.histogram(
                "config_reload_seconds",
                "Making a snapshot ready",
                FAST,
            )?,
            registry: registry.clone(),
        };
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(metrics)
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// Where a metric can't be encoded.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Makes and registers metrics with the common prefix.
struct Make<'a>(&'a Registry);

impl Make<'_> {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("hookswitch")
    }

    fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts::new(name, help)
            .namespace("hookswitch")
            .buckets(buckets.to_vec())
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(Self::opts(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let metric = IntGaugeVec::new(Self::opts(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let metric = IntGauge::with_opts(Self::opts(name, help))?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let metric = HistogramVec::new(Self::histogram_opts(name, help, buckets), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        let metric = Histogram::with_opts(Self::histogram_opts(name, help, buckets))?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
