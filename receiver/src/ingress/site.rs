//! Subscriptions made ready to receive: by path, with keys scheduled, pointers split and counters at
//! hand.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};

use arc_swap::{ArcSwap, Guard};
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot;
use prometheus::{Histogram, IntCounter};

use super::attributes;
use super::limit::EventLimiter;
use super::often::Often;
use crate::config::{Config, Follow, Subscription};
use crate::extract::Extractor;
use crate::metrics::{Metrics, OTHER, outcome};
use crate::verify::Verifier;

/// The sites of the current configuration.
///
/// The first request after a change makes the new ones; those that come meanwhile are still served
/// by the old ones. No request waits for a lock.
pub(super) struct Sites {
    current: ArcSwap<Generation>,
    making: Mutex<()>,
    metrics: Metrics,
}

/// The sites of one configuration.
pub(super) struct Generation {
    /// Has seen the configuration that these are of, so it tells when there is another.
    follow: Follow,
    /// `None` until there is a configuration.
    pub(super) by_path: Option<HashMap<String, Arc<Site>>>,
}

/// A subscription made ready to receive.
pub(super) struct Site {
    subscription: Arc<Subscription>,
    name: String,
    pub(super) verifier: Verifier,
    pub(super) extractor: Extractor,
    pub(super) limiter: Option<Arc<EventLimiter>>,
    /// Of no type.
    pub(super) unsigned_pings: Often,
    metrics: Metrics,
    counters: Counters,
}

/// Counters of one subscription, made when they first count: what never happens has no series.
struct Counters {
    accepted: OnceLock<IntCounter>,
    ack_seconds: OnceLock<Histogram>,
    /// By the place of the secret.
    secrets: Vec<OnceLock<IntCounter>>,
    /// By event type, for the types that somebody names.
    events: HashMap<String, OnceLock<IntCounter>>,
    other_events: OnceLock<IntCounter>,
    events_without_id: OnceLock<IntCounter>,
}

impl Sites {
    pub(super) fn new(mut config: Follow, metrics: Metrics) -> Self {
        let current = config.borrow_and_update().clone();
        let generation = Generation::new(config, current.as_deref(), None, &metrics);
        Self {
            current: ArcSwap::from_pointee(generation),
            making: Mutex::new(()),
            metrics,
        }
    }

    /// The sites to serve by. Not to be held over an await.
    pub(super) fn current(&self) -> Guard<Arc<Generation>> {
        let current = self.current.load();
        if !current.is_outdated() {
            return current;
        }
        let _making = match self.making.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return current,
        };
        let previous = self.current.load_full();
        if previous.is_outdated() {
            let mut follow = previous.follow.clone();
            let config = follow.borrow_and_update().clone();
            let next = Generation::new(follow, config.as_deref(), Some(&previous), &self.metrics);
            self.current.store(Arc::new(next));
        }
        self.current.load()
    }
}

impl Generation {
    fn new(
        follow: Follow,
        config: Option<&Config>,
        previous: Option<&Self>,
        metrics: &Metrics,
    ) -> Self {
        let before: HashMap<&ObjectKey, &Arc<Site>> = previous
            .and_then(|previous| previous.by_path.as_ref())
            .into_iter()
            .flat_map(|sites| sites.values().map(|site| (site.key(), site)))
            .collect();
        let by_path = config.map(|config| {
            config
                .by_path
                .iter()
                .map(|(path, subscription)| {
                    let before = before.get(subscription.key()).copied();
                    let site = match before.filter(|site| site.is_of(subscription)) {
                        Some(site) => Arc::clone(site),
                        None => Arc::new(Site::new(subscription, before, metrics)),
                    };
                    (path.clone(), site)
                })
                .collect()
        });
        Self { follow, by_path }
    }

    /// Whether there is another configuration. Without its publisher there will be none.
    fn is_outdated(&self) -> bool {
        self.follow.has_changed().unwrap_or(false)
    }
}

