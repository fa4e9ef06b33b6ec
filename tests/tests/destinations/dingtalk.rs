//! DingTalk: every answer is a 200, and the signature is of this hour.

use hookswitch_cli::mock::dingtalk::Dingtalk;
use hookswitch_cli::mock::stand_in::{Call, Fault, StandIn};
use hookswitch_tests::sender::message_received;
use serde_json::Value;

use crate::world::{TEXT, Target, World, assert_wait, stand_in};

const SECRET: &str = "SECmock-dingtalk-secret";

async fn start(secret: &str, robot: Dingtalk) -> (StandIn<Dingtalk>, World) {
    let robot = stand_in(robot).await;
    let (url, token) = (robot.url(), robot.with(|it| it.token.clone()));
    let world = World::start(&Target {
        secrets: vec![("token", token), ("secret", secret.to_owned())],
        kind: format!(
            "dingtalk: {{accessTokenSecretRef: {{name: vendor, key: token}}, signingSecretRef: \
             {{name: vendor, key: secret}}, baseUrl: \"{url}\", allowPrivateNetwork: true}}"
        ),
        rules: TEXT.to_owned(),
        ..Target::default()
    })
    .await;
    (robot, world)
}

fn alert(number: usize) -> Value {
    let text = format!("alert {number}");
    message_received(&format!("m-{number}"), "c-1", "user", &text)
}

/// The text of a message.
fn text(message: &Value) -> &str {
    message["text"]["content"].as_str().expect("a text")
}

fn query(call: &Call, name: &str) -> Option<String> {
    call.request.query(name).map(ToOwned::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r47_r54_dingtalk_gets_a_signed_message_and_neither_token_nor_secret_is_logged() {
    let (robot, world) = start(SECRET, Dingtalk::default()).await;
    robot.fail_next([Fault::Broken]);
    world.send(&alert(1)).await;
    world.ended("delivered", 1).await;
    let messages = robot.with(|it| it.messages.clone());
    assert_eq!(messages.len(), 1);
    assert_eq!(text(&messages[0]), "alert 1");
    let output = world.hookswitch.output();
    let token = robot.with(|it| it.token.clone());
    assert!(!output.contains(&token) && !output.contains(SECRET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r47_a_lost_answer_makes_no_second_alert_and_each_attempt_is_signed_anew() {
    let (robot, world) = start(SECRET, Dingtalk::default()).await;
    robot.fail_next([Fault::Answer(Dingtalk::punished(1)), Fault::Lost]);
    world.send(&alert(1)).await;
    world.ended("delivered", 1).await;
    assert_eq!(robot.with(|it| it.messages.len()), 1);
    let calls = robot.calls();
    assert_eq!(calls.len(), 3);
    let keys: Vec<_> = calls
        .iter()
        .map(|call| call.body()["msgUuid"].clone())
        .collect();
    assert!(keys[0].is_string(), "{keys:?}");
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    // The gateway's second lies between these two.
    for name in ["timestamp", "sign"] {
        assert_ne!(query(&calls[0], name), query(&calls[1], name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_signature_or_a_missing_keyword_is_a_dead_letter_though_its_status_is_200() {
    let mut with_keyword = Dingtalk::default();
    with_keyword.keywords.push("urgent".to_owned());
    for (secret, robot) in [("SECwrong", Dingtalk::default()), (SECRET, with_keyword)] {
        let (robot, world) = start(secret, robot).await;
        world.send(&alert(1)).await;
        world.ended("refused", 1).await;
        let calls = robot.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].status(), Some(200));
        let answer = calls[0].answer.as_ref().map(|answer| answer.body.clone());
        assert!(answer.is_some_and(|it| it.contains("310000")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_robot_that_is_blocked_is_left_alone_for_ten_minutes() {
    let (robot, world) = start(SECRET, Dingtalk::default()).await;
    robot.fail_next([Fault::Limited(std::time::Duration::ZERO)]);
    world.send(&alert(1)).await;
    let until = world.repeated_at("rate_limited").await;
    assert_wait(&robot.calls()[0], until, 600);
    // Not even another message is tried meanwhile.
    world.send(&alert(2)).await;
    world.pending(2).await;
    assert_eq!(robot.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r47_what_the_limit_has_no_room_for_comes_together_and_nothing_is_lost() {
    let (robot, world) = start(SECRET, Dingtalk::default()).await;
    // They wait together for the pause to end.
    robot.fail_next([Fault::Answer(Dingtalk::punished(2))]);
    for number in 1..=12 {
        world.send(&alert(number)).await;
    }
    world.ended("delivered", 12).await;
    let messages = robot.with(|it| it.messages.clone());
    assert!(messages.len() < 12, "no digest: {messages:?}");
    let mut told: Vec<_> = messages
        .iter()
        .flat_map(|message| text(message).split("\n\n"))
        .collect();
    told.sort_by_key(|text| (text.len(), *text));
    let wanted: Vec<_> = (1..=12).map(|number| format!("alert {number}")).collect();
    assert_eq!(told, wanted);
    let keys: Vec<_> = messages.iter().map(|it| &it["msgUuid"]).collect();
    assert!(keys.iter().all(|key| key.is_string()), "{keys:?}");
}
