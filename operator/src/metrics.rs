//! The operator's Prometheus metrics: names, labels and label values in one place.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::retry::Category;

/// Seconds, for compiling from a few objects to many thousands.
const COMPILE: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Every metric of the operator. Cloning is cheap: all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// `hookswitch_compile_seconds`: from objects to what is written and told.
    pub compile_seconds: Histogram,
    /// `hookswitch_compiled_objects{kind}`: objects that exist; see [`kind`].
    pub compiled_objects: IntGaugeVec,
    /// `hookswitch_reconcile_errors_total{category}`: attempts that failed; see [`Category`].
    pub reconcile_errors: IntCounterVec,
    /// `hookswitch_snapshot_bytes{shard}`: of 1,000,000; more could not be written.
    pub snapshot_bytes: IntGaugeVec,
    /// `hookswitch_snapshot_sequence`: the newest that was written.
    pub snapshot_sequence: IntGauge,
    /// `hookswitch_status_writes_total{kind}`.
    pub status_writes: IntCounterVec,
    /// `hookswitch_receivers_live`: receivers whose Lease is renewed.
    pub receivers_live: IntGauge,
    /// `hookswitch_leading`: 1 in the instance that writes.
    pub leading: IntGauge,
}

/// Values of the label `kind`.
pub mod kind {
    /// `WebhookSubscription`s.
    pub const SUBSCRIPTION: &str = "WebhookSubscription";
    /// `EventRoute`s.
    pub const ROUTE: &str = "EventRoute";
}

impl Metrics {
    /// A fresh registry with every metric in it.
    ///
    /// # Errors
    /// Only where two metrics share a name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = Make(&registry);
        let metrics = Self {
            compile_seconds: make.histogram(
                "compile_seconds",
                "From objects to the snapshot and what became of each",
                COMPILE,
            )?,
            compiled_objects: make.gauges(
                "compiled_objects",
                "Objects that are compiled",
                "kind",
            )?,
            reconcile_errors: make.counters(
                "reconcile_errors_total",
                "Attempts to compile and write that failed",
                "category",
            )?,
            snapshot_bytes: make.gauges(
                "snapshot_bytes",
                "Size of a shard of the snapshot; over 1000000 it is not written",
                "shard",
            )?,
            snapshot_sequence: make.gauge("snapshot_sequence", "The snapshot written last")?,
            status_writes: make.counters("status_writes_total", "Statuses written", "kind")?,
            receivers_live: make.gauge("receivers_live", "Receivers whose Lease is renewed")?,
            leading: make.gauge("leading", "1 in the instance that writes")?,
            registry: registry.clone(),
        };
        // From zero, so that the first error is seen as an increase.
        for category in Category::ALL {
            metrics
                .reconcile_errors
                .with_label_values(&[category.as_str()])
                .inc_by(0);
        }
        Ok(metrics)
    }

    /// All of them in Prometheus' text format.
    ///
    /// # Errors
    /// Where the encoder fails.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

struct Make<'a>(&'a Registry);

impl Make<'_> {
    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        let opts = HistogramOpts::from(options(name, help)).buckets(buckets.to_vec());
        let metric = Histogram::with_opts(opts)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let metric = IntGauge::with_opts(options(name, help))?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let metric = IntGaugeVec::new(options(name, help), &[label])?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(options(name, help), &[label])?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("hookswitch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_registered_under_its_name() {
        let text = Metrics::new().unwrap().render().unwrap();
        for name in [
            "hookswitch_compile_seconds_count 0",
            "hookswitch_reconcile_errors_total{category=\"conflict\"} 0",
            "hookswitch_snapshot_sequence 0",
            "hookswitch_leading 0",
        ] {
            assert!(text.contains(name), "no {name} in:\n{text}");
        }
    }
}
