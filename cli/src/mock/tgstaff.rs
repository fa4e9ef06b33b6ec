//! A stand-in for TG-Staff's own API: messages, bulk messages, tags and profiles of users.
//!
//! TG-Staff does not publish its API's paths, keys or limits: those here are the stand-in's own, and
//! what routes of Hookswitch send must be compared with the real one. What is sure is that a message
//! that is sent through the API comes back as a `message.received` webhook: with `--webhook` this does
//! it too, signed, and repeated as TG-Staff says that it repeats.
//!
//! ```text
//! POST /messages              {"conversation_id", "text"}     one message
//! POST /messages/bulk         {"user_ids": [...], "text"}     one each
//! POST /users/ID/tags         {"tags": [...]}                 added to those there are
//! GET  /users/ID                                              the profile
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::StatusCode;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use sha2::Sha256;
use tokio::sync::mpsc;

use super::answer::Answer;
use super::limits::{Limits, Rate};
use super::request::Request;
use super::stand_in::Api;

/// Where it listens.
pub(super) const PORT: u16 = 8099;
const LIMIT: Rate = Rate::new(10, Duration::from_secs(1));
/// How long TG-Staff waits for an answer, and after which times it repeats: its integration guide.
const PATIENCE: Duration = Duration::from_secs(5);
const REPEATS: [Duration; 3] = [
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(5),
];
/// The most users of a bulk message.
const BULK: usize = 1000;

const TOKEN: &str = "mock-tgstaff-token";
/// The user of the events that `hookswitch send` makes.
const USER: &str = "777000";

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  hookswitch mock tgstaff
  hookswitch mock tgstaff --webhook http://127.0.0.1:8080/support/tg-staff --signing-key KEY
                                             messages come back as webhooks: try the loop guard";

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) options: super::Options,
    /// The API's token
    #[arg(long, default_value = TOKEN)]
    token: String,
    /// Where webhooks go for what is sent through the API
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// The key that webhooks are signed with
    #[arg(long, value_name = "KEY", requires = "webhook")]
    signing_key: Option<String>,
    /// Who such a message is from, in its webhook
    #[arg(
        long,
        default_value = "agent",
        value_name = "TYPE",
        requires = "webhook"
    )]
    sender_type: String,
}

impl Args {
    pub(super) fn api(self) -> TgStaff {
        let mut api = TgStaff {
            token: self.token,
            sender_type: self.sender_type,
            ..TgStaff::default()
        };
        if let Some(url) = self.webhook {
            api.call_back(url, self.signing_key);
        }
        api
    }
}

/// A project.
#[derive(Debug)]
pub struct TgStaff {
    /// The API's token.
    pub token: String,
    /// Conversation, or user for a bulk message, and text of what was sent.
    pub messages: Vec<(String, String)>,
    /// Tags by user.
    pub tags: BTreeMap<String, BTreeSet<String>>,
    /// Profiles by user.
    pub profiles: BTreeMap<String, Json>,
    /// Who a message that was sent through the API is from, in its webhook.
    pub sender_type: String,
    webhooks: Option<mpsc::UnboundedSender<Json>>,
    limits: Limits,
}

impl Default for TgStaff {
    fn default() -> Self {
        let profile = json!({
            "id": USER,
            "username": "alice",
            "first_name": "Alice",
            "language": "en",
            "tags": ["customer"],
            "country": "DE",
        });
        Self {
            token: TOKEN.to_owned(),
            messages: Vec::new(),
            tags: BTreeMap::new(),
            profiles: BTreeMap::from([(USER.to_owned(), profile)]),
            sender_type: "agent".to_owned(),
            webhooks: None,
            limits: Limits::new(LIMIT),
        }
    }
}

