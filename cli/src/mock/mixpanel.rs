//! A stand-in for Mixpanel's import of events.
//!
//! With `strict=1` a 400 can be a partial success: what is valid was taken, and `failed_records` names
//! the rest. An event is known by its name, time, user and `$insert_id`: a second one changes nothing.
//!
//! Sources: <https://docs.mixpanel.com/reference/import-events>,
//! <https://docs.mixpanel.com/troubleshooting/errors/400-bad-request>.

use std::collections::HashSet;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::answer::Answer;
use super::limits::{Limits, Rate};
use super::request::Request;
use super::stand_in::Api;

/// Where it listens.
pub(super) const PORT: u16 = 8097;
/// Events, of one project.
const LIMIT: Rate = Rate::new(1_800_000, Duration::from_mins(1));
/// Events of a request.
const EVENTS: usize = 2000;
/// Bytes of a request.
const BYTES: usize = 10 * 1024 * 1024;
const PROPERTIES: usize = 255;
const NAME: usize = 255;
const INSERT_ID: usize = 36;
/// 1971-01-01, in seconds.
const EARLIEST: i64 = 31_536_000;
/// An hour, in seconds: how far in the future an event may be.
const AHEAD: i64 = 3600;
/// From here on a time is in milliseconds.
const MILLISECONDS: i64 = 100_000_000_000;
/// Users that most likely are none.
const PLACEHOLDERS: [&str; 14] = [
    "00000000-0000-0000-0000-000000000000",
    "anon",
    "anonymous",
    "nil",
    "none",
    "null",
    "n/a",
    "na",
    "undefined",
    "unknown",
    "true",
    "false",
    "0",
    "-1",
];

const PROJECT: &str = "1001";
const USER: &str = "hookswitch.mock.mp-service-account";
const PASSWORD: &str = "mock-mixpanel-secret";
const TOKEN: &str = "mock-mixpanel-project-token";

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  hookswitch mock mixpanel
  hookswitch mock mixpanel --record events.jsonl
  hookswitch mock mixpanel --rate 3/30s      says 429 soon, without a hint when to come again";

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) options: super::Options,
    /// The project's number
    #[arg(long, default_value = PROJECT)]
    project_id: String,
    /// The service account's name
    #[arg(long, default_value = USER)]
    username: String,
    /// The service account's secret
    #[arg(long, default_value = PASSWORD)]
    password: String,
    /// The project's token
    #[arg(long, default_value = TOKEN)]
    project_token: String,
}

impl Args {
    pub(super) fn api(self) -> Mixpanel {
        Mixpanel {
            project_id: self.project_id,
            username: self.username,
            password: self.password,
            project_token: self.project_token,
            ..Mixpanel::default()
        }
    }
}

/// A project.
#[derive(Debug)]
pub struct Mixpanel {
    /// Its number.
    pub project_id: String,
    /// The service account's name.
    pub username: String,
    /// The service account's secret.
    pub password: String,
    /// Its token.
    pub project_token: String,
    /// The events that were taken, each once.
    pub events: Vec<Json>,
    seen: HashSet<String>,
    limits: Limits,
}

impl Default for Mixpanel {
    fn default() -> Self {
        Self {
            project_id: PROJECT.to_owned(),
            username: USER.to_owned(),
            password: PASSWORD.to_owned(),
            project_token: TOKEN.to_owned(),
            events: Vec::new(),
            seen: HashSet::new(),
            limits: Limits::new(LIMIT),
        }
    }
}

