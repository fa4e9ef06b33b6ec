//! A look-up at work: its turn, its request, and what the answer means.
//!
//! ```text
//!  get ─ cache ─▶ breaker ─ turn (concurrency, rate) ─ request ─ JSON
//!         │ known        │ open          │ too late            │
//!         ▼              ▼               ▼                     ▼
//!       found          failed           held          found, failed or refused
//! ```
//!
//! The network is that of deliveries: private addresses need leave, redirects are not followed, an answer is
//! bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hookswitch_crds::duration;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{self, CircuitBreaker, DestinationKind};
use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::Client;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::super::Engine;
use super::super::breaker::Breaker;
use super::super::excerpt::Secrets;
use super::super::kind::{self, Class, Reply, reason};
use super::super::limit::Limit;
use super::super::network::Network;
use super::super::target::{self, Held};
use super::super::wire::{self, Outgoing, Wire};
use super::cache::{self, Cache, Found};
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;

/// When to stop asking an API that fails, for how long.
const BREAKER: CircuitBreaker = CircuitBreaker {
    failures: 5,
    open_for: duration::Duration::from_secs(10),
};

/// Values of the `outcome` label of `hookswitch_look_ups_total` beside those of [`reason`].
pub(super) mod outcome {
    /// The API has answered.
    pub(in crate::deliver) const FOUND: &str = "found";
    /// An answer was used again.
    pub(in crate::deliver) const CACHED: &str = "cached";
    /// A failure was used again.
    pub(in crate::deliver) const CACHED_FAILURE: &str = "cached_failure";
    /// It was not its turn in time: `concurrency` or `rateLimit`.
    pub(in crate::deliver) const BUSY: &str = "busy";
    /// It failed too often, and is let alone for a while.
    pub(in crate::deliver) const CIRCUIT_OPEN: &str = "circuit_open";
    /// A secret of its headers is missing.
    pub(in crate::deliver) const SECRET_MISSING: &str = "secret_missing";
    /// The event has no value for its URL, or the URL can't be used.
    pub(in crate::deliver) const NO_URL: &str = "no_url";
    /// The answer is no JSON.
    pub(in crate::deliver) const NO_JSON: &str = "no_json";
    /// The answer is too long.
    pub(in crate::deliver) const TOO_LARGE: &str = "too_large";
    /// The configuration does not have the look-up any more.
    pub(in crate::deliver) const REMOVED: &str = "removed";
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// What it says about the API.
    pub(super) blame: Blame,
    /// A bounded label.
    pub(super) reason: &'static str,
    /// How long the API wants to wait.
    pub(super) retry_after: Option<Duration>,
}

/// What a failure says about the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// Nothing: it was not asked.
    Held,
    /// Another request can succeed.
    Failed,
    /// It would say the same again.
    Refused,
}

impl Failure {
    pub(super) const fn new(blame: Blame, reason: &'static str) -> Self {
        Self {
            blame,
            reason,
            retry_after: None,
        }
    }
}

/// A look-up's place: route, rule and name.
pub(super) type Place = (ObjectKey, String, String);

/// All look-ups.
pub(in crate::deliver) struct LookUps {
    network: Network,
    wire: Arc<dyn Wire>,
    metrics: Metrics,
    clock: Clock,
    cache: Cache,
    ready: Mutex<HashMap<Place, Arc<LookUp>>>,
}

/// A look-up made ready.
struct LookUp {
    spec: Arc<snapshot::Enrich>,
    /// Of all that decides what an API answers, secrets included.
    fingerprint: [u8; 32],
    /// As a destination's, for what they have in common.
    http: snapshot::Http,
    /// The method, the headers and the client; or why there are none.
    request: Result<(Method, HeaderMap, Client), Held>,
    turns: Semaphore,
    limit: Mutex<Limit>,
    breaker: Mutex<Breaker>,
    under_way: AtomicUsize,
}

impl LookUps {
    pub(in crate::deliver) fn new(engine: &Engine) -> Self {
        Self {
            network: engine.network.clone(),
            wire: Arc::clone(&engine.wire),
            metrics: engine.metrics.clone(),
            clock: engine.clock,
            cache: Cache::new(),
            ready: Mutex::default(),
        }
    }

    /// Makes one look-up, or knows what came of it.
    ///
    /// Cancellation: the request may go on to be made, and its answer is lost.
    pub(super) async fn get(
        &self,
        config: &Config,
        place: &Place,
        url: Option<&str>,
    ) -> Result<Arc<Json>, Failure> {
        let (result, outcome) = self.outcome(config, place, url).await;
        let (route, rule, name) = place;
        self.metrics
            .look_ups
            .with_label_values(&[route.to_string().as_str(), rule, name, outcome])
            .inc();
        result
    }

