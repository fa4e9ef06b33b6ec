//! The words of NATS's protocol, as far as a publisher needs them. Pure.
//!
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;

/// The longest line that is read: an INFO names every server of a cluster.
const LONGEST_LINE: usize = 1 << 20;

/// The longest message that is read: what comes back are acknowledgements.
const LONGEST_MESSAGE: usize = 1 << 20;

/// What a server says of itself, at first and again when something of it changes. Other servers that it
/// tells of are passed over on purpose: what is sent goes to the one that the route names, and to no address
/// that a server could make up.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the flags that a server sends"
)]
pub(super) struct Info {
    /// The largest message, headers included; where it is not above zero, there is no limit.
    #[serde(default)]
    pub(super) max_payload: i64,
    /// It is about to end ("lame duck mode"), and takes no more connections.
    #[serde(default, rename = "ldm")]
    pub(super) leaving: bool,
    #[serde(default)]
    pub(super) headers: bool,
    #[serde(default)]
    pub(super) tls_required: bool,
    #[serde(default)]
    pub(super) tls_available: bool,
    /// A challenge to sign.
    pub(super) nonce: Option<String>,
}

/// What a server says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Info(Box<Info>),
    /// A message to an inbox of ours.
    Message {
        subject: String,
        /// Of the headers' first line: 503 where nobody listens.
        status: Option<u16>,
        payload: Bytes,
    },
    Ping,
    Pong,
    /// An error, without its quotes.
    Error(String),
    /// What needs no answer.
    Nothing,
}

/// What is no NATS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what answers there does not speak NATS")]
pub(super) struct NotNats;

/// Takes what was said next out of what has come; `None` where it has not come as a whole.
///
/// # Errors
/// Where it is not NATS.
pub(super) fn take(read: &mut BytesMut) -> Result<Option<Said>, NotNats> {
    let Some(end) = read.windows(2).position(|it| it == b"\r\n") else {
        return if read.len() > LONGEST_LINE {
            Err(NotNats)
        } else {
            Ok(None)
        };
    };
    let line = read.get(..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| NotNats)?;
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let said = match verb.to_ascii_uppercase().as_str() {
        "INFO" => serde_json::from_str(rest)
            .map(Said::Info)
            .map_err(|_| NotNats)?,
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "+OK" => Said::Nothing,
        "-ERR" => Said::Error(rest.trim().trim_matches('\'').to_owned()),
        "MSG" | "HMSG" => {
            let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
            let message = message(verb.len() == 4, &fields)?;
            return Ok(payload(read, end + 2, message));
        }
        _ => return Err(NotNats),
    };
    read.advance(end + 2);
    Ok(Some(said))
}

/// A message whose line has come: its subject, and the lengths of its headers and of all.
fn message(headed: bool, fields: &[&str]) -> Result<(String, usize, usize), NotNats> {
    let number = |text: &&str| text.parse::<usize>().map_err(|_| NotNats);
    let (subject, headers, total) = match (headed, fields) {
        (false, [subject, _, total] | [subject, _, _, total]) => (subject, 0, number(total)?),
        (true, [subject, _, headers, total] | [subject, _, _, headers, total]) => {
            (subject, number(headers)?, number(total)?)
        }
        _ => return Err(NotNats),
    };
    if headers > total || total > LONGEST_MESSAGE {
        return Err(NotNats);
    }
    Ok(((*subject).to_owned(), headers, total))
}

fn payload(
    read: &mut BytesMut,
    begin: usize,
    (subject, headers, total): (String, usize, usize),
) -> Option<Said> {
    if read.len() < begin + total + 2 {
        return None;
    }
    read.advance(begin);
    let head = read.split_to(headers);
    let payload = read.split_to(total - headers).freeze();
    read.advance(2);
    // NATS/1.0 503
    let head = String::from_utf8_lossy(&head);
    let status = head.lines().next().and_then(|line| {
        let status = line.strip_prefix("NATS/1.0")?.trim();
        status.split(' ').next()?.parse().ok()
    });
    Some(Said::Message {
        subject,
        status,
        payload,
    })
}

