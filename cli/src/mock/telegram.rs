//! A stand-in for Telegram's Bot API: `getMe` and `sendMessage`.
//!
//! An answer says in its body how long to wait. Who never started the bot, or has blocked it, gets no
//! message.
//!
//! Sources: <https://core.telegram.org/bots/api#making-requests>,
//! <https://core.telegram.org/bots/api#sendmessage>, <https://core.telegram.org/bots/faq> (about one
//! message a second for each chat, with short bursts: here 5 in 5 s; 30 a second in all). The texts of
//! `description` are those that clients have seen; they are not documented.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::answer::Answer;
use super::limits::{Limits, Rate};
use super::request::Request;
use super::stand_in::Api;

/// Where it listens.
pub(super) const PORT: u16 = 8098;
const PER_CHAT: Rate = Rate::new(5, Duration::from_secs(5));
const IN_ALL: Rate = Rate::new(30, Duration::from_secs(1));
/// The longest text, in characters.
const TEXT: usize = 4096;
/// Characters that `MarkdownV2` wants to be escaped wherever they stand.
const RESERVED: &str = ".!-+=#|{}";

const TOKEN: &str = "110201543:mock-telegram-token";
/// A user and a group.
const CHATS: [&str; 2] = ["777000", "-1001234567890"];

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  hookswitch mock telegram
  hookswitch mock telegram --chat 1001 --blocked 1002
  hookswitch mock telegram --rate 1/10s      says 429 with retry_after in the body soon";

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) options: super::Options,
    /// The bot's token
    #[arg(long, default_value = TOKEN)]
    token: String,
    /// A chat that has started the bot; can be given more than once
    #[arg(long = "chat", value_name = "ID", default_values = CHATS, allow_hyphen_values = true)]
    chats: Vec<String>,
    /// A chat that has blocked the bot; can be given more than once
    #[arg(long = "blocked", value_name = "ID", allow_hyphen_values = true)]
    blocked: Vec<String>,
}

impl Args {
    pub(super) fn api(self) -> Telegram {
        let open = self.chats.into_iter().map(|id| (id, Chat::Open));
        let blocked = self.blocked.into_iter().map(|id| (id, Chat::Blocked));
        Telegram {
            token: self.token,
            chats: open.chain(blocked).collect(),
            ..Telegram::default()
        }
    }
}

/// How a chat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chat {
    /// It has started the bot.
    Open,
    /// It has blocked the bot.
    Blocked,
    /// It never started the bot.
    NeverStarted,
}

/// A bot.
#[derive(Debug)]
pub struct Telegram {
    /// Its token.
    pub token: String,
    /// The chats that there are, by id or @name.
    pub chats: BTreeMap<String, Chat>,
    /// Chat and text of what was sent.
    pub messages: Vec<(String, String)>,
    per_chat: Limits,
    in_all: Limits,
}

impl Default for Telegram {
    fn default() -> Self {
        Self {
            token: TOKEN.to_owned(),
            chats: CHATS.map(|id| (id.to_owned(), Chat::Open)).into(),
            messages: Vec::new(),
            per_chat: Limits::new(PER_CHAT),
            in_all: Limits::new(IN_ALL),
        }
    }
}

impl Api for Telegram {
    fn name(&self) -> &'static str {
        "Telegram"
    }

    fn hint(&self) -> String {
        let chats: Vec<&str> = self.chats.keys().map(String::as_str).collect();
        format!("  token  {}\n  chats  {}", self.token, chats.join(" "))
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        let [_, bot, method] = *request.route() else {
            return error(StatusCode::NOT_FOUND, "Not Found");
        };
        if bot.strip_prefix("bot") != Some(&self.token) {
            return error(StatusCode::UNAUTHORIZED, "Unauthorized");
        }
        match method.to_ascii_lowercase().as_str() {
            "getme" => ok(&json!({
                "id": 110_201_543, "is_bot": true, "first_name": "Mock", "username": "mock_bot",
            })),
            "sendmessage" => self.send(request, now),
            _ => error(StatusCode::NOT_FOUND, "Not Found"),
        }
    }

    fn limited(&mut self, _: &Request, wait: Duration) -> Answer {
        let seconds = wait.as_secs();
        Answer::json(
            StatusCode::TOO_MANY_REQUESTS,
            &json!({
                "ok": false,
                "error_code": 429,
                "description": format!("Too Many Requests: retry after {seconds}"),
                "parameters": {"retry_after": seconds},
            }),
        )
    }

    fn broken(&mut self, _: &Request) -> Answer {
        error(StatusCode::BAD_GATEWAY, "Bad Gateway")
    }

    fn limit(&mut self, rate: Rate) {
        self.per_chat.set(rate);
    }

    fn shown(&self, request: &Request) -> String {
        match *request.route() {
            [_, _, method] => format!("/bot(token)/{method}"),
            _ => "/(hidden)".to_owned(),
        }
    }
}

