//! A stand-in for Freshdesk: tickets are made, updated, shown, and found by who asked or by a field.
//!
//! It knows no idempotency: what is sent twice is there twice. `unique_external_id` names the
//! requester, not the ticket.
//!
//! Sources: <https://developers.freshdesk.com/api/#create_ticket>, `#list_all_tickets`,
//! <https://developers.freshdesk.com/api/#filter_tickets>, <https://developers.freshdesk.com/api/#ratelimit>
//! (the plan is Growth: 200 requests a minute), <https://developers.freshdesk.com/api/#error>.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::answer::Answer;
use super::limits::{Limits, Rate};
use super::request::Request;
use super::stand_in::Api;

/// Where it listens.
pub(super) const PORT: u16 = 8096;
const LIMIT: Rate = Rate::new(200, Duration::from_mins(1));
/// One of these says who asks.
const REQUESTER: [&str; 6] = [
    "requester_id",
    "email",
    "facebook_id",
    "phone",
    "twitter_id",
    "unique_external_id",
];
/// What else a ticket may hold.
const FIELDS: [&str; 20] = [
    "name",
    "subject",
    "description",
    "status",
    "priority",
    "source",
    "type",
    "tags",
    "cc_emails",
    "custom_fields",
    "due_by",
    "fr_due_by",
    "group_id",
    "responder_id",
    "product_id",
    "company_id",
    "email_config_id",
    "parent_id",
    "related_ticket_ids",
    "lookup_parameter",
];
/// Open, pending, resolved, closed.
const STATUSES: std::ops::RangeInclusive<u64> = 2..=5;
/// Low, medium, high, urgent.
const PRIORITIES: std::ops::RangeInclusive<u64> = 1..=4;
const SUBJECT: usize = 255;
/// The longest tag.
const TAG: usize = 32;
/// Tickets in a page, where nothing is said, and the most; and pages.
const PAGE: usize = 30;
const MOST_IN_A_PAGE: usize = 100;
const PAGES: usize = 300;

const API_KEY: &str = "mock-freshdesk-key";
/// The custom fields that a new stand-in knows.
const CUSTOM_FIELDS: [&str; 2] = ["cf_hookswitch_id", "cf_conversation_id"];

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  hookswitch mock freshdesk
  hookswitch mock freshdesk --custom-field cf_conversation_id --custom-field cf_channel
  hookswitch mock freshdesk --lose-rate 0.5  makes tickets and does not answer: a repeated one is there twice";

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) options: super::Options,
    /// The API key
    #[arg(long, default_value = API_KEY)]
    api_key: String,
    /// A custom field of tickets; can be given more than once
    #[arg(long = "custom-field", value_name = "NAME", default_values = CUSTOM_FIELDS)]
    custom_fields: Vec<String>,
}

impl Args {
    pub(super) fn api(self) -> Freshdesk {
        Freshdesk {
            api_key: self.api_key,
            custom_fields: self.custom_fields.into_iter().collect(),
            ..Freshdesk::default()
        }
    }
}

/// An account.
#[derive(Debug)]
pub struct Freshdesk {
    /// The API key.
    pub api_key: String,
    /// The custom fields of tickets.
    pub custom_fields: BTreeSet<String>,
    /// The tickets, in the order of their ids, which begin at 1.
    pub tickets: Vec<Json>,
    limits: Limits,
}

impl Default for Freshdesk {
    fn default() -> Self {
        Self {
            api_key: API_KEY.to_owned(),
            custom_fields: CUSTOM_FIELDS.map(ToOwned::to_owned).into(),
            tickets: Vec::new(),
            limits: Limits::new(LIMIT),
        }
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone)]
struct Wrong {
    field: String,
    message: String,
    code: &'static str,
}

impl Api for Freshdesk {
    fn name(&self) -> &'static str {
        "Freshdesk"
    }

    fn hint(&self) -> String {
        format!("  API key  {}", self.api_key)
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        if request.basic().is_none_or(|(key, _)| key != self.api_key) {
            return error(
                StatusCode::UNAUTHORIZED,
                "invalid_credentials",
                "You have to be logged in to perform this action.",
            );
        }
        if let Err(wait) = self.limits.take("", now) {
            return self.limited(request, wait);
        }
        match *request.route() {
            ["POST" | "PUT", ..] if !request.is("application/json") => error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid_content_type",
                "Content-Type header should have application/json",
            ),
            ["POST", "api", "v2", "tickets"] => self.create(request, now),
            ["GET", "api", "v2", "tickets"] => self.list(request),
            ["GET", "api", "v2", "search", "tickets"] => self.search(request),
            ["GET", "api", "v2", "tickets", id] => self
                .position(id)
                .and_then(|at| self.tickets.get(at))
                .map_or_else(missing, |ticket| Answer::json(StatusCode::OK, ticket)),
            ["PUT", "api", "v2", "tickets", id] => self.update(id, request, now),
            _ => missing(),
        }
    }

    fn limited(&mut self, _: &Request, wait: Duration) -> Answer {
        Answer::json(
            StatusCode::TOO_MANY_REQUESTS,
            &json!({"message": "You have exceeded the limit of requests per minute"}),
        )
        .with("retry-after", wait.as_secs().to_string())
        .with("x-ratelimit-remaining", "0")
    }

    fn broken(&mut self, _: &Request) -> Answer {
        let body =
            json!({"code": "internal_error", "message": "We're sorry, but something went wrong"});
        Answer::json(StatusCode::INTERNAL_SERVER_ERROR, &body)
    }

    fn limit(&mut self, rate: Rate) {
        self.limits.set(rate);
    }
}

