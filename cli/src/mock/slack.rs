//! A stand-in for Slack: incoming webhooks, and `chat.postMessage` of the Web API.
//!
//! What the two say no with differs: a webhook with a status and a word of plain text, the Web API
//! with 200 and `"ok": false`.
//!
//! Sources: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/>,
//! <https://api.slack.com/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks>,
//! <https://docs.slack.dev/reference/methods/chat.postMessage/>,
//! <https://docs.slack.dev/apis/web-api/rate-limits/>. "About one message a second for each channel,
//! and short bursts" is here 5 in 5 s.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::answer::Answer;
use super::limits::{Limits, Rate};
use super::request::{Request, find};
use super::stand_in::Api;

/// Where it listens.
pub(super) const PORT: u16 = 8091;
const LIMIT: Rate = Rate::new(5, Duration::from_secs(5));
/// The longest text of the Web API, in characters.
const TEXT: usize = 40_000;
const BLOCKS: usize = 50;
const ATTACHMENTS: usize = 100;

const TOKEN: &str = "xoxb-mock-token";
const WEBHOOK: &str = "/services/T0001/B0001/mock-webhook-secret";

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  hookswitch mock slack
  hookswitch mock slack --channel '#alerts' --channel C024BE91L
  hookswitch mock slack --rate 1/10s         says 429 soon, to watch Retry-After being kept
  hookswitch mock slack --lose-rate 0.5      posts and does not answer, to watch ambiguous attempts";

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) options: super::Options,
    /// The bot's token
    #[arg(long, default_value = TOKEN)]
    token: String,
    /// The path of the incoming webhook
    #[arg(long, default_value = WEBHOOK, value_name = "PATH")]
    webhook: String,
    /// A channel that the bot is in; can be given more than once
    #[arg(long = "channel", value_name = "NAME", default_values = ["#ops", "#qa", "#support"])]
    channels: Vec<String>,
}

impl Args {
    pub(super) fn api(self) -> Slack {
        Slack {
            token: self.token,
            webhook: self.webhook,
            channels: self
                .channels
                .into_iter()
                .map(|name| (name, Channel::Open))
                .collect(),
            ..Slack::default()
        }
    }
}

/// How a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The bot may post.
    Open,
    /// It was archived.
    Archived,
    /// It exists, and the bot is not in it.
    NotJoined,
}

/// A message that was posted.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its channel; that of the webhook is `#webhook`.
    pub channel: String,
    /// Its text; empty where there are only blocks.
    pub text: String,
    /// All that was sent.
    pub body: Json,
}

/// A workspace.
#[derive(Debug)]
pub struct Slack {
    /// The bot's token.
    pub token: String,
    /// The path of the incoming webhook.
    pub webhook: String,
    /// The channels that there are.
    pub channels: BTreeMap<String, Channel>,
    /// What was posted.
    pub messages: Vec<Message>,
    limits: Limits,
}

impl Default for Slack {
    fn default() -> Self {
        let channels = ["#ops", "#qa", "#support"];
        Self {
            token: TOKEN.to_owned(),
            webhook: WEBHOOK.to_owned(),
            channels: channels.map(|name| (name.to_owned(), Channel::Open)).into(),
            messages: Vec::new(),
            limits: Limits::new(LIMIT),
        }
    }
}

impl Api for Slack {
    fn name(&self) -> &'static str {
        "Slack"
    }

    fn hint(&self) -> String {
        let channels: Vec<&str> = self.channels.keys().map(String::as_str).collect();
        format!(
            "  webhook   {}\n  token     {}\n  channels  {}",
            self.webhook,
            self.token,
            channels.join(" ")
        )
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        match *request.route() {
            [_, "services", ..] => self.post_to_webhook(request, now),
            ["POST" | "GET", "api", method] => self.call(method, request, now),
            _ => Answer::text(StatusCode::NOT_FOUND, "not found"),
        }
    }

    fn limited(&mut self, request: &Request, wait: Duration) -> Answer {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let answer = if is_webhook(request) {
            Answer::text(status, "rate_limited")
        } else {
            Answer::json(status, &json!({"ok": false, "error": "ratelimited"}))
        };
        answer.with("retry-after", wait.as_secs().to_string())
    }

    fn broken(&mut self, request: &Request) -> Answer {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        if is_webhook(request) {
            Answer::text(status, "rollup_error")
        } else {
            Answer::json(status, &json!({"ok": false, "error": "internal_error"}))
        }
    }

    fn limit(&mut self, rate: Rate) {
        self.limits.set(rate);
    }

    fn shown(&self, request: &Request) -> String {
        if is_webhook(request) {
            "/services/(secret)".to_owned()
        } else {
            request.target.clone()
        }
    }
}

