//! A stand-in for Zendesk: tickets are made, updated, shown, and found by their external id.
//!
//! One `Idempotency-Key` makes one ticket for two hours; the same key with another body is refused.
//!
//! Sources: <https://developer.zendesk.com/api-reference/ticketing/tickets/tickets/>,
//! <https://developer.zendesk.com/api-reference/ticketing/introduction/#idempotency>,
//! <https://developer.zendesk.com/api-reference/introduction/rate-limits/>. The plan is Team: 200
//! requests a minute.

use std::collections::HashMap;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json, json};

use super::answer::Answer;
use super::limits::{Limits, Rate};
use super::request::Request;
use super::stand_in::Api;

/// Where it listens.
pub(super) const PORT: u16 = 8095;
const LIMIT: Rate = Rate::new(200, Duration::from_mins(1));
/// How long a key is known.
const KEY_LIFE: SignedDuration = SignedDuration::from_hours(2);
const STATUSES: [&str; 6] = ["new", "open", "pending", "hold", "solved", "closed"];
const PRIORITIES: [&str; 4] = ["low", "normal", "high", "urgent"];

const EMAIL: &str = "bot@acme.example";
const TOKEN: &str = "mock-zendesk-token";

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  hookswitch mock zendesk
  hookswitch mock zendesk --rate 3/30s       says 429 with Retry-After soon
  hookswitch mock zendesk --lose-rate 0.5    makes tickets and does not answer: the key makes it safe to repeat";

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) options: super::Options,
    /// The agent
    #[arg(long, default_value = EMAIL)]
    email: String,
    /// The agent's API token
    #[arg(long, default_value = TOKEN)]
    token: String,
}

impl Args {
    pub(super) fn api(self) -> Zendesk {
        Zendesk {
            email: self.email,
            token: self.token,
            ..Zendesk::default()
        }
    }
}

/// An account.
#[derive(Debug)]
pub struct Zendesk {
    /// The agent.
    pub email: String,
    /// The agent's API token.
    pub token: String,
    /// The tickets, in the order of their ids, which begin at 1. Comments are in `comments`.
    pub tickets: Vec<Json>,
    keys: HashMap<String, Kept>,
    limits: Limits,
}

/// What a key has led to.
#[derive(Debug)]
struct Kept {
    body: Bytes,
    answer: Answer,
    at: Timestamp,
}

impl Default for Zendesk {
    fn default() -> Self {
        Self {
            email: EMAIL.to_owned(),
            token: TOKEN.to_owned(),
            tickets: Vec::new(),
            keys: HashMap::new(),
            limits: Limits::new(LIMIT),
        }
    }
}

impl Api for Zendesk {
    fn name(&self) -> &'static str {
        "Zendesk"
    }

    fn hint(&self) -> String {
        format!("  email  {}\n  token  {}", self.email, self.token)
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        if request.basic() != Some((format!("{}/token", self.email), self.token.clone())) {
            let body = json!({"error": "Couldn't authenticate you"});
            return Answer::json(StatusCode::UNAUTHORIZED, &body)
                .with("www-authenticate", "Basic realm=\"Web Password\"");
        }
        if let Err(wait) = self.limits.take("", now) {
            return self.limited(request, wait);
        }
        match *request.route() {
            ["POST", "api", "v2", "tickets" | "tickets.json"] => self.create_once(request, now),
            ["GET", "api", "v2", "tickets" | "tickets.json"] => {
                let wanted = request.query("external_id");
                let found = self.tickets.iter().filter(|ticket| {
                    wanted.is_none() || ticket.get("external_id").and_then(Json::as_str) == wanted
                });
                let found: Vec<&Json> = found.collect();
                Answer::json(
                    StatusCode::OK,
                    &json!({"tickets": found, "count": found.len()}),
                )
            }
            ["GET", "api", "v2", "tickets", id] => self.find(id).map_or_else(missing, |ticket| {
                Answer::json(StatusCode::OK, &json!({"ticket": ticket}))
            }),
            ["PUT", "api", "v2", "tickets", id] => self.update(id, request, now),
            _ => missing(),
        }
    }

    fn limited(&mut self, _: &Request, wait: Duration) -> Answer {
        Answer::text(
            StatusCode::TOO_MANY_REQUESTS,
            "Number of allowed API requests per minute exceeded",
        )
        .with("retry-after", wait.as_secs().to_string())
    }

    fn broken(&mut self, _: &Request) -> Answer {
        Answer::text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
    }

    fn limit(&mut self, rate: Rate) {
        self.limits.set(rate);
    }
}