impl Telegram {
    fn send(&mut self, request: &Request, now: Timestamp) -> Answer {
        let bad = |what: &str| error(StatusCode::BAD_REQUEST, &format!("Bad Request: {what}"));
        // Parameters may stand in the query, in a form or in JSON.
        let body: Json = if request.is("application/json") {
            match request.json() {
                Some(body) => body,
                None => return bad("can't parse JSON object"),
            }
        } else {
            let pairs = request.form().into_iter().chain(request.query_pairs());
            pairs
                .map(|(name, value)| (name, Json::from(value)))
                .collect()
        };
        let chat = match body.get("chat_id") {
            Some(Json::String(id)) if !id.is_empty() => id.clone(),
            Some(Json::Number(id)) => id.to_string(),
            _ => return bad("chat_id is empty"),
        };
        match self.chats.get(&chat) {
            Some(Chat::Open) => {}
            Some(Chat::Blocked) => {
                return error(
                    StatusCode::FORBIDDEN,
                    "Forbidden: bot was blocked by the user",
                );
            }
            Some(Chat::NeverStarted) => {
                let text = "Forbidden: bot can't initiate conversation with a user";
                return error(StatusCode::FORBIDDEN, text);
            }
            None => return bad("chat not found"),
        }
        let text = body.get("text").and_then(Json::as_str).unwrap_or_default();
        if text.trim().is_empty() {
            return bad("message text is empty");
        }
        if text.chars().count() > TEXT {
            return bad("message is too long");
        }
        match body.get("parse_mode").and_then(Json::as_str) {
            None | Some("" | "HTML" | "Markdown") => {}
            Some("MarkdownV2") => {
                if let Some(character) = unescaped(text) {
                    return bad(&format!(
                        "can't parse entities: Character '{character}' is reserved and must be escaped with the preceding '\\'"
                    ));
                }
            }
            Some(_) => return bad("unsupported parse_mode"),
        }
        let taken = self
            .in_all
            .take("", now)
            .and_then(|()| self.per_chat.take(&chat, now));
        if let Err(wait) = taken {
            return self.limited(request, wait);
        }
        self.messages.push((chat.clone(), text.to_owned()));
        let number = self.messages.len();
        ok(&json!({
            "message_id": number,
            "date": now.as_second(),
            "chat": {"id": chat.parse::<i64>().map_or_else(|_| json!(chat), Json::from), "type": "private"},
            "text": text,
        }))
        .noted(format!("message {number} sent to {chat}"))
    }
}

/// The first reserved character of `MarkdownV2` that is not escaped.
fn unescaped(text: &str) -> Option<char> {
    let mut escaped = false;
    for character in text.chars() {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if RESERVED.contains(character) {
            return Some(character);
        }
    }
    None
}

fn ok(result: &Json) -> Answer {
    Answer::json(StatusCode::OK, &json!({"ok": true, "result": result}))
}

fn error(status: StatusCode, description: &str) -> Answer {
    Answer::json(
        status,
        &json!({"ok": false, "error_code": status.as_u16(), "description": description}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::request::tests::request;

    fn send(bot: &mut Telegram, body: &Json) -> (u16, Json) {
        let target = format!("/bot{}/sendMessage", bot.token);
        let answer = bot.answer(&request("POST", &target, "", body), Timestamp::UNIX_EPOCH);
        (
            answer.status.as_u16(),
            serde_json::from_str(&answer.body).unwrap(),
        )
    }

    #[test]
    fn only_who_has_started_the_bot_gets_its_messages() {
        let mut bot = Telegram::default();
        bot.chats.insert("1".into(), Chat::Blocked);
        bot.chats.insert("2".into(), Chat::NeverStarted);
        let mut to = |chat: Json| send(&mut bot, &json!({"chat_id": chat, "text": "hi"})).0;
        assert_eq!(to(json!(777_000)), 200);
        assert_eq!(to(json!("777000")), 200);
        assert_eq!(to(json!("1")), 403);
        assert_eq!(to(json!("2")), 403);
        assert_eq!(to(json!("3")), 400);
        assert_eq!(bot.messages.len(), 2);
    }

    #[test]
    fn a_text_has_its_length_and_its_escapes() {
        let mut bot = Telegram::default();
        let mut text = |text: &str, mode: &str| {
            send(
                &mut bot,
                &json!({"chat_id": 777_000, "text": text, "parse_mode": mode}),
            )
            .0
        };
        assert_eq!(text(&"é".repeat(TEXT), ""), 200);
        assert_eq!(text(&"é".repeat(TEXT + 1), ""), 400);
        assert_eq!(text("", ""), 400);
        assert_eq!(text("a.b", "MarkdownV2"), 400);
        assert_eq!(text("a\\.b", "MarkdownV2"), 200);
        assert_eq!(text("a", "Text"), 400);
    }

    #[test]
    fn who_is_too_fast_is_told_in_the_body_when_to_come_again() {
        let mut bot = Telegram::default();
        let message = json!({"chat_id": 777_000, "text": "hi"});
        for _ in 0..5 {
            assert_eq!(send(&mut bot, &message).0, 200);
        }
        let (status, body) = send(&mut bot, &message);
        assert_eq!(status, 429);
        assert_eq!(body["parameters"]["retry_after"], 5);
        let elsewhere = json!({"chat_id": -1_001_234_567_890_i64, "text": "hi"});
        assert_eq!(send(&mut bot, &elsewhere).0, 200);
    }

    #[test]
    fn a_wrong_token_is_refused_and_no_token_is_shown() {
        let mut bot = Telegram::default();
        let wrong = request("POST", "/bot1:wrong/sendMessage", "", &json!({}));
        assert_eq!(bot.answer(&wrong, Timestamp::UNIX_EPOCH).status, 401);
        assert_eq!(bot.shown(&wrong), "/bot(token)/sendMessage");
    }
}
