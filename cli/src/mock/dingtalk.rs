//! A stand-in for a robot in a `DingTalk` group: `robot/send`.
//!
//! Every answer has the status 200, and says in `errcode` what it means. More than 20 messages a
//! minute block the robot for 10 minutes.
//!
//! Sources: <https://open.dingtalk.com/document/orgapp/custom-robot-access>,
//! <https://open.dingtalk.com/document/orgapp/customize-robot-security-settings>; the text of each
//! `errmsg` is not documented, and nothing may hang on it.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};
use sha2::Sha256;

use super::answer::Answer;
use super::limits::{Limits, Rate};
use super::request::Request;
use super::stand_in::Api;

/// Where it listens.
pub(super) const PORT: u16 = 8092;
const LIMIT: Rate = Rate::new(20, Duration::from_mins(1));
/// How many windows of the limit it blocks for who is over it: 10 minutes for the real limit.
const BLOCKED: u32 = 10;
/// How far the timestamp of a signature may be from now.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// The longest message, in bytes.
const BYTES: usize = 20_000;

const TOKEN: &str = "mock-dingtalk-token";
const SECRET: &str = "SECmock-dingtalk-secret";

/// What `errcode` can be.
mod code {
    pub(super) const BUSY: i64 = -1;
    pub(super) const MISSING: i64 = 40_035;
    pub(super) const CONTENT_TYPE: i64 = 43_004;
    pub(super) const TOO_FAST: i64 = 130_101;
    pub(super) const NO_TOKEN: i64 = 300_005;
    pub(super) const SECURITY: i64 = 310_000;
    pub(super) const MSGTYPE: i64 = 400_105;
    pub(super) const TOO_LONG: i64 = 460_101;
}

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  hookswitch mock dingtalk
  hookswitch mock dingtalk --keyword alert   wants this word in every message
  hookswitch mock dingtalk --rate 2/10s      is over its limit soon, and then blocks for 100 s
  hookswitch mock dingtalk --fail-rate 0.5   says \"system busy\" every other time";

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) options: super::Options,
    /// The robot's access token
    #[arg(long, default_value = TOKEN)]
    token: String,
    /// The robot's signing secret; empty for a robot that wants no signature
    #[arg(long, default_value = SECRET)]
    secret: String,
    /// A word of which each message must hold one; can be given more than once
    #[arg(long = "keyword", value_name = "WORD")]
    keywords: Vec<String>,
}

impl Args {
    pub(super) fn api(self) -> Dingtalk {
        Dingtalk {
            token: self.token,
            secret: self.secret,
            keywords: self.keywords,
            ..Dingtalk::default()
        }
    }
}

/// A robot.
#[derive(Debug)]
pub struct Dingtalk {
    /// Its access token.
    pub token: String,
    /// Its signing secret; empty where it wants no signature.
    pub secret: String,
    /// Words of which each message must hold one, where there are any.
    pub keywords: Vec<String>,
    /// The messages that the group has seen.
    pub messages: Vec<Json>,
    limits: Limits,
    blocked_until: Option<Timestamp>,
    seen: Vec<String>,
}

impl Default for Dingtalk {
    fn default() -> Self {
        Self {
            token: TOKEN.to_owned(),
            secret: SECRET.to_owned(),
            keywords: Vec::new(),
            messages: Vec::new(),
            limits: Limits::new(LIMIT),
            blocked_until: None,
            seen: Vec::new(),
        }
    }
}

impl Api for Dingtalk {
    fn name(&self) -> &'static str {
        "DingTalk"
    }

    fn hint(&self) -> String {
        format!("  token   {}\n  secret  {}", self.token, self.secret)
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        let ["POST", "robot", "send"] = *request.route() else {
            return Answer::text(StatusCode::NOT_FOUND, "not found");
        };
        match self.send(request, now) {
            Ok(note) => {
                Answer::json(StatusCode::OK, &json!({"errcode": 0, "errmsg": "ok"})).noted(note)
            }
            Err((code, message)) => error(code, &message),
        }
    }

    fn limited(&mut self, _: &Request, _: Duration) -> Answer {
        let (code, message) = too_fast();
        error(code, &message)
    }

    fn broken(&mut self, _: &Request) -> Answer {
        error(code::BUSY, "system busy")
    }

    fn limit(&mut self, rate: Rate) {
        self.limits.set(rate);
    }

    fn shown(&self, _: &Request) -> String {
        "/robot/send?(secret)".to_owned()
    }
}