impl Site {
    fn new(
        subscription: &Arc<Subscription>,
        before: Option<&Arc<Self>>,
        metrics: &Metrics,
    ) -> Self {
        let spec = &subscription.spec;
        let limiter = before
            .and_then(|before| before.limiter.clone())
            .filter(|limiter| limiter.is_for(&spec.limits))
            .or_else(|| EventLimiter::new(&spec.limits).map(Arc::new));
        Self {
            name: subscription.key().to_string(),
            verifier: Verifier::new(&spec.verification),
            extractor: Extractor::new(&spec.fields),
            limiter,
            unsigned_pings: Often::default(),
            metrics: metrics.clone(),
            counters: Counters::new(subscription),
            subscription: Arc::clone(subscription),
        }
    }

    /// Whether it would be made the same again.
    fn is_of(&self, subscription: &Subscription) -> bool {
        let same_routes = self.subscription.routes.len() == subscription.routes.len()
            && self
                .subscription
                .routes
                .iter()
                .zip(&subscription.routes)
                .all(|(one, other)| Arc::ptr_eq(one, other));
        same_routes && self.subscription.spec == subscription.spec
    }

    pub(super) fn key(&self) -> &ObjectKey {
        self.subscription.key()
    }

    /// Its key written out: the value of the `subscription` label.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn spec(&self) -> &snapshot::Subscription {
        &self.subscription.spec
    }

    /// The largest body, in bytes.
    pub(super) fn body_limit(&self) -> usize {
        usize::try_from(self.spec().limits.body_bytes).unwrap_or(usize::MAX)
    }

    /// Whether events of the type are tests.
    pub(super) fn is_ping(&self, r#type: &str) -> bool {
        attributes::is_ping(self.spec(), r#type)
    }

    /// Counts an answer.
    pub(super) fn count(&self, outcome: &'static str) {
        let counter = || {
            self.metrics
                .requests
                .with_label_values(&[self.name(), outcome])
        };
        if outcome == outcome::ACCEPTED {
            self.counters.accepted.get_or_init(counter).inc();
        } else {
            counter().inc();
        }
    }

    /// Counts the secret that matched.
    pub(super) fn count_secret(&self, place: Option<usize>) {
        let secrets = self
            .spec()
            .verification
            .hmac
            .as_ref()
            .map(|hmac| &hmac.secrets);
        let found = place.and_then(|place| {
            let counter = self.counters.secrets.get(place)?;
            Some((counter, secrets?.get(place)?))
        });
        if let Some((counter, secret)) = found {
            counter
                .get_or_init(|| {
                    self.metrics
                        .verification_key_matches
                        .with_label_values(&[self.name(), &secret.reference])
                })
                .inc();
        }
    }

    pub(super) fn ack_seconds(&self) -> &Histogram {
        self.counters
            .ack_seconds
            .get_or_init(|| self.metrics.ack_seconds.with_label_values(&[self.name()]))
    }

    /// Counts new events without an id.
    pub(super) fn events_without_id(&self) -> &IntCounter {
        self.counters.events_without_id.get_or_init(|| {
            self.metrics
                .events_without_id
                .with_label_values(&[self.name()])
        })
    }

    /// Counts new events of the type.
    pub(super) fn events(&self, r#type: &str) -> &IntCounter {
        let (label, counter) = self
            .counters
            .events
            .get_key_value(r#type)
            .map_or((OTHER, &self.counters.other_events), |(named, counter)| {
                (named.as_str(), counter)
            });
        counter.get_or_init(|| self.metrics.events.with_label_values(&[self.name(), label]))
    }
}

impl Counters {
    fn new(subscription: &Subscription) -> Self {
        let spec = &subscription.spec;
        let rules = subscription.routes.iter().flat_map(|route| &route.rules);
        let named: HashSet<&String> = rules
            .flat_map(|rule| {
                let after = rule.after.as_ref();
                let unless = after.and_then(|after| after.unless.as_ref());
                let cancels = unless.into_iter().flat_map(|unless| &unless.types);
                rule.types.iter().chain(cancels)
            })
            .chain(&spec.types)
            .chain(&spec.ping.types)
            .collect();
        let secrets = spec
            .verification
            .hmac
            .as_ref()
            .map_or(0, |hmac| hmac.secrets.len());
        Self {
            accepted: OnceLock::new(),
            ack_seconds: OnceLock::new(),
            secrets: (0..secrets).map(|_| OnceLock::new()).collect(),
            events: named
                .into_iter()
                .map(|r#type| (r#type.clone(), OnceLock::new()))
                .collect(),
            other_events: OnceLock::new(),
            events_without_id: OnceLock::new(),
        }
    }
}