impl Zendesk {
    fn create_once(&mut self, request: &Request, now: Timestamp) -> Answer {
        self.keys
            .retain(|_, kept| now.duration_since(kept.at) < KEY_LIFE);
        let Some(key) = request.header("idempotency-key") else {
            return self.create(request, now);
        };
        if let Some(kept) = self.keys.get(key) {
            if kept.body == request.body {
                return kept
                    .answer
                    .clone()
                    .with("x-idempotency-lookup", "hit")
                    .noted("the same Idempotency-Key again: nothing new is made");
            }
            return error(
                StatusCode::BAD_REQUEST,
                "IdempotentRequestError",
                "Request parameters are different from the initial request with this key",
            );
        }
        let answer = self.create(request, now);
        if answer.status.is_success() {
            let kept = Kept {
                body: request.body.clone(),
                answer: answer.clone(),
                at: now,
            };
            self.keys.insert(key.to_owned(), kept);
        }
        answer.with("x-idempotency-lookup", "miss")
    }

    fn create(&mut self, request: &Request, now: Timestamp) -> Answer {
        let fields = match fields(request) {
            Ok(fields) => fields,
            Err(answer) => return answer,
        };
        let text = |name: &str| fields.get(name).and_then(Json::as_str).unwrap_or_default();
        let Some(comment) = comment(&fields).or_else(|| {
            let description = text("description");
            (!description.is_empty()).then(|| json!({"body": description}))
        }) else {
            return invalid("base", "BlankValue", "Description: cannot be blank");
        };
        if let Err(answer) = check(&fields) {
            return answer;
        }
        let id = self.tickets.len() + 1;
        let mut ticket = json!({
            "id": id,
            "url": format!("https://acme.zendesk.com/api/v2/tickets/{id}.json"),
            "status": "new",
            "created_at": now.to_string(),
            "updated_at": now.to_string(),
        });
        merge(&mut ticket, fields);
        if let Some(ticket) = ticket.as_object_mut() {
            let body = comment.get("body").cloned().unwrap_or_default();
            ticket.insert("description".to_owned(), body);
            ticket.insert("comments".to_owned(), json!([comment]));
        }
        self.tickets.push(ticket.clone());
        Answer::json(StatusCode::CREATED, &audited(&ticket, now))
            .with(
                "location",
                format!("https://acme.zendesk.com/api/v2/tickets/{id}.json"),
            )
            .noted(format!("ticket {id} made"))
    }

    fn update(&mut self, id: &str, request: &Request, now: Timestamp) -> Answer {
        let id = id.trim_end_matches(".json").to_owned();
        let Some(ticket) = self.find_mut(&id) else {
            return missing();
        };
        if ticket.get("status") == Some(&json!("closed")) {
            return invalid(
                "status",
                "InvalidValue",
                "Status: closed prevents ticket update",
            );
        }
        let fields = match fields(request).and_then(|fields| check(&fields).map(|()| fields)) {
            Ok(fields) => fields,
            Err(answer) => return answer,
        };
        let comment = comment(&fields);
        merge(ticket, fields);
        if let Some(ticket) = ticket.as_object_mut() {
            ticket.insert("updated_at".to_owned(), json!(now.to_string()));
            let comments = ticket.get_mut("comments").and_then(Json::as_array_mut);
            if let (Some(comments), Some(comment)) = (comments, comment) {
                comments.push(comment);
            }
        }
        Answer::json(StatusCode::OK, &audited(ticket, now)).noted(format!("ticket {id} updated"))
    }

    fn find(&self, id: &str) -> Option<&Json> {
        let id: usize = id.trim_end_matches(".json").parse().ok()?;
        self.tickets.get(id.checked_sub(1)?)
    }

    fn find_mut(&mut self, id: &str) -> Option<&mut Json> {
        let id: usize = id.parse().ok()?;
        self.tickets.get_mut(id.checked_sub(1)?)
    }
}

/// A ticket that was written, with the audit of it
/// (<https://developer.zendesk.com/api-reference/ticketing/tickets/ticket_audits/>).
fn audited(ticket: &Json, now: Timestamp) -> Json {
    let audit = json!({
        "id": now.as_microsecond(),
        "ticket_id": ticket.get("id"),
        "created_at": now.to_string(),
        "events": [],
    });
    json!({"ticket": ticket, "audit": audit})
}

/// The members of `ticket`.
fn fields(request: &Request) -> Result<Map<String, Json>, Answer> {
    let body = request.is("application/json").then(|| request.json());
    let Some(Some(body)) = body else {
        return Err(error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Unprocessable Entity",
            "Server could not parse JSON",
        ));
    };
    match body.get("ticket") {
        Some(Json::Object(fields)) => Ok(fields.clone()),
        _ => Err(Answer::json(
            StatusCode::BAD_REQUEST,
            &json!({"error": {
                "title": "Invalid attribute",
                "message": "You passed an invalid value for the ticket attribute. Must be an object",
            }}),
        )),
    }
}

/// The comment, where it says something.
fn comment(fields: &Map<String, Json>) -> Option<Json> {
    let comment = fields.get("comment")?;
    ["body", "html_body"]
        .iter()
        .any(|name| {
            let text = comment.get(name).and_then(Json::as_str);
            text.is_some_and(|text| !text.trim().is_empty())
        })
        .then(|| comment.clone())
}

