//! NATS: what became of a message, by what the server or JetStream said of it.
//!
//! JetStream's errors have a code with HTTP's meaning, a number of its own, and a text
//! (<https://docs.nats.io/reference/reference-protocols/nats_api_reference#error-responses>). A message that it
//! has had before by `Nats-Msg-Id`, within the stream's duplicate window (two minutes, where it sets none), is
//! acknowledged as a duplicate, and stored once
//! (<https://docs.nats.io/using-nats/developer/develop_jetstream/model_deep_dive#message-deduplication>).

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Api, Batch, Class, Gather, Told, Verdict, http_api, reason};
use crate::deliver::nats::Published;

/// Messages that are due together are sent together, and each is answered for itself.
pub(super) const API: Api = Api::spoken(Batch {
    most: 256,
    bytes: 1 << 20,
    gather: Gather::Counted,
    join: None,
});

#[derive(Deserialize)]
struct Answer {
    stream: Option<String>,
    seq: Option<u64>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u32,
}

/// "Resource limits exceeded for account": there is room again when messages go or the limit is raised,
/// though the code beside it is 400
/// (<https://github.com/nats-io/nats-server/blob/main/server/errors.json>).
const ACCOUNT_FULL: u32 = 10002;

/// What became of a message.
pub(in crate::deliver) fn judge(published: &Published, subject: &str) -> Told {
    match published {
        Published::Taken => Told::new(Verdict::delivered(), None),
        Published::Answered(answer) => answered(answer),
        Published::NoResponders => Told::new(
            Verdict::new(Class::Retry, reason::NO_STREAM),
            Some(format!(
                "no stream takes the subject {subject}, or JetStream is away: create a stream that does, \
                 or set jetstream: false"
            )),
        ),
        Published::Denied(error) => Told::new(
            Verdict::new(Class::Refused, reason::UNAUTHORIZED),
            Some(error.clone()),
        ),
        Published::TooLarge { length, limit } => {
            let limit = limit.map_or_else(|| "fewer".to_owned(), |limit| limit.to_string());
            Told::refused(format!(
                "the message has {length} bytes, and the server takes {limit} (max_payload)"
            ))
        }
    }
}

fn answered(answer: &Bytes) -> Told {
    let said = String::from_utf8_lossy(answer).into_owned();
    let verdict = match serde_json::from_slice(answer) {
        Ok(Answer {
            error:
                Some(Failure {
                    err_code: ACCOUNT_FULL,
                    ..
                }),
            ..
        }) => Verdict::new(Class::Retry, reason::SERVER_ERROR),
        Ok(Answer {
            error: Some(Failure { code, .. }),
            ..
        }) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            match http_api::judge_status(status, &HeaderMap::new(), Timestamp::UNIX_EPOCH) {
                // An error is none of success.
                verdict if verdict.class == Class::Delivered => Verdict::unreadable(),
                verdict => verdict,
            }
        }
        Ok(Answer {
            stream: Some(_),
            seq: Some(_),
            error: None,
        }) => Verdict::delivered(),
        // Somebody else listens to the subject, and answers.
        Ok(_) | Err(_) => Verdict::unreadable(),
    };
    Told::new(verdict, Some(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(answer: &'static str) -> (Class, &'static str) {
        let published = Published::Answered(Bytes::from_static(answer.as_bytes()));
        let told = judge(&published, "a");
        assert_eq!(told.said.as_deref(), Some(answer));
        (told.verdict.class, told.verdict.reason)
    }

    #[test]
    fn r54_jetstream_tells_what_it_stored_and_what_it_had_before() {
        for stored in [
            r#"{"stream":"EVENTS","seq":7}"#,
            r#"{"stream":"EVENTS","domain":"hub","seq":7,"duplicate":true}"#,
        ] {
            assert_eq!(judged(stored).0, Class::Delivered, "{stored}");
        }
    }

    #[test]
    fn errors_of_jetstream_are_told_apart_by_their_codes() {
        let failed = Class::Retry;
        for (answer, expected) in [
            (
                r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"E","seq":0}"#,
                (failed, reason::SERVER_ERROR),
            ),
            (
                r#"{"error":{"code":500,"err_code":10047,"description":"insufficient storage resources available"}}"#,
                (failed, reason::SERVER_ERROR),
            ),
            (
                r#"{"error":{"code":409,"err_code":10158}}"#,
                (failed, reason::CONFLICT),
            ),
            (
                r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#,
                (Class::Refused, reason::REFUSED),
            ),
            (r#"{"error":{}}"#, (failed, reason::SERVER_ERROR)),
            (
                r#"{"error":{"code":200}}"#,
                (Class::Ambiguous, reason::UNREADABLE),
            ),
        ] {
            assert_eq!(judged(answer), expected, "{answer}");
        }
        for other in ["+OK", "{}", r#"{"stream":"E"}"#, "[]"] {
            assert_eq!(
                judged(other),
                (Class::Ambiguous, reason::UNREADABLE),
                "{other}"
            );
        }
    }

    #[test]
    fn a_stream_that_is_missing_is_waited_for_and_said() {
        let told = judge(&Published::NoResponders, "support.a");
        assert_eq!(
            (told.verdict.class, told.verdict.reason),
            (Class::Retry, reason::NO_STREAM)
        );
        let said = told.said.unwrap();
        assert!(
            said.contains("support.a") && said.contains("jetstream: false"),
            "{said}"
        );
    }

    #[test]
    fn what_a_repetition_would_not_change_is_refused() {
        let told = judge(
            &Published::TooLarge {
                length: 9,
                limit: Some(8),
            },
            "a",
        );
        assert_eq!(
            (told.verdict.class, told.verdict.reason),
            (Class::Refused, reason::REFUSED)
        );
        let denied = Published::Denied("Permissions Violation for Publish to \"a\"".to_owned());
        let told = judge(&denied, "a");
        assert_eq!(
            (told.verdict.class, told.verdict.reason),
            (Class::Refused, reason::UNAUTHORIZED)
        );
        assert_eq!(
            judge(&Published::Taken, "a").verdict.class,
            Class::Delivered
        );
    }
}
