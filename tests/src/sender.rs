//! A sender that behaves as TG-Staff says it does (its integration guide): POST, an HMAC-SHA256 of
//! the raw body in `X-TG-Staff-Signature`, 5 s for the answer, and three repeats of what was not
//! answered 200.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// The sender's own patience.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Sends signed events to one URL.
#[derive(Debug, Clone)]
pub struct Sender {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Sender {
    /// One that signs with `key`.
    #[must_use]
    pub fn new(url: impl Into<String>, key: &str) -> Self {
        crypto();
        Self {
            client: reqwest::Client::builder()
                .timeout(PATIENCE)
                .no_proxy()
                .build()
                .expect("a client"),
            url: url.into(),
            key: key.to_owned(),
        }
    }

    /// The same sender after the receiver moved.
    #[must_use]
    pub fn at(&self, url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..self.clone()
        }
    }

    /// Sends once; `None` where nothing was answered.
    pub async fn send(&self, event: &Value) -> Option<u16> {
        self.send_raw(event.to_string()).await
    }

    /// Sends these bytes once, signed.
    pub async fn send_raw(&self, body: String) -> Option<u16> {
        let request = self
            .client
            .post(&self.url)
            .header("X-TG-Staff-Signature", sign(&self.key, body.as_bytes()))
            .header("Content-Type", "application/json")
            .body(body);
        Some(request.send().await.ok()?.status().as_u16())
    }

    /// Sends without a signature.
    pub async fn send_unsigned(&self, body: String) -> Option<u16> {
        let request = self
            .client
            .post(&self.url)
            .header("Content-Type", "application/json")
            .body(body);
        Some(request.send().await.ok()?.status().as_u16())
    }
}

/// The hex HMAC-SHA256 of a body.
#[must_use]
pub fn sign(key: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// A `conversation.created` with its number in it.
#[must_use]
pub fn conversation_created(number: usize) -> Value {
    json!({
        "event_type": "conversation.created",
        "event_id": format!("evt-{number}"),
        "conversation_id": format!("conv-{}", number % 50),
        "timestamp": "2026-01-05T10:00:00Z",
        "data": {"number": number, "user_id": 1000 + number, "username": "alice", "first_message": "hello"},
    })
}

/// A `message.received`.
#[must_use]
pub fn message_received(id: &str, conversation: &str, sender_type: &str, text: &str) -> Value {
    json!({
        "event_type": "message.received",
        "event_id": id,
        "conversation_id": conversation,
        "sender_type": sender_type,
        "timestamp": "2026-01-05T10:00:00Z",
        "text": text,
    })
}

/// Installs the one crypto provider; again does nothing.
pub fn crypto() {
    // An error only says that it is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
}
