//! Telegram's Bot API (<https://core.telegram.org/bots/api#making-requests>): every answer says `ok`, and
//! a limit says in `parameters.retry_after` how long it holds.
//!
//! 403 is a user who never started the bot, or who blocked it: no repetition helps. A wrong token is 401,
//! or 404 where it is not even of a token's form.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Api, Class, Key, Verdict, http_api, reason, retry_after};

/// `sendMessage`.
pub(super) const API: Api = Api::telling(judge, Key::None);

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error_code: Option<u16>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    retry_after: Option<u64>,
}

fn judge(answer: &Response<Bytes>, now: Timestamp) -> Verdict {
    let said = serde_json::from_slice::<Answer>(answer.body()).ok();
    let status = match &said {
        Some(said) if answer.status().is_success() && said.ok => return Verdict::delivered(),
        // A proxy in between may have made the status its own.
        Some(said) if answer.status().is_success() => {
            let code = said.error_code.and_then(|it| StatusCode::from_u16(it).ok());
            code.unwrap_or(StatusCode::BAD_REQUEST)
        }
        None if answer.status().is_success() => return Verdict::unreadable(),
        _ => answer.status(),
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            let wait = said.and_then(|said| said.parameters.retry_after);
            let wait = wait.filter(|it| *it > 0).map(Duration::from_secs);
            Verdict::rate_limited(wait.or_else(|| retry_after(answer.headers(), now)))
        }
        StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => {
            Verdict::new(Class::Refused, reason::UNAUTHORIZED)
        }
        StatusCode::FORBIDDEN => Verdict::new(Class::Refused, reason::REFUSED),
        status => http_api::judge_status(status, answer.headers(), now),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::answer;
    use super::*;

    fn judged(status: u16, body: &str) -> Verdict {
        judge(&answer(status, body), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn only_ok_is_success() {
        assert_eq!(
            judged(200, r#"{"ok":true,"result":{}}"#).class,
            Class::Delivered
        );
        assert_eq!(judged(200, "<html>").class, Class::Ambiguous);
        let refused =
            r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#;
        assert_eq!(judged(200, refused).class, Class::Refused);
        assert_eq!(judged(400, refused).class, Class::Refused);
        assert_eq!(judged(502, "<html>").class, Class::Retry);
    }

    #[test]
    fn the_wait_stands_in_the_body() {
        let body = r#"{"ok":false,"error_code":429,"parameters":{"retry_after":7}}"#;
        let verdict = judged(429, body);
        assert_eq!(verdict.class, Class::RateLimited);
        assert!(verdict.pause);
        assert_eq!(verdict.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(judged(429, "").retry_after, None);
    }

    #[test]
    fn a_user_who_never_started_the_bot_is_not_asked_again() {
        let body = r#"{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}"#;
        assert_eq!(
            judged(403, body),
            Verdict::new(Class::Refused, reason::REFUSED)
        );
        assert_eq!(
            judged(401, r#"{"ok":false,"error_code":401}"#).reason,
            reason::UNAUTHORIZED
        );
        assert_eq!(judged(404, "").reason, reason::UNAUTHORIZED);
    }
}