/// A message to publish.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) subject: String,
    /// Names and values, which hold no line breaks.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Message {
    /// Headers as they are sent.
    fn head(&self) -> String {
        let mut head = "NATS/1.0\r\n".to_owned();
        for (name, value) in &self.headers {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        head
    }

    /// What counts against a server's limit.
    pub(super) fn length(&self) -> usize {
        self.head().len() + self.body.len()
    }

    /// Appends it, with where an answer goes.
    pub(super) fn write(&self, reply: Option<&str>, out: &mut Vec<u8>) {
        let head = self.head();
        let total = head.len() + self.body.len();
        let reply = reply.map_or_else(String::new, |reply| format!("{reply} "));
        let line = format!("HPUB {} {reply}{} {total}\r\n", self.subject, head.len());
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&self.body);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &str) -> Vec<Said> {
        let mut read = BytesMut::from(bytes);
        let mut said = Vec::new();
        while let Some(one) = take(&mut read).unwrap() {
            said.push(one);
        }
        assert!(read.is_empty(), "{read:?}");
        said
    }

    #[test]
    fn what_a_server_says_is_read() {
        let info = r#"INFO {"server_id":"a","max_payload":1048576,"headers":true,"nonce":"n","connect_urls":["10.0.0.1:4222"]}"#;
        let again = r#"INFO {"server_id":"a","max_payload":-1,"ldm":true}"#;
        let said = all(&format!(
            "{info}\r\nPING\r\n+OK\r\n-ERR 'Stale Connection'\r\nPONG\r\n{again}\r\n"
        ));
        let info = Info {
            max_payload: 1_048_576,
            headers: true,
            nonce: Some("n".to_owned()),
            ..Info::default()
        };
        let again = Info {
            max_payload: -1,
            leaving: true,
            ..Info::default()
        };
        assert_eq!(
            said,
            [
                Said::Info(Box::new(info)),
                Said::Ping,
                Said::Nothing,
                Said::Error("Stale Connection".to_owned()),
                Said::Pong,
                Said::Info(Box::new(again)),
            ]
        );
    }

    #[test]
    fn a_message_is_read_with_its_status_and_only_as_a_whole() {
        let whole = "MSG _INBOX.a.1 1 7\r\n{\"a\":1}\r\nHMSG _INBOX.a.2 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
        let message = |subject: &str, status, payload: &'static str| Said::Message {
            subject: subject.to_owned(),
            status,
            payload: Bytes::from_static(payload.as_bytes()),
        };
        let expected = [
            message("_INBOX.a.1", None, "{\"a\":1}"),
            message("_INBOX.a.2", Some(503), ""),
        ];
        assert_eq!(all(whole), expected);
        let mut read = BytesMut::new();
        let mut said = Vec::new();
        for byte in whole.bytes() {
            read.extend([byte]);
            said.extend(take(&mut read).unwrap());
        }
        assert_eq!(said, expected);
    }

    #[test]
    fn what_is_not_nats_is_told() {
        for bytes in [
            "HTTP/1.1 400 Bad Request\r\n",
            "INFO nothing\r\n",
            "MSG a\r\n",
            "MSG a 1 99999999999\r\n",
            "HMSG a 1 9 3\r\n",
            "\u{fffd}\r\n",
        ] {
            assert_eq!(take(&mut BytesMut::from(bytes)), Err(NotNats), "{bytes}");
        }
        let mut endless = BytesMut::zeroed(LONGEST_LINE + 1);
        assert_eq!(take(&mut endless), Err(NotNats));
    }

    #[test]
    fn a_message_is_written_with_its_lengths() {
        let message = Message {
            subject: "a.b".to_owned(),
            headers: vec![("Nats-Msg-Id".to_owned(), "7".to_owned())],
            body: Bytes::from_static(b"{}"),
        };
        let mut out = Vec::new();
        message.write(Some("_INBOX.x.1"), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "HPUB a.b _INBOX.x.1 28 30\r\nNATS/1.0\r\nNats-Msg-Id: 7\r\n\r\n{}\r\n"
        );
        assert_eq!(message.length(), 30);
    }
}
