//! A stand-in for Salesforce: OAuth tokens, and upserts of records by an external id.
//!
//! A token tells nothing of its end: a session that is over is a 401. A 300 means that several records
//! have the external id, and nothing was written.
//!
//! Sources: <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_upsert.htm>,
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm>,
//! <https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm>,
//! <https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm>. The
//! signature of a JWT is not checked: the stand-in has no certificate to check it with; its claims are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json, json};

use super::answer::Answer;
use super::limits::{Limits, Rate};
use super::request::{Request, find};
use super::stand_in::Api;

/// Where it listens.
pub(super) const PORT: u16 = 8094;
/// Requests of an org in a day.
const LIMIT: Rate = Rate::new(15_000, Duration::from_hours(24));
/// How far in the future the end of a JWT may be.
const JWT_LIFE: i64 = 300;
/// From this version on an update has a body.
const BODY_ON_UPDATE: u32 = 46;
/// Standard fields of the objects that are known; an object that is not here has any fields.
const FIELDS: [(&str, &[&str], &[&str]); 2] = [
    (
        "Lead",
        &["LastName", "Company"],
        &[
            "FirstName",
            "Salutation",
            "Title",
            "Email",
            "Phone",
            "MobilePhone",
            "Website",
            "Description",
            "LeadSource",
            "Status",
            "Industry",
            "Rating",
            "Street",
            "City",
            "State",
            "PostalCode",
            "Country",
            "OwnerId",
            "RecordTypeId",
        ],
    ),
    (
        "Contact",
        &["LastName"],
        &[
            "FirstName",
            "Salutation",
            "Title",
            "Email",
            "Phone",
            "MobilePhone",
            "Description",
            "LeadSource",
            "AccountId",
            "OwnerId",
            "Department",
        ],
    ),
];
const LAST_NAME: usize = 80;

const CLIENT_ID: &str = "mock-salesforce-consumer-key";
const CLIENT_SECRET: &str = "mock-salesforce-consumer-secret";
const USERNAME: &str = "bot@acme.example";
const AUDIENCES: [&str; 2] = [
    "https://login.salesforce.com",
    "https://test.salesforce.com",
];
/// The external-id fields that a new stand-in knows.
const EXTERNAL_IDS: [&str; 2] = ["TGStaff_User__c", "TGStaff_Conversation__c"];

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  hookswitch mock salesforce
  hookswitch mock salesforce --session 20s   ends each session after 20 s, to watch tokens being renewed
  hookswitch mock salesforce --rate 3/1h     is over its daily limit soon: 403 REQUEST_LIMIT_EXCEEDED";

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) options: super::Options,
    /// The connected app's consumer key
    #[arg(long, default_value = CLIENT_ID)]
    client_id: String,
    /// The connected app's consumer secret
    #[arg(long, default_value = CLIENT_SECRET)]
    client_secret: String,
    /// The user that a JWT may speak for
    #[arg(long, default_value = USERNAME)]
    username: String,
    /// An external-id field; can be given more than once
    #[arg(long = "external-id", value_name = "FIELD", default_values = EXTERNAL_IDS)]
    external_ids: Vec<String>,
    /// How long a session lasts
    #[arg(long, default_value = "2h", value_name = "DURATION")]
    session: hookswitch_crds::duration::Duration,
}

impl Args {
    pub(super) fn api(self) -> Salesforce {
        Salesforce {
            client_id: self.client_id,
            client_secret: self.client_secret,
            username: self.username,
            external_ids: self.external_ids.into_iter().collect(),
            session: self.session.to_std(),
            ..Salesforce::default()
        }
    }
}

/// An org.
#[derive(Debug)]
pub struct Salesforce {
    /// The connected app's consumer key.
    pub client_id: String,
    /// The connected app's consumer secret.
    pub client_secret: String,
    /// The user that a JWT may speak for.
    pub username: String,
    /// The external-id fields that there are.
    pub external_ids: BTreeSet<String>,
    /// How long a session lasts.
    pub session: Duration,
    /// Records by object, external-id field and its value.
    pub records: BTreeMap<(String, String, String), Json>,
    /// External ids that several records have.
    pub ambiguous: BTreeSet<String>,
    /// True to find a duplicate in every new record.
    pub duplicate_rule: bool,
    /// The tokens that were given, and when.
    pub tokens: Vec<(String, Timestamp)>,
    limits: Limits,
}

impl Default for Salesforce {
    fn default() -> Self {
        Self {
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            username: USERNAME.to_owned(),
            external_ids: EXTERNAL_IDS.map(ToOwned::to_owned).into(),
            session: Duration::from_hours(2),
            records: BTreeMap::new(),
            ambiguous: BTreeSet::new(),
            duplicate_rule: false,
            tokens: Vec::new(),
            limits: Limits::new(LIMIT),
        }
    }
}

