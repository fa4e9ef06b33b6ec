//! A connection to a NATS server, used by one attempt at a time.
//!
//! ```text
//!  connect ─ INFO ─ TLS ─ CONNECT, SUB inbox, PING, PING ─ PONG, INFO, PONG ─┐
//!                                                                            ▼
//!                        HPUB ... HPUB, PING ─▶ PONG: all were taken, or told of
//!                                            ─▶ a message to the inbox for each, from JetStream
//! ```
//!
//! - A PONG comes after all that was said of what was sent before its PING: so it tells what a server took,
//!   where NATS has no other answer.
//! - INFO comes again, to a client that says `"protocol": 1`: once we have said who we are, with the largest
//!   message that our account and user may send; and where the server is about to end, after which the
//!   connection is used no more
//!   (`processPing`, `sendLDMToClients` of <https://github.com/nats-io/nats-server/tree/main/server>).

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value as Json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::identity::Identity;
use super::protocol::{self, Message, Said};
use crate::deliver::kind::{Fault, reason};
use crate::deliver::network::{Dialler, Stream};

/// How long a connection that was idle may take to show that it lives.
const ALIVE: Duration = Duration::from_secs(2);

/// A connection.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    read: BytesMut,
    /// The largest message; where it is not above zero, there is no limit.
    max_payload: i64,
    /// The server is about to end.
    leaving: bool,
    /// Where answers to us come, with a number behind it.
    inbox: String,
    next: u64,
}

/// What became of a message.
#[derive(Debug, PartialEq)]
pub(in crate::deliver) enum Published {
    /// The server took it, and says no more.
    Taken,
    /// JetStream, or whoever listens there, answered.
    Answered(Bytes),
    /// Nobody listens to its subject.
    NoResponders,
    /// We may not publish there.
    Denied(String),
    /// It is larger than the server takes.
    TooLarge {
        /// Its size.
        length: usize,
        /// The largest, where that is known.
        limit: Option<usize>,
    },
}

