//! Ingress: requests in, answers out.
//!
//! ```text
//! request ─ path ─ method ─ encoding ─ body ─ verify ─ attributes ─ limit ─ store.accept ─ 200
//!             │       │         │        │       │                    │          │
//!            404     405       415    413 408   401                  503        503
//! ```
//!
//! Invariants:
//! - 200 only once the event is durable, found to be durable already, or recognised as an unsigned
//!   test or a handshake. What happens to it later never changes the answer.
//! - Nothing is kept of a request that was not verified.
//! - An append that was begun is waited for, though its client has gone or its time is up: what
//!   becomes durable is always planned.
//! - The answer comes within [`Settings::ack_deadline`].
//! - Logs and answers hold no secret and no text of a message. What strangers can cause to be logged
//!   is limited.
//!
//! A path is compared with the request's as it was sent, byte for byte: nothing is decoded or
//! normalised, so there is one spelling of each, here and in whatever proxy stands before. The query
//! is not part of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use hookswitch_crds::key::ObjectKey;
use http::header::CONTENT_ENCODING;
use http::{HeaderName, HeaderValue, Method, Request as HttpRequest, request};
use hyper::body::{Body, Incoming};
use ipnet::IpNet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::Follow;
use crate::event::Disposition;
use crate::metrics::{Metrics, OTHER};
use crate::serve;
use crate::store::{self, Accepted, NewEvent, Store};
use crate::verify::{Error as Refusal, Refused, Request, Verified, canonical_range};
use crate::wake::Wake;

mod answer;
mod append;
pub mod attributes;
mod body;
mod client;
mod handshake;
mod limit;
mod often;
mod printable;
mod site;

use answer::Answer;
use append::{Append, Receipt};
use attributes::Read;
use body::{Budget, Reserved};
use limit::Sources;
use printable::Printable;
use site::{Site, Sites};

/// How long an event without an id of its own is remembered: the sender's retries end after 7.5
/// minutes.
const DIGEST_WINDOW: Duration = Duration::from_mins(15);

/// Counts the receivers that an event has passed through.
pub const HOPS: HeaderName = HeaderName::from_static("x-hookswitch-hops");

/// What ingress works with.
#[derive(Clone)]
pub struct Options {
    /// The configuration.
    pub config: Follow,
    /// Where events are kept.
    pub store: Arc<dyn Store>,
    /// Counts.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Told which subscriptions have something to plan.
    pub accepted: Wake<ObjectKey>,
    /// Owns appends whose client has gone. To be waited for before the store is closed.
    pub appends: TaskTracker,
    /// Once cancelled, every request gets 503.
    pub draining: CancellationToken,
    /// Bounds.
    pub settings: Settings,
}

/// Bounds and trust, the receiver's own: no resource can change them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Proxies whose `X-Forwarded-For` or `Forwarded` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// From a request's head to its answer. Senders wait for 5 s.
    pub ack_deadline: Duration,
    /// From a request's head to the end of its body.
    pub body_deadline: Duration,
    /// Bytes of bodies in memory at once, those whose request has ended and which the store still has
    /// included; further ones get 503.
    pub body_budget: usize,
    /// Log lines about requests that were refused, and unsigned pings, of one source address.
    pub unverified: Rate,
}

/// A rate.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// A second, in the long run.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            ack_deadline: Duration::from_secs(4),
            body_deadline: Duration::from_secs(3),
            body_budget: 256 * 1024 * 1024,
            unverified: Rate {
                per_second: NonZeroU32::MIN,
                burst: NonZeroU32::MIN.saturating_add(9),
            },
        }
    }
}

/// The service of the hooks' address: every path and method is its to answer.
#[derive(Clone)]
pub struct Hooks(Arc<Ingress>);

impl Hooks {
    /// The service, by the configuration as it is at each request.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Ingress::new(options)))
    }

    /// The answer to a request, given the address that it came from.
    pub async fn receive<B>(&self, request: HttpRequest<B>, peer: SocketAddr) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        self.0.receive(request, peer).await
    }
}

impl serve::Service for Hooks {
    async fn answer(self, request: HttpRequest<Incoming>, peer: SocketAddr) -> Response {
        self.receive(request, peer).await
    }
}

/// What is known of a request when its answer is given.
#[derive(Default)]
struct Trail {
    site: Option<Arc<Site>>,
    source: Option<IpAddr>,
}

