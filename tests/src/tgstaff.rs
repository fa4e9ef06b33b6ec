//! TG-Staff's API as far as a write-back needs it: an authenticated POST sends a message into a
//! conversation, and each message fires the `message.received` webhook. That is the other half of an
//! A→B→A loop. The real API's paths are not published; these are the test's own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::sender::{Sender, message_received};

/// The stand-in, with its own webhook sender.
#[derive(Debug)]
pub struct TgStaff {
    /// Where the API listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    token: String,
    sender_type: String,
    sent: AtomicU64,
    storm_limit: u64,
    webhook: OnceLock<Sender>,
    fire: mpsc::UnboundedSender<Value>,
}

impl TgStaff {
    /// Starts the API. Messages sent through it fire events whose `sender_type` is `sender_type`.
    /// After `storm_limit` messages it refuses more, so that a loop that nothing stops ends.
    pub async fn start(token: &str, sender_type: &str, storm_limit: u64) -> Self {
        let (fire, mut fired) = mpsc::unbounded_channel::<Value>();
        let shared = Arc::new(Shared {
            token: format!("Bearer {token}"),
            sender_type: sender_type.to_owned(),
            sent: AtomicU64::new(0),
            storm_limit,
            webhook: OnceLock::new(),
            fire,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let router = Router::new()
            .route("/messages", post(send_message))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the API serves");
        });
        let hooks = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Some(event) = fired.recv().await {
                    if let Some(webhook) = shared.webhook.get() {
                        webhook.send(&event).await;
                    }
                }
            }
        });
        Self {
            address,
            shared,
            tasks: vec![server, hooks],
        }
    }

    /// Sets where webhooks go.
    pub fn webhook(&self, sender: Sender) {
        self.shared
            .webhook
            .set(sender)
            .expect("the webhook is set once");
    }

    /// The API's base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Messages sent through the API.
    #[must_use]
    pub fn messages_sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

impl Drop for TgStaff {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Strict: a token, a conversation and a text, or it is refused.
async fn send_message(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(message): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let refuse = |status, error: &str| (status, Json(json!({"error": error})));
    if headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        != Some(shared.token.as_str())
    {
        return refuse(StatusCode::UNAUTHORIZED, "invalid token");
    }
    let (Some(conversation), Some(text)) = (
        message.get("conversation_id").and_then(Value::as_str),
        message
            .get("text")
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty()),
    ) else {
        return refuse(
            StatusCode::UNPROCESSABLE_ENTITY,
            "conversation_id and text are required",
        );
    };
    let number = shared.sent.fetch_add(1, Ordering::SeqCst) + 1;
    if number > shared.storm_limit {
        return refuse(StatusCode::FORBIDDEN, "the account is suspended");
    }
    let event = message_received(
        &format!("api-{number}"),
        conversation,
        &shared.sender_type,
        text,
    );
    shared
        .fire
        .send(event)
        .expect("the webhook task lives as long as the API");
    (StatusCode::OK, Json(json!({"message_id": number})))
}