impl Freshdesk {
    fn create(&mut self, request: &Request, now: Timestamp) -> Answer {
        let Some(Json::Object(fields)) = request.json() else {
            return not_json();
        };
        let mut wrong = self.check(&fields);
        let has = |name: &&str| fields.get(*name).is_some_and(|value| !value.is_null());
        for name in ["subject", "description", "status", "priority"] {
            if !has(&name) {
                wrong.push(missing_field(name));
            }
        }
        if !REQUESTER.iter().any(&has) {
            wrong.push(Wrong {
                field: "requester_id".to_owned(),
                message: "One of the following fields is required: requester_id, phone, email, twitter_id, facebook_id, unique_external_id".to_owned(),
                code: "missing_field",
            });
        }
        if has(&"phone") && !has(&"email") && !has(&"name") {
            wrong.push(missing_field("name"));
        }
        if !wrong.is_empty() {
            return invalid(&wrong);
        }
        let id = self.tickets.len() + 1;
        let mut ticket = json!({
            "id": id,
            "source": 2,
            "tags": [],
            "custom_fields": {},
            "created_at": now.to_string(),
            "updated_at": now.to_string(),
        });
        if let Some(ticket) = ticket.as_object_mut() {
            ticket.extend(fields);
        }
        self.tickets.push(ticket.clone());
        Answer::json(StatusCode::CREATED, &ticket)
            .with(
                "location",
                format!("https://acme.freshdesk.com/api/v2/tickets/{id}"),
            )
            .noted(format!("ticket {id} made"))
    }

    fn update(&mut self, id: &str, request: &Request, now: Timestamp) -> Answer {
        let Some(Json::Object(fields)) = request.json() else {
            return not_json();
        };
        let wrong = self.check(&fields);
        let Some(ticket) = self.position(id).and_then(|at| self.tickets.get_mut(at)) else {
            return missing();
        };
        if !wrong.is_empty() {
            return invalid(&wrong);
        }
        if let Some(ticket) = ticket.as_object_mut() {
            ticket.extend(fields);
            ticket.insert("updated_at".to_owned(), json!(now.to_string()));
        }
        Answer::json(StatusCode::OK, ticket).noted(format!("ticket {id} updated"))
    }

