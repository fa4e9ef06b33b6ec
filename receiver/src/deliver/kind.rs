//! The kinds of destination: what an answer of each means, and where its API wants a delivery's key.
//!
//! What a request is (URL, authentication, the body's form, limits) is resolved by the operator, in
//! `compile/destination/`, and comes with the snapshot. To add a kind: a file here with its [`Api`],
//! and its line in [`api`]. Most speak HTTP; what else is spoken has a module beside this one.

use std::time::Duration;

use bytes::Bytes;
use hookswitch_crds::snapshot::DestinationKind;
use http::{HeaderMap, Response, header};
use jiff::Timestamp;
use reqwest::Url;
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::wire;
use crate::plan::FrozenBody;
use crate::store::StoredDelivery;

mod dingtalk;
mod freshdesk;
mod http_api;
mod hubspot;
mod mixpanel;
pub(super) mod nats;
pub(super) mod postgres;
mod salesforce;
mod slack;
mod telegram;
mod zendesk;

/// Values of the `reason` label of `hookswitch_delivery_retries_total`, and of
/// [`crate::store::Answer::reason`].
pub(super) mod reason {
    /// Taken.
    pub(in crate::deliver) const DELIVERED: &str = "delivered";
    /// 429.
    pub(in crate::deliver) const RATE_LIMITED: &str = "rate_limited";
    /// 5xx.
    pub(in crate::deliver) const SERVER_ERROR: &str = "server_error";
    /// 408: the destination waited too long for the request.
    pub(in crate::deliver) const REQUEST_TIMEOUT: &str = "request_timeout";
    /// 409.
    pub(in crate::deliver) const CONFLICT: &str = "conflict";
    /// 425.
    pub(in crate::deliver) const TOO_EARLY: &str = "too_early";
    /// 410: stop sending.
    pub(in crate::deliver) const GONE: &str = "gone";
    /// 3xx: never followed.
    pub(in crate::deliver) const REDIRECT: &str = "redirect";
    /// 401 or 403: the credentials are wrong.
    pub(in crate::deliver) const UNAUTHORIZED: &str = "unauthorized";
    /// The search for a delivery that may have taken effect found it.
    pub(in crate::deliver) const FOUND: &str = "found";
    /// The search for a delivery that may have taken effect failed.
    pub(in crate::deliver) const SEARCH: &str = "search";
    /// No token was given.
    pub(in crate::deliver) const TOKEN: &str = "token";
    /// 423: something else works on it.
    pub(in crate::deliver) const LOCKED: &str = "locked";
    /// More than one record has the id.
    pub(in crate::deliver) const MULTIPLE_MATCHES: &str = "multiple_matches";
    /// It was refused together with others: each is attempted alone.
    pub(in crate::deliver) const BATCH_REFUSED: &str = "batch_refused";
    /// The key came before with another request.
    pub(in crate::deliver) const KEY_CONFLICT: &str = "key_conflict";
    /// An answer that is not of the API.
    pub(in crate::deliver) const UNREADABLE: &str = "unreadable";
    /// No stream of JetStream's takes the subject.
    pub(in crate::deliver) const NO_STREAM: &str = "no_stream";
    /// Any other answer that a repetition would not change.
    pub(in crate::deliver) const REFUSED: &str = "refused";
    /// The name does not resolve.
    pub(in crate::deliver) const DNS: &str = "dns";
    /// The name resolves to addresses that the destination may not reach.
    pub(in crate::deliver) const ADDRESS: &str = "address";
    /// No connection.
    pub(in crate::deliver) const CONNECT: &str = "connect";
    /// No TLS session: most often a certificate.
    pub(in crate::deliver) const TLS: &str = "tls";
    /// The request was sent, and no answer came in time.
    pub(in crate::deliver) const TIMEOUT: &str = "timeout";
    /// The request was sent, and the connection broke before the answer.
    pub(in crate::deliver) const CONNECTION_LOST: &str = "connection_lost";
    /// The process ended during the attempt.
    pub(in crate::deliver) const INTERRUPTED: &str = "interrupted";
    /// The attempt itself went wrong: a defect of Hookswitch.
    pub(in crate::deliver) const INTERNAL: &str = "internal";
}