fn is_webhook(request: &Request) -> bool {
    matches!(*request.route(), [_, "services", ..])
}

impl Slack {
    fn post_to_webhook(&mut self, request: &Request, now: Timestamp) -> Answer {
        if request.target != self.webhook {
            return Answer::text(StatusCode::NOT_FOUND, "no_service");
        }
        let payload = if request.is("application/x-www-form-urlencoded") {
            let form = request.form();
            find(&form, "payload").and_then(|payload| serde_json::from_str(payload).ok())
        } else {
            request.json()
        };
        let Some(body @ Json::Object(_)) = payload else {
            return Answer::text(StatusCode::BAD_REQUEST, "invalid_payload");
        };
        if let Err(error) = content(&body) {
            return Answer::text(StatusCode::BAD_REQUEST, error);
        }
        if let Err(wait) = self.limits.take("#webhook", now) {
            return self.limited(request, wait);
        }
        let note = self.post("#webhook", body);
        Answer::text(StatusCode::OK, "ok").noted(note)
    }

    fn call(&mut self, method: &str, request: &Request, now: Timestamp) -> Answer {
        let body = if request.is("application/json") {
            request.json().filter(Json::is_object).ok_or("invalid_json")
        } else if request.is("application/x-www-form-urlencoded") {
            let pairs = request.form().into_iter();
            Ok(pairs
                .map(|(name, value)| (name, Json::from(value)))
                .collect())
        } else if request.body.is_empty() {
            Ok(json!({}))
        } else {
            Err("invalid_post_type")
        };
        let token = request.bearer().map(ToOwned::to_owned).or_else(|| {
            let token = body.as_ref().ok()?.get("token")?;
            token.as_str().map(ToOwned::to_owned)
        });
        let result = match (method, token, body) {
            ("api.test", _, Ok(_)) => return ok(&json!({"ok": true})),
            ("chat.postMessage" | "auth.test", None, _) => Err("not_authed"),
            ("chat.postMessage" | "auth.test", Some(token), _) if token != self.token => {
                Err("invalid_auth")
            }
            ("auth.test", _, Ok(_)) => {
                return ok(
                    &json!({"ok": true, "url": "https://mock.slack.com/", "team": "Mock", "user": "bot", "team_id": "T0001", "user_id": "U0001"}),
                );
            }
            ("chat.postMessage", _, Ok(body)) => self.check(&body).map(|channel| (channel, body)),
            ("chat.postMessage" | "auth.test", _, Err(error)) => Err(error),
            _ => Err("unknown_method"),
        };
        let (channel, body) = match result {
            Ok(found) => found,
            Err(error) => {
                return ok(&json!({"ok": false, "error": error}))
                    .noted(format!("refused: {error}"));
            }
        };
        if let Err(wait) = self.limits.take(&channel, now) {
            return self.limited(request, wait);
        }
        let text = body.get("text").cloned().unwrap_or_else(|| json!(""));
        let note = self.post(&channel, body);
        let ts = format!("{}.{:06}", now.as_second(), self.messages.len());
        let mut answer = json!({
            "ok": true,
            "channel": channel,
            "ts": ts,
            "message": {"type": "message", "subtype": "bot_message", "text": text, "ts": ts},
        });
        let charset = request.header("content-type").unwrap_or_default();
        if request.is("application/json")
            && !charset.contains("charset")
            && let Some(answer) = answer.as_object_mut()
        {
            answer.insert("warning".to_owned(), json!("missing_charset"));
            let warnings = json!({"warnings": ["missing_charset"]});
            answer.insert("response_metadata".to_owned(), warnings);
        }
        ok(&answer).noted(note)
    }

    /// The channel, where the message may be posted to it.
    fn check(&self, body: &Json) -> Result<String, &'static str> {
        let channel = body
            .get("channel")
            .and_then(Json::as_str)
            .unwrap_or_default();
        match self.channels.get(channel) {
            None => return Err("channel_not_found"),
            Some(Channel::Archived) => return Err("is_archived"),
            Some(Channel::NotJoined) => return Err("not_in_channel"),
            Some(Channel::Open) => {}
        }
        content(body)?;
        if text(body).chars().count() > TEXT {
            return Err("msg_too_long");
        }
        Ok(channel.to_owned())
    }

    fn post(&mut self, channel: &str, body: Json) -> String {
        let text = text(&body).to_owned();
        self.messages.push(Message {
            channel: channel.to_owned(),
            text,
            body,
        });
        format!("posted to {channel}")
    }
}

