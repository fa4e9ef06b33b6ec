//! A stand-in CRM: prints every request, and has one effect per `Idempotency-Key`.
//!
//! Invariant: two requests with one key, however close together, make one ticket, and both get the
//! answer that tells its number.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;

use crate::output::say;
use crate::signals;

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  hookswitch mock crm
  hookswitch mock crm --fail-rate 0.3        every third request or so gets 503, to watch retries
  hookswitch mock crm --status 422           refuses everything, to watch dead letters
  hookswitch mock crm --record crm.jsonl     keeps what it got, one JSON object a line";

/// The header that makes a request safe to repeat:
/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Headers that every client sends, or that may hold a secret: their values are not shown.
const HIDDEN: [header::HeaderName; 6] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::ACCEPT,
    header::CONTENT_LENGTH,
    header::USER_AGENT,
];

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The share of requests that get 503, from 0 to 1, spread evenly
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    fail_rate: f64,
    /// Answer every request with this status
    #[arg(long, value_name = "CODE", value_parser = status)]
    status: Option<StatusCode>,
    /// Wait this long before every answer, such as 500ms or 20s
    #[arg(long, default_value = "0s", value_name = "DURATION")]
    delay: hookswitch_crds::duration::Duration,
    /// Append what comes to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "write a number from 0 to 1, such as 0.3".to_owned())
}

fn status(text: &str) -> Result<StatusCode, String> {
    StatusCode::from_bytes(text.as_bytes())
        .map_err(|_| "write an HTTP status from 100 to 999, such as 422".to_owned())
}

/// Serves until a signal ends it.
///
/// # Errors
/// Where it can't listen, or can't open the record.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("can't listen on {}: choose another --listen", args.listen))?;
    say!(
        "Stand-in CRM listening on http://{}",
        listener.local_addr()?
    );
    let record = args
        .record
        .as_ref()
        .map(|path| {
            std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .with_context(|| format!("can't write to {}", path.display()))
        })
        .transpose()?;
    let crm = Arc::new(Crm {
        delay: args.delay.to_std(),
        state: Mutex::new(Book {
            always: args.status,
            fail_rate: args.fail_rate,
            record,
            ..Book::default()
        }),
    });
    let router = Router::new().fallback(take).with_state(crm);
    axum::serve(listener, router)
        .with_graceful_shutdown(signals::ended())
        .await
        .context("the stand-in CRM stopped")
}

struct Crm {
    delay: Duration,
    state: Mutex<Book>,
}

/// What it has seen.
#[derive(Default)]
struct Book {
    always: Option<StatusCode>,
    fail_rate: f64,
    /// How much of a failure is due; one is whole.
    due: f64,
    /// Ticket numbers by key.
    tickets: HashMap<String, usize>,
    /// Requests without a key.
    anonymous: usize,
    record: Option<std::fs::File>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    New(usize),
    Repeated(usize),
    Refused(StatusCode),
}

async fn take(
    State(crm): State<Arc<Crm>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let key = headers
        .get(IDEMPOTENCY_KEY)
        .and_then(|value| value.to_str().ok())
        .map(ToOwned::to_owned);
    let effect = {
        let mut book = crm.state.lock().unwrap_or_else(PoisonError::into_inner);
        let effect = book.take(key.as_deref());
        book.print(effect, &method, &uri, &headers, key.as_deref(), &body);
        effect
    };
    tokio::time::sleep(crm.delay).await;
    effect.answer()
}

impl Book {
    fn take(&mut self, key: Option<&str>) -> Effect {
        if let Some(status) = self.always {
            return Effect::Refused(status);
        }
        self.due += self.fail_rate;
        if self.due >= 1.0 {
            self.due -= 1.0;
            return Effect::Refused(StatusCode::SERVICE_UNAVAILABLE);
        }
        let next = self.tickets.len() + self.anonymous + 1;
        let Some(key) = key else {
            self.anonymous += 1;
            return Effect::New(next);
        };
        match self.tickets.entry(key.to_owned()) {
            Entry::Occupied(entry) => Effect::Repeated(*entry.get()),
            Entry::Vacant(entry) => Effect::New(*entry.insert(next)),
        }
    }

    fn print(
        &mut self,
        effect: Effect,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        key: Option<&str>,
        body: &[u8],
    ) {
        let mut text = format!("{method} {uri}  {}\n", effect.describe());
        if let Some(key) = key {
            let _infallible = writeln!(text, "  Idempotency-Key: {key}");
        }
        for (name, value) in headers {
            if *name == IDEMPOTENCY_KEY || HIDDEN.contains(name) {
                continue;
            }
            let value = value.to_str().unwrap_or("(not text)");
            let _infallible = writeln!(text, "  {name}: {value}");
        }
        if headers.contains_key(header::AUTHORIZATION) {
            text.push_str("  authorization: (present)\n");
        }
        for line in pretty(body).lines() {
            let _infallible = writeln!(text, "  {line}");
        }
        say!("{text}");
        if let Some(record) = &mut self.record {
            let line = json!({
                "method": method.as_str(),
                "path": uri.to_string(),
                "idempotencyKey": key,
                "status": effect.status().as_u16(),
                "body": serde_json::from_slice::<Json>(body)
                    .unwrap_or_else(|_| String::from_utf8_lossy(body).into()),
            });
            // One write a line, so that who reads along never sees half of one.
            if let Err(error) = record.write_all(format!("{line}\n").as_bytes()) {
                say!("can't write the record: {error}");
            }
        }
    }
}

impl Effect {
    const fn status(self) -> StatusCode {
        match self {
            Self::New(_) => StatusCode::CREATED,
            Self::Repeated(_) => StatusCode::OK,
            Self::Refused(status) => status,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::New(number) => format!("→ {}, ticket {number} made", self.status().as_u16()),
            Self::Repeated(number) => format!(
                "→ {}, the same key as ticket {number}: nothing new is made",
                self.status().as_u16()
            ),
            Self::Refused(status) => format!("→ {}, as told to", status.as_u16()),
        }
    }

    fn answer(self) -> Response {
        let body = match self {
            Self::New(number) | Self::Repeated(number) => json!({"ticket": number}),
            Self::Refused(_) => json!({"error": "the stand-in CRM was told to refuse this"}),
        };
        (self.status(), axum_json(&body)).into_response()
    }
}

fn axum_json(body: &Json) -> impl axum::response::IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
}

fn pretty(body: &[u8]) -> String {
    serde_json::from_slice::<Json>(body)
        .and_then(|json| serde_json::to_string_pretty(&json))
        .unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_makes_one_ticket() {
        let mut book = Book::default();
        assert_eq!(book.take(Some("a")), Effect::New(1));
        assert_eq!(book.take(None), Effect::New(2));
        assert_eq!(book.take(Some("a")), Effect::Repeated(1));
        assert_eq!(book.take(Some("b")), Effect::New(3));
    }

    #[test]
    fn failures_are_spread_evenly_and_have_no_effect() {
        let mut book = Book {
            fail_rate: 0.25,
            ..Book::default()
        };
        let refused = (0..100)
            .filter(|n| matches!(book.take(Some(&n.to_string())), Effect::Refused(_)))
            .count();
        assert_eq!(refused, 25);
        assert_eq!(book.tickets.len(), 75);
    }
}
