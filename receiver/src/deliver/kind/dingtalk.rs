//! `DingTalk`'s robots (<https://help.dingtalk.io/open/development/custom-robots-send-group-messages>): every
//! answer is a 200, and `errcode` tells.
//!
//! - `msgUuid` is the key: the same one is sent once.
//! - 20 messages a minute; more block the robot for ten minutes. What the limit leaves no room for is
//!   gathered into one message, as the documentation asks for.
//! - A 200 without `errcode`, such as `{"status":1111,"wait":5,"punish":"deny"}`, comes from what guards the
//!   API, and is never success. That form, and which codes pass, are not in the public documentation.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use super::{Api, Batch, Class, Gather, Join, Key, Verdict, http_api, reason};
use crate::store::StoredDelivery;

/// `robot/send`.
pub(super) const API: Api = Api {
    batch: Some(Batch {
        most: 20,
        bytes: 16 << 10,
        gather: Gather::AtLimit,
        join: Some(Join {
            fits,
            body: join,
            each: |_, _| None,
        }),
    }),
    ..Api::new(judge, Key::Body(stamp))
};

/// How long a robot is blocked.
const BLOCKED: Duration = Duration::from_mins(10);

/// Put between the messages that are gathered into one.
const SEPARATOR: &str = "\n\n";

#[derive(Deserialize)]
struct Answer {
    errcode: Option<i64>,
    #[serde(default)]
    wait: Option<u64>,
}

fn judge(answer: &Response<Bytes>, now: Timestamp) -> Verdict {
    if !answer.status().is_success() {
        return http_api::judge(answer, now);
    }
    let Ok(Answer { errcode, wait }) = serde_json::from_slice(answer.body()) else {
        return Verdict::unreadable();
    };
    match errcode {
        Some(0) => Verdict::delivered(),
        Some(-1) => Verdict::new(Class::Retry, reason::SERVER_ERROR),
        Some(130_101 | 410_100) => Verdict::rate_limited(Some(BLOCKED)),
        // The token is unknown, or its robot is gone or stopped.
        Some(300_001 | 300_005 | 40_035 | 43_007) => {
            Verdict::new(Class::Refused, reason::UNAUTHORIZED)
        }
        // 310000: the keyword, the signature or the address; and all others.
        Some(_) => Verdict::new(Class::Refused, reason::REFUSED),
        None => Verdict::rate_limited(wait.filter(|it| *it > 0).map(Duration::from_secs)),
    }
}

fn stamp(body: &mut Map<String, Json>, delivery: &StoredDelivery) {
    body.entry("msgUuid")
        .or_insert_with(|| Json::from(delivery.id.to_string()));
}

/// A text that mentions nobody can stand below another.
fn fits(body: &Json) -> bool {
    let has_text = body.pointer("/text/content").is_some_and(Json::is_string);
    has_text && body.get("msgtype").is_some_and(|it| it == "text") && body.get("at").is_none()
}

fn join(mut bodies: Vec<Json>) -> Json {
    if bodies.len() == 1 {
        return bodies.remove(0);
    }
    let texts = bodies
        .iter()
        .filter_map(|body| body.pointer("/text/content").and_then(Json::as_str));
    let content = texts.collect::<Vec<_>>().join(SEPARATOR);
    // The same messages together are the same message.
    let keys = bodies
        .iter()
        .filter_map(|body| body.get("msgUuid").and_then(Json::as_str));
    let key = super::digest(keys);
    json!({
        "msgtype": "text",
        "text": {"content": content},
        "msgUuid": Uuid::from_bytes(key).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::answer;
    use super::*;

    #[test]
    fn r54_an_error_of_dingtalk_stands_in_a_200() {
        let judged = |body| judge(&answer(200, body), Timestamp::UNIX_EPOCH);
        assert_eq!(
            judged(r#"{"errcode":0,"errmsg":"ok"}"#).class,
            Class::Delivered
        );
        assert_eq!(judged(r#"{"errcode":-1}"#).class, Class::Retry);
        assert_eq!(
            judged(r#"{"errcode":310000,"errmsg":"keywords"}"#).class,
            Class::Refused
        );
        assert_eq!(judged(r#"{"errcode":300005}"#).reason, reason::UNAUTHORIZED);
        for limited in [r#"{"errcode":130101}"#, r#"{"errcode":410100}"#] {
            let verdict = judged(limited);
            assert!(verdict.pause, "{limited}");
            assert_eq!(verdict.retry_after, Some(BLOCKED));
        }
        let denied = judged(r#"{"status":1111,"wait":5,"punish":"deny"}"#);
        assert_eq!(denied.class, Class::RateLimited);
        assert_eq!(denied.retry_after, Some(Duration::from_secs(5)));
        assert_eq!(judged("<html>").class, Class::Ambiguous);
    }

    #[test]
    fn r47_messages_are_gathered_into_one_with_a_key_of_its_own() {
        let text = |content: &str, key: &str| json!({"msgtype": "text", "text": {"content": content}, "msgUuid": key});
        assert!(fits(&text("a", "1")));
        assert!(!fits(
            &json!({"msgtype": "markdown", "markdown": {"title": "a", "text": "b"}})
        ));
        assert!(!fits(
            &json!({"msgtype": "text", "text": {"content": "a"}, "at": {"isAtAll": true}})
        ));
        let one = join(vec![text("a", "1")]);
        assert_eq!(one, text("a", "1"));
        let two = || join(vec![text("a", "1"), text("b", "2")]);
        assert_eq!(two()["text"]["content"], "a\n\nb");
        assert_eq!(two(), two());
        assert_ne!(
            two()["msgUuid"],
            join(vec![text("a", "1"), text("b", "3")])["msgUuid"]
        );
    }
}