fn check(fields: &Map<String, Json>) -> Result<(), Answer> {
    for (name, known) in [("status", &STATUSES[..]), ("priority", &PRIORITIES[..])] {
        if let Some(value) = fields.get(name)
            && !value.as_str().is_some_and(|value| known.contains(&value))
        {
            return Err(invalid(
                name,
                "InvalidValue",
                &format!("{name}: {value} is not a valid value"),
            ));
        }
    }
    let text = |name: &str| {
        fields
            .get(name)
            .is_none_or(|it| it.is_string() || it.is_null())
    };
    if let Some(name) = ["subject", "external_id"].iter().find(|name| !text(name)) {
        return Err(invalid(
            name,
            "InvalidFormat",
            &format!("{name}: is not a text"),
        ));
    }
    Ok(())
}

/// Writes the fields over those of the ticket.
fn merge(ticket: &mut Json, mut fields: Map<String, Json>) {
    fields.remove("comment");
    fields.remove("id");
    if let Some(ticket) = ticket.as_object_mut() {
        ticket.extend(fields);
    }
}

fn missing() -> Answer {
    error(StatusCode::NOT_FOUND, "RecordNotFound", "Not found")
}

fn error(status: StatusCode, error: &str, description: &str) -> Answer {
    Answer::json(status, &json!({"error": error, "description": description}))
}

fn invalid(field: &str, error: &str, description: &str) -> Answer {
    Answer::json(
        StatusCode::UNPROCESSABLE_ENTITY,
        &json!({
            "error": "RecordInvalid",
            "description": "Record validation errors",
            "details": {field: [{"error": error, "description": description}]},
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::request::tests::request;
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    fn send(api: &mut Zendesk, method: &str, path: &str, key: &str, body: &Json) -> Answer {
        send_at(api, method, path, key, body, Timestamp::UNIX_EPOCH)
    }

    fn send_at(
        api: &mut Zendesk,
        method: &str,
        path: &str,
        key: &str,
        body: &Json,
        now: Timestamp,
    ) -> Answer {
        let credentials = format!("{EMAIL}/token:{TOKEN}");
        let credentials = format!("Basic {}", BASE64_STANDARD.encode(credentials));
        let mut request = request(method, path, &credentials, body);
        if !key.is_empty() {
            request
                .headers
                .insert("idempotency-key", key.parse().unwrap());
        }
        api.answer(&request, now)
    }

    fn ticket(text: &str) -> Json {
        json!({"ticket": {"subject": "s", "external_id": "c-1", "comment": {"body": text}}})
    }

    #[test]
    fn one_key_makes_one_ticket_for_two_hours_and_another_body_is_refused() {
        let mut api = Zendesk::default();
        let path = "/api/v2/tickets";
        let first = send(&mut api, "POST", path, "k", &ticket("a"));
        assert_eq!(first.status, StatusCode::CREATED);
        let again = send(&mut api, "POST", path, "k", &ticket("a"));
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        let hit = ("x-idempotency-lookup", "hit".to_owned());
        assert!(again.headers.contains(&hit));
        let other = send(&mut api, "POST", path, "k", &ticket("b"));
        assert_eq!(other.status, StatusCode::BAD_REQUEST);
        assert!(other.body.contains("IdempotentRequestError"));
        assert_eq!(api.tickets.len(), 1);
        let later = Timestamp::UNIX_EPOCH + KEY_LIFE;
        send_at(&mut api, "POST", path, "k", &ticket("a"), later);
        assert_eq!(api.tickets.len(), 2);
    }

    #[test]
    fn a_ticket_is_found_by_its_external_id_and_updated_until_it_is_closed() {
        let mut api = Zendesk::default();
        send(&mut api, "POST", "/api/v2/tickets.json", "", &ticket("a"));
        let found = send(
            &mut api,
            "GET",
            "/api/v2/tickets?external_id=c-1",
            "",
            &Json::Null,
        );
        let found: Json = serde_json::from_str(&found.body).unwrap();
        assert_eq!(found["tickets"][0]["id"], 1);
        let status = |status: &str| json!({"ticket": {"status": status, "comment": {"body": "b"}}});
        let mut update = |body| {
            send(&mut api, "PUT", "/api/v2/tickets/1", "", &body)
                .status
                .as_u16()
        };
        assert_eq!(update(status("in progress")), 422);
        assert_eq!(update(status("closed")), 200);
        assert_eq!(update(status("open")), 422);
        assert_eq!(api.tickets[0]["comments"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let mut api = Zendesk::default();
        let mut post = |body: Json| {
            send(&mut api, "POST", "/api/v2/tickets", "k", &body)
                .status
                .as_u16()
        };
        assert_eq!(post(json!({"subject": "s"})), 400);
        assert_eq!(post(json!({"ticket": {"subject": "s"}})), 422);
        assert_eq!(post(json!({"ticket": {"comment": {"body": " "}}})), 422);
        assert_eq!(post(ticket("a")), 201, "a refused request uses no key");
        let wrong = request("POST", "/api/v2/tickets", "Basic d3Jvbmc6", &ticket("a"));
        assert_eq!(api.answer(&wrong, Timestamp::UNIX_EPOCH).status, 401);
    }
}
