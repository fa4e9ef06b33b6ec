//! The stand-in refuses what the API refuses.

use super::*;
use crate::mock::request::tests::request;

fn send(account: &mut Hubspot, method: &str, path: &str, body: &Json) -> (u16, Json) {
    let token = format!("Bearer {TOKEN}");
    let target = format!("/crm/objects/2026-03/{path}");
    let answer = account.answer(
        &request(method, &target, &token, body),
        Timestamp::UNIX_EPOCH,
    );
    (
        answer.status.as_u16(),
        serde_json::from_str(&answer.body).unwrap(),
    )
}

fn input(id: &str, properties: &Json) -> Json {
    json!({"id": id, "idProperty": "tgstaff_user_id", "properties": properties})
}

#[test]
fn an_upsert_creates_once_and_then_updates() {
    let mut account = Hubspot::default();
    let mut upsert = |name: &str| {
        let body = json!({"inputs": [input("u-1", &json!({"firstname": name}))]});
        let (status, answer) = send(&mut account, "POST", "contacts/batch/upsert", &body);
        (status, answer["results"][0]["new"] == true)
    };
    assert_eq!(upsert("a"), (200, true));
    assert_eq!(upsert("b"), (200, false));
    assert_eq!(account.objects.len(), 1);
    let properties = &account.objects[0].properties;
    assert_eq!(properties["tgstaff_user_id"], "u-1");
    assert_eq!(properties["firstname"], "b");
}

#[test]
fn one_bad_input_fails_a_batch_but_for_a_traced_one() {
    let mut account = Hubspot::default();
    let good = input("u-1", &json!({"firstname": "a"}));
    let bad = input("u-2", &json!({"shoe": "b"}));
    let path = "contacts/batch/upsert";
    let body = json!({"inputs": [good, bad]});
    assert_eq!(send(&mut account, "POST", path, &body).0, 400);
    assert!(account.objects.is_empty());
    let traced = |mut input: Json, id: &str| {
        input["objectWriteTraceId"] = json!(id);
        input
    };
    let body = json!({"inputs": [traced(good, "1"), traced(bad, "2")]});
    let (status, answer) = send(&mut account, "POST", path, &body);
    assert_eq!((status, &answer["numErrors"]), (207, &json!(1)));
    assert_eq!(
        answer["errors"][0]["context"]["objectWriteTraceId"],
        json!(["2"])
    );
    assert_eq!(answer["results"][0]["objectWriteTraceId"], "1");
    assert_eq!(account.objects.len(), 1);
    let twice = json!({"inputs": [input("u", &json!({})), input("u", &json!({}))]});
    assert_eq!(send(&mut account, "POST", path, &twice).0, 400);
}

#[test]
fn a_ticket_is_tied_to_a_contact_and_not_the_other_way_round() {
    let mut account = Hubspot::default();
    let contact = json!({"properties": {"email": "a@acme.example"}});
    assert_eq!(send(&mut account, "POST", "contacts", &contact).0, 201);
    assert_eq!(send(&mut account, "POST", "contacts", &contact).0, 409);
    let mut ticket = |number: u64, id: &str| {
        let body = json!({
            "properties": {"subject": "s", "hs_pipeline_stage": "1"},
            "associations": [{"to": {"id": id}, "types": [
                {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": number},
            ]}],
        });
        send(&mut account, "POST", "tickets", &body).0
    };
    assert_eq!(ticket(15, "1"), 400);
    assert_eq!(ticket(16, "9"), 404);
    assert_eq!(ticket(16, "1"), 201);
    let incomplete = json!({"properties": {"subject": "s"}});
    assert_eq!(send(&mut account, "POST", "tickets", &incomplete).0, 400);
    assert_eq!(account.objects[1].ties, [("1".to_owned(), 16)]);
}

#[test]
fn the_limit_that_was_reached_is_named() {
    let mut account = Hubspot::default();
    let policy = |account: &mut Hubspot| {
        send(account, "GET", "contacts/1", &Json::Null);
        let (status, answer) = send(account, "GET", "contacts/1", &Json::Null);
        (status, answer["policyName"].as_str().unwrap().to_owned())
    };
    account.limit(Rate::new(1, Duration::from_secs(10)));
    assert_eq!(
        policy(&mut account),
        (429, "TEN_SECONDLY_ROLLING".to_owned())
    );
    account.limit(Rate::new(1, Duration::from_hours(24)));
    assert_eq!(policy(&mut account), (429, "DAILY".to_owned()));
}
