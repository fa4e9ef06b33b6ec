//! Zendesk (<https://developer.zendesk.com/api-reference/ticketing/introduction/#idempotency>): a ticket
//! with a key that came before is answered with what was answered then. The same key with another
//! request is 400 `IdempotentRequestError`. Limits are 429 with `Retry-After`
//! (<https://developer.zendesk.com/api-reference/introduction/rate-limits/>).

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Api, Class, Key, Verdict, http_api, reason};

/// A new ticket.
pub(super) const API: Api = Api::new(judge, Key::Header);

/// An error, where it is no plain text.
#[derive(Deserialize)]
struct Failure {
    error: String,
}

fn judge(answer: &Response<Bytes>, now: Timestamp) -> Verdict {
    if answer.status() == StatusCode::BAD_REQUEST
        && let Ok(Failure { error }) = serde_json::from_slice(answer.body())
        && error == "IdempotentRequestError"
    {
        return Verdict::new(Class::Refused, reason::KEY_CONFLICT);
    }
    http_api::judge(answer, now)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, answer_with};
    use super::*;

    #[test]
    fn r54_answers_of_zendesk() {
        let judged = |status, body| judge(&answer(status, body), Timestamp::UNIX_EPOCH);
        assert_eq!(
            judged(201, r#"{"ticket":{"id":1}}"#).class,
            Class::Delivered
        );
        let conflict = judged(
            400,
            r#"{"error":"IdempotentRequestError","description":"..."}"#,
        );
        assert_eq!(conflict, Verdict::new(Class::Refused, reason::KEY_CONFLICT));
        assert_eq!(judged(400, "no SSL").reason, reason::REFUSED);
        assert_eq!(
            judged(422, r#"{"error":"RecordInvalid"}"#).class,
            Class::Refused
        );
        assert_eq!(judged(401, "").reason, reason::UNAUTHORIZED);
        assert_eq!(judged(503, "").class, Class::Retry);
        let limited = answer_with(429, &[("retry-after", "93")], "");
        let limited = judge(&limited, Timestamp::UNIX_EPOCH);
        assert!(limited.pause);
        assert_eq!(limited.retry_after.unwrap().as_secs(), 93);
    }
}
