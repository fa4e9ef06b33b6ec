//! A client of NATS's makers: what was published is read back by other code than that which published it.

use std::collections::HashMap;

use async_nats::header::HeaderMap;
use async_nats::jetstream::{self, Context, stream};
use async_nats::{ConnectOptions, Subscriber};
use futures::StreamExt as _;
use serde_json::Value;

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its subject.
    pub subject: String,
    /// Its headers, by name as it was written.
    pub headers: HashMap<String, String>,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Message {
    fn new(subject: &str, headers: &HeaderMap, payload: &[u8]) -> Self {
        let headers = headers.iter().filter_map(|(name, values)| {
            let value = values.first()?.as_str().to_owned();
            Some((name.to_string(), value))
        });
        Self {
            subject: subject.to_owned(),
            headers: headers.collect(),
            payload: payload.to_vec(),
        }
    }

    /// What it holds, as JSON.
    ///
    /// # Panics
    /// Where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).expect("the message holds JSON")
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    client: async_nats::Client,
    context: Context,
}

impl Client {
    pub(super) async fn connect(url: &str, login: ConnectOptions) -> Self {
        let client = login.connect(url).await.expect("the server lets us in");
        let context = jetstream::new(client.clone());
        Self { client, context }
    }

    /// Listens to a subject from now on.
    ///
    /// # Panics
    /// Where the server has no JetStream.
    pub async fn subscribe(&self, subject: &str) -> Subscription {
        let subscriber = self.client.subscribe(subject.to_owned()).await;
        // It answers in order: the subscription is in place.
        let settled = self.context.query_account().await;
        settled.expect("the server has JetStream");
        Subscription(subscriber.expect("a subscription"))
    }

    /// Creates a stream of JetStream's with these subjects.
    ///
    /// # Panics
    /// Where the server refuses it.
    pub async fn create_stream(&self, name: &str, subjects: &[&str]) {
        let config = stream::Config {
            name: name.to_owned(),
            subjects: subjects.iter().map(|it| (*it).to_owned()).collect(),
            ..stream::Config::default()
        };
        let created = self.context.create_stream(config).await;
        created.expect("the server makes the stream");
    }

    /// How many messages a stream has.
    ///
    /// # Panics
    /// Where there is no such stream.
    pub async fn count(&self, stream: &str) -> u64 {
        let stream = self.context.get_stream(stream).await;
        stream.expect("the stream").cached_info().state.messages
    }

    /// A stream's messages, in order.
    ///
    /// # Panics
    /// Where there is no such stream.
    pub async fn messages(&self, stream: &str) -> Vec<Message> {
        let stream = self.context.get_stream(stream).await.expect("the stream");
        let mut messages = Vec::new();
        for seq in 1..=stream.cached_info().state.messages {
            let message = stream.get_raw_message(seq).await.expect("the message");
            let (subject, payload) = (&message.subject, &message.payload);
            messages.push(Message::new(subject, &message.headers, payload));
        }
        messages
    }
}

/// What comes in on a subject.
#[derive(Debug)]
pub struct Subscription(Subscriber);

impl Subscription {
    /// The next message.
    ///
    /// # Panics
    /// Where the connection ends first.
    pub async fn next(&mut self) -> Message {
        let message = self.0.next().await.expect("a message");
        let headers = message.headers.unwrap_or_default();
        Message::new(&message.subject, &headers, &message.payload)
    }
}
