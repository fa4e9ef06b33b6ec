//! The kinds of destination: what an answer of each means, and where its API wants a delivery's key.
//!
//! What a request is (URL, authentication, the body's form, limits) is resolved by the operator, in
//! `compile/destination/`, and comes with the snapshot. To add a kind: a file here with its [`Api`],
//! and its line in [`api`].

use std::time::Duration;

use bytes::Bytes;
use hookswitch_crds::snapshot::DestinationKind;
use http::{HeaderMap, Response, header};
use jiff::Timestamp;

mod http_api;
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
    /// The key came before with another request.
    pub(in crate::deliver) const KEY_CONFLICT: &str = "key_conflict";
    /// An answer that is not of the API.
    pub(in crate::deliver) const UNREADABLE: &str = "unreadable";
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
}

/// Where an API wants a delivery's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// In `Idempotency-Key`.
    Header,
    /// Nowhere: it would do a request that comes twice twice.
    None,
}

/// The API of a kind.
pub(super) const fn api(kind: DestinationKind) -> &'static Api {
    match kind {
        DestinationKind::Http | DestinationKind::Tgstaff => &http_api::API,
        DestinationKind::Slack => &slack::API,
        DestinationKind::SlackWebhook => &slack::WEBHOOK,
        DestinationKind::Telegram => &telegram::API,
        DestinationKind::Zendesk => &zendesk::API,
    }
}

/// Judges what an attempt gave. `now` is for a `Retry-After` that is a date.
pub(super) fn judge(kind: DestinationKind, reply: &Reply, now: Timestamp) -> Verdict {
    match reply {
        Reply::NotSent(fault) => Verdict::new(Class::Retry, fault.reason),
        Reply::NoAnswer(fault) => Verdict::new(Class::Ambiguous, fault.reason),
        Reply::Answered { answer, .. } => (api(kind).judge)(answer, now),
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
        let not_sent = judge(DestinationKind::Http, &Reply::NotSent(fault()), now);
        assert_eq!(not_sent.class, Class::Retry);
        let no_answer = judge(DestinationKind::Http, &Reply::NoAnswer(fault()), now);
        assert_eq!(no_answer.class, Class::Ambiguous);
    }
}
