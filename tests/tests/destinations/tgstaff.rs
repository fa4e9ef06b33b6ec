//! TG-Staff's own API: what is sent through it comes back as a webhook, and ends there.

use std::time::Duration;

use hookswitch_cli::mock::stand_in::{Fault, StandIn};
use hookswitch_cli::mock::tgstaff::TgStaff;
use hookswitch_tests::sender::message_received;
use hookswitch_tests::wait;

use crate::world::{LIMIT, SIGNING_KEY, Target, World, between, calls, inquiry, stand_in, with};

async fn start(path: &str, rules: &str) -> (StandIn<TgStaff>, World) {
    let api = stand_in(TgStaff::default()).await;
    let (url, token) = (api.url(), api.with(|it| it.token.clone()));
    let world = World::start(&Target {
        secrets: vec![("token", token)],
        kind: format!(
            "tgstaff: {{baseUrl: \"{url}\", path: \"{path}\", tokenSecretRef: {{name: vendor, key: token}}, \
             allowPrivateNetwork: true}}"
        ),
        rules: rules.to_owned(),
        ..Target::default()
    })
    .await;
    (api, world)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27_r35_a_welcome_comes_back_as_a_webhook_and_goes_no_further() {
    // Every event would be answered, its own webhook too, were it not for the guard.
    let (api, world) = start(
        "/messages",
        "[{name: welcome, deliver: [{destination: target, body: {conversation_id: \
         \"${event.subject}\", text: welcome}}]}]",
    )
    .await;
    let hooks = world.hookswitch.url("/support/support");
    api.with(|it| it.call_back(hooks, Some(SIGNING_KEY.to_owned())));
    api.fail_next([Fault::Limited(Duration::from_secs(1))]);
    world.send(&inquiry(1)).await;
    let calls = calls(&api, 2).await;
    assert!(between(&calls[0], &calls[1]) >= Duration::from_secs(1));
    wait::until("the webhook to be suppressed", LIMIT, async || {
        let name = "hookswitch_loop_suppressed_total";
        (world.hookswitch.metric(name, &["reason=\"sender\""]).await == 1).then_some(())
    })
    .await;
    world.ended("delivered", 1).await;
    let sent = api.with(|it| it.messages.clone());
    assert_eq!(sent, [("c-1".to_owned(), "welcome".to_owned())]);
    let token = api.with(|it| it.token.clone());
    assert!(!world.hookswitch.output().contains(&token));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r42_a_survey_goes_out_as_a_bulk_message() {
    let (api, world) = start(
        "/messages/bulk",
        "[{name: ask, types: [message.received], deliver: [{destination: target, body: {user_ids: \
         [\"${event.subject}\"], text: \"How did we do?\"}}]}]",
    )
    .await;
    api.fail_next([Fault::Broken]);
    world
        .send(&message_received("m-1", "777000", "user", "bye"))
        .await;
    world.ended("delivered", 1).await;
    let sent = api.with(|it| it.messages.clone());
    assert_eq!(sent, [("777000".to_owned(), "How did we do?".to_owned())]);
    let keys: Vec<_> = api
        .calls()
        .iter()
        .map(|call| {
            call.request
                .header("idempotency-key")
                .map(ToOwned::to_owned)
        })
        .collect();
    assert_eq!(keys.len(), 2);
    assert!(keys[0].is_some() && keys[0] == keys[1], "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r53_tags_of_the_events_user_are_updated() {
    let (api, world) = start(
        "/users/${event.data.user_id}/tags",
        "[{name: tag, types: [message.received], deliver: [{destination: target, body: {tags: \
         [\"${event.data.text.contains('refund') ? 'refund' : 'other'}\"]}}]}]",
    )
    .await;
    api.fail_next([Fault::Broken]);
    let message = message_received("m-1", "c-1", "user", "a refund, please");
    world.send(&with(message, "user_id", 777_000)).await;
    world.ended("delivered", 1).await;
    assert!(api.with(|it| it.tags["777000"].contains("refund")));
    // No value of an event leads to another resource.
    let message = message_received("m-2", "c-2", "user", "a refund, please");
    world.send(&with(message, "user_id", "777000/tags")).await;
    world.all_ended(&[("delivered", 1), ("refused", 1)]).await;
    let calls = api.calls();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[2].request.target, "/users/777000%2Ftags/tags");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_refuses_is_a_dead_letter() {
    let (api, world) = start(
        "/messages",
        "[{name: all, types: [conversation.created], deliver: [{destination: target, body: {conversation_id: \
         \"${event.subject}\", text: \"\"}}]}]",
    )
    .await;
    world.send(&inquiry(1)).await;
    world.ended("refused", 1).await;
    assert_eq!(api.calls()[0].status(), Some(422));
    assert!(api.with(|it| it.messages.is_empty()));
}
