//! The request that is sent: an event as TG-Staff would send it, 600 bytes of JSON, with an id of its
//! own and a signature of its own each time.

use std::fmt;
use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The length of every body, in bytes.
pub(crate) const BODY_BYTES: usize = 600;
/// The signing key, which is known to every server that verifies.
pub(crate) const SIGNING_KEY: &[u8] = b"hookswitch-bench-signing-key";
/// The header of the signature, hex of HMAC-SHA256 over the body.
pub(crate) const SIGNATURE_HEADER: &str = "X-TG-Staff-Signature";
/// How many subjects events are spread over.
const SUBJECTS: u64 = 10_000;

/// Digits that are replaced in the template.
const ID: &str = "0123456789abcdef";
const SUBJECT: &str = "c_00000000";
const SENT_AT: &str = "00000000000000000000";
const SIGNATURE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The keyed hash, before any message.
pub(crate) fn keyed() -> Result<Hmac<Sha256>> {
    Hmac::<Sha256>::new_from_slice(SIGNING_KEY).context("the signing key")
}

/// A body with the placeholders still in it.
pub(crate) fn template_body() -> String {
    let mut body = format!(
        r#"{{"event_id":"{ID}","event_type":"message.received","timestamp":"2025-06-01T12:00:00Z","conversation_id":"{SUBJECT}","sender_type":"user","sent_at":"{SENT_AT}","data":{{"user_id":777000123,"username":"alice","language":"en","referrer":"landing-page-7","message":{{"kind":"text","text":""#
    );
    let end = r#""}}}"#;
    let words = "Hello, I have a question about my order, could you please have a look? ";
    body.extend(
        words
            .chars()
            .cycle()
            .take(BODY_BYTES.saturating_sub(body.len() + end.len())),
    );
    body.push_str(end);
    body
}

/// A buffer with one whole request, patched in place for each event.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    signature: usize,
    body: usize,
    id: usize,
    subject: usize,
    sent_at: usize,
    keyed: Hmac<Sha256>,
}

/// Ids are unique in a run of the bench.
static NEXT: AtomicU64 = AtomicU64::new(1);
/// Moments are sent as nanoseconds from here.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Request {
    /// A request to this path.
    pub(crate) fn new(path: &str) -> Result<Self> {
        let body = template_body();
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{SIGNATURE_HEADER}: {SIGNATURE}\r\n\r\n{body}",
            body.len()
        );
        let place = |what: &str| {
            text.find(what)
                .with_context(|| format!("no {what} in the request"))
        };
        Ok(Self {
            signature: place(SIGNATURE)?,
            body: text.len() - body.len(),
            id: place(ID)?,
            subject: place(SUBJECT)? + 2,
            // Zeros alone would be found in the signature's place.
            sent_at: place(&format!("\"{SENT_AT}\""))? + 1,
            bytes: text.into_bytes(),
            keyed: keyed()?,
        })
    }

    /// Makes it the next event, sent at this moment, and signs it.
    pub(crate) fn next(&mut self, sent_at: Instant) -> &[u8] {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.write(self.id, format_args!("{number:016x}"));
        self.write(self.subject, format_args!("{:08}", number % SUBJECTS));
        self.write(self.sent_at, format_args!("{:020}", since_epoch(sent_at)));
        let mut hash = self.keyed.clone();
        hash.update(self.bytes.get(self.body..).unwrap_or_default());
        let digest = hash.finalize().into_bytes();
        if let Some(place) = self
            .bytes
            .get_mut(self.signature..self.signature + SIGNATURE.len())
        {
            // The place has exactly the length that is needed.
            hex::encode_to_slice(digest, place).unwrap_or_default();
        }
        &self.bytes
    }

    /// Its body as it stands.
    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.get(self.body..).unwrap_or_default()
    }

    /// Its subject as it stands.
    pub(crate) fn subject(&self) -> &str {
        // The digits, and `c_` before them.
        let text = self
            .bytes
            .get(self.subject - 2..self.subject + SUBJECT.len() - 2);
        std::str::from_utf8(text.unwrap_or_default()).unwrap_or_default()
    }

    /// Replaces a placeholder by a text of the same length.
    fn write(&mut self, at: usize, text: fmt::Arguments<'_>) {
        if let Some(mut place) = self.bytes.get_mut(at..) {
            place.write_fmt(text).unwrap_or_default();
        }
    }
}

/// Nanoseconds from the bench's start to a moment.
fn since_epoch(moment: Instant) -> u64 {
    u64::try_from(moment.saturating_duration_since(*EPOCH).as_nanos()).unwrap_or(u64::MAX)
}

/// How long ago the event was sent whose body, or a text rendered from it, this is.
pub(crate) fn age(body: &[u8], now: Instant) -> Option<Duration> {
    let marker = b"\"sent_at\":\"";
    let start = find(body, marker)? + marker.len();
    let digits = body.get(start..start + SENT_AT.len())?;
    let sent_at: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(Duration::from_nanos(
        since_epoch(now).saturating_sub(sent_at),
    ))
}

/// Where a text begins in another.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