    /// All that is wrong with what is there.
    fn check(&self, fields: &Map<String, Json>) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for (field, value) in fields {
            let known = REQUESTER.contains(&field.as_str()) || FIELDS.contains(&field.as_str());
            let fault = match (field.as_str(), value) {
                _ if !known => Some(("Unexpected/invalid field in request", "invalid_field")),
                ("status", value) if !value.as_u64().is_some_and(|it| STATUSES.contains(&it)) => {
                    Some((
                        "It should be one of these values: '2,3,4,5'",
                        "invalid_value",
                    ))
                }
                ("priority", value)
                    if !value.as_u64().is_some_and(|it| PRIORITIES.contains(&it)) =>
                {
                    Some((
                        "It should be one of these values: '1,2,3,4'",
                        "invalid_value",
                    ))
                }
                (
                    "subject" | "description" | "name" | "email" | "phone" | "unique_external_id",
                    value,
                ) if !value.is_string() => Some((
                    "Value set is of type other than String",
                    "datatype_mismatch",
                )),
                ("subject", Json::String(text)) if text.chars().count() > SUBJECT => Some((
                    "Has 256 characters or more, it can have maximum of 255",
                    "invalid_value",
                )),
                ("email", Json::String(text)) if !text.contains('@') => Some((
                    "It should be in the 'valid email address' format",
                    "invalid_value",
                )),
                ("tags", value) if !value.is_array() => {
                    Some(("Value set is of type other than Array", "datatype_mismatch"))
                }
                ("tags", Json::Array(tags))
                    if tags.iter().any(|tag| plain(tag).chars().count() > TAG) =>
                {
                    Some((
                        "Has 33 characters or more, it can have maximum of 32",
                        "invalid_value",
                    ))
                }
                _ => None,
            };
            wrong.extend(fault.map(|(message, code)| Wrong {
                field: field.clone(),
                message: message.to_owned(),
                code,
            }));
        }
        let custom = fields.get("custom_fields").and_then(Json::as_object);
        let unknown = custom
            .into_iter()
            .flat_map(Map::keys)
            .filter(|name| !self.custom_fields.contains(*name));
        wrong.extend(unknown.map(|name| Wrong {
            field: format!("custom_fields.{name}"),
            message: "Unexpected/invalid field in request".to_owned(),
            code: "invalid_field",
        }));
        wrong
    }

    /// A page of tickets: those of one requester, or changed since a time, or all.
    fn list(&self, request: &Request) -> Answer {
        let number = |name: &str, default: usize, most: usize| match request.query(name) {
            None => Some(default),
            Some(text) => text.parse().ok().filter(|it| (1..=most).contains(it)),
        };
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let since = request.query("updated_since").map(time);
        let (Some(size), Some(page), None | Some(Some(_))) = (
            number("per_page", PAGE, MOST_IN_A_PAGE),
            number("page", 1, PAGES),
            since,
        ) else {
            return invalid(&[Wrong {
                field: "page, per_page, updated_since".to_owned(),
                message: "It should be a number or a time in the range that is allowed".to_owned(),
                code: "invalid_value",
            }]);
        };
        let by = ["requester_id", "email", "unique_external_id"];
        let mut found: Vec<&Json> = self
            .tickets
            .iter()
            .filter(|ticket| {
                let updated = ticket.get("updated_at").and_then(Json::as_str);
                by.iter().all(|name| {
                    let wanted = request.query(name);
                    wanted.is_none() || ticket.get(name).map(plain).as_deref() == wanted
                }) && since
                    .flatten()
                    .is_none_or(|since| updated.and_then(time).is_some_and(|it| it >= since))
            })
            .collect();
        // They stand in the order in which they were made; the newest come first, if not told otherwise.
        if request.query("order_type") != Some("asc") {
            found.reverse();
        }
        let before = (page - 1).saturating_mul(size);
        let found: Vec<&Json> = found.into_iter().skip(before).take(size).collect();
        Answer::json(StatusCode::OK, &json!(found))
    }

    /// Tickets by `"field:'value'"`, joined with AND.
    fn search(&self, request: &Request) -> Answer {
        let query = request.query("query").unwrap_or_default();
        let conditions = query
            .strip_prefix('"')
            .and_then(|query| query.strip_suffix('"'))
            .and_then(|query| {
                query
                    .split(" AND ")
                    .map(condition)
                    .collect::<Option<Vec<_>>>()
            });
        let Some(conditions) = conditions else {
            return invalid(&[Wrong {
                field: "query".to_owned(),
                message: "Given query is invalid".to_owned(),
                code: "invalid_value",
            }]);
        };
        let found = self.tickets.iter().filter(|ticket| {
            conditions.iter().all(|(field, value)| match *field {
                "tag" => {
                    let tags = ticket.get("tags").and_then(Json::as_array);
                    tags.is_some_and(|tags| tags.iter().any(|tag| plain(tag) == *value))
                }
                field => {
                    let custom = ticket.get("custom_fields");
                    let found = custom
                        .and_then(|custom| custom.get(field))
                        .or_else(|| ticket.get(field));
                    found.is_some_and(|found| plain(found) == *value)
                }
            })
        });
        let found: Vec<&Json> = found.take(30).collect();
        Answer::json(
            StatusCode::OK,
            &json!({"total": found.len(), "results": found}),
        )
    }

    fn position(&self, id: &str) -> Option<usize> {
        id.parse::<usize>()
            .ok()?
            .checked_sub(1)
            .filter(|at| *at < self.tickets.len())
    }
}

/// `field:'value'` or `field:value`.
fn condition(text: &str) -> Option<(&str, &str)> {
    let (field, value) = text.trim().split_once(':')?;
    Some((field, value.trim_matches('\'')))
}

