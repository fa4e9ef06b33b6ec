//! Salesforce: a token is got, renewed once where the session is over, and a record is upserted.

use std::time::Duration;

use axum::http::StatusCode;
use hookswitch_cli::mock::answer::Answer;
use hookswitch_cli::mock::salesforce::Salesforce;
use hookswitch_cli::mock::stand_in::{Fault, StandIn};
use serde_json::{Value, json};

use crate::world::{DEFAULT_BODY, Target, World, assert_wait, created, inquiry, stand_in, with};

const SECRET: &str = "mock-salesforce-consumer-secret";
/// Made for this test: `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`.
const PRIVATE_KEY: &str = include_str!("salesforce.pem");

fn target(org: &StandIn<Salesforce>, secret: &str, auth: &str, rules: &str) -> Target<'static> {
    let (url, id) = (org.url(), org.with(|it| it.client_id.clone()));
    Target {
        secrets: vec![("id", id), ("secret", secret.to_owned())],
        kind: format!(
            "salesforce: {{instanceUrl: \"{url}\", object: Lead, externalIdField: TGStaff_User__c, externalId: \
             \"${{event.data.user_id}}\", auth: {{{auth}}}, allowPrivateNetwork: true}}"
        ),
        rules: rules.to_owned(),
        ..Target::default()
    }
}

const CREDENTIALS: &str = "clientCredentials: {clientIdSecretRef: {name: vendor, key: id}, \
                           clientSecretSecretRef: {name: vendor, key: secret}}";
const JWT: &str = "jwtBearer: {clientIdSecretRef: {name: vendor, key: id}, username: bot@acme.example, \
                   privateKeySecretRef: {name: vendor, key: secret}}";

async fn start() -> (StandIn<Salesforce>, World) {
    start_with(DEFAULT_BODY).await
}

async fn start_with(rules: &str) -> (StandIn<Salesforce>, World) {
    let org = stand_in(Salesforce::default()).await;
    let world = World::start(&target(&org, SECRET, CREDENTIALS, rules)).await;
    (org, world)
}

/// What was asked of the org: `token`, or the answer's status to an upsert.
fn asked(org: &StandIn<Salesforce>) -> Vec<String> {
    let calls = org.calls();
    let asked = calls.iter().map(|call| {
        if call.request.target.contains("oauth2") {
            "token".to_owned()
        } else {
            call.status()
                .map_or_else(|| "lost".to_owned(), |status| status.to_string())
        }
    });
    asked.collect()
}

fn error(status: StatusCode, code: &str) -> Fault {
    let body = json!([{"message": "...", "errorCode": code}]);
    Fault::Answer(Answer::json(status, &body))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r31_r34_r54_a_user_is_one_lead_and_a_session_that_is_over_is_renewed() {
    let (org, world) = start().await;
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    org.with(Salesforce::end_sessions);
    world.send(&inquiry(2)).await;
    world.ended("delivered", 2).await;
    assert_eq!(asked(&org), ["token", "201", "401", "token", "200"]);
    let records = org.with(|org| org.records.clone());
    assert_eq!(records.len(), 1);
    let (key, lead) = records.first_key_value().expect("a lead");
    assert_eq!(key.2, "777000");
    assert_eq!(lead["LastName"], "alice");
    assert_eq!(lead["Company"], "Telegram");
    let text = lead["Description"].as_str().expect("a text");
    assert!(text.contains("where is my order?"), "{text}");
    let output = world.hookswitch.output();
    let tokens = org.with(|org| org.tokens.clone());
    assert!(!output.contains(SECRET));
    assert!(tokens.iter().all(|(token, _)| !output.contains(token)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_a_token_is_got_with_a_jwt_too() {
    let org = stand_in(Salesforce::default()).await;
    let world = World::start(&target(&org, PRIVATE_KEY, JWT, DEFAULT_BODY)).await;
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    assert_eq!(asked(&org), ["token", "201"]);
    let form = org.calls()[0].request.form();
    let (_, grant) = &form[0];
    assert_eq!(grant, "urn:ietf:params:oauth:grant-type:jwt-bearer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_never_good_is_renewed_once_and_the_delivery_is_a_dead_letter() {
    let (org, world) = start().await;
    org.with(|org| org.session = Duration::ZERO);
    world.send(&inquiry(1)).await;
    world.ended("refused", 1).await;
    assert_eq!(asked(&org), ["token", "401", "token", "401"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_no_token_is_given_deliveries_wait_and_none_is_lost() {
    let org = stand_in(Salesforce::default()).await;
    let world = World::start(&target(&org, "wrong", CREDENTIALS, DEFAULT_BODY)).await;
    world.send(&inquiry(1)).await;
    world.repeated_at("token").await;
    world
        .edit(&target(&org, SECRET, CREDENTIALS, DEFAULT_BODY))
        .await;
    world.ended("delivered", 1).await;
    assert_eq!(org.with(|org| org.records.len()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_a_lost_answer_writes_the_same_lead_once_more_and_what_passes_is_repeated() {
    let (org, world) = start().await;
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    org.fail_next([
        Fault::Lost,
        error(StatusCode::BAD_REQUEST, "DUPLICATE_VALUE"),
        Fault::Broken,
    ]);
    world.send(&with(inquiry(2), "user_id", "a/b ?")).await;
    world.ended("delivered", 2).await;
    assert_eq!(
        asked(&org)[2..],
        ["lost", "400", "503", "200"].map(ToOwned::to_owned)
    );
    let bodies = org.calls()[2..]
        .iter()
        .map(|call| call.request.body.clone())
        .collect::<Vec<_>>();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    // An id is one segment of the path, whatever it holds.
    let ids = org.with(|org| {
        org.records
            .keys()
            .map(|key| key.2.clone())
            .collect::<Vec<_>>()
    });
    assert_eq!(ids, ["777000", "a/b ?"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_repetition_would_not_change_is_a_dead_letter() {
    // Several leads have the id, and nothing was written.
    let (org, world) = start().await;
    org.with(|org| org.ambiguous.insert("777000".to_owned()));
    world.send(&inquiry(1)).await;
    world.ended("refused", 1).await;
    assert_eq!(asked(&org), ["token", "300"]);
    assert!(world.hookswitch.output().contains("multiple_matches"));
    // The account's own rule finds a duplicate.
    org.with(|org| org.duplicate_rule = true);
    let other: Value = with(inquiry(2), "user_id", "u-2");
    world.send(&other).await;
    world.ended("refused", 2).await;
    assert_eq!(asked(&org), ["token", "300", "400"]);
    drop(world);
    // A field that Salesforce requires.
    let (org, world) = start_with(&created("{LastName: alice}")).await;
    world.send(&inquiry(1)).await;
    world.ended("refused", 1).await;
    assert_eq!(asked(&org), ["token", "400"]);
    assert!(org.with(|org| org.records.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_days_quota_is_asked_for_again_in_a_quarter_of_an_hour() {
    let (org, world) = start().await;
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    org.fail_next([Fault::Limited(Duration::ZERO)]);
    world.send(&inquiry(2)).await;
    let until = world.repeated_at("rate_limited").await;
    let calls = org.calls();
    assert_eq!(calls.len(), 3);
    assert_wait(&calls[2], until, 900);
    world.send(&inquiry(3)).await;
    world.pending(2).await;
    assert_eq!(org.calls().len(), 3);
}
