//! Slack: webhook and Web API, each with its own way to say no.

use std::time::Duration;

use axum::http::StatusCode;
use hookswitch_cli::mock::answer::Answer;
use hookswitch_cli::mock::slack::Slack;
use hookswitch_cli::mock::stand_in::{Fault, StandIn};
use hookswitch_tests::sender::message_received;
use serde_json::{Value, json};

use crate::world::{DEFAULT_BODY, TEXT, Target, World, between, calls, inquiry, stand_in};

async fn webhook(delivery: &str, rules: &str) -> (StandIn<Slack>, World) {
    let slack = stand_in(Slack::default()).await;
    let url = format!("{}{}", slack.url(), slack.with(|it| it.webhook.clone()));
    let world = World::start(&Target {
        secrets: vec![("url", url)],
        kind: "slack: {webhookUrlSecretRef: {name: vendor, key: url}, allowPrivateNetwork: true}"
            .to_owned(),
        delivery,
        rules: rules.to_owned(),
    })
    .await;
    (slack, world)
}

async fn web_api(channel: &str, delivery: &str) -> (StandIn<Slack>, World) {
    let slack = stand_in(Slack::default()).await;
    let (url, token) = (slack.url(), slack.with(|it| it.token.clone()));
    let world = World::start(&Target {
        secrets: vec![("token", token)],
        kind: format!(
            "slack: {{tokenSecretRef: {{name: vendor, key: token}}, channel: \"{channel}\", \
             baseUrl: \"{url}\", allowPrivateNetwork: true}}"
        ),
        delivery,
        rules: TEXT.to_owned(),
    })
    .await;
    (slack, world)
}

fn hello(number: usize) -> Value {
    message_received(&format!("m-{number}"), "c-1", "user", "hello")
}

/// A 200 of the Web API that says no.
fn error(error: &str) -> Fault {
    let body = json!({"ok": false, "error": error});
    Fault::Answer(Answer::json(StatusCode::OK, &body))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_slack_gets_a_message_through_a_webhook_whose_url_nobody_sees() {
    let (slack, world) = webhook("", TEXT).await;
    slack.fail_next([Fault::Broken]);
    world.send(&hello(1)).await;
    world.ended("delivered", 1).await;
    let messages = slack.with(|it| it.messages.clone());
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].text, "hello");
    let secret = slack.with(|it| it.webhook.clone());
    assert!(!world.hookswitch.output().contains(&secret));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r47_a_line_is_sent_without_a_body_being_written() {
    let (slack, world) = webhook("", DEFAULT_BODY).await;
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    let messages = slack.with(|it| it.messages.clone());
    assert_eq!(
        messages[0].text,
        "conversation.created c-1: where is my order?"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_repeats_a_message_or_not_as_the_route_says() {
    let (slack, world) = webhook(", onAmbiguous: DeadLetter", TEXT).await;
    slack.fail_next([Fault::Lost]);
    world.send(&hello(1)).await;
    world.ended("ambiguous", 1).await;
    assert_eq!(slack.with(|it| it.messages.len()), 1);
    drop(world);
    let (slack, world) = webhook(", onAmbiguous: Retry", TEXT).await;
    slack.fail_next([Fault::Lost]);
    world.send(&hello(1)).await;
    world.ended("delivered", 1).await;
    assert_eq!(slack.with(|it| it.messages.len()), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_webhook_refuses_is_not_sent_again() {
    let (slack, world) = webhook("", TEXT).await;
    let refusals = [
        (400, "invalid_payload"),
        (403, "action_prohibited"),
        (404, "no_service"),
        (410, "channel_is_archived"),
    ];
    slack.fail_next(refusals.map(|(status, word)| {
        let status = StatusCode::from_u16(status).expect("a status");
        Fault::Answer(Answer::text(status, word))
    }));
    for number in 0..refusals.len() {
        world.send(&hello(number)).await;
    }
    world.ended("refused", 4).await;
    assert_eq!(slack.calls().len(), refusals.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_slack_gets_a_message_through_the_web_api_and_its_limit_is_kept() {
    let (slack, world) = web_api("#ops", "").await;
    let wait = Duration::from_secs(2);
    slack.fail_next([Fault::Limited(wait)]);
    world.send(&hello(1)).await;
    let calls = calls(&slack, 2).await;
    assert!(between(&calls[0], &calls[1]) >= wait);
    world.ended("delivered", 1).await;
    let messages = slack.with(|it| it.messages.clone());
    assert_eq!(
        (&*messages[0].channel, &*messages[0].text),
        ("#ops", "hello")
    );
    let token = slack.with(|it| it.token.clone());
    assert!(!world.hookswitch.output().contains(&token));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_200_that_says_no_is_a_dead_letter() {
    let (slack, world) = web_api("#no-such-channel", "").await;
    world.send(&hello(1)).await;
    world.ended("refused", 1).await;
    assert_eq!(slack.calls().len(), 1);
    assert_eq!(slack.calls()[0].status(), Some(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_200_that_says_later_is_repeated_and_one_that_says_perhaps_is_ambiguous() {
    let (slack, world) = web_api("#ops", ", onAmbiguous: DeadLetter").await;
    slack.fail_next([error("service_unavailable")]);
    world.send(&hello(1)).await;
    world.ended("delivered", 1).await;
    assert_eq!(slack.calls().len(), 2);
    // "It's possible some aspect of the operation succeeded before the error was raised."
    slack.fail_next([error("fatal_error")]);
    world.send(&hello(2)).await;
    world.all_ended(&[("delivered", 1), ("ambiguous", 1)]).await;
    assert_eq!(slack.calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_a_destination_is_shared_by_all_rules_that_name_it() {
    let rule = |name: &str| {
        format!(
            "{{name: {name}, types: [message.received], deliver: [{{destination: target, body: \
             \"{name} ${{event.data.text}}\"}}]}}"
        )
    };
    let rules = format!("[{}, {}]", rule("qa"), rule("archive"));
    let limit = ", rateLimit: {perSecond: 1, burst: 1}";
    let (slack, world) = webhook(limit, &rules).await;
    for number in 0..2 {
        world.send(&hello(number)).await;
    }
    world.ended("delivered", 4).await;
    let calls = slack.calls();
    assert_eq!(calls.len(), 4);
    // Three waits of a second; with a limit for each rule there would be one.
    let waited = between(&calls[0], &calls[3]);
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
}
