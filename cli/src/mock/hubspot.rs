//! A stand-in for HubSpot's CRM objects: created one by one or in batches, updated, and found or
//! created by a unique property.
//!
//! A batch whose inputs each have an `objectWriteTraceId` is a 207 where some fail, and names them in results
//! and errors; without them one bad input fails them all. A 429 says in `policyName` which limit it was.
//!
//! Sources: <https://developers.hubspot.com/docs/api-reference/error-handling>,
//! <https://developers.hubspot.com/docs/guides/api/crm/objects/contacts>,
//! <https://developers.hubspot.com/docs/guides/api/crm/objects/tickets>,
//! <https://developers.hubspot.com/docs/guides/apps/api-usage/usage-details>. Names of properties: the
//! standard ones that are listed here, and all that begin with `tgstaff_`.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::answer::Answer;
use super::limits::{Limits, Rate};
use super::request::Request;
use super::stand_in::Api;

/// Where it listens.
pub(super) const PORT: u16 = 8093;
/// The burst of small plans.
const LIMIT: Rate = Rate::new(100, Duration::from_secs(10));
/// A wait of more than this is that of the daily limit.
const BURST: Duration = Duration::from_mins(1);
const BATCH: usize = 100;
const VERSIONS: [&str; 4] = ["v3", "2025-09", "2026-03", "2026-09-beta"];

/// A type of object.
struct Kind {
    name: &'static str,
    properties: &'static [&'static str],
    unique: &'static [&'static str],
    required: &'static [&'static str],
    /// What its ties lead to, and their numbers: <https://developers.hubspot.com/docs/guides/api/crm/associations>.
    ties: &'static [(&'static str, u64)],
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "contacts",
        properties: &[
            "email",
            "firstname",
            "lastname",
            "phone",
            "company",
            "website",
            "jobtitle",
            "city",
            "country",
            "lifecyclestage",
            "hs_lead_status",
            "hs_language",
            "hubspot_owner_id",
            "message",
        ],
        unique: &["email", "tgstaff_user_id"],
        required: &[],
        ties: &[("tickets", 15)],
    },
    Kind {
        name: "tickets",
        properties: &[
            "subject",
            "content",
            "hs_pipeline",
            "hs_pipeline_stage",
            "hs_ticket_priority",
            "hs_ticket_category",
            "hubspot_owner_id",
            "source_type",
        ],
        unique: &["tgstaff_conversation_id"],
        required: &["subject", "hs_pipeline_stage"],
        ties: &[("contacts", 16)],
    },
];

const TOKEN: &str = "pat-mock-hubspot-token";

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  hookswitch mock hubspot
  hookswitch mock hubspot --rate 2/10s       says 429 with policyName TEN_SECONDLY_ROLLING soon
  hookswitch mock hubspot --rate 2/24h       says 429 with policyName DAILY soon";

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) options: super::Options,
    /// The private app's access token
    #[arg(long, default_value = TOKEN)]
    token: String,
}

impl Args {
    pub(super) fn api(self) -> Hubspot {
        Hubspot {
            token: self.token,
            ..Hubspot::default()
        }
    }
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its type, such as `contacts`.
    pub kind: String,
    /// Its properties; every value is text.
    pub properties: BTreeMap<String, String>,
    /// The ids of what it is tied to, with the number of the tie.
    pub ties: Vec<(String, u64)>,
}

/// An account.
#[derive(Debug)]
pub struct Hubspot {
    /// The private app's access token.
    pub token: String,
    /// The objects, in the order of their ids, which begin at 1.
    pub objects: Vec<Object>,
    limits: Limits,
}

impl Default for Hubspot {
    fn default() -> Self {
        Self {
            token: TOKEN.to_owned(),
            objects: Vec::new(),
            limits: Limits::new(LIMIT),
        }
    }
}