impl Api for Salesforce {
    fn name(&self) -> &'static str {
        "Salesforce"
    }

    fn hint(&self) -> String {
        let fields: Vec<&str> = self.external_ids.iter().map(String::as_str).collect();
        format!(
            "  consumer key     {}\n  consumer secret  {}\n  external ids     {}",
            self.client_id,
            self.client_secret,
            fields.join(" ")
        )
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        match *request.route() {
            ["POST", "services", "oauth2", "token"] => self.token(request, now),
            [
                "PATCH",
                "services",
                "data",
                version,
                "sobjects",
                object,
                field,
                value,
            ] => {
                if let Err(answer) = self.admit(request, now) {
                    return answer;
                }
                let key = (object.to_owned(), field.to_owned(), value.to_owned());
                self.upsert(version, key, request)
            }
            [
                "GET",
                "services",
                "data",
                _,
                "sobjects",
                object,
                field,
                value,
            ] => {
                if let Err(answer) = self.admit(request, now) {
                    return answer;
                }
                let key = (object.to_owned(), field.to_owned(), value.to_owned());
                self.records
                    .get(&key)
                    .map_or_else(missing, |record| Answer::json(StatusCode::OK, record))
            }
            _ => missing(),
        }
    }

    fn limited(&mut self, _: &Request, _: Duration) -> Answer {
        error(
            StatusCode::FORBIDDEN,
            "REQUEST_LIMIT_EXCEEDED",
            "TotalRequests Limit exceeded.",
        )
    }

    fn broken(&mut self, _: &Request) -> Answer {
        error(
            StatusCode::SERVICE_UNAVAILABLE,
            "SERVER_UNAVAILABLE",
            "We are down for maintenance. Sorry for the inconvenience. We will be back shortly.",
        )
    }

    fn limit(&mut self, rate: Rate) {
        self.limits.set(rate);
    }
}

impl Salesforce {
    /// Ends all sessions: their tokens are good no more.
    pub fn end_sessions(&mut self) {
        for (_, at) in &mut self.tokens {
            *at = Timestamp::MIN;
        }
    }

    /// Gives a token.
    fn token(&mut self, request: &Request, now: Timestamp) -> Answer {
        let refuse = |code: &str, why: &str| {
            Answer::json(
                StatusCode::BAD_REQUEST,
                &json!({"error": code, "error_description": why}),
            )
        };
        if !request.is("application/x-www-form-urlencoded") {
            return refuse("invalid_request", "the request is no form");
        }
        let form = request.form();
        let field = |name| find(&form, name).unwrap_or_default();
        match field("grant_type") {
            "client_credentials" => {
                let (id, secret) = request.basic().unwrap_or_else(|| {
                    (
                        field("client_id").to_owned(),
                        field("client_secret").to_owned(),
                    )
                });
                if id != self.client_id {
                    return refuse("invalid_client_id", "client identifier invalid");
                }
                if secret != self.client_secret {
                    return refuse("invalid_client", "invalid client credentials");
                }
            }
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
                if let Err(why) = self.check_jwt(field("assertion"), now) {
                    return refuse("invalid_grant", why);
                }
            }
            _ => return refuse("unsupported_grant_type", "grant type not supported"),
        }
        let token = format!("00Dmock000000001!{:08}", self.tokens.len() + 1);
        self.tokens.push((token.clone(), now));
        let host = request.header("host").unwrap_or("acme.my.salesforce.com");
        let body = json!({
            "access_token": token,
            "instance_url": format!("http://{host}"),
            "id": format!("http://{host}/id/00Dmock000000001/005mock000000001"),
            "token_type": "Bearer",
            "issued_at": now.as_millisecond().to_string(),
            "signature": "mock",
        });
        Answer::json(StatusCode::OK, &body).noted("a token given")
    }

    fn check_jwt(&self, assertion: &str, now: Timestamp) -> Result<(), &'static str> {
        let parts: Vec<&str> = assertion.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            return Err("invalid assertion");
        };
        let read = |part: &str| -> Option<Json> {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let (Some(header), Some(claims)) = (read(header), read(claims)) else {
            return Err("invalid assertion");
        };
        if header.get("alg") != Some(&json!("RS256")) || signature.is_empty() {
            return Err("unsupported algorithm");
        }
        let claim = |name| claims.get(name).and_then(Json::as_str).unwrap_or_default();
        if claim("iss") != self.client_id {
            return Err("invalid client identifier");
        }
        if claim("sub") != self.username {
            return Err("user hasn't approved this consumer");
        }
        if !AUDIENCES.contains(&claim("aud")) {
            return Err("audience is invalid");
        }
        // A number by RFC 7519, 4.1.4; clients are known that write text.
        let end = match claims.get("exp") {
            Some(Json::String(end)) => end.parse().unwrap_or_default(),
            end => end.and_then(Json::as_i64).unwrap_or_default(),
        };
        let now = now.as_second();
        if end <= now || end > now + JWT_LIFE {
            return Err("expired authorization code");
        }
        Ok(())
    }

    fn admit(&mut self, request: &Request, now: Timestamp) -> Result<(), Answer> {
        let session = SignedDuration::try_from(self.session).unwrap_or(SignedDuration::MAX);
        let token = request.bearer().unwrap_or_default();
        let alive = self
            .tokens
            .iter()
            .any(|(known, at)| known == token && now.duration_since(*at) < session);
        if !alive {
            return Err(error(
                StatusCode::UNAUTHORIZED,
                "INVALID_SESSION_ID",
                "Session expired or invalid",
            ));
        }
        match self.limits.take("", now) {
            Ok(()) => Ok(()),
            Err(wait) => Err(self.limited(request, wait)),
        }
    }

    fn upsert(
        &mut self,
        version: &str,
        key: (String, String, String),
        request: &Request,
    ) -> Answer {
        let (object, field, value) = &key;
        let number = version
            .strip_prefix('v')
            .and_then(|version| version.strip_suffix(".0"))
            .and_then(|version| version.parse::<u32>().ok());
        let Some(number) = number.filter(|number| *number >= 20) else {
            return missing();
        };
        if !self.external_ids.contains(field) {
            return error(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                &format!("Provided external ID field does not exist or is not accessible: {field}"),
            );
        }
        if !request.is("application/json") {
            return error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "Content type not supported",
            );
        }
        let Some(Json::Object(body)) = request.json() else {
            return error(
                StatusCode::BAD_REQUEST,
                "JSON_PARSER_ERROR",
                "The HTTP entity body is not a JSON object",
            );
        };
        if self.ambiguous.contains(value) {
            let url = |id: &str| format!("/services/data/{version}/sobjects/{object}/{id}");
            let found = json!([url("00Qmock000000001"), url("00Qmock000000002")]);
            return Answer::json(StatusCode::MULTIPLE_CHOICES, &found)
                .noted("nothing written: several records have this external id");
        }
        let known = self.records.get(&key);
        if let Err(answer) = check(object, field, &body, known.is_none()) {
            return answer;
        }
        if known.is_none() && self.duplicate_rule {
            return error(
                StatusCode::BAD_REQUEST,
                "DUPLICATES_DETECTED",
                "You're creating a duplicate record. We recommend you use an existing record instead.",
            );
        }
        let created = known.is_none();
        let next = self.records.len() + 1;
        let what = format!("{object} {field}={value}");
        let record = self.records.entry(key).or_insert_with(|| {
            let prefix = if what.starts_with("Lead ") {
                "00Q"
            } else {
                "001"
            };
            json!({"Id": format!("{prefix}mock{next:011}AAA")})
        });
        if let Some(record) = record.as_object_mut() {
            record.extend(body);
        }
        let id = record.get("Id").cloned().unwrap_or_default();
        let answer = json!({"id": id, "success": true, "errors": [], "created": created});
        match (created, number >= BODY_ON_UPDATE) {
            (true, _) => {
                Answer::json(StatusCode::CREATED, &answer).noted(format!("{what} created"))
            }
            (false, true) => Answer::json(StatusCode::OK, &answer).noted(format!("{what} updated")),
            (false, false) => {
                Answer::empty(StatusCode::NO_CONTENT).noted(format!("{what} updated"))
            }
        }
    }
}