    async fn outcome(
        &self,
        config: &Config,
        place: &Place,
        url: Option<&str>,
    ) -> (Result<Arc<Json>, Failure>, &'static str) {
        let refused = |reason| (Err(Failure::new(Blame::Refused, reason)), reason);
        let Some(look_up) = self.ready(config, place) else {
            return refused(outcome::REMOVED);
        };
        let Some(url) = url else {
            return refused(outcome::NO_URL);
        };
        let key = cache::key(&look_up.fingerprint, url);
        let request = self.request(&look_up, place, url);
        let (Found { result, .. }, fresh) = self.cache.get(key, request).await;
        let outcome = match (&result, fresh) {
            (Ok(_), true) => outcome::FOUND,
            (Ok(_), false) => outcome::CACHED,
            (Err(failure), true) => failure.reason,
            (Err(_), false) => outcome::CACHED_FAILURE,
        };
        (result, outcome)
    }

    /// The look-up as the configuration has it now. What it has used of its limits stays used while
    /// nothing of it changes.
    fn ready(&self, config: &Config, place: &Place) -> Option<Arc<LookUp>> {
        let spec = find(config, place)?;
        let mut ready = lock(&self.ready);
        if let Some(known) = ready.get(place)
            && (Arc::ptr_eq(&known.spec, spec) || known.spec == *spec)
        {
            return Some(Arc::clone(known));
        }
        ready.retain(|place, _| find(config, place).is_some());
        let made = Arc::new(LookUp::new(place, spec, &self.network));
        if let Err(held) = &made.request {
            let (route, rule, name) = place;
            tracing::warn!(%route, rule, look_up = name, reason = %held, "a look-up can't be made until the configuration changes");
        }
        ready.insert(place.clone(), Arc::clone(&made));
        Some(made)
    }

    /// Makes the request, when it is its turn.
    async fn request(&self, look_up: &LookUp, place: &Place, url: &str) -> Found {
        let spec = &look_up.spec;
        let deadline = Instant::now() + spec.timeout.to_std();
        let asked = look_up
            .ask(self, place, url, deadline)
            .await
            .and_then(|reply| judge(&reply, self.clock));
        match asked {
            Ok((answer, bytes)) => Found {
                result: Ok(Arc::new(answer)),
                bytes,
                keep: spec.cache.to_std(),
            },
            Err(failure) => Found {
                bytes: 0,
                keep: match failure.blame {
                    // It was not asked: the next one may be luckier.
                    Blame::Held => Duration::ZERO,
                    Blame::Failed if failure.reason == outcome::CIRCUIT_OPEN => Duration::ZERO,
                    Blame::Failed | Blame::Refused => spec.cache_failures.to_std(),
                },
                result: Err(failure),
            },
        }
    }
}

impl LookUp {
    fn new(place: &Place, spec: &Arc<snapshot::Enrich>, network: &Network) -> Self {
        let http = snapshot::Http {
            url: spec.url.clone(),
            method: spec.method.clone(),
            headers: spec.headers.clone(),
            format: snapshot::Format::Json,
            auth: snapshot::Auth::None,
            signing_secrets: Vec::new(),
            private_networks: spec.private_networks.clone(),
        };
        let prepare = || {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            headers.extend(target::headers(&http, &mut Secrets::default())?);
            let method = Method::from_bytes(spec.method.as_bytes()).map_err(|_| Held::Url)?;
            Ok((
                method,
                headers,
                network.client(&http.private_networks, true)?,
            ))
        };
        let concurrency = usize::try_from(spec.concurrency.max(1)).unwrap_or(1);
        Self {
            fingerprint: fingerprint(&place.0.namespace, &http),
            request: prepare(),
            http,
            turns: Semaphore::new(concurrency),
            limit: Mutex::new(Limit::new(spec.rate_limit)),
            breaker: Mutex::new(Breaker::new()),
            under_way: AtomicUsize::new(0),
            spec: Arc::clone(spec),
        }
    }