/// What is wrong with a record: its field, and why.
type Wrong = (&'static str, String);

impl Api for Mixpanel {
    fn name(&self) -> &'static str {
        "Mixpanel"
    }

    fn hint(&self) -> String {
        format!(
            "  project          {}\n  service account  {} {}\n  project token    {}",
            self.project_id, self.username, self.password, self.project_token
        )
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        let ["POST", "import"] = *request.route() else {
            return error(StatusCode::NOT_FOUND, "not found");
        };
        if let Err(answer) = self.authenticate(request) {
            return answer;
        }
        if request.body.len() > BYTES {
            return error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request exceeds max limit of 10MB",
            );
        }
        let Some(records) = records(request) else {
            return error(
                StatusCode::BAD_REQUEST,
                "unable to parse the request's body",
            );
        };
        if records.len() > EVENTS {
            return error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request exceeds max limit of 2000 events",
            );
        }
        for _ in &records {
            if let Err(wait) = self.limits.take("", now) {
                return self.limited(request, wait);
            }
        }
        let mut failed = Vec::new();
        let (mut good, mut new) = (0_usize, 0_usize);
        for (index, record) in records.into_iter().enumerate() {
            match check(&record, now) {
                Ok(identity) => {
                    good += 1;
                    if self.seen.insert(identity) {
                        new += 1;
                        self.events.push(record);
                    }
                }
                Err((field, message)) => failed.push(json!({
                    "index": index,
                    "insert_id": record.pointer("/properties/$insert_id").cloned().unwrap_or_else(|| json!("")),
                    "field": field,
                    "message": message,
                })),
            }
        }
        let note = format!("{good} taken, {new} of them new");
        if failed.is_empty() || request.query("strict") != Some("1") {
            let body = json!({"code": 200, "num_records_imported": good, "status": "OK"});
            return Answer::json(StatusCode::OK, &body).noted(note);
        }
        let note = format!("{note}, {} refused", failed.len());
        Answer::json(
            StatusCode::BAD_REQUEST,
            &json!({
                "code": 400,
                "error": "some data points in the request failed validation",
                "failed_records": failed,
                "num_records_imported": good,
                "status": "Bad Request",
            }),
        )
        .noted(note)
    }

    fn limited(&mut self, _: &Request, _: Duration) -> Answer {
        error(
            StatusCode::TOO_MANY_REQUESTS,
            "Project exceeded rate limits. Retry the request with exponential backoff.",
        )
    }

    fn broken(&mut self, _: &Request) -> Answer {
        error(StatusCode::SERVICE_UNAVAILABLE, "service unavailable")
    }

    fn limit(&mut self, rate: Rate) {
        self.limits.set(rate);
    }
}

impl Mixpanel {
    fn authenticate(&self, request: &Request) -> Result<(), Answer> {
        let given = request.basic().unwrap_or_default();
        if given == (self.project_token.clone(), String::new()) {
            return Ok(());
        }
        if given != (self.username.clone(), self.password.clone()) {
            return Err(error(StatusCode::UNAUTHORIZED, "Invalid credentials"));
        }
        if request.query("project_id") != Some(&self.project_id) {
            return Err(error(
                StatusCode::BAD_REQUEST,
                "invalid or missing project_id",
            ));
        }
        Ok(())
    }
}

/// The records of the body: an array, or a line each.
fn records(request: &Request) -> Option<Vec<Json>> {
    if request.is("application/x-ndjson") {
        let text = std::str::from_utf8(&request.body).ok()?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        return lines.map(|line| serde_json::from_str(line).ok()).collect();
    }
    if !request.is("application/json") {
        return None;
    }
    match request.json()? {
        Json::Array(records) => Some(records),
        _ => None,
    }
}

