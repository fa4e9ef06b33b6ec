//! The stand-in refuses what the API refuses.

use super::*;
use crate::mock::request::tests::request;
use bytes::Bytes;

const LEAD: &str = "/services/data/v66.0/sobjects/Lead/TGStaff_User__c/u-1";

fn log_in(org: &mut Salesforce, form: &str, now: Timestamp) -> Result<String, String> {
    let mut request = request("POST", "/services/oauth2/token", "", &Json::Null);
    let content_type = "application/x-www-form-urlencoded".parse().unwrap();
    request.headers.insert("content-type", content_type);
    request.body = Bytes::copy_from_slice(form.as_bytes());
    let answer = org.answer(&request, now);
    let body: Json = serde_json::from_str(&answer.body).unwrap();
    match body["access_token"].as_str() {
        Some(token) => Ok(format!("Bearer {token}")),
        None => Err(body["error"].as_str().unwrap().to_owned()),
    }
}

fn credentials() -> String {
    format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}")
}

fn patch(org: &mut Salesforce, token: &str, target: &str, body: &Json) -> (u16, String) {
    let answer = org.answer(
        &request("PATCH", target, token, body),
        Timestamp::UNIX_EPOCH,
    );
    (answer.status.as_u16(), answer.body)
}

#[test]
fn an_external_id_creates_once_and_then_updates() {
    let mut org = Salesforce::default();
    let token = log_in(&mut org, &credentials(), Timestamp::UNIX_EPOCH).unwrap();
    let lead = json!({"LastName": "alice", "Company": "Telegram"});
    assert_eq!(patch(&mut org, &token, LEAD, &lead).0, 201);
    assert_eq!(
        patch(&mut org, &token, LEAD, &json!({"Status": "Open"})).0,
        200
    );
    let old = LEAD.replace("v66", "v45");
    assert_eq!(
        patch(&mut org, &token, &old, &json!({"Status": "Closed"})),
        (204, String::new())
    );
    assert_eq!(org.records.len(), 1);
}

#[test]
fn what_salesforce_would_refuse_is_refused() {
    let mut org = Salesforce::default();
    let token = log_in(&mut org, &credentials(), Timestamp::UNIX_EPOCH).unwrap();
    let mut code = |target: &str, body: Json| {
        let (status, body) = patch(&mut org, &token, target, &body);
        let body: Json = serde_json::from_str(&body).unwrap();
        (status, body[0]["errorCode"].as_str().unwrap().to_owned())
    };
    let answer = |status: u16, code: &str| (status, code.to_owned());
    let external = json!({"LastName": "a", "Company": "b", "TGStaff_User__c": "u-1"});
    assert_eq!(code(LEAD, external), answer(400, "INVALID_FIELD"));
    assert_eq!(
        code(LEAD, json!({"LastName": "a"})),
        answer(400, "REQUIRED_FIELD_MISSING")
    );
    let column = json!({"LastName": "a", "Company": "b", "Shoe": 1});
    assert_eq!(code(LEAD, column), answer(400, "INVALID_FIELD"));
    let field = LEAD.replace("TGStaff_User__c", "Other__c");
    assert_eq!(code(&field, json!({})), answer(404, "NOT_FOUND"));
    assert_eq!(code(LEAD, json!([])), answer(400, "JSON_PARSER_ERROR"));
    org.ambiguous.insert("u-1".into());
    let lead = json!({"LastName": "a", "Company": "b"});
    assert_eq!(patch(&mut org, &token, LEAD, &lead).0, 300);
    org.ambiguous.clear();
    org.duplicate_rule = true;
    assert_eq!(patch(&mut org, &token, LEAD, &lead).0, 400);
    assert!(org.records.is_empty());
}

#[test]
fn a_session_ends() {
    let mut org = Salesforce {
        session: Duration::from_mins(1),
        ..Salesforce::default()
    };
    let start = Timestamp::UNIX_EPOCH;
    let token = log_in(&mut org, &credentials(), start).unwrap();
    let read = request("GET", LEAD, &token, &Json::Null);
    assert_eq!(
        org.answer(&read, start + SignedDuration::from_secs(59))
            .status,
        404
    );
    assert_eq!(
        org.answer(&read, start + SignedDuration::from_secs(60))
            .status,
        401
    );
    let token = log_in(&mut org, &credentials(), start).unwrap();
    org.end_sessions();
    assert_eq!(
        org.answer(&request("GET", LEAD, &token, &Json::Null), start)
            .status,
        401
    );
}

#[test]
fn wrong_credentials_are_told_apart() {
    let mut org = Salesforce::default();
    let mut error = |form: &str| log_in(&mut org, form, Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(error("grant_type=password"), "unsupported_grant_type");
    assert_eq!(error("grant_type=client_credentials"), "invalid_client_id");
    let secret = credentials() + "x";
    assert_eq!(error(&secret), "invalid_client");
}

#[test]
fn the_claims_of_a_jwt_are_checked() {
    let mut org = Salesforce::default();
    let mut log_in = |exp: i64, aud: &str| {
        let part = |json: Json| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let claims = json!({"iss": CLIENT_ID, "sub": USERNAME, "aud": aud, "exp": exp});
        let jwt = format!("{}.{}.c2ln", part(json!({"alg": "RS256"})), part(claims));
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let form = format!("grant_type={grant}&assertion={jwt}");
        log_in(&mut org, &form, Timestamp::UNIX_EPOCH).is_ok()
    };
    assert!(log_in(180, AUDIENCES[0]));
    assert!(!log_in(301, AUDIENCES[0]));
    assert!(!log_in(0, AUDIENCES[0]));
    assert!(!log_in(180, "https://acme.my.salesforce.com/"));
}
