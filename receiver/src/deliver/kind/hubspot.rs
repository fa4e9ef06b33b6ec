//! `HubSpot`'s CRM (<https://developers.hubspot.com/docs/api-reference/error-handling>): a batch call says of each
//! input what became of it, by the `objectWriteTraceId` that we give it.
//!
//! - 429 names the limit that was met in `policyName`: ten seconds pass, a day does not.
//! - 423 is a lock, for two seconds or more; 477 is a move between data centres, with `Retry-After`.
//! - 409 is an object that has a unique value already, of one input perhaps; or two requests for one object at
//!   once.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use super::{Api, Batch, Class, Gather, Join, Key, Verdict, http_api, reason, retry_after};
use crate::store::StoredDelivery;

/// `batch/upsert` and `batch/create`: at most 100 inputs.
pub(super) const API: Api = Api {
    batch: Some(Batch {
        most: 100,
        bytes: 1 << 20,
        gather: Gather::Always,
        join: Some(Join {
            fits: |_| true,
            body: |inputs| json!({"inputs": inputs}),
            each,
        }),
    }),
    ..Api::telling(judge, Key::Body(stamp))
};

/// How long a burst holds.
const BURST: Duration = Duration::from_secs(10);
/// How soon a day's quota is asked for again: the account's midnight is not known here.
const DAY: Duration = Duration::from_hours(1);
/// The least that a lock holds.
const LOCK: Duration = Duration::from_secs(2);

/// Categories of errors that pass (<https://developers.hubspot.com/docs/api-reference/error-handling>).
const PASSING: &[&str] = &[
    "RATE_LIMITS",
    "RATE_LIMIT",
    "INTERNAL_ERROR",
    "SERVER_ERROR",
];

#[derive(Deserialize)]
struct Limited {
    #[serde(rename = "policyName", default)]
    policy_name: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Written>,
    #[serde(default)]
    errors: Vec<Failure>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "objectWriteTraceId")]
    trace: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    category: String,
    #[serde(default)]
    context: Map<String, Json>,
}

impl Failure {
    fn verdict(&self) -> Verdict {
        if PASSING.contains(&self.category.as_str()) {
            Verdict::new(Class::Retry, reason::SERVER_ERROR)
        } else {
            Verdict::new(Class::Refused, reason::REFUSED)
        }
    }
}

fn judge(answer: &Response<Bytes>, now: Timestamp) -> Verdict {
    let wait = retry_after(answer.headers(), now);
    match answer.status().as_u16() {
        429 => {
            let policy = serde_json::from_slice::<Limited>(answer.body());
            let policy = policy.map(|it| it.policy_name).unwrap_or_default();
            let own = if policy.contains("DAILY") { DAY } else { BURST };
            Verdict::rate_limited(Some(wait.unwrap_or(own)))
        }
        423 => Verdict {
            retry_after: Some(wait.unwrap_or(LOCK).max(LOCK)),
            ..Verdict::new(Class::Retry, reason::LOCKED)
        },
        477 => Verdict {
            retry_after: wait,
            pause: true,
            ..Verdict::new(Class::Retry, reason::SERVER_ERROR)
        },
        _ => http_api::judge(answer, now),
    }
}

fn each(answer: &Response<Bytes>, ids: &[Uuid]) -> Option<Vec<Verdict>> {
    if answer.status() == StatusCode::CONFLICT && ids.len() > 1 {
        let alone = Verdict::new(Class::Alone, reason::BATCH_REFUSED);
        return Some(vec![alone; ids.len()]);
    }
    if !answer.status().is_success() {
        return None;
    }
    let Ok(Answer { results, errors }) = serde_json::from_slice(answer.body()) else {
        return Some(vec![Verdict::unreadable(); ids.len()]);
    };
    if errors.is_empty() {
        return None;
    }
    let mut verdicts: HashMap<String, Verdict> = results
        .into_iter()
        .filter_map(|it| Some((it.trace?, Verdict::delivered())))
        .collect();
    for error @ Failure { context, .. } in &errors {
        let traces = context.get("objectWriteTraceId").into_iter();
        let traces = traces.flat_map(|it| {
            it.as_array()
                .map_or_else(|| std::slice::from_ref(it), Vec::as_slice)
        });
        for trace in traces.filter_map(Json::as_str) {
            verdicts.insert(trace.to_owned(), error.verdict());
        }
    }
    // Of one that is named nowhere it is not known; of a single one the errors are its own.
    let unnamed = match errors.first() {
        Some(error) if ids.len() == 1 => error.verdict(),
        _ => Verdict::unreadable(),
    };
    let verdict = |id: &Uuid| verdicts.get(&id.to_string()).copied().unwrap_or(unnamed);
    Some(ids.iter().map(verdict).collect())
}