impl Dingtalk {
    /// What a gateway of `DingTalk` answers in place of the robot to who is too fast for it: 200
    /// without an `errcode`.
    #[must_use]
    pub fn punished(wait: u32) -> Answer {
        let body = json!({"status": 1111, "wait": wait, "source": "x5", "punish": "deny"});
        Answer::json(StatusCode::OK, &body).noted("refused by the gateway")
    }

    fn send(&mut self, request: &Request, now: Timestamp) -> Result<String, (i64, String)> {
        let fail = |code, message: &str| Err((code, message.to_owned()));
        if request.query("access_token") != Some(&self.token) {
            return fail(code::NO_TOKEN, "token is not exist");
        }
        if !request.is("application/json") {
            return fail(
                code::CONTENT_TYPE,
                "needs the header Content-Type: application/json",
            );
        }
        self.verify(request, now)?;
        if request.body.len() > BYTES {
            return fail(code::TOO_LONG, "message too long, exceed 20000 bytes");
        }
        let Some(body) = request.json().filter(Json::is_object) else {
            return fail(code::MISSING, "missing parameter json");
        };
        let text = shown_text(&body)?;
        if !self.keywords.is_empty() && !self.keywords.iter().any(|word| text.contains(word)) {
            return fail(code::SECURITY, "keywords not in content");
        }
        if self.blocked_until.is_some_and(|until| now < until) {
            return Err(too_fast());
        }
        let id = body.get("msgUuid").and_then(Json::as_str);
        if id.is_some_and(|id| self.seen.iter().any(|seen| seen == id)) {
            return Ok("the same msgUuid again: nothing is posted".to_owned());
        }
        if self.limits.take("", now).is_err() {
            let block = self.limits.rate().window * BLOCKED;
            self.blocked_until = now.checked_add(block).ok();
            return Err(too_fast());
        }
        self.seen.extend(id.map(ToOwned::to_owned));
        self.messages.push(body);
        Ok("posted to the group".to_owned())
    }

    fn verify(&self, request: &Request, now: Timestamp) -> Result<(), (i64, String)> {
        if self.secret.is_empty() {
            return Ok(());
        }
        let fail = |message: &str| Err((code::SECURITY, message.to_owned()));
        let Some(timestamp) = request.query("timestamp") else {
            return fail("sign not match");
        };
        let signed_at = timestamp
            .parse()
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok());
        if signed_at.is_none_or(|at| now.duration_since(at).abs() > FRESH) {
            return fail("invalid timestamp");
        }
        if request.query("sign") != Some(&sign(&self.secret, timestamp)) {
            return fail("sign not match");
        }
        Ok(())
    }
}

/// `base64(HMAC-SHA256(secret, "{timestamp}\n{secret}"))`.
#[must_use]
pub fn sign(secret: &str, timestamp: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map(|mac| {
        mac.chain_update(format!("{timestamp}\n{secret}"))
            .finalize()
    });
    // An HMAC takes keys of any length (RFC 2104, section 2).
    mac.map(|mac| BASE64_STANDARD.encode(mac.into_bytes()))
        .unwrap_or_default()
}

/// The text that people see, where the message is whole.
fn shown_text(body: &Json) -> Result<String, (i64, String)> {
    let kind = body.get("msgtype").and_then(Json::as_str);
    let wanted: &[&str] = match kind {
        Some("text") => &["content"],
        Some("markdown" | "actionCard") => &["title", "text"],
        Some("link") => &["title", "text", "messageUrl"],
        Some("feedCard") => &["links"],
        Some(_) => return Err((code::MSGTYPE, "unsupported msgtype".to_owned())),
        None => return Err((code::MISSING, "missing parameter msgtype".to_owned())),
    };
    let content = kind.and_then(|kind| body.get(kind));
    let mut text = String::new();
    for name in wanted {
        let value = content.and_then(|content| content.get(name));
        match value {
            Some(Json::String(value)) if !value.is_empty() => text.push_str(value),
            Some(Json::Array(links)) if !links.is_empty() => {
                text.push_str(&json!(links).to_string());
            }
            _ => return Err((code::MISSING, format!("missing parameter {name}"))),
        }
    }
    Ok(text)
}