struct Ingress {
    sites: Sites,
    store: Arc<dyn Store>,
    metrics: Metrics,
    clock: Clock,
    accepted: Wake<ObjectKey>,
    appends: TaskTracker,
    draining: CancellationToken,
    settings: Settings,
    budget: Budget,
    pings: Sources,
    refusals: Sources,
}

impl Ingress {
    fn new(options: Options) -> Self {
        let Options {
            config,
            store,
            metrics,
            clock,
            accepted,
            appends,
            draining,
            mut settings,
        } = options;
        for range in &mut settings.trusted_proxies {
            *range = canonical_range(range);
        }
        Self {
            sites: Sites::new(config, metrics.clone()),
            store,
            metrics,
            clock,
            accepted,
            appends,
            draining,
            budget: Budget::new(settings.body_budget),
            pings: Sources::new(settings.unverified),
            refusals: Sources::new(settings.unverified),
            settings,
        }
    }

    /// Answers a request, counts the answer, and logs it where it is a refusal.
    async fn receive<B>(&self, request: HttpRequest<B>, peer: SocketAddr) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let started = Instant::now();
        let version = request.version();
        let mut trail = Trail::default();
        let answer = match self.answer(request, peer, started, &mut trail).await {
            Ok(answer) => answer,
            Err(answer) => {
                self.log(&trail, &answer);
                answer
            }
        };
        match &trail.site {
            Some(site) => {
                site.count(answer.outcome);
                site.ack_seconds().observe(started.elapsed().as_secs_f64());
            }
            None => self
                .metrics
                .requests
                .with_label_values(&[OTHER, answer.outcome])
                .inc(),
        }
        answer.into_response(version)
    }

    /// The answer to a request: an `Err` is a refusal, to be logged.
    async fn answer<B>(
        &self,
        request: HttpRequest<B>,
        peer: SocketAddr,
        started: Instant,
        trail: &mut Trail,
    ) -> Result<Answer, Answer>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let (head, body) = request.into_parts();
        let trusted = &self.settings.trusted_proxies;
        let source = client::address(peer.ip(), &head.headers, trusted);
        trail.source = Some(source);
        let site: &Arc<Site> = trail.site.insert(self.site(&head)?);
        if head.method == Method::HEAD {
            return Ok(Answer::PING);
        }
        acceptable(&head)?;
        let deadline = started + self.settings.body_deadline;
        let (body, reserved) = body::read(body, site.body_limit(), deadline, &self.budget).await?;
        let request = Request::new(head, body, source);
        let request = match request.verify(&site.verifier, self.clock.now()) {
            Ok(request) => request,
            Err(refused) => return self.unverified(site, &refused),
        };
        site.count_secret(request.matched_secret());
        if let Some(challenge) = handshake::challenge(&site.spec().provider, request.body()) {
            return Ok(Answer::challenge(challenge));
        }
        let deadline = started + self.settings.ack_deadline;
        timeout_at(deadline, self.keep(site, &request, reserved))
            .await
            .map_err(|_| Answer::STORE.because(&"the store did not answer in time"))?
    }

    /// The subscription that the path belongs to.
    fn site(&self, head: &request::Parts) -> Result<Arc<Site>, Answer> {
        if self.draining.is_cancelled() {
            return Err(Answer::DRAINING);
        }
        let sites = self.sites.current();
        let by_path = sites.by_path.as_ref().ok_or(Answer::NO_CONFIG)?;
        let path = head.uri.path();
        let site = by_path.get(path).ok_or_else(|| {
            Answer::NO_SUCH_PATH.because(&format_args!(
                "no subscription has the path {}",
                Printable(path)
            ))
        })?;
        Ok(Arc::clone(site))
    }

    /// Makes a verified request durable, and answers what became of it.
    async fn keep(
        &self,
        site: &Arc<Site>,
        request: &Request<Verified>,
        mut reserved: Reserved,
    ) -> Result<Answer, Answer> {
        reserved.grow_to_event()?;
        let (new, without_id) = self.event(site, request);
        if let Some(limiter) = &site.limiter {
            let event = &new.event;
            let seen = self
                .store
                .seen(
                    &event.subscription,
                    &event.id,
                    new.digest,
                    event.accepted_at,
                )
                .await
                .map_err(|error| Answer::STORE.because(&error))?;
            if !seen {
                limiter.check().map_err(Answer::rate_limited)?;
            }
        }
        let receipt = Receipt::new(site, &new.event, without_id, self.accepted.clone());
        let ping = new.event.disposition == Disposition::Ping;
        let store = Arc::clone(&self.store);
        let append = Append::begin(store, new, reserved, receipt, self.appends.clone());
        match append.await {
            Ok(Accepted::New { .. }) if ping => Ok(Answer::PING),
            Ok(Accepted::New { .. }) => Ok(Answer::ACCEPTED),
            Ok(Accepted::Duplicate) => Ok(Answer::DUPLICATE),
            Ok(Accepted::IdReused { .. }) => Ok(Answer::ID_REUSED),
            Err(error @ store::Error::QuotaExceeded { .. }) => Err(Answer::QUOTA.because(&error)),
            Err(error) => Err(Answer::STORE.because(&error)),
        }
    }

    /// The event that a request brings, and whether it has no id of its own.
    fn event(&self, site: &Site, request: &Request<Verified>) -> (NewEvent, bool) {
        let accepted_at = self.clock.now();
        let Read {
            event,
            digest,
            without_id,
        } = attributes::read(
            site.spec(),
            &site.extractor,
            request.headers(),
            request.body(),
            uid(accepted_at),
            accepted_at,
        );
        let window = if without_id {
            DIGEST_WINDOW
        } else {
            site.spec().deduplication_window.to_std()
        };
        let new = NewEvent {
            digest,
            remember_until: accepted_at
                .saturating_add(window)
                .unwrap_or(jiff::Timestamp::MAX),
            quota: site.spec().limits.stored_bytes,
            event,
        };
        (new, without_id)
    }

    /// The answer to a request that did not pass: it may be a test, which some senders make without
    /// a signature.
    fn unverified(&self, site: &Site, refused: &Refused) -> Result<Answer, Answer> {
        let Refused { error, request } = refused;
        if matches!(error, Refusal::SignatureMissing(_)) && site.spec().ping.allow_unsigned {
            let attributes = site.extractor.extract(request.headers(), request.body());
            let r#type = attributes.r#type.as_deref();
            if r#type.is_none_or(|name| site.is_ping(name)) {
                return self.unsigned_ping(site, request.source(), r#type.unwrap_or_default());
            }
        }
        Err(match error {
            Refusal::Unusable(_) => Answer::SECRET_MISSING,
            _ => Answer::unauthorized(error.category()),
        }
        .because(error))
    }

    /// An unsigned ping is counted and logged, and nothing of it is kept.
    fn unsigned_ping(&self, site: &Site, source: IpAddr, r#type: &str) -> Result<Answer, Answer> {
        let suppressed = self
            .pings
            .admit(source)
            .map_err(|_| Answer::OVERLOADED.because(&"too many unsigned pings"))?;
        if r#type.is_empty() && site.unsigned_pings.again(Instant::now()) {
            tracing::warn!(
                subscription = site.name(),
                %source,
                suppressed,
                "unsigned requests without a type keep coming: they pass as tests, and nothing of \
                 them is kept. If they are events, enter the signing key at the sender, or correct \
                 fields.type"
            );
        } else {
            tracing::info!(
                subscription = site.name(),
                r#type = %Printable(r#type),
                %source,
                suppressed,
                "unsigned ping"
            );
        }
        Ok(Answer::PING)
    }

    /// One line about a refusal, within its source's share of lines. What is not the sender's doing
    /// shares one.
    fn log(&self, trail: &Trail, answer: &Answer) {
        let source = trail.source.filter(|_| answer.is_the_senders());
        let Ok(suppressed) = self.refusals.admit(source.unwrap_or(OURSELVES)) else {
            return;
        };
        tracing::warn!(
            subscription = trail.site.as_ref().map(|site| site.name()),
            outcome = answer.outcome,
            reason = answer.reason(),
            source = trail.source.map(tracing::field::display),
            suppressed,
            "request not accepted"
        );
    }
}

/// Stands for ourselves among the sources of log lines.
const OURSELVES: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What is asked of every request before its body is read.
fn acceptable(head: &request::Parts) -> Result<(), Answer> {
    if head.method != Method::POST {
        return Err(Answer::METHOD);
    }
    let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !head.headers.get_all(CONTENT_ENCODING).iter().all(identity) {
        return Err(Answer::ENCODING);
    }
    Ok(())
}

/// A UUID v7 of that time.
fn uid(at: jiff::Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}