fn text(body: &Json) -> &str {
    body.get("text").and_then(Json::as_str).unwrap_or_default()
}

/// Whether there is something to show.
fn content(body: &Json) -> Result<(), &'static str> {
    let count = |name| body.get(name).and_then(Json::as_array).map_or(0, Vec::len);
    if body.get("text").is_some_and(|text| !text.is_string()) {
        return Err("invalid_payload");
    }
    if count("attachments") > ATTACHMENTS {
        return Err("too_many_attachments");
    }
    if count("blocks") > BLOCKS {
        return Err("invalid_blocks");
    }
    if text(body).is_empty() && count("blocks") == 0 && count("attachments") == 0 {
        return Err("no_text");
    }
    Ok(())
}

fn ok(body: &Json) -> Answer {
    Answer::json(StatusCode::OK, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::request::tests::request;

    fn webhook(slack: &mut Slack, body: &Json) -> (u16, String) {
        let answer = slack.answer(&request("POST", WEBHOOK, "", body), Timestamp::UNIX_EPOCH);
        (answer.status.as_u16(), answer.body)
    }

    fn call(slack: &mut Slack, token: &str, body: &Json) -> Json {
        let request = request("POST", "/api/chat.postMessage", token, body);
        let answer = slack.answer(&request, Timestamp::UNIX_EPOCH);
        assert_eq!(answer.status, StatusCode::OK);
        serde_json::from_str(&answer.body).unwrap()
    }

    #[test]
    fn a_webhook_says_no_with_a_status_and_a_word() {
        let mut slack = Slack::default();
        let mut send = |body| webhook(&mut slack, &body);
        assert_eq!(send(json!({"text": "hi"})), (200, "ok".to_owned()));
        assert_eq!(send(json!({"text": ""})), (400, "no_text".to_owned()));
        assert_eq!(
            send(json!({"text": 1})),
            (400, "invalid_payload".to_owned())
        );
        assert_eq!(send(json!([])), (400, "invalid_payload".to_owned()));
        let elsewhere = request("POST", "/services/T/B/wrong", "", &json!({"text": "hi"}));
        let answer = slack.answer(&elsewhere, Timestamp::UNIX_EPOCH);
        assert_eq!((answer.status.as_u16(), &*answer.body), (404, "no_service"));
        assert_eq!(slack.messages.len(), 1);
    }

    #[test]
    fn the_web_api_says_no_with_200() {
        let mut slack = Slack::default();
        slack.channels.insert("#old".into(), Channel::Archived);
        slack.channels.insert("#hr".into(), Channel::NotJoined);
        let token = format!("Bearer {TOKEN}");
        let mut error = |token: &str, body: Json| {
            let answer = call(&mut slack, token, &body);
            answer["error"].as_str().unwrap_or("none").to_owned()
        };
        let message = |channel: &str| json!({"channel": channel, "text": "hi"});
        assert_eq!(error("", message("#ops")), "not_authed");
        assert_eq!(error("Bearer wrong", message("#ops")), "invalid_auth");
        assert_eq!(error(&token, message("#none")), "channel_not_found");
        assert_eq!(error(&token, message("#old")), "is_archived");
        assert_eq!(error(&token, message("#hr")), "not_in_channel");
        assert_eq!(error(&token, json!({"channel": "#ops"})), "no_text");
        let long = "x".repeat(TEXT + 1);
        let long = json!({"channel": "#ops", "text": long});
        assert_eq!(error(&token, long), "msg_too_long");
        assert_eq!(error(&token, message("#ops")), "none");
        assert_eq!(slack.messages.len(), 1);
    }

    #[test]
    fn each_channel_has_its_limit() {
        let mut slack = Slack::default();
        slack.limit(Rate::new(1, Duration::from_secs(30)));
        let request = |channel: &str| {
            let body = json!({"channel": channel, "text": "hi"});
            request(
                "POST",
                "/api/chat.postMessage",
                "Bearer xoxb-mock-token",
                &body,
            )
        };
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(slack.answer(&request("#ops"), now).status, StatusCode::OK);
        let second = slack.answer(&request("#ops"), now);
        assert_eq!(second.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(second.headers, [("retry-after", "30".to_owned())]);
        assert_eq!(slack.answer(&request("#qa"), now).status, StatusCode::OK);
    }
}