impl Api for TgStaff {
    fn name(&self) -> &'static str {
        "TG-Staff"
    }

    fn hint(&self) -> String {
        format!("  token  {}", self.token)
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        if request.bearer() != Some(&self.token) {
            return error(StatusCode::UNAUTHORIZED, "invalid token");
        }
        if let Err(wait) = self.limits.take("", now) {
            return self.limited(request, wait);
        }
        let body = request.json().unwrap_or_default();
        match *request.route() {
            ["GET", "users", id] => self.profile(id),
            ["POST", ..] if !request.is("application/json") || !body.is_object() => error(
                StatusCode::UNPROCESSABLE_ENTITY,
                "the body is not a JSON object",
            ),
            ["POST", "messages"] => self.send(&body, now),
            ["POST", "messages", "bulk"] => self.send_bulk(&body),
            ["POST", "users", id, "tags"] => self.tag(id, &body),
            _ => error(StatusCode::NOT_FOUND, "no such resource"),
        }
    }

    fn limited(&mut self, _: &Request, wait: Duration) -> Answer {
        error(StatusCode::TOO_MANY_REQUESTS, "too many requests")
            .with("retry-after", wait.as_secs().to_string())
    }

    fn broken(&mut self, _: &Request) -> Answer {
        error(StatusCode::BAD_GATEWAY, "bad gateway")
    }

    fn limit(&mut self, rate: Rate) {
        self.limits.set(rate);
    }
}

impl TgStaff {
    /// Sends a webhook for each message from now on, signed where there is a key. Needs tokio.
    pub fn call_back(&mut self, url: impl Into<String>, key: Option<String>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.webhooks = Some(sender);
        tokio::spawn(send_webhooks(url.into(), key, receiver));
    }

    fn send(&mut self, body: &Json, now: Timestamp) -> Answer {
        let text = |name: &str| body.get(name).and_then(Json::as_str).unwrap_or_default();
        let (conversation, message) = (text("conversation_id"), text("text"));
        if conversation.is_empty() || message.is_empty() {
            return error(
                StatusCode::UNPROCESSABLE_ENTITY,
                "conversation_id and text are required",
            );
        }
        self.messages
            .push((conversation.to_owned(), message.to_owned()));
        let number = self.messages.len();
        if let Some(webhooks) = &self.webhooks {
            // Where the task is gone, the program ends.
            drop(webhooks.send(json!({
                "event_type": "message.received",
                "event_id": format!("mock-{}-{number}", now.as_millisecond()),
                "conversation_id": conversation,
                "sender_type": self.sender_type,
                "timestamp": now.to_string(),
                "text": message,
            })));
        }
        Answer::json(StatusCode::OK, &json!({"message_id": number}))
            .noted(format!("message {number} sent to {conversation}"))
    }

    fn send_bulk(&mut self, body: &Json) -> Answer {
        let text = body.get("text").and_then(Json::as_str).unwrap_or_default();
        let users = body.get("user_ids").and_then(Json::as_array);
        let users: Option<Vec<String>> = users.and_then(|users| users.iter().map(id).collect());
        match users {
            Some(users) if !text.is_empty() && (1..=BULK).contains(&users.len()) => {
                let count = users.len();
                self.messages
                    .extend(users.into_iter().map(|user| (user, text.to_owned())));
                Answer::json(StatusCode::OK, &json!({"accepted": count}))
                    .noted(format!("sent to {count} users"))
            }
            _ => error(
                StatusCode::UNPROCESSABLE_ENTITY,
                "user_ids, 1 to 1000 of them, and text are required",
            ),
        }
    }

    fn tag(&mut self, user: &str, body: &Json) -> Answer {
        let tags = body.get("tags").and_then(Json::as_array);
        let tags: Option<Vec<String>> = tags.and_then(|tags| {
            tags.iter()
                .map(|tag| {
                    tag.as_str()
                        .filter(|tag| !tag.is_empty())
                        .map(ToOwned::to_owned)
                })
                .collect()
        });
        let Some(tags) = tags else {
            return error(StatusCode::UNPROCESSABLE_ENTITY, "tags is a list of text");
        };
        if !self.profiles.contains_key(user) {
            return error(StatusCode::NOT_FOUND, "no such user");
        }
        let all = self.tags.entry(user.to_owned()).or_default();
        all.extend(tags);
        Answer::json(StatusCode::OK, &json!({"tags": all})).noted(format!("user {user} tagged"))
    }