/// Why an object is refused: the category, and a message.
type Wrong = (&'static str, String);
const VALIDATION: &str = "VALIDATION_ERROR";
const CONFLICT: &str = "CONFLICT";
const NOT_FOUND: &str = "OBJECT_NOT_FOUND";

impl Api for Hubspot {
    fn name(&self) -> &'static str {
        "HubSpot"
    }

    fn hint(&self) -> String {
        format!("  token  {}", self.token)
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        if request.bearer() != Some(&self.token) {
            return error(
                StatusCode::UNAUTHORIZED,
                "INVALID_AUTHENTICATION",
                "Authentication credentials not found. This API supports OAuth 2.0 authentication.",
            );
        }
        if let Err(wait) = self.limits.take("", now) {
            return self.limited(request, wait);
        }
        let route = request.route();
        // The versions by date have moved to the front of the path.
        let (method, kind, rest) = match route.as_slice() {
            [method, "crm", "objects", version, kind, rest @ ..] if VERSIONS.contains(version) => {
                (*method, *kind, rest)
            }
            [method, "crm", "v3", "objects", kind, rest @ ..] => (*method, *kind, rest),
            _ => return not_found("no such resource"),
        };
        let Some(kind) = KINDS.iter().find(|known| known.name == kind) else {
            return error(
                StatusCode::BAD_REQUEST,
                VALIDATION,
                &format!("Unable to infer object type from: {kind}"),
            );
        };
        if matches!(method, "POST" | "PATCH") && !request.is("application/json") {
            return error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                VALIDATION,
                "the content type is not application/json",
            );
        }
        match (method, rest) {
            ("POST", []) => self.create_one(kind, request, now),
            ("POST", ["batch", "create"]) => self.batch(kind, request, now, false),
            ("POST", ["batch", "upsert"]) => self.batch(kind, request, now, true),
            ("PATCH", [id]) => self.update_one(kind, id, request, now),
            ("GET", [id]) => self
                .find(kind, id, request.query("idProperty"))
                .map_or_else(
                    || not_found("resource not found"),
                    |at| Answer::json(StatusCode::OK, &self.shown_object(at, now)),
                ),
            _ => not_found("no such resource"),
        }
    }

    fn limited(&mut self, _: &Request, wait: Duration) -> Answer {
        let policy = if wait > BURST {
            "DAILY"
        } else {
            "TEN_SECONDLY_ROLLING"
        };
        Answer::json(
            StatusCode::TOO_MANY_REQUESTS,
            &json!({
                "status": "error",
                "message": format!("You have reached your {} limit.", policy.to_lowercase()),
                "errorType": "RATE_LIMIT",
                "correlationId": "00000000-0000-0000-0000-000000000000",
                "policyName": policy,
            }),
        )
    }

    fn broken(&mut self, _: &Request) -> Answer {
        Answer::text(StatusCode::BAD_GATEWAY, "Bad Gateway")
    }

    fn limit(&mut self, rate: Rate) {
        self.limits.set(rate);
    }
}

impl Hubspot {
    /// What an account answers that is being moved between data centres.
    #[must_use]
    pub fn migrating(seconds: u32) -> Answer {
        StatusCode::from_u16(477).map_or_else(
            |_| not_found(""),
            |status| {
                error(
                    status,
                    "MIGRATION_IN_PROGRESS",
                    "the account is being migrated",
                )
                .with("retry-after", seconds.to_string())
            },
        )
    }

    fn create_one(&mut self, kind: &Kind, request: &Request, now: Timestamp) -> Answer {
        let Some(Json::Object(input)) = request.json() else {
            return not_json();
        };
        match self.create(kind, &input) {
            Ok(at) => Answer::json(StatusCode::CREATED, &self.shown_object(at, now))
                .noted(format!("{} {} created", kind.name, at + 1)),
            Err((category, message)) => {
                let status = match category {
                    CONFLICT => StatusCode::CONFLICT,
                    NOT_FOUND => StatusCode::NOT_FOUND,
                    _ => StatusCode::BAD_REQUEST,
                };
                error(status, category, &message)
            }
        }
    }

    fn update_one(&mut self, kind: &Kind, id: &str, request: &Request, now: Timestamp) -> Answer {
        let Some(Json::Object(input)) = request.json() else {
            return not_json();
        };
        let Some(at) = self.find(kind, id, request.query("idProperty")) else {
            return not_found("resource not found");
        };
        match properties(kind, &input) {
            Ok(properties) => {
                self.write(at, properties);
                Answer::json(StatusCode::OK, &self.shown_object(at, now)).noted(format!(
                    "{} {} updated",
                    kind.name,
                    at + 1
                ))
            }
            Err((category, message)) => error(StatusCode::BAD_REQUEST, category, &message),
        }
    }

