//! The general destination, and those whose API follows HTTP's own meaning of a status (RFC 9110,
//! RFC 6585, RFC 8470).

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;

use super::{Api, Class, Key, Verdict, reason, retry_after};

/// HTTP, and nothing more.
pub(super) const API: Api = Api::new(judge, Key::Header);

/// Statuses that mean something of their own.
const STATUSES: &[(StatusCode, Class, &str)] = &[
    (
        StatusCode::REQUEST_TIMEOUT,
        Class::Retry,
        reason::REQUEST_TIMEOUT,
    ),
    (StatusCode::CONFLICT, Class::Retry, reason::CONFLICT),
    (StatusCode::TOO_EARLY, Class::Retry, reason::TOO_EARLY),
    (
        StatusCode::TOO_MANY_REQUESTS,
        Class::RateLimited,
        reason::RATE_LIMITED,
    ),
    (StatusCode::GONE, Class::Refused, reason::GONE),
    (
        StatusCode::UNAUTHORIZED,
        Class::Refused,
        reason::UNAUTHORIZED,
    ),
    (StatusCode::FORBIDDEN, Class::Refused, reason::UNAUTHORIZED),
];

/// Judges an answer by its status.
pub(super) fn judge(answer: &Response<Bytes>, now: Timestamp) -> Verdict {
    judge_status(answer.status(), answer.headers(), now)
}

/// The same for a status that an API says elsewhere.
pub(super) fn judge_status(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Verdict {
    let (class, reason) = STATUSES
        .iter()
        .find(|(known, _, _)| *known == status)
        .map_or_else(
            || match status.as_u16() {
                200..=299 => (Class::Delivered, reason::DELIVERED),
                300..=399 => (Class::Refused, reason::REDIRECT),
                500..=599 => (Class::Retry, reason::SERVER_ERROR),
                _ => (Class::Refused, reason::REFUSED),
            },
            |(_, class, reason)| (*class, *reason),
        );
    let retry_after = match class {
        Class::Retry | Class::RateLimited => retry_after(headers, now),
        Class::Delivered | Class::Refused | Class::Alone | Class::Ambiguous => None,
    };
    Verdict {
        class,
        reason,
        retry_after,
        pause: class == Class::RateLimited
            || (status == StatusCode::SERVICE_UNAVAILABLE && retry_after.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn class(status: u16) -> Class {
        let answer = Response::builder()
            .status(status)
            .body(Bytes::new())
            .unwrap();
        judge(&answer, Timestamp::UNIX_EPOCH).class
    }

    #[test]
    fn every_status_has_its_class() {
        for status in 100..1000 {
            let want = match status {
                200..=299 => Class::Delivered,
                408 | 409 | 425 | 500..=599 => Class::Retry,
                429 => Class::RateLimited,
                _ => Class::Refused,
            };
            assert_eq!(class(status), want, "{status}");
        }
    }

    #[test]
    fn a_wait_that_is_about_the_destination_pauses_its_lane() {
        let judged = |status: u16, wait: Option<&str>| {
            let mut answer = Response::builder().status(status);
            if let Some(wait) = wait {
                answer = answer.header("retry-after", wait);
            }
            judge(&answer.body(Bytes::new()).unwrap(), Timestamp::UNIX_EPOCH)
        };
        assert!(judged(429, None).pause);
        assert!(judged(503, Some("7")).pause);
        assert!(!judged(503, None).pause);
        let conflict = judged(409, Some("7"));
        assert!(!conflict.pause);
        assert_eq!(conflict.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(judged(404, Some("7")).retry_after, None);
    }
}
