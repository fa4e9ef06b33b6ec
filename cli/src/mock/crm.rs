//! A stand-in CRM: takes whatever comes, and has one effect per `Idempotency-Key`.
//!
//! Invariant: two requests with one key, however close together, make one ticket, and both get the
//! answer that tells its number.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::json;

use super::answer::Answer;
use super::limits::{Limits, Rate};
use super::request::Request;
use super::stand_in::Api;

/// Where it listens.
pub(super) const PORT: u16 = 8090;

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  hookswitch mock crm
  hookswitch mock crm --fail-rate 0.3        every third request or so gets 503, to watch retries
  hookswitch mock crm --status 422           refuses everything, to watch dead letters
  hookswitch mock crm --record crm.jsonl     keeps what it got, one JSON object a line";

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) options: super::Options,
}

/// What it has seen.
#[derive(Debug, Default)]
pub struct Crm {
    /// Ticket numbers by key.
    keys: HashMap<String, usize>,
    /// Tickets without a key.
    anonymous: usize,
    limits: Option<Limits>,
}

impl Crm {
    /// How many tickets there are.
    #[must_use]
    pub fn tickets(&self) -> usize {
        self.keys.len() + self.anonymous
    }
}

impl Api for Crm {
    fn name(&self) -> &'static str {
        "CRM"
    }

    fn hint(&self) -> String {
        String::new()
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        let taken = self.limits.as_mut().map(|limits| limits.take("", now));
        if let Some(Err(wait)) = taken {
            return self.limited(request, wait);
        }
        let next = self.tickets() + 1;
        let Some(key) = request.header("idempotency-key") else {
            self.anonymous += 1;
            return made(next);
        };
        match self.keys.entry(key.to_owned()) {
            Entry::Occupied(entry) => {
                let number = *entry.get();
                Answer::json(StatusCode::OK, &json!({"ticket": number})).noted(format!(
                    "the same key as ticket {number}: nothing new is made"
                ))
            }
            Entry::Vacant(entry) => made(*entry.insert(next)),
        }
    }

    fn limited(&mut self, _: &Request, wait: Duration) -> Answer {
        Answer::json(
            StatusCode::TOO_MANY_REQUESTS,
            &json!({"error": "too many requests"}),
        )
        .with("retry-after", wait.as_secs().to_string())
    }

    fn broken(&mut self, _: &Request) -> Answer {
        let body = json!({"error": "the stand-in CRM was told to fail"});
        Answer::json(StatusCode::SERVICE_UNAVAILABLE, &body).noted("as told to")
    }

    fn limit(&mut self, rate: Rate) {
        self.limits = Some(Limits::new(rate));
    }
}

fn made(number: usize) -> Answer {
    Answer::json(StatusCode::CREATED, &json!({"ticket": number}))
        .noted(format!("ticket {number} made"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::request::tests::request;

    #[test]
    fn one_key_makes_one_ticket() {
        let mut crm = Crm::default();
        let mut send = |key: Option<&str>| {
            let mut request = request("POST", "/tickets", "", &json!({}));
            if let Some(key) = key {
                let key = key.parse().unwrap();
                request.headers.insert("idempotency-key", key);
            }
            let answer = crm.answer(&request, Timestamp::UNIX_EPOCH);
            (answer.status.as_u16(), answer.body)
        };
        let ticket = |number: usize| json!({"ticket": number}).to_string();
        assert_eq!(send(Some("a")), (201, ticket(1)));
        assert_eq!(send(None), (201, ticket(2)));
        assert_eq!(send(Some("a")), (200, ticket(1)));
        assert_eq!(send(Some("b")), (201, ticket(3)));
    }
}