/// What an attempt gave.
#[derive(Debug)]
pub(super) enum Reply {
    /// An answer.
    Answered {
        /// Its body is bounded.
        answer: http::Response<Bytes>,
        /// The body is all that was sent.
        whole: bool,
    },
    /// Nothing left this machine but perhaps a handshake.
    NotSent(Fault),
    /// The request left, in part at least, and no answer came.
    NoAnswer(Fault),
    /// Nothing was sent: the destination has it already.
    Found,
    /// What became of each delivery, where what is spoken tells it for each.
    Each(Vec<Told>),
}

/// What became of a delivery.
#[derive(Debug)]
pub(super) struct Told {
    /// What it means.
    pub(super) verdict: Verdict,
    /// What came back, for people.
    pub(super) said: Option<String>,
}

impl Told {
    pub(super) const fn new(verdict: Verdict, said: Option<String>) -> Self {
        Self { verdict, said }
    }

    /// It would be refused again.
    pub(super) const fn refused(said: String) -> Self {
        Self::new(Verdict::new(Class::Refused, reason::REFUSED), Some(said))
    }

    /// Nothing of it left, or what did has no effect.
    pub(super) fn not_sent(fault: &Fault) -> Self {
        let verdict = Verdict::new(Class::Retry, fault.reason);
        Self::new(verdict, Some(fault.detail.clone()))
    }

    /// It left, and no answer came.
    pub(super) fn no_answer(fault: &Fault) -> Self {
        let verdict = Verdict::new(Class::Ambiguous, fault.reason);
        Self::new(verdict, Some(fault.detail.clone()))
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Fault {
    /// One of [`reason`].
    pub(super) reason: &'static str,
    /// For people; without secrets and without the URL.
    pub(super) detail: String,
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// The destination has it.
    Delivered,
    /// It failed; another attempt can succeed.
    Retry,
    /// The destination works and wants less.
    RateLimited,
    /// It would fail again.
    Refused,
    /// It was refused together with others, and may be good alone.
    Alone,
    /// It can't be known whether it took effect.
    Ambiguous,
}

/// A judged attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What follows.
    pub(super) class: Class,
    /// One of [`reason`].
    pub(super) reason: &'static str,
    /// How long the destination wants to wait; never zero.
    pub(super) retry_after: Option<Duration>,
    /// The wait is for the whole lane, not for this delivery alone.
    pub(super) pause: bool,
}

impl Verdict {
    const fn new(class: Class, reason: &'static str) -> Self {
        Self {
            class,
            reason,
            retry_after: None,
            pause: false,
        }
    }

    /// Taken.
    const fn delivered() -> Self {
        Self::new(Class::Delivered, reason::DELIVERED)
    }

    /// The destination wants less, from every sender or from this one.
    const fn rate_limited(retry_after: Option<Duration>) -> Self {
        Self {
            retry_after,
            pause: true,
            ..Self::new(Class::RateLimited, reason::RATE_LIMITED)
        }
    }

    /// An answer that says success in its status and is not what the API answers: it may have been
    /// cut off, or come from something in between.
    const fn unreadable() -> Self {
        Self::new(Class::Ambiguous, reason::UNREADABLE)
    }

    /// The process ended during the attempt before this one.
    pub(super) const fn interrupted() -> Self {
        Self::new(Class::Ambiguous, reason::INTERRUPTED)
    }

    /// Whether the destination is to blame: what the circuit breaker counts.
    pub(super) const fn is_failure(&self) -> bool {
        matches!(self.class, Class::Retry | Class::Ambiguous)
    }
}

/// What is peculiar to an API.
#[derive(Debug)]
pub(super) struct Api {
    /// What an answer means; the time is for a `Retry-After` that is a date.
    judge: fn(&Response<Bytes>, Timestamp) -> Verdict,
    /// Where the delivery's id goes, by which the API knows a request that it has had.
    pub(super) key: Key,
    /// How several deliveries make one request.
    pub(super) batch: Option<Batch>,
    /// How to ask whether a delivery has taken effect.
    pub(super) search: Option<Search>,
    /// How much of an answer is read.
    pub(super) reads: usize,
}

/// Where an API wants a delivery's id.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    /// In `Idempotency-Key`.
    Header,
    /// In the body, with what else of the delivery belongs there: the same with every attempt.
    Body(fn(&mut Map<String, Json>, &StoredDelivery)),
    /// Nowhere: it would do a request that comes twice twice.
    None,
}

