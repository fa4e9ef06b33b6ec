//! Telegram: the wait is in the body, and who blocked the bot gets nothing.

use std::time::Duration;

use axum::http::StatusCode;
use hookswitch_cli::mock::answer::Answer;
use hookswitch_cli::mock::stand_in::{Call, Fault, StandIn};
use hookswitch_cli::mock::telegram::{Chat, Telegram};
use hookswitch_tests::sender::message_received;
use serde_json::{Value, json};

use crate::world::{TEXT, Target, World, between, calls, stand_in, with};

/// A bot that writes to the chat that the event names.
async fn start() -> (StandIn<Telegram>, World) {
    let mut bot = Telegram::default();
    bot.chats.insert("1".to_owned(), Chat::Blocked);
    bot.chats.insert("2".to_owned(), Chat::NeverStarted);
    let telegram = stand_in(bot).await;
    let (url, token) = (telegram.url(), telegram.with(|it| it.token.clone()));
    let world = World::start(&Target {
        secrets: vec![("token", token)],
        kind: format!(
            "telegram: {{tokenSecretRef: {{name: vendor, key: token}}, chatId: \
             \"${{event.data.user_id}}\", baseUrl: \"{url}\", allowPrivateNetwork: true}}"
        ),
        rules: TEXT.to_owned(),
        ..Target::default()
    })
    .await;
    (telegram, world)
}

fn message(chat: &str, text: &str) -> Value {
    let event = message_received(&format!("m-{chat}-{}", text.len()), "c-1", "user", text);
    with(event, "user_id", chat)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r42_r54_a_separate_bot_writes_to_the_user_and_keeps_the_wait_that_the_body_tells() {
    let (telegram, world) = start().await;
    let wait = Duration::from_secs(2);
    telegram.fail_next([Fault::Limited(wait)]);
    world.send(&message("777000", "How did we do?")).await;
    let calls = calls(&telegram, 2).await;
    assert!(between(&calls[0], &calls[1]) >= wait);
    let none: Vec<_> = calls[0].answer.iter().flat_map(|it| &it.headers).collect();
    assert!(none.is_empty(), "the wait is in the body alone: {none:?}");
    world.ended("delivered", 1).await;
    let sent = telegram.with(|it| it.messages.clone());
    assert_eq!(sent, [("777000".to_owned(), "How did we do?".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateways_error_is_repeated_and_so_is_a_limit_whose_status_got_lost() {
    let (telegram, world) = start().await;
    let wait = Duration::from_secs(1);
    let limited = json!({"ok": false, "error_code": 429, "parameters": {"retry_after": 1}});
    telegram.fail_next([
        Fault::Answer(Answer::json(StatusCode::OK, &limited)),
        Fault::Broken,
    ]);
    world.send(&message("777000", "hello")).await;
    world.ended("delivered", 1).await;
    let calls = telegram.calls();
    assert_eq!(calls.len(), 3);
    assert!(between(&calls[0], &calls[1]) >= wait);
    assert_eq!(telegram.with(|it| it.messages.len()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r57_whom_the_bot_may_not_write_to_is_a_dead_letter_and_the_token_is_not_logged() {
    let (telegram, world) = start().await;
    // Blocked, never started, unknown, and too long a text.
    for chat in ["1", "2", "3"] {
        world.send(&message(chat, "hello")).await;
    }
    world.send(&message("777000", &"x".repeat(4097))).await;
    world.ended("refused", 4).await;
    let mut statuses: Vec<_> = telegram.calls().iter().map(Call::status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [Some(400), Some(400), Some(403), Some(403)]);
    let token = telegram.with(|it| it.token.clone());
    assert!(!world.hookswitch.output().contains(&token));
}
