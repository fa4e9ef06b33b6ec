//! Slack: the Web API, which says in the body of a 200 whether it took a message, and incoming
//! webhooks, which answer in plain text.
//!
//! - <https://docs.slack.dev/reference/methods/chat.postMessage> lists the errors.
//! - <https://docs.slack.dev/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks> lists those
//!   of webhooks: 400, 403, 404 and 410 stay; 500 `rollup_error` passes.
//! - <https://docs.slack.dev/apis/web-api/rate-limits>: 429 with `Retry-After`.

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::{Api, Class, Key, Verdict, http_api, reason, retry_after};

/// `chat.postMessage`.
pub(super) const API: Api = Api::telling(judge, Key::None);

/// An incoming webhook.
pub(super) const WEBHOOK: Api = Api::new(judge_webhook, Key::None);

/// Errors that are not of the message.
const ERRORS: &[(&str, Class, &str)] = &[
    ("ratelimited", Class::RateLimited, reason::RATE_LIMITED),
    ("rate_limited", Class::RateLimited, reason::RATE_LIMITED),
    ("message_limit_exceeded", Class::Retry, reason::RATE_LIMITED),
    ("service_unavailable", Class::Retry, reason::SERVER_ERROR),
    ("team_added_to_org", Class::Retry, reason::SERVER_ERROR),
    ("org_login_required", Class::Retry, reason::SERVER_ERROR),
    ("request_timeout", Class::Retry, reason::REQUEST_TIMEOUT),
    // "It's possible some aspect of the operation succeeded before the error was raised."
    ("internal_error", Class::Ambiguous, reason::SERVER_ERROR),
    ("fatal_error", Class::Ambiguous, reason::SERVER_ERROR),
    ("not_authed", Class::Refused, reason::UNAUTHORIZED),
    ("invalid_auth", Class::Refused, reason::UNAUTHORIZED),
    ("account_inactive", Class::Refused, reason::UNAUTHORIZED),
    ("token_revoked", Class::Refused, reason::UNAUTHORIZED),
    ("token_expired", Class::Refused, reason::UNAUTHORIZED),
    ("missing_scope", Class::Refused, reason::UNAUTHORIZED),
];

/// What the Web API answers.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: String,
}

fn judge(answer: &Response<Bytes>, now: Timestamp) -> Verdict {
    if !answer.status().is_success() {
        return http_api::judge(answer, now);
    }
    let Ok(Answer { ok, error }) = serde_json::from_slice(answer.body()) else {
        return Verdict::unreadable();
    };
    if ok {
        return Verdict::delivered();
    }
    let known = ERRORS.iter().find(|(known, _, _)| *known == error);
    match known {
        Some((_, Class::RateLimited, _)) => {
            Verdict::rate_limited(retry_after(answer.headers(), now))
        }
        Some((_, class, reason)) => Verdict::new(*class, reason),
        None => Verdict::new(Class::Refused, reason::REFUSED),
    }
}

fn judge_webhook(answer: &Response<Bytes>, now: Timestamp) -> Verdict {
    if !answer.status().is_success() {
        return http_api::judge(answer, now);
    }
    if answer.body().trim_ascii() == b"ok" {
        Verdict::delivered()
    } else {
        Verdict::unreadable()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, answer_with};
    use super::*;

    fn said(body: &str) -> Verdict {
        judge(&answer(200, body), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn r54_an_ok_of_the_web_api_stands_in_the_body() {
        assert_eq!(said(r#"{"ok":true,"ts":"1.2"}"#).class, Class::Delivered);
        for (error, class) in [
            ("channel_not_found", Class::Refused),
            ("not_in_channel", Class::Refused),
            ("invalid_auth", Class::Refused),
            ("ratelimited", Class::RateLimited),
            ("service_unavailable", Class::Retry),
            ("team_added_to_org", Class::Retry),
            ("org_login_required", Class::Retry),
            ("request_timeout", Class::Retry),
            ("message_limit_exceeded", Class::Retry),
            ("internal_error", Class::Ambiguous),
            ("fatal_error", Class::Ambiguous),
        ] {
            let verdict = said(&format!(r#"{{"ok":false,"error":"{error}"}}"#));
            assert_eq!(verdict.class, class, "{error}");
        }
        for none in ["", "<html>", r#"{"ok":tr"#] {
            assert_eq!(said(none), Verdict::unreadable(), "{none}");
        }
    }

    #[test]
    fn a_limit_pauses_the_lane_for_as_long_as_slack_says() {
        let limited = answer_with(429, &[("retry-after", "30")], "");
        for judge in [judge, judge_webhook] {
            let verdict = judge(&limited, Timestamp::UNIX_EPOCH);
            assert!(verdict.pause);
            assert_eq!(verdict.retry_after.unwrap().as_secs(), 30);
        }
    }

    #[test]
    fn a_webhook_answers_in_plain_text() {
        let judged = |status, body| judge_webhook(&answer(status, body), Timestamp::UNIX_EPOCH);
        assert_eq!(judged(200, "ok").class, Class::Delivered);
        assert_eq!(judged(200, "<html>").class, Class::Ambiguous);
        assert_eq!(judged(400, "invalid_payload").class, Class::Refused);
        assert_eq!(judged(403, "action_prohibited").class, Class::Refused);
        assert_eq!(judged(404, "no_service").class, Class::Refused);
        assert_eq!(judged(410, "channel_is_archived").class, Class::Refused);
        assert_eq!(judged(500, "rollup_error").class, Class::Retry);
    }
}