/// How several deliveries make one request.
#[derive(Debug)]
pub(super) struct Batch {
    /// The most deliveries.
    pub(super) most: usize,
    /// The most bytes of their bodies.
    pub(super) bytes: usize,
    /// When they are gathered.
    pub(super) gather: Gather,
    /// How their bodies make one; `None` where they go together over one connection, and each stays as it
    /// is.
    pub(super) join: Option<Join>,
}

/// How several bodies make one.
#[derive(Debug)]
pub(super) struct Join {
    /// Whether a body may stand with others.
    fits: fn(&Json) -> bool,
    /// The request's body, of one delivery too.
    pub(super) body: fn(Vec<Json>) -> Json,
    /// What an answer means for each of these; `None` where it means the same for all.
    each: fn(&Response<Bytes>, &[Uuid]) -> Option<Vec<Verdict>>,
}

/// When deliveries are gathered into one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gather {
    /// Whenever several are due.
    Always,
    /// When the rate limit has no room for each alone.
    AtLimit,
    /// Whenever several are due, each against the rate limit: what is saved is the way there and back.
    Counted,
}

/// How to ask whether a delivery has taken effect.
#[derive(Debug)]
pub(super) struct Search {
    /// The page, from 1, of what may hold it; from the URL of the call that made it.
    pub(super) url: fn(&Url, &StoredDelivery, usize) -> Option<Url>,
    /// Whether the page holds it; `None` where the answer can't be read.
    pub(super) found: fn(&[u8], &StoredDelivery) -> Option<Found>,
}

/// What a page of a search says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It has taken effect.
    Yes,
    /// It has not.
    No,
    /// It is not on this page, and there are more.
    PerhapsBehind,
}

impl Api {
    /// One delivery a request.
    const fn new(judge: fn(&Response<Bytes>, Timestamp) -> Verdict, key: Key) -> Self {
        Self {
            judge,
            key,
            batch: None,
            search: None,
            reads: wire::ANSWER,
        }
    }

    /// One whose answers tell in their body what became of a request.
    const fn telling(judge: fn(&Response<Bytes>, Timestamp) -> Verdict, key: Key) -> Self {
        Self {
            reads: wire::TELLING_ANSWER,
            ..Self::new(judge, key)
        }
    }

    /// One that speaks something else than HTTP: what came of it comes judged, as [`Reply::Each`].
    const fn spoken(batch: Batch) -> Self {
        Self {
            batch: Some(batch),
            ..Self::new(http_api::judge, Key::None)
        }
    }

    /// The body of one delivery, with its key where that stands there; `None` where it is no JSON.
    pub(super) fn body(&self, delivery: &StoredDelivery) -> Option<Json> {
        let mut body = parsed(delivery)?;
        if let (Key::Body(stamp), Json::Object(members)) = (self.key, &mut body) {
            stamp(members, delivery);
        }
        Some(body)
    }
}

impl Batch {
    /// Whether a delivery may stand with others.
    pub(super) fn takes(&self, delivery: &StoredDelivery) -> bool {
        let Some(join) = &self.join else {
            return true;
        };
        parsed(delivery).is_some_and(|body| (join.fits)(&body))
    }
}

fn parsed(delivery: &StoredDelivery) -> Option<Json> {
    let body = match &delivery.request.body {
        FrozenBody::Event => &delivery.event.event.body,
        FrozenBody::Rendered(body) => body,
        FrozenBody::Unrendered(_) => return None,
    };
    serde_json::from_slice(body).ok()
}