fn stamp(input: &mut Map<String, Json>, delivery: &StoredDelivery) {
    input.insert(
        "objectWriteTraceId".to_owned(),
        Json::from(delivery.id.to_string()),
    );
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, answer_with};
    use super::*;

    #[test]
    fn a_burst_passes_in_seconds_and_a_days_quota_does_not() {
        let limited = |policy: &str| {
            let body =
                format!(r#"{{"status":"error","errorType":"RATE_LIMIT","policyName":"{policy}"}}"#);
            judge(&answer(429, &body), Timestamp::UNIX_EPOCH).retry_after
        };
        assert_eq!(limited("TEN_SECONDLY_ROLLING"), Some(BURST));
        assert_eq!(limited("DAILY"), Some(DAY));
        let header = answer_with(429, &[("retry-after", "3")], "");
        let verdict = judge(&header, Timestamp::UNIX_EPOCH);
        assert_eq!(verdict.retry_after, Some(Duration::from_secs(3)));
        assert!(verdict.pause);
    }

    #[test]
    fn statuses_that_only_hubspot_has() {
        let judged = |status| judge(&answer(status, ""), Timestamp::UNIX_EPOCH);
        assert_eq!(judged(423).retry_after, Some(LOCK));
        assert_eq!(judged(477).class, Class::Retry);
        assert_eq!(judged(524).class, Class::Retry);
        assert_eq!(judged(400).class, Class::Refused);
        assert_eq!(judged(200).class, Class::Delivered);
    }

    #[test]
    fn r54_of_a_batch_only_what_failed_is_refused() {
        let ids = [1, 2, 3].map(Uuid::from_u128);
        let body = json!({
            "status": "COMPLETE",
            "results": [{"id": "7", "objectWriteTraceId": ids[0].to_string()}],
            "numErrors": 2,
            "errors": [
                {"category": "VALIDATION_ERROR", "context": {"objectWriteTraceId": [ids[1].to_string()]}},
                {"category": "RATE_LIMITS", "context": {"objectWriteTraceId": [ids[2].to_string()]}},
            ],
        });
        let verdicts = each(&answer(207, &body.to_string()), &ids).unwrap();
        let classes: Vec<_> = verdicts.iter().map(|it| it.class).collect();
        assert_eq!(classes, [Class::Delivered, Class::Refused, Class::Retry]);
        assert_eq!(each(&answer(200, r#"{"results":[{}]}"#), &ids), None);
        let none = each(&answer(207, r#"{"errors":[{}]}"#), &ids[..1]).unwrap();
        assert_eq!(none[0].class, Class::Refused);
        let passing = answer(207, r#"{"errors":[{"category":"RATE_LIMITS"}]}"#);
        let passing = each(&passing, &ids[..1]).unwrap();
        assert_eq!(passing[0].class, Class::Retry);
        let conflict = answer(409, r#"{"category":"CONFLICT"}"#);
        let alone = each(&conflict, &ids).unwrap();
        assert!(alone.iter().all(|it| it.class == Class::Alone));
        assert_eq!(each(&conflict, &ids[..1]), None);
        let unknown = each(&answer(207, r#"{"errors":[{}]}"#), &ids).unwrap();
        assert_eq!(unknown[0].class, Class::Ambiguous);
    }
}
