//! A client of NATS's protocol, of the tests' own: what was published is read back by other code than
//! that which published it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

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
    stream: BufReader<TcpStream>,
    subscriptions: u64,
}

impl Client {
    /// Connects; `who` is more of CONNECT, such as `{"auth_token": "..."}`.
    pub(super) async fn connect(port: u16, who: Value) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        let mut this = Self {
            stream: BufReader::new(stream.expect("the server listens")),
            subscriptions: 0,
        };
        let mut connect = json!({"verbose": false, "headers": true, "no_responders": true});
        if let (Value::Object(connect), Value::Object(who)) = (&mut connect, who) {
            connect.extend(who);
        }
        this.write(&format!("CONNECT {connect}\r\n")).await;
        this.settled().await;
        this
    }

    /// Listens to a subject from now on.
    pub async fn subscribe(&mut self, subject: &str) {
        self.subscriptions += 1;
        let line = format!("SUB {subject} {}\r\n", self.subscriptions);
        self.write(&line).await;
        self.settled().await;
    }

    /// The next message.
    pub async fn next(&mut self) -> Message {
        loop {
            let line = self.line().await;
            if line.starts_with("MSG ") || line.starts_with("HMSG ") {
                return self.message(&line).await;
            }
        }
    }

    /// Creates a stream of JetStream's with these subjects.
    ///
    /// # Panics
    /// Where the server refuses it.
    pub async fn create_stream(&mut self, name: &str, subjects: &[&str]) {
        let config = json!({"name": name, "subjects": subjects, "storage": "file"});
        let subject = format!("$JS.API.STREAM.CREATE.{name}");
        let answer = self.request(&subject, &config).await;
        assert!(answer.get("error").is_none(), "{answer}");
    }

    /// How many messages a stream has.
    ///
    /// # Panics
    /// Where there is no such stream.
    pub async fn count(&mut self, stream: &str) -> u64 {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let answer = self.request(&subject, &json!({})).await;
        answer
            .pointer("/state/messages")
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("{answer}"))
    }

    /// A stream's messages, in order.
    ///
    /// # Panics
    /// Where there is no such stream.
    pub async fn messages(&mut self, stream: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        for seq in 1..=self.count(stream).await {
            let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
            let answer = self.request(&subject, &json!({"seq": seq})).await;
            let text = |name: &str| {
                let text = answer.pointer(&format!("/message/{name}"));
                text.and_then(Value::as_str).unwrap_or_default()
            };
            let bytes = |name: &str| STANDARD.decode(text(name)).expect("base64");
            messages.push(Message {
                subject: text("subject").to_owned(),
                headers: headers(&bytes("hdrs")),
                payload: bytes("data"),
            });
        }
        messages
    }

    async fn request(&mut self, subject: &str, body: &Value) -> Value {
        let inbox = format!("_INBOX.{}", uuid::Uuid::now_v7().simple());
        self.subscribe(&inbox).await;
        let body = body.to_string();
        self.write(&format!(
            "PUB {subject} {inbox} {}\r\n{body}\r\n",
            body.len()
        ))
        .await;
        loop {
            let message = self.next().await;
            if message.subject == inbox {
                return message.json();
            }
        }
    }

    /// Waits until the server has taken all that was said.
    async fn settled(&mut self) {
        self.write("PING\r\n").await;
        loop {
            let line = self.line().await;
            assert!(!line.starts_with("-ERR"), "{line}");
            if line.starts_with("PONG") {
                return;
            }
        }
    }

    async fn write(&mut self, text: &str) {
        let written = self.stream.get_mut().write_all(text.as_bytes()).await;
        written.expect("the server takes it");
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).await;
        assert!(read.expect("the server says something") > 0, "it hung up");
        if line.starts_with("PING") {
            self.write("PONG\r\n").await;
        }
        line
    }

    async fn message(&mut self, line: &str) -> Message {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |text: Option<&&str>| text.and_then(|it| it.parse().ok()).expect("a length");
        let total: usize = number(fields.last());
        let head: usize = if line.starts_with('H') {
            number(fields.get(fields.len() - 2))
        } else {
            0
        };
        let mut bytes = vec![0; total + 2];
        let read = self.stream.read_exact(&mut bytes).await;
        read.expect("the whole message");
        bytes.truncate(total);
        let payload = bytes.split_off(head);
        Message {
            subject: (*fields.get(1).expect("a subject")).to_owned(),
            headers: headers(&bytes),
            payload,
        }
    }
}

fn headers(head: &[u8]) -> HashMap<String, String> {
    let head = String::from_utf8_lossy(head);
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
