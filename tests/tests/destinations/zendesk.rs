//! Zendesk: a ticket once, whatever happens to the answer.

use std::time::Duration;

use axum::http::StatusCode;
use hookswitch_cli::mock::answer::Answer;
use hookswitch_cli::mock::stand_in::{Call, Fault, StandIn};
use hookswitch_cli::mock::zendesk::Zendesk;
use serde_json::json;

use crate::world::{
    DEFAULT_BODY, Target, World, assert_tells_inquiry, between, calls, created, inquiry, stand_in,
};

const TOKEN: &str = "mock-zendesk-token";

fn target(zendesk: &StandIn<Zendesk>, token: &str, rules: &str) -> Target<'static> {
    let (url, email) = (zendesk.url(), zendesk.with(|it| it.email.clone()));
    Target {
        secrets: vec![("token", token.to_owned())],
        kind: format!(
            "zendesk: {{subdomain: acme, email: {email}, tokenSecretRef: {{name: vendor, key: token}}, \
             baseUrl: \"{url}\", allowPrivateNetwork: true}}"
        ),
        rules: rules.to_owned(),
        ..Target::default()
    }
}

async fn start(token: &str, rules: &str) -> (StandIn<Zendesk>, World) {
    let zendesk = stand_in(Zendesk::default()).await;
    let world = World::start(&target(&zendesk, token, rules)).await;
    (zendesk, world)
}

fn header<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.request.header(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r31_r32_r33_a_conversation_makes_a_ticket_without_a_body_being_written() {
    let (zendesk, world) = start(TOKEN, DEFAULT_BODY).await;
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    let tickets = zendesk.with(|it| it.tickets.clone());
    assert_eq!(tickets.len(), 1);
    assert_eq!(tickets[0]["subject"], "Telegram user alice new inquiry");
    assert_eq!(tickets[0]["external_id"], "c-1");
    let text = tickets[0]["description"].as_str().expect("a text");
    assert_tells_inquiry(text);
    assert!(!world.hookswitch.output().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_r54_a_lost_answer_and_a_failure_make_one_ticket() {
    let (zendesk, world) = start(TOKEN, DEFAULT_BODY).await;
    zendesk.fail_next([Fault::Lost, Fault::Broken]);
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    let calls = zendesk.calls();
    assert_eq!(calls.len(), 3);
    let last = calls[2].answer.as_ref().expect("an answer");
    let hit = ("x-idempotency-lookup", "hit".to_owned());
    assert!(last.headers.contains(&hit), "{last:?}");
    assert_eq!(zendesk.with(|it| it.tickets.len()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_body_and_the_key_stay_through_edits_and_the_credentials_are_the_current_ones() {
    let (zendesk, world) = start(TOKEN, DEFAULT_BODY).await;
    let wait = Duration::from_secs(3);
    zendesk.fail_next([Fault::Limited(wait)]);
    world.send(&inquiry(1)).await;
    calls(&zendesk, 1).await;
    zendesk.with(|it| it.token = "rotated".to_owned());
    let body = "{ticket: {subject: another, comment: {body: another}}}";
    world
        .edit(&target(&zendesk, "rotated", &created(body)))
        .await;
    world.ended("delivered", 1).await;
    let calls = zendesk.calls();
    let [first, second] = calls.as_slice() else {
        panic!("{} requests", calls.len());
    };
    assert!(between(first, second) >= wait);
    assert_eq!(first.request.body, second.request.body);
    let key = header(first, "idempotency-key");
    assert!(key.is_some());
    assert_eq!(key, header(second, "idempotency-key"));
    assert_ne!(
        header(first, "authorization"),
        header(second, "authorization")
    );
    // What comes after the edit is another matter.
    world.send(&inquiry(2)).await;
    world.ended("delivered", 2).await;
    let subjects = zendesk.with(|it| {
        let subjects = it.tickets.iter().map(|ticket| ticket["subject"].clone());
        subjects.collect::<Vec<_>>()
    });
    assert_eq!(subjects, ["Telegram user alice new inquiry", "another"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_and_wrong_fields_are_dead_letters_at_once() {
    let (zendesk, world) = start("wrong", DEFAULT_BODY).await;
    world.send(&inquiry(1)).await;
    world.ended("refused", 1).await;
    assert_eq!(zendesk.calls().len(), 1);
    assert_eq!(zendesk.calls()[0].status(), Some(401));
    drop(world);
    let status = created("{ticket: {status: lost, comment: {body: x}}}");
    let (zendesk, world) = start(TOKEN, &status).await;
    world.send(&inquiry(1)).await;
    world.ended("refused", 1).await;
    assert_eq!(zendesk.calls()[0].status(), Some(422));
    // The same key with another body: somebody else uses our keys, or the body was not frozen.
    let conflict = json!({"error": "IdempotentRequestError", "description": "..."});
    zendesk.fail_next([Fault::Answer(Answer::json(
        StatusCode::BAD_REQUEST,
        &conflict,
    ))]);
    world.send(&inquiry(2)).await;
    world.ended("refused", 2).await;
    assert_eq!(zendesk.calls().len(), 2);
    assert!(world.hookswitch.output().contains("key_conflict"));
}