/// A key made of others.
fn digest<'a>(keys: impl Iterator<Item = &'a str>) -> [u8; 16] {
    let mut hash = Sha256::new();
    for key in keys {
        hash.update(key.as_bytes());
        hash.update([0]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// The API of a kind.
pub(super) const fn api(kind: DestinationKind) -> &'static Api {
    match kind {
        DestinationKind::Dingtalk => &dingtalk::API,
        DestinationKind::Freshdesk => &freshdesk::API,
        DestinationKind::Http | DestinationKind::Tgstaff => &http_api::API,
        DestinationKind::Hubspot => &hubspot::API,
        DestinationKind::Mixpanel => &mixpanel::API,
        DestinationKind::Nats => &nats::API,
        DestinationKind::Postgres => &postgres::API,
        DestinationKind::Salesforce => &salesforce::API,
        DestinationKind::Slack => &slack::API,
        DestinationKind::SlackWebhook => &slack::WEBHOOK,
        DestinationKind::Telegram => &telegram::API,
        DestinationKind::Zendesk => &zendesk::API,
    }
}

/// Judges what an attempt gave, for each of its deliveries. `now` is for a `Retry-After` that is a date.
///
/// What is refused as a whole is attempted one by one: one bad delivery takes no others with it.
pub(super) fn judge(
    kind: DestinationKind,
    reply: &Reply,
    ids: &[Uuid],
    now: Timestamp,
) -> Vec<Verdict> {
    let api = api(kind);
    let join = api.batch.as_ref().and_then(|batch| batch.join.as_ref());
    let each = match (reply, join) {
        (Reply::Answered { answer, .. }, Some(join)) => (join.each)(answer, ids),
        (Reply::Each(each), _) => Some(each.iter().map(|told| told.verdict).collect()),
        _ => None,
    };
    each.unwrap_or_else(|| {
        let verdict = judge_whole(kind, reply, now);
        let refused = verdict.class == Class::Refused && verdict.reason == reason::REFUSED;
        let verdict = if refused && ids.len() > 1 {
            Verdict::new(Class::Alone, reason::BATCH_REFUSED)
        } else {
            verdict
        };
        vec![verdict; ids.len()]
    })
}

/// Judges what a request gave, as a whole. `now` as for [`judge`].
pub(super) fn judge_whole(kind: DestinationKind, reply: &Reply, now: Timestamp) -> Verdict {
    match reply {
        Reply::NotSent(fault) => Verdict::new(Class::Retry, fault.reason),
        Reply::NoAnswer(fault) => Verdict::new(Class::Ambiguous, fault.reason),
        Reply::Found => Verdict::new(Class::Delivered, reason::FOUND),
        Reply::Answered { answer, .. } => (api(kind).judge)(answer, now),
        // What it means for each is said there; of all, what it means for the first.
        Reply::Each(each) => each
            .first()
            .map_or_else(Verdict::unreadable, |it| it.verdict),
    }
}

/// `Retry-After`: seconds or an HTTP date (RFC 9110, 10.2.3). `None` where it is absent, unreadable,
/// zero or past: then the backoff decides.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
        Duration::try_from(at.duration_since(now)).ok()?
    };
    (!wait.is_zero()).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer, for the tests of kinds.
    pub(super) fn answer(status: u16, body: &str) -> Response<Bytes> {
        answer_with(status, &[], body)
    }

    /// The same with headers.
    pub(super) fn answer_with(
        status: u16,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Bytes> {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        answer.body(Bytes::from(body.to_owned())).unwrap()
    }

    fn wait(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers, "2015-10-21T07:27:00Z".parse().unwrap())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(wait("120"), Some(Duration::from_mins(2)));
        assert_eq!(
            wait("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::from_mins(1))
        );
        assert_eq!(wait("Wed, 21 Oct 2015 07:26:00 GMT"), None);
        for none in ["0", "-1", "soon", "", "99999999999999999999999"] {
            assert_eq!(wait(none), None, "{none}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn what_was_not_sent_is_repeated_and_what_was_is_ambiguous() {
        let fault = || Fault {
            reason: reason::CONNECT,
            detail: String::new(),
        };
        let now = Timestamp::UNIX_EPOCH;
        let judged = |reply| judge(DestinationKind::Http, &reply, &[Uuid::nil()], now)[0].class;
        assert_eq!(judged(Reply::NotSent(fault())), Class::Retry);
        assert_eq!(judged(Reply::NoAnswer(fault())), Class::Ambiguous);
        assert_eq!(judged(Reply::Found), Class::Delivered);
    }

    #[test]
    fn what_is_refused_as_a_whole_is_attempted_one_by_one() {
        let judged = |status, ids: usize| {
            let answer = answer(status, "");
            let reply = Reply::Answered {
                answer,
                whole: true,
            };
            let ids = vec![Uuid::nil(); ids];
            let verdicts = judge(
                DestinationKind::Hubspot,
                &reply,
                &ids,
                Timestamp::UNIX_EPOCH,
            );
            verdicts.iter().map(|it| it.class).collect::<Vec<_>>()
        };
        assert_eq!(judged(400, 2), [Class::Alone, Class::Alone]);
        assert_eq!(judged(400, 1), [Class::Refused]);
        assert_eq!(judged(401, 2), [Class::Refused, Class::Refused]);
        assert_eq!(judged(500, 2), [Class::Retry, Class::Retry]);
    }
}