fn too_fast() -> (i64, String) {
    (
        code::TOO_FAST,
        "send too fast, exceed 20 times per minute".to_owned(),
    )
}

fn error(code: i64, message: &str) -> Answer {
    Answer::json(StatusCode::OK, &json!({"errcode": code, "errmsg": message}))
        .noted(format!("refused: {code} {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::request::tests::request;

    const NOW: i64 = 1_577_262_236_757;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn send(robot: &mut Dingtalk, signed_at: i64, body: &Json) -> i64 {
        send_at(robot, signed_at, NOW, body)
    }

    fn send_at(robot: &mut Dingtalk, signed_at: i64, now: i64, body: &Json) -> i64 {
        let sign = sign(&robot.secret, &signed_at.to_string());
        let sign: String = url::form_urlencoded::byte_serialize(sign.as_bytes()).collect();
        let target = format!(
            "/robot/send?access_token={}&timestamp={signed_at}&sign={sign}",
            robot.token
        );
        let answer = robot.answer(&request("POST", &target, "", body), at(now));
        assert_eq!(answer.status, StatusCode::OK);
        let body: Json = serde_json::from_str(&answer.body).unwrap();
        body["errcode"].as_i64().unwrap()
    }

    fn text(content: &str) -> Json {
        json!({"msgtype": "text", "text": {"content": content}})
    }

    #[test]
    fn the_signature_is_that_of_the_known_vector() {
        assert_eq!(
            sign("this is secret", "1577262236757"),
            "hmPWwU+7lVdm3ZZz0r9tSfx0L4Q26jWOZr9+Gs6EZQM="
        );
    }

    #[test]
    fn a_signature_must_match_and_be_of_this_hour() {
        let mut robot = Dingtalk::default();
        let hour = 3_600_000;
        assert_eq!(send(&mut robot, NOW, &text("a")), 0);
        assert_eq!(send(&mut robot, NOW - hour, &text("a")), 0);
        assert_eq!(send(&mut robot, NOW - hour - 1, &text("a")), code::SECURITY);
        assert_eq!(send(&mut robot, NOW + hour + 1, &text("a")), code::SECURITY);
        robot.secret = "another".into();
        let unsigned = format!("/robot/send?access_token={TOKEN}");
        let answer = robot.answer(&request("POST", &unsigned, "", &text("a")), at(NOW));
        assert!(answer.body.contains("310000"), "{}", answer.body);
        assert_eq!(robot.messages.len(), 2);
    }

    #[test]
    fn messages_are_whole_and_hold_a_keyword() {
        let mut robot = Dingtalk::default();
        let whole = json!({"msgtype": "markdown", "markdown": {"title": "t", "text": "x"}});
        let half = json!({"msgtype": "markdown", "markdown": {"text": "x"}});
        assert_eq!(send(&mut robot, NOW, &whole), 0);
        assert_eq!(send(&mut robot, NOW, &half), code::MISSING);
        assert_eq!(send(&mut robot, NOW, &json!({})), code::MISSING);
        assert_eq!(
            send(&mut robot, NOW, &json!({"msgtype": "x"})),
            code::MSGTYPE
        );
        robot.keywords = vec!["alert".into()];
        assert_eq!(send(&mut robot, NOW, &text("all is well")), code::SECURITY);
        assert_eq!(send(&mut robot, NOW, &text("an alert")), 0);
    }

    #[test]
    fn the_21st_message_of_a_minute_blocks_the_robot_for_ten() {
        let mut robot = Dingtalk::default();
        for _ in 0..20 {
            assert_eq!(send(&mut robot, NOW, &text("a")), 0);
        }
        let minute = 60_000_i64;
        let mut later = |minutes: i64| {
            let now = NOW + minutes * minute;
            send_at(&mut robot, now, now, &text("a"))
        };
        assert_eq!(later(0), code::TOO_FAST);
        assert_eq!(later(9), code::TOO_FAST);
        assert_eq!(later(10), 0);
    }

    #[test]
    fn one_msg_uuid_is_posted_once() {
        let mut robot = Dingtalk::default();
        let mut body = text("a");
        body["msgUuid"] = json!("one");
        assert_eq!(send(&mut robot, NOW, &body), 0);
        assert_eq!(send(&mut robot, NOW, &body), 0);
        assert_eq!(robot.messages.len(), 1);
    }
}
