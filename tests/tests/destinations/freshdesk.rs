//! Freshdesk: no idempotency, so an ambiguous attempt is looked for before it is repeated.

use std::time::Duration;

use hookswitch_cli::mock::freshdesk::Freshdesk;
use hookswitch_cli::mock::stand_in::{Fault, StandIn};
use jiff::Timestamp;
use serde_json::json;

use crate::world::{
    DEFAULT_BODY, Target, World, assert_tells_inquiry, between, calls, created, inquiry, stand_in,
};

const KEY: &str = "mock-freshdesk-key";

async fn start(key: &str, delivery: &str, rules: &str) -> (StandIn<Freshdesk>, World) {
    let freshdesk = stand_in(Freshdesk::default()).await;
    let url = freshdesk.url();
    let world = World::start(&Target {
        secrets: vec![("key", key.to_owned())],
        kind: format!(
            "freshdesk: {{domain: acme, apiKeySecretRef: {{name: vendor, key: key}}, baseUrl: \"{url}\", \
             allowPrivateNetwork: true}}"
        ),
        delivery,
        rules: rules.to_owned(),
    })
    .await;
    (freshdesk, world)
}

/// What was asked, in order: `POST`, or `GET` and its page.
fn asked(freshdesk: &StandIn<Freshdesk>) -> Vec<String> {
    let calls = freshdesk.calls();
    let asked = calls.iter().map(|call| {
        let page = call.request.query("page").unwrap_or_default();
        format!("{} {page}", call.request.method)
            .trim_end()
            .to_owned()
    });
    asked.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r31_r32_r33_r54_r56_a_conversation_makes_a_ticket_without_a_body_being_written() {
    let (freshdesk, world) = start(KEY, "", DEFAULT_BODY).await;
    freshdesk.fail_next([Fault::Broken]);
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    let tickets = freshdesk.with(|it| it.tickets.clone());
    assert_eq!(tickets.len(), 1);
    let ticket = &tickets[0];
    assert_eq!(ticket["subject"], "Telegram user alice new inquiry");
    assert_eq!(ticket["unique_external_id"], "777000");
    assert_eq!(ticket["name"], "alice");
    let text = ticket["description"].as_str().expect("a text");
    assert_tells_inquiry(text);
    assert!(!world.hookswitch.output().contains(KEY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_an_answer_that_is_lost_makes_no_second_ticket() {
    let (freshdesk, world) = start(KEY, "", DEFAULT_BODY).await;
    freshdesk.fail_next([Fault::Lost]);
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    assert_eq!(freshdesk.with(|it| it.tickets.len()), 1);
    assert_eq!(asked(&freshdesk), ["POST", "GET 1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_found_behind_many_others() {
    let (freshdesk, world) = start(KEY, "", DEFAULT_BODY).await;
    let now = Timestamp::now().to_string();
    freshdesk.with(|it| {
        // A page of them is larger than most answers.
        let subject = "x".repeat(1000);
        let others = (1..=150)
            .map(|id| json!({"id": id, "tags": ["vip"], "updated_at": now, "subject": subject}));
        it.tickets = others.collect();
    });
    freshdesk.fail_next([Fault::Lost]);
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    assert_eq!(freshdesk.with(|it| it.tickets.len()), 151);
    assert_eq!(asked(&freshdesk), ["POST", "GET 1", "GET 2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_is_not_there_is_made() {
    let (freshdesk, world) = start(KEY, "", DEFAULT_BODY).await;
    freshdesk.fail_next([Fault::Unanswered]);
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    assert_eq!(freshdesk.with(|it| it.tickets.len()), 1);
    assert_eq!(asked(&freshdesk), ["POST", "GET 1", "POST"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_search_fails_nothing_is_made() {
    let (freshdesk, world) = start(KEY, "", DEFAULT_BODY).await;
    let wait = Duration::from_secs(1);
    freshdesk.fail_next([Fault::Lost, Fault::Broken, Fault::Limited(wait)]);
    world.send(&inquiry(1)).await;
    world.repeated_at("search").await;
    world.ended("delivered", 1).await;
    assert_eq!(freshdesk.with(|it| it.tickets.len()), 1);
    assert_eq!(asked(&freshdesk), ["POST", "GET 1", "GET 1", "GET 1"]);
    let calls = freshdesk.calls();
    assert!(between(&calls[2], &calls[3]) >= wait);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_search_a_lost_answer_makes_two_tickets_or_a_dead_letter() {
    let (freshdesk, world) = start(KEY, ", onAmbiguous: Retry", DEFAULT_BODY).await;
    freshdesk.fail_next([Fault::Lost]);
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    assert_eq!(freshdesk.with(|it| it.tickets.len()), 2);
    drop(world);
    let (freshdesk, world) = start(KEY, ", onAmbiguous: DeadLetter", DEFAULT_BODY).await;
    freshdesk.fail_next([Fault::Lost]);
    world.send(&inquiry(1)).await;
    world.ended("ambiguous", 1).await;
    assert_eq!(freshdesk.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_is_kept_and_a_wrong_key_or_field_is_a_dead_letter() {
    let (freshdesk, world) = start("wrong", "", DEFAULT_BODY).await;
    world.send(&inquiry(1)).await;
    world.ended("refused", 1).await;
    assert_eq!(freshdesk.calls()[0].status(), Some(401));
    drop(world);
    let body =
        created("{unique_external_id: u, subject: s, description: d, status: 9, priority: 1}");
    let (freshdesk, world) = start(KEY, "", &body).await;
    let wait = Duration::from_secs(2);
    freshdesk.fail_next([Fault::Limited(wait)]);
    world.send(&inquiry(1)).await;
    let calls = calls(&freshdesk, 2).await;
    assert!(between(&calls[0], &calls[1]) >= wait);
    world.ended("refused", 1).await;
    assert_eq!(calls[1].status(), Some(400));
}