    fn batch(&mut self, kind: &Kind, request: &Request, now: Timestamp, upsert: bool) -> Answer {
        let Some(body) = request.json() else {
            return not_json();
        };
        let Some(inputs) = body.get("inputs").and_then(Json::as_array) else {
            return error(
                StatusCode::BAD_REQUEST,
                VALIDATION,
                "Some required fields were not set: [inputs]",
            );
        };
        if inputs.is_empty() || inputs.len() > BATCH {
            return error(
                StatusCode::BAD_REQUEST,
                VALIDATION,
                &format!("The batch must have between 1 and {BATCH} inputs"),
            );
        }
        let mut ids = HashSet::new();
        let twice = inputs
            .iter()
            .filter_map(|input| input.get("id"))
            .find(|id| !ids.insert(id.to_string()));
        if let Some(id) = twice {
            return error(
                StatusCode::BAD_REQUEST,
                VALIDATION,
                &format!("Duplicate IDs found in batch input: [{id}]"),
            );
        }
        let traced = inputs
            .iter()
            .all(|input| input.get("objectWriteTraceId").is_some());
        let before = self.objects.clone();
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for input in inputs {
            let Json::Object(input) = input else {
                self.objects = before;
                return not_json();
            };
            let done = if upsert {
                self.upsert(kind, input)
            } else {
                self.create(kind, input).map(|at| (at, true))
            };
            match done {
                Ok((at, new)) => {
                    let mut result = self.shown_object(at, now);
                    if let Some(result) = result.as_object_mut() {
                        if upsert {
                            result.insert("new".to_owned(), json!(new));
                        }
                        if let Some(trace) = input.get("objectWriteTraceId") {
                            result.insert("objectWriteTraceId".to_owned(), trace.clone());
                        }
                    }
                    results.push(result);
                }
                Err((category, message)) if traced => errors.push(json!({
                    "status": "error",
                    "category": category,
                    "message": message,
                    "context": {"objectWriteTraceId": [input.get("objectWriteTraceId")]},
                })),
                Err((category, message)) => {
                    self.objects = before;
                    return error(StatusCode::BAD_REQUEST, category, &message);
                }
            }
        }
        let note = format!("{} written, {} refused", results.len(), errors.len());
        let mut body = json!({
            "status": "COMPLETE",
            "results": results,
            "startedAt": now.to_string(),
            "completedAt": now.to_string(),
        });
        if errors.is_empty() {
            let status = if upsert {
                StatusCode::OK
            } else {
                StatusCode::CREATED
            };
            return Answer::json(status, &body).noted(note);
        }
        if let Some(body) = body.as_object_mut() {
            body.insert("numErrors".to_owned(), json!(errors.len()));
            body.insert("errors".to_owned(), json!(errors));
        }
        Answer::json(StatusCode::MULTI_STATUS, &body).noted(note)
    }

    /// The object's place, and whether it is new.
    fn upsert(&mut self, kind: &Kind, input: &Map<String, Json>) -> Result<(usize, bool), Wrong> {
        let text = |name: &str| input.get(name).and_then(Json::as_str).unwrap_or_default();
        let (id, property) = (text("id"), text("idProperty"));
        if id.is_empty() {
            return Err((
                VALIDATION,
                "Some required fields were not set: [id]".to_owned(),
            ));
        }
        if input.contains_key("associations") {
            return Err((
                VALIDATION,
                "associations are no part of a batch upsert".to_owned(),
            ));
        }
        if !kind.unique.contains(&property) {
            return Err((
                VALIDATION,
                format!(
                    "The property {property:?} is not a unique property of {}",
                    kind.name
                ),
            ));
        }
        let mut properties = properties(kind, input)?;
        if let Some(at) = self.find(kind, id, Some(property)) {
            self.write(at, properties);
            return Ok((at, false));
        }
        properties.insert(property.to_owned(), id.to_owned());
        self.add(kind, properties, Vec::new()).map(|at| (at, true))
    }

    fn create(&mut self, kind: &Kind, input: &Map<String, Json>) -> Result<usize, Wrong> {
        let properties = properties(kind, input)?;
        let ties = self.ties(kind, input)?;
        self.add(kind, properties, ties)
    }

    fn add(
        &mut self,
        kind: &Kind,
        properties: BTreeMap<String, String>,
        ties: Vec<(String, u64)>,
    ) -> Result<usize, Wrong> {
        let lacking: Vec<&str> = kind
            .required
            .iter()
            .copied()
            .filter(|name| properties.get(*name).is_none_or(String::is_empty))
            .collect();
        if !lacking.is_empty() {
            return Err((
                VALIDATION,
                format!(
                    "Error creating {}. Some required properties were not set: {lacking:?}",
                    kind.name
                ),
            ));
        }
        for name in kind.unique {
            if let Some(value) = properties.get(*name)
                && let Some(at) = self.find(kind, value, Some(name))
            {
                return Err((
                    CONFLICT,
                    format!("{} already exists. Existing ID: {}", kind.name, at + 1),
                ));
            }
        }
        self.objects.push(Object {
            kind: kind.name.to_owned(),
            properties,
            ties,
        });
        Ok(self.objects.len() - 1)
    }