    /// Waits for its turn and asks, both before the deadline.
    async fn ask(
        &self,
        all: &LookUps,
        place: &Place,
        url: &str,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let failure = |blame, reason| Failure::new(blame, reason);
        let (method, headers, client) = self
            .request
            .as_ref()
            .map_err(|_| failure(Blame::Held, outcome::SECRET_MISSING))?;
        let http = snapshot::Http {
            url: url.to_owned(),
            ..self.http.clone()
        };
        let url =
            target::url::resolve(&http, &mut Secrets::default()).map_err(|held| match held {
                Held::Address(_) => failure(Blame::Refused, reason::ADDRESS),
                _ => failure(Blame::Refused, outcome::NO_URL),
            })?;
        let busy = || failure(Blame::Held, outcome::BUSY);
        let turn = async {
            let turn = self.turns.acquire().await.map_err(|_| busy())?;
            loop {
                let wait = {
                    let mut limit = lock(&self.limit);
                    match limit.ready() {
                        Ok(()) if limit.take() => break Ok(turn),
                        Ok(()) => continue,
                        Err(wait) => wait,
                    }
                };
                sleep_until(wait).await;
            }
        };
        let _turn = timeout_at(deadline, turn).await.map_err(|_| busy())??;
        let under_way = UnderWay::begin(&self.under_way);
        self.let_through(under_way.before)?;

        let (route, rule, name) = place;
        let timer = all
            .metrics
            .look_up_seconds
            .with_label_values(&[route.to_string().as_str(), rule, name])
            .start_timer();
        let request = Outgoing {
            method: method.clone(),
            url,
            headers: headers.clone(),
            body: Bytes::new(),
            reads: wire::ANSWER,
        };
        let timeout = deadline.saturating_duration_since(Instant::now());
        let reply = all.wire.send(client, request, timeout).await;
        timer.observe_duration();
        self.learn(&reply, all.clock, place);
        Ok(reply)
    }

    /// Lets nothing through while the breaker is open, and one request when it has been for long enough.
    fn let_through(&self, under_way: usize) -> Result<(), Failure> {
        let breaker = lock(&self.breaker);
        if !breaker.is_open() {
            return Ok(());
        }
        match breaker.room(under_way, Instant::now()) {
            Ok(room) if room > 0 => Ok(()),
            Ok(_) | Err(_) => Err(Failure::new(Blame::Failed, outcome::CIRCUIT_OPEN)),
        }
    }

    /// What an answer tells about the API.
    fn learn(&self, reply: &Reply, clock: Clock, (route, rule, name): &Place) {
        let verdict = kind::judge_whole(DestinationKind::Http, reply, clock.now());
        let mut breaker = lock(&self.breaker);
        let was_open = breaker.is_open();
        if verdict.is_failure() {
            breaker.failed(BREAKER, Instant::now());
        } else {
            breaker.succeeded();
        }
        match (was_open, breaker.is_open()) {
            (false, true) => {
                tracing::warn!(%route, rule, look_up = name, reason = verdict.reason, "look-ups keep failing: the API is let alone for a while");
            }
            (true, false) => tracing::info!(%route, rule, look_up = name, "look-ups work again"),
            _ => {}
        }
    }
}

/// A request under way, counted until it is dropped.
struct UnderWay<'a> {
    count: &'a AtomicUsize,
    /// How many were before it.
    before: usize,
}

impl<'a> UnderWay<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        Self {
            before: count.fetch_add(1, Ordering::AcqRel),
            count,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What an answer means, with the size of its text.
fn judge(reply: &Reply, clock: Clock) -> Result<(Json, usize), Failure> {
    let verdict = kind::judge_whole(DestinationKind::Http, reply, clock.now());
    let blame = match verdict.class {
        Class::Delivered => {
            let Reply::Answered { answer, whole } = reply else {
                return Err(Failure::new(Blame::Failed, verdict.reason));
            };
            if !whole {
                return Err(Failure::new(Blame::Refused, outcome::TOO_LARGE));
            }
            let body = answer.body();
            return serde_json::from_slice(body)
                .map(|json| (json, body.len()))
                .map_err(|_| Failure::new(Blame::Refused, outcome::NO_JSON));
        }
        Class::Retry | Class::RateLimited | Class::Ambiguous => Blame::Failed,
        Class::Refused | Class::Alone => Blame::Refused,
    };
    Err(Failure {
        blame,
        reason: verdict.reason,
        retry_after: verdict.retry_after,
    })
}

/// Whether the configuration has a look-up.
pub(super) fn is_here(config: &Config, place: &Place) -> bool {
    find(config, place).is_some()
}

/// The look-up in the configuration.
fn find<'a>(config: &'a Config, (route, rule, name): &Place) -> Option<&'a Arc<snapshot::Enrich>> {
    let rules = &config.routes.get(route)?.rules;
    let rule = rules.iter().find(|one| one.name == *rule)?;
    let look_up = rule.enrich.iter().find(|one| one.spec.name == *name)?;
    Some(&look_up.spec)
}

/// Look-ups of a namespace that send the same share their answers.
fn fingerprint(namespace: &str, http: &snapshot::Http) -> [u8; 32] {
    let mut hash = Sha256::new();
    let http = snapshot::Http {
        url: String::new(),
        ..http.clone()
    };
    hash.update(namespace.as_bytes());
    hash.update([0]);
    // Texts, numbers and flags: it can't fail.
    hash.update(serde_json::to_vec(&http).unwrap_or_default());
    hash.finalize().into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