impl Connection {
    /// Connects, and says who we are. With `tls`, nothing is said before the server has proved itself.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(super) async fn open(
        dialler: &Dialler,
        tls: bool,
        identity: &Identity,
    ) -> Result<Self, Fault> {
        let mut tcp = dialler.connect().await?;
        let mut read = BytesMut::new();
        let info = loop {
            match next(&mut tcp, &mut read).await? {
                Said::Info(info) => break *info,
                Said::Error(error) => return Err(refused(error)),
                _ => {}
            }
        };
        let stream: Box<dyn Stream> = if tls || info.tls_required {
            if tls && !info.tls_required && !info.tls_available {
                return Err(fault(reason::TLS, "the server speaks no TLS"));
            }
            if !read.is_empty() {
                return Err(fault(reason::TLS, "the server goes on without TLS"));
            }
            Box::new(dialler.secure(tcp).await?)
        } else {
            Box::new(tcp)
        };
        if !info.headers {
            let why = "the server takes no headers: it needs version 2.2 or newer";
            return Err(fault(reason::CONNECT, why));
        }
        let mut this = Self {
            stream,
            read,
            inbox: format!("_INBOX.{:032x}", rand::random::<u128>()),
            next: 0,
            max_payload: info.max_payload,
            leaving: info.leaving,
        };
        let connect = connect(identity, info.nonce.as_deref(), tls);
        // What holds for us is said after the answer to the first PING, so before that to the second.
        let hello = format!(
            "CONNECT {connect}\r\nSUB {}.* 1\r\nPING\r\nPING\r\n",
            this.inbox
        );
        this.write(hello.as_bytes()).await?;
        this.until_pong().await?;
        this.until_pong().await?;
        Ok(this)
    }

    /// Whether it still works, after it was idle, and may be used again.
    pub(super) async fn lives(&mut self) -> bool {
        let asked = async {
            self.write(b"PING\r\n").await?;
            self.until_pong().await
        };
        matches!(timeout(ALIVE, asked).await, Ok(Ok(()))) && self.stays()
    }

    /// Whether it may be used again: a server that is about to end is left before it goes.
    pub(super) const fn stays(&self) -> bool {
        !self.leaving
    }

    async fn until_pong(&mut self) -> Result<(), Fault> {
        loop {
            match self.next().await? {
                Said::Pong => return Ok(()),
                Said::Error(error) => return Err(refused(error)),
                _ => {}
            }
        }
    }

    /// Publishes messages, and waits for what becomes of each: `answers` for JetStream's answer, else for the
    /// server to have taken it. `told` gets what is known as it comes, and `sent` is set once anything
    /// may have left.
    ///
    /// Cancellation, and an error: the connection is to be dropped.
    ///
    /// # Errors
    /// Why nothing more will be known.
    pub(super) async fn publish(
        &mut self,
        messages: &[Message],
        answers: bool,
        told: &mut [Option<Published>],
        sent: &mut bool,
    ) -> Result<(), Fault> {
        let mut out = Vec::new();
        let mut waiting = HashMap::new();
        for (place, message) in messages.iter().enumerate() {
            let Some(told) = told.get_mut(place).filter(|it| it.is_none()) else {
                continue;
            };
            let (length, limit) = (message.length(), self.limit());
            if limit.is_some_and(|limit| length > limit) {
                *told = Some(Published::TooLarge { length, limit });
                continue;
            }
            self.next += 1;
            let reply = format!("{}.{}", self.inbox, self.next);
            message.write(answers.then_some(&reply), &mut out);
            waiting.insert(reply, place);
        }
        if waiting.is_empty() {
            return Ok(());
        }
        out.extend_from_slice(b"PING\r\n");
        *sent = true;
        self.write(&out).await?;
        let mut ponged = false;
        // What may not be published, of which it is not known what that is.
        let mut unplaced = Vec::new();
        while !ponged || !waiting.is_empty() {
            match self.next().await? {
                Said::Pong => {
                    ponged = true;
                    if !answers && unplaced.is_empty() {
                        for (_, place) in waiting.drain() {
                            set(told, place, Published::Taken);
                        }
                    }
                }
                Said::Message {
                    subject,
                    status,
                    payload,
                } => {
                    if let Some(place) = waiting.remove(&subject) {
                        let published = match status {
                            Some(503) => Published::NoResponders,
                            _ => Published::Answered(payload),
                        };
                        set(told, place, published);
                    }
                }
                Said::Error(error) => {
                    let Some(denied) = denied(&error) else {
                        if error == TOO_LARGE {
                            tell_longest(messages, &waiting, told);
                        }
                        return Err(refused(error));
                    };
                    waiting.retain(|_, place| {
                        let is = messages.get(*place).is_some_and(|it| it.subject == denied);
                        if is {
                            set(told, *place, Published::Denied(error.clone()));
                        }
                        !is
                    });
                    if messages.iter().all(|it| it.subject != denied) {
                        unplaced.push(error);
                    }
                }
                Said::Info(_) | Said::Ping | Said::Nothing => {}
            }
            let Some(error) = unplaced.first().filter(|_| ponged) else {
                continue;
            };
            if waiting.len() <= unplaced.len() {
                // What is left are those.
                for (_, place) in waiting.drain() {
                    set(told, place, Published::Denied(error.clone()));
                }
            } else if !answers {
                return Err(refused(error.clone()));
            }
        }
        Ok(())
    }

    /// The largest message that the server takes from us.
    fn limit(&self) -> Option<usize> {
        usize::try_from(self.max_payload)
            .ok()
            .filter(|limit| *limit > 0)
    }

    /// What is said next. A PING is answered, or the server would take us for dead.
    async fn next(&mut self) -> Result<Said, Fault> {
        let said = next(&mut self.stream, &mut self.read).await?;
        match &said {
            Said::Ping => self.write(b"PONG\r\n").await?,
            Said::Info(info) => {
                self.max_payload = info.max_payload;
                self.leaving |= info.leaving;
            }
            _ => {}
        }
        Ok(said)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| lost(&error))
    }
}

/// What a client says of itself; `nonce` is the server's challenge.
fn connect(identity: &Identity, nonce: Option<&str>, tls: bool) -> Json {
    let mut connect = Map::from_iter([
        ("verbose".to_owned(), Json::from(false)),
        ("pedantic".to_owned(), Json::from(false)),
        ("tls_required".to_owned(), Json::from(tls)),
        ("name".to_owned(), Json::from("hookswitch")),
        ("lang".to_owned(), Json::from("rust")),
        ("version".to_owned(), Json::from(env!("CARGO_PKG_VERSION"))),
        // 1: the server says again what changes of what it said.
        ("protocol".to_owned(), Json::from(1)),
        ("headers".to_owned(), Json::from(true)),
        ("no_responders".to_owned(), Json::from(true)),
        ("echo".to_owned(), Json::from(false)),
    ]);
    identity.prove(nonce, &mut connect);
    Json::Object(connect)
}