/// What a record is known by, where it is valid.
fn check(record: &Json, now: Timestamp) -> Result<String, Wrong> {
    let name = record
        .get("event")
        .and_then(Json::as_str)
        .unwrap_or_default();
    if name.is_empty() || name.len() > NAME {
        return Err((
            "event",
            "'event' is required, of at most 255 bytes".to_owned(),
        ));
    }
    let Some(Json::Object(properties)) = record.get("properties") else {
        return Err(("properties", "'properties' is required".to_owned()));
    };
    if properties.len() > PROPERTIES {
        return Err(("properties", "too many properties".to_owned()));
    }
    let time = properties.get("time").and_then(Json::as_i64);
    let seconds = time.map(|time| {
        if time >= MILLISECONDS {
            time / 1000
        } else {
            time
        }
    });
    let Some(seconds) = seconds.filter(|seconds| *seconds >= EARLIEST) else {
        return Err((
            "properties.time",
            "'properties.time' is invalid: must be specified as seconds since epoch".to_owned(),
        ));
    };
    if seconds > now.as_second() + AHEAD {
        return Err((
            "properties.time",
            "'properties.time' is invalid: must not be in the future".to_owned(),
        ));
    }
    let user = match properties.get("distinct_id") {
        Some(Json::String(user)) => user.clone(),
        Some(Json::Number(user)) => user.to_string(),
        _ => {
            return Err((
                "properties.distinct_id",
                "'properties.distinct_id' is invalid: must not be missing".to_owned(),
            ));
        }
    };
    if PLACEHOLDERS.contains(&user.to_lowercase().as_str()) {
        return Err((
            "properties.distinct_id",
            format!("'properties.distinct_id' is invalid: must not be {user:?}"),
        ));
    }
    let id = properties
        .get("$insert_id")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let characters = id.chars().all(|it| it.is_ascii_alphanumeric() || it == '-');
    if id.is_empty() || id.len() > INSERT_ID || !characters {
        return Err((
            "properties.$insert_id",
            "'properties.$insert_id' is invalid: must be 1 to 36 letters, digits and '-'"
                .to_owned(),
        ));
    }
    Ok(json!([name, seconds, user, id]).to_string())
}

fn error(status: StatusCode, error: &str) -> Answer {
    let body = json!({
        "code": status.as_u16(),
        "error": error,
        "status": status.canonical_reason().unwrap_or_default(),
    });
    Answer::json(status, &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::request::tests::request;
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    fn send(project: &mut Mixpanel, target: &str, body: &Json) -> (u16, Json) {
        let credentials = format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"))
        );
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let answer = project.answer(&request("POST", target, &credentials, body), now);
        (
            answer.status.as_u16(),
            serde_json::from_str(&answer.body).unwrap(),
        )
    }

    fn event(id: &str, user: &str, time: i64) -> Json {
        json!({"event": "e", "properties": {"time": time, "distinct_id": user, "$insert_id": id}})
    }

    const STRICT: &str = "/import?strict=1&project_id=1001";

    #[test]
    fn the_good_are_taken_and_the_bad_are_named() {
        let mut project = Mixpanel::default();
        let time = 1_800_000_000;
        let body = json!([
            event("a", "u", time),
            event("b", "anonymous", time),
            event("c", "u", time + AHEAD + 1),
            event("d!", "u", time),
            event("a", "u", time * 1000),
            {"event": "e"},
        ]);
        let (status, answer) = send(&mut project, STRICT, &body);
        assert_eq!(status, 400);
        assert_eq!(answer["num_records_imported"], 2);
        let failed = answer["failed_records"].as_array().unwrap();
        let failed: Vec<_> = failed
            .iter()
            .map(|it| it["index"].as_u64().unwrap())
            .collect();
        assert_eq!(failed, [1, 2, 3, 5]);
        assert_eq!(project.events.len(), 1, "the same event again is none");
        let lax = "/import?project_id=1001";
        assert_eq!(send(&mut project, lax, &body).0, 200);
    }

    #[test]
    fn a_service_account_names_its_project_and_a_token_needs_none() {
        let mut project = Mixpanel::default();
        let body = json!([event("a", "u", 1_800_000_000)]);
        assert_eq!(send(&mut project, "/import?strict=1", &body).0, 400);
        assert_eq!(send(&mut project, STRICT, &body).0, 200);
        let now = Timestamp::UNIX_EPOCH;
        let token = format!("Basic {}", BASE64_STANDARD.encode(format!("{TOKEN}:")));
        let by_token = request("POST", "/import", &token, &json!([]));
        assert_eq!(project.answer(&by_token, now).status, 200);
        let wrong = request("POST", "/import", "Basic OjA=", &json!([]));
        assert_eq!(project.answer(&wrong, now).status, 401);
    }
}
