//! Salesforce (<https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm>): a record is
//! found by its external id, so a repetition writes the same once more.
//!
//! - 300: more than one record has the id, and nothing was written.
//! - 401: the token no longer counts; the attempt gets another once, before this is judged.
//! - 403 `REQUEST_LIMIT_EXCEEDED`: the day's quota.
//! - `DUPLICATE_VALUE` and `UNABLE_TO_LOCK_ROW` come of two upserts of one record at once, and pass
//!   (<https://salesforce.stackexchange.com/questions/197382>). `DUPLICATES_DETECTED` is a rule of the account's,
//!   and does not.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::{Api, Class, Key, Verdict, http_api, reason};

/// An upsert by external id.
pub(super) const API: Api = Api::new(judge, Key::None);

/// How soon a day's quota, which has a window of 24 hours, is asked for again.
const QUOTA: Duration = Duration::from_mins(15);

#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "errorCode", default)]
    code: String,
}

fn judge(answer: &Response<Bytes>, now: Timestamp) -> Verdict {
    let failures = serde_json::from_slice::<Vec<Failure>>(answer.body()).unwrap_or_default();
    let has = |code: &str| failures.iter().any(|it| it.code == code);
    match answer.status().as_u16() {
        300 => Verdict::new(Class::Refused, reason::MULTIPLE_MATCHES),
        403 if has("REQUEST_LIMIT_EXCEEDED") => Verdict::rate_limited(Some(QUOTA)),
        400 if has("DUPLICATE_VALUE") || has("UNABLE_TO_LOCK_ROW") => {
            Verdict::new(Class::Retry, reason::CONFLICT)
        }
        _ => http_api::judge(answer, now),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::answer;
    use super::*;

    #[test]
    fn r54_answers_of_salesforce() {
        let judged = |status, body: &str| judge(&answer(status, body), Timestamp::UNIX_EPOCH);
        for status in [200, 201, 204] {
            assert_eq!(judged(status, "").class, Class::Delivered);
        }
        let several = judged(300, r#"["/services/data/v66.0/sobjects/Lead/1"]"#);
        assert_eq!(
            several,
            Verdict::new(Class::Refused, reason::MULTIPLE_MATCHES)
        );
        let code = |code: &str| format!(r#"[{{"errorCode":"{code}","message":"..."}}]"#);
        let quota = judged(403, &code("REQUEST_LIMIT_EXCEEDED"));
        assert!(quota.pause);
        assert_eq!(quota.retry_after, Some(QUOTA));
        assert_eq!(
            judged(403, &code("INSUFFICIENT_ACCESS")).reason,
            reason::UNAUTHORIZED
        );
        assert_eq!(
            judged(400, &code("DUPLICATES_DETECTED")).class,
            Class::Refused
        );
        assert_eq!(judged(400, &code("DUPLICATE_VALUE")).class, Class::Retry);
        assert_eq!(
            judged(401, &code("INVALID_SESSION_ID")).reason,
            reason::UNAUTHORIZED
        );
        assert_eq!(judged(503, "").class, Class::Retry);
    }
}