/// A value as it stands in a query.
fn plain(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn missing_field(name: &str) -> Wrong {
    Wrong {
        field: name.to_owned(),
        message: "It should be a/an String".to_owned(),
        code: "missing_field",
    }
}

fn invalid(wrong: &[Wrong]) -> Answer {
    let errors: Vec<Json> = wrong
        .iter()
        .map(
            |Wrong {
                 field,
                 message,
                 code,
             }| json!({"field": field, "message": message, "code": code}),
        )
        .collect();
    Answer::json(
        StatusCode::BAD_REQUEST,
        &json!({"description": "Validation failed", "errors": errors}),
    )
}

fn not_json() -> Answer {
    error(
        StatusCode::BAD_REQUEST,
        "invalid_json",
        "Request body has invalid json format",
    )
}

fn missing() -> Answer {
    Answer::empty(StatusCode::NOT_FOUND).noted("refused: not found")
}

fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({"code": code, "message": message}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::request::tests::request;
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    fn send(api: &mut Freshdesk, method: &str, target: &str, body: &Json) -> (u16, Json) {
        let credentials = format!("Basic {}", BASE64_STANDARD.encode(format!("{API_KEY}:X")));
        let request = request(method, target, &credentials, body);
        let answer = api.answer(&request, Timestamp::UNIX_EPOCH);
        let body = serde_json::from_str(&answer.body).unwrap_or_default();
        (answer.status.as_u16(), body)
    }

    fn ticket(with: &Json) -> Json {
        let mut ticket = json!({"subject": "s", "description": "d", "status": 2, "priority": 1});
        let more = with.as_object().unwrap().clone();
        ticket.as_object_mut().unwrap().extend(more);
        ticket
    }

    #[test]
    fn somebody_must_have_asked() {
        let mut api = Freshdesk::default();
        let mut post = |with: Json| send(&mut api, "POST", "/api/v2/tickets", &ticket(&with)).0;
        assert_eq!(post(json!({})), 400);
        assert_eq!(post(json!({"unique_external_id": "u-1"})), 201);
        assert_eq!(post(json!({"phone": "+100"})), 400);
        assert_eq!(post(json!({"phone": "+100", "name": "Alice"})), 201);
        assert_eq!(post(json!({"email": "no address"})), 400);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let mut api = Freshdesk::default();
        let body = json!({
            "unique_external_id": "u", "status": 9, "priority": "high", "shoe": 1,
            "subject": "s", "custom_fields": {"cf_unknown": 1},
        });
        let (status, answer) = send(&mut api, "POST", "/api/v2/tickets", &body);
        assert_eq!(status, 400);
        let errors = answer["errors"].as_array().unwrap();
        let mut fields: Vec<_> = errors
            .iter()
            .map(|it| it["field"].as_str().unwrap())
            .collect();
        fields.sort_unstable();
        let wanted = [
            "custom_fields.cf_unknown",
            "description",
            "priority",
            "shoe",
            "status",
        ];
        assert_eq!(fields, wanted);
    }

    #[test]
    fn what_is_sent_twice_is_there_twice_and_can_be_searched_for() {
        let mut api = Freshdesk::default();
        let body = ticket(&json!({
            "unique_external_id": "u-1", "tags": ["t-1"], "custom_fields": {"cf_conversation_id": "c-1"},
        }));
        for _ in 0..2 {
            assert_eq!(send(&mut api, "POST", "/api/v2/tickets", &body).0, 201);
        }
        let mut count = |target: &str| {
            let (_, found) = send(&mut api, "GET", target, &Json::Null);
            found["total"].as_u64().map_or_else(
                || found.as_array().unwrap().len(),
                |total| usize::try_from(total).unwrap(),
            )
        };
        assert_eq!(count("/api/v2/tickets?unique_external_id=u-1"), 2);
        assert_eq!(count("/api/v2/tickets?unique_external_id=u-2"), 0);
        let search = "/api/v2/search/tickets?query=%22tag:%27t-1%27%20AND%20status:2%22";
        assert_eq!(count(search), 2);
        let search = "/api/v2/search/tickets?query=%22cf_conversation_id:%27c-1%27%22";
        assert_eq!(count(search), 2);
    }
    #[test]
    fn a_list_comes_in_pages() {
        let mut api = Freshdesk::default();
        let body = ticket(&json!({"unique_external_id": "u-1"}));
        for _ in 0..3 {
            send(&mut api, "POST", "/api/v2/tickets", &body);
        }
        let mut ids = |query: &str| {
            let target = format!("/api/v2/tickets?{query}");
            let (status, found) = send(&mut api, "GET", &target, &Json::Null);
            let ids = found
                .as_array()
                .map(|it| it.iter().map(|it| it["id"].clone()));
            (status, ids.map(Vec::from_iter).unwrap_or_default())
        };
        assert_eq!(ids(""), (200, vec![json!(3), json!(2), json!(1)]));
        let second = "order_type=asc&per_page=2&page=2&updated_since=1970-01-01T00:00:00Z";
        assert_eq!(ids(second), (200, vec![json!(3)]));
        assert_eq!(ids("updated_since=1970-01-01T00:00:01Z"), (200, vec![]));
        for wrong in ["per_page=101", "page=0", "updated_since=yesterday"] {
            assert_eq!(ids(wrong).0, 400, "{wrong}");
        }
    }
}