    fn write(&mut self, at: usize, properties: BTreeMap<String, String>) {
        if let Some(object) = self.objects.get_mut(at) {
            object.properties.extend(properties);
        }
    }

    /// Checks that each tie leads to what it is for.
    fn ties(&self, kind: &Kind, input: &Map<String, Json>) -> Result<Vec<(String, u64)>, Wrong> {
        let mut ties = Vec::new();
        let wanted = input.get("associations").and_then(Json::as_array);
        for tie in wanted.into_iter().flatten() {
            let id = match tie.pointer("/to/id") {
                Some(Json::String(id)) => id.clone(),
                Some(Json::Number(id)) => id.to_string(),
                _ => return Err((VALIDATION, "an association has no to.id".to_owned())),
            };
            let types = tie.get("types").and_then(Json::as_array);
            let Some(types) = types.filter(|types| !types.is_empty()) else {
                return Err((VALIDATION, "an association has no types".to_owned()));
            };
            for one in types {
                let number = one.get("associationTypeId").and_then(Json::as_u64);
                let category = one.get("associationCategory").and_then(Json::as_str);
                let (Some(number), Some("HUBSPOT_DEFINED")) = (number, category) else {
                    return Err((VALIDATION, "an association's type is not whole".to_owned()));
                };
                let Some((to, _)) = kind.ties.iter().find(|(_, known)| *known == number) else {
                    return Err((
                        VALIDATION,
                        format!(
                            "the association type {number} does not begin at {}",
                            kind.name
                        ),
                    ));
                };
                let there = id
                    .parse::<usize>()
                    .ok()
                    .and_then(|id| self.objects.get(id.checked_sub(1)?))
                    .is_some_and(|object| object.kind == *to);
                if !there {
                    return Err((NOT_FOUND, format!("there is no {to} with the id {id}")));
                }
                ties.push((id.clone(), number));
            }
        }
        Ok(ties)
    }

    fn find(&self, kind: &Kind, id: &str, property: Option<&str>) -> Option<usize> {
        match property {
            None => {
                let at = id.parse::<usize>().ok()?.checked_sub(1)?;
                let object = self.objects.get(at)?;
                (object.kind == kind.name).then_some(at)
            }
            Some(property) => self.objects.iter().position(|object| {
                object.kind == kind.name
                    && object
                        .properties
                        .get(property)
                        .is_some_and(|value| value == id)
            }),
        }
    }

    fn shown_object(&self, at: usize, now: Timestamp) -> Json {
        let properties = self.objects.get(at).map(|object| &object.properties);
        json!({
            "id": (at + 1).to_string(),
            "properties": properties,
            "createdAt": now.to_string(),
            "updatedAt": now.to_string(),
            "archived": false,
        })
    }
}

/// The properties, where all of them are known. Numbers and booleans become text.
fn properties(kind: &Kind, input: &Map<String, Json>) -> Result<BTreeMap<String, String>, Wrong> {
    let Some(Json::Object(given)) = input.get("properties") else {
        return Err((
            VALIDATION,
            "Some required fields were not set: [properties]".to_owned(),
        ));
    };
    let mut properties = BTreeMap::new();
    for (name, value) in given {
        if !kind.properties.contains(&name.as_str()) && !name.starts_with("tgstaff_") {
            return Err((
                VALIDATION,
                format!("Property values were not valid: Property \"{name}\" does not exist"),
            ));
        }
        let text = match value {
            Json::String(text) => text.clone(),
            Json::Number(_) | Json::Bool(_) => value.to_string(),
            Json::Null => String::new(),
            Json::Array(_) | Json::Object(_) => {
                return Err((VALIDATION, format!("Invalid input JSON: {name} is no text")));
            }
        };
        if name == "email" && !text.is_empty() && !text.contains('@') {
            return Err((
                VALIDATION,
                format!("Property values were not valid: Email address {text} is invalid"),
            ));
        }
        properties.insert(name.clone(), text);
    }
    Ok(properties)
}

fn not_json() -> Answer {
    error(StatusCode::BAD_REQUEST, VALIDATION, "Invalid input JSON")
}

fn not_found(message: &str) -> Answer {
    error(StatusCode::NOT_FOUND, NOT_FOUND, message)
}

fn error(status: StatusCode, category: &str, message: &str) -> Answer {
    Answer::json(
        status,
        &json!({
            "status": "error",
            "message": message,
            "correlationId": "00000000-0000-0000-0000-000000000000",
            "category": category,
        }),
    )
    .noted(format!("refused: {category}: {message}"))
}

#[cfg(test)]
mod tests;