    fn profile(&self, user: &str) -> Answer {
        self.profiles.get(user).map_or_else(
            || error(StatusCode::NOT_FOUND, "no such user"),
            |profile| {
                Answer::json(StatusCode::OK, profile).noted(format!("the profile of {user} read"))
            },
        )
    }
}

/// An id as text.
fn id(value: &Json) -> Option<String> {
    match value {
        Json::String(id) if !id.is_empty() => Some(id.clone()),
        Json::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

fn error(status: StatusCode, error: &str) -> Answer {
    Answer::json(status, &json!({"error": error}))
}

/// Sends each as TG-Staff does, until the API is gone. One after the other: the first may hold back
/// the next, as in a queue.
async fn send_webhooks(
    url: String,
    key: Option<String>,
    mut events: mpsc::UnboundedReceiver<Json>,
) {
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .no_proxy()
        .build();
    let Ok(client) = client else { return };
    while let Some(event) = events.recv().await {
        let body = event.to_string();
        for wait in std::iter::once(Duration::ZERO).chain(REPEATS) {
            tokio::time::sleep(wait).await;
            let mut request = client
                .post(&url)
                .header("content-type", "application/json")
                .body(body.clone());
            if let Some(key) = &key {
                request = request.header("x-tg-staff-signature", sign(key, body.as_bytes()));
            }
            let answer = request.send().await;
            if answer.is_ok_and(|answer| answer.status() == reqwest::StatusCode::OK) {
                break;
            }
        }
    }
}

/// The hex HMAC-SHA256 of a body.
fn sign(key: &str, body: &[u8]) -> String {
    Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .map(|mac| hex::encode(mac.chain_update(body).finalize().into_bytes()))
        // An HMAC takes keys of any length (RFC 2104, section 2).
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::request::tests::request;

    fn send(api: &mut TgStaff, method: &str, path: &str, body: &Json) -> u16 {
        let request = request(method, path, "Bearer mock-tgstaff-token", body);
        api.answer(&request, Timestamp::UNIX_EPOCH).status.as_u16()
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let mut api = TgStaff::default();
        let message = json!({"conversation_id": "c-1", "text": "hi"});
        assert_eq!(send(&mut api, "POST", "/messages", &message), 200);
        let empty = json!({"conversation_id": "c-1", "text": ""});
        assert_eq!(send(&mut api, "POST", "/messages", &empty), 422);
        let bulk = json!({"user_ids": ["1", 2], "text": "hi"});
        assert_eq!(send(&mut api, "POST", "/messages/bulk", &bulk), 200);
        let nobody = json!({"user_ids": [], "text": "hi"});
        assert_eq!(send(&mut api, "POST", "/messages/bulk", &nobody), 422);
        assert_eq!(api.messages.len(), 3);
        let wrong = request("GET", "/users/777000", "Bearer wrong", &Json::Null);
        assert_eq!(api.answer(&wrong, Timestamp::UNIX_EPOCH).status, 401);
    }

    #[test]
    fn tags_are_added_to_a_user_that_there_is() {
        let mut api = TgStaff::default();
        let tags = json!({"tags": ["vip"]});
        assert_eq!(send(&mut api, "POST", "/users/777000/tags", &tags), 200);
        assert_eq!(send(&mut api, "POST", "/users/1/tags", &tags), 404);
        assert_eq!(send(&mut api, "GET", "/users/777000", &Json::Null), 200);
        assert!(api.tags["777000"].contains("vip"));
    }
}