fn check(object: &str, external: &str, body: &Map<String, Json>, new: bool) -> Result<(), Answer> {
    let bad = |code: &str, message: &str, fields: &[&str]| {
        let body = json!([{"message": message, "errorCode": code, "fields": fields}]);
        Err(Answer::json(StatusCode::BAD_REQUEST, &body))
    };
    if body.contains_key(external) {
        let message = format!("The {external} field should not be specified in the sobject data.");
        return bad("INVALID_FIELD", &message, &[external]);
    }
    if body.contains_key("Id") {
        let message = "The Id field should not be specified in the sobject data.";
        return bad("INVALID_FIELD", message, &["Id"]);
    }
    if let Some((_, required, others)) = FIELDS.iter().find(|(known, ..)| *known == object) {
        let known = |name: &str| {
            name.ends_with("__c")
                || name.ends_with("__r")
                || required.contains(&name)
                || others.contains(&name)
        };
        if let Some(name) = body.keys().find(|name| !known(name)) {
            let message = format!("No such column '{name}' on sobject of type {object}");
            return bad("INVALID_FIELD", &message, &[name]);
        }
        let empty = |name: &str| {
            let value = body.get(name).filter(|value| !value.is_null());
            value.is_none_or(|value| value.as_str().is_some_and(str::is_empty))
        };
        let lacking: Vec<&str> = required
            .iter()
            .copied()
            .filter(|name| empty(name) && (new || body.contains_key(*name)))
            .collect();
        if !lacking.is_empty() {
            let message = format!("Required fields are missing: [{}]", lacking.join(", "));
            return bad("REQUIRED_FIELD_MISSING", &message, &lacking);
        }
    }
    let last_name = body
        .get("LastName")
        .and_then(Json::as_str)
        .unwrap_or_default();
    if last_name.chars().count() > LAST_NAME {
        let message = format!("Last Name: data value too large: {last_name} (max length=80)");
        return bad("STRING_TOO_LONG", &message, &["LastName"]);
    }
    Ok(())
}

fn missing() -> Answer {
    error(
        StatusCode::NOT_FOUND,
        "NOT_FOUND",
        "The requested resource does not exist",
    )
}

fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!([{"message": message, "errorCode": code}]))
}

#[cfg(test)]
mod tests;