fn set(told: &mut [Option<Published>], place: usize, published: Published) {
    if let Some(told) = told.get_mut(place) {
        *told = Some(published);
    }
}

/// Tells of the longest that it is too large, where the server says so of one, and takes nothing that comes
/// behind that: an even longer one can only be behind it.
fn tell_longest(
    messages: &[Message],
    waiting: &HashMap<String, usize>,
    told: &mut [Option<Published>],
) {
    let sizes = waiting
        .values()
        .filter_map(|place| Some((messages.get(*place)?.length(), *place)));
    if let Some((length, place)) = sizes.max() {
        let limit = None;
        set(told, place, Published::TooLarge { length, limit });
    }
}

async fn next(stream: &mut (impl AsyncRead + Unpin), read: &mut BytesMut) -> Result<Said, Fault> {
    loop {
        match protocol::take(read) {
            Ok(Some(said)) => return Ok(said),
            Ok(None) => {}
            Err(error) => return Err(fault(reason::UNREADABLE, error)),
        }
        match stream.read_buf(read).await {
            Ok(0) => return Err(lost(&"the server closed the connection")),
            Ok(_) => {}
            Err(error) => return Err(lost(&error)),
        }
    }
}

/// What a server says of a message that is larger than it takes, before it closes the connection: one that was
/// there already when the limit was lowered.
const TOO_LARGE: &str = "Maximum Payload Violation";

/// What we may not publish to: a subject of ours, where one has this name. A server has no codes for its errors:
/// these are the words of its documentation
/// (<https://docs.nats.io/reference/reference-protocols/nats-protocol#okerr>).
fn denied(error: &str) -> Option<String> {
    let rest = error.strip_prefix("Permissions Violation for Publish ")?;
    let name = rest.strip_prefix("to ").unwrap_or(rest).trim();
    // Quoted as in Go, which is nearly as in JSON.
    let plain = serde_json::from_str(name);
    Some(plain.unwrap_or_else(|_| name.trim_matches('"').to_owned()))
}

/// An error after which a server closes the connection, or does not do what it is for.
fn refused(error: String) -> Fault {
    let lower = error.to_ascii_lowercase();
    let unauthorized = lower.contains("authorization")
        || lower.contains("authentication")
        || lower.contains("permissions violation");
    Fault {
        reason: if unauthorized {
            reason::UNAUTHORIZED
        } else {
            reason::CONNECTION_LOST
        },
        detail: error,
    }
}

fn lost(error: &impl std::fmt::Display) -> Fault {
    fault(reason::CONNECTION_LOST, error)
}

fn fault(reason: &'static str, detail: impl std::fmt::Display) -> Fault {
    Fault {
        reason,
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_the_words_of_the_documentation() {
        let subject = denied("Permissions Violation for Publish to \"a.b\"");
        assert_eq!(subject.as_deref(), Some("a.b"));
        let subject = denied(r#"Permissions Violation for Publish to "a.\"b\u200b""#);
        assert_eq!(subject.as_deref(), Some("a.\"b\u{200b}"));
        let reply = denied("Permissions Violation for Publish with Reply of \"_R_.a\"");
        assert!(reply.is_some_and(|it| it.contains(' ')), "no subject");
        assert_eq!(denied("Stale Connection"), None);
        for (error, reason) in [
            ("Authorization Violation", reason::UNAUTHORIZED),
            ("User Authentication Expired", reason::UNAUTHORIZED),
            (
                "Permissions Violation for Subscription to \"_INBOX.a.*\"",
                reason::UNAUTHORIZED,
            ),
            ("Stale Connection", reason::CONNECTION_LOST),
            ("Maximum Connections Exceeded", reason::CONNECTION_LOST),
        ] {
            assert_eq!(refused(error.to_owned()).reason, reason, "{error}");
        }
    }
}
