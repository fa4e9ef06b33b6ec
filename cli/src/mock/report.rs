//! What a stand-in tells of the requests that it gets: on standard output for people, and in a file,
//! one JSON object a line, for programs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;

use axum::http::header::{self, HeaderName};
use serde_json::{Value as Json, json};

use super::answer::Answer;
use super::request::Request;
use crate::output::say;

/// The header that makes a request safe to repeat:
/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Headers that every client sends, or that may hold a secret: their values are not shown.
const HIDDEN: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::ACCEPT,
    header::CONTENT_LENGTH,
    header::USER_AGENT,
];

/// Where a stand-in tells.
#[derive(Debug)]
pub(super) struct Report {
    record: Option<File>,
}

impl Report {
    /// On standard output, and in a file where there is one.
    pub(super) const fn new(record: Option<File>) -> Self {
        Self { record }
    }

    /// Tells of a request.
    pub(super) fn tell(
        &mut self,
        target: &str,
        request: &Request,
        answer: Option<&Answer>,
        note: &str,
    ) {
        say!("{}", for_people(target, request, note));
        if let Some(record) = &mut self.record {
            let line = json!({
                "method": request.method.as_str(),
                "path": target,
                "idempotencyKey": request.header(IDEMPOTENCY_KEY),
                "status": answer.map(|answer| answer.status.as_u16()),
                "body": request
                    .json()
                    .unwrap_or_else(|| String::from_utf8_lossy(&request.body).into()),
            });
            // One write a line, so that who reads along never sees half of one.
            if let Err(error) = record.write_all(format!("{line}\n").as_bytes()) {
                say!("can't write the record: {error}");
            }
        }
    }
}

fn for_people(target: &str, request: &Request, note: &str) -> String {
    let mut text = format!("{} {target}  → {note}\n", request.method);
    if let Some(key) = request.header(IDEMPOTENCY_KEY) {
        let _infallible = writeln!(text, "  Idempotency-Key: {key}");
    }
    for (name, value) in &request.headers {
        if *name == IDEMPOTENCY_KEY || HIDDEN.contains(name) {
            continue;
        }
        let value = value.to_str().unwrap_or("(not text)");
        let _infallible = writeln!(text, "  {name}: {value}");
    }
    if request.headers.contains_key(header::AUTHORIZATION) {
        text.push_str("  authorization: (present)\n");
    }
    for line in pretty(request).lines() {
        let _infallible = writeln!(text, "  {line}");
    }
    text
}

fn pretty(request: &Request) -> String {
    request
        .json()
        .filter(|json| *json != Json::Null)
        .and_then(|json| serde_json::to_string_pretty(&json).ok())
        .unwrap_or_else(|| String::from_utf8_lossy(&request.body).into_owned())
}
