//! Mixpanel: an event is counted once, and a 400 can be half a success.

use axum::http::StatusCode;
use hookswitch_cli::mock::answer::Answer;
use hookswitch_cli::mock::mixpanel::Mixpanel;
use hookswitch_cli::mock::stand_in::{Fault, StandIn};
use serde_json::{Value, json};

use crate::world::{DEFAULT_BODY, Target, World, calls, created, inquiry, stand_in, with};

const ACCOUNT: &str = "serviceAccount: {usernameSecretRef: {name: vendor, key: user}, \
                       passwordSecretRef: {name: vendor, key: password}}";
const TOKEN: &str = "projectTokenSecretRef: {name: vendor, key: token}";

async fn start(auth: &str, rules: &str) -> (StandIn<Mixpanel>, World) {
    let project = stand_in(Mixpanel::default()).await;
    let (url, id) = (project.url(), project.with(|it| it.project_id.clone()));
    let world = World::start(&Target {
        secrets: project.with(|it| {
            vec![
                ("user", it.username.clone()),
                ("password", it.password.clone()),
                ("token", it.project_token.clone()),
            ]
        }),
        kind: format!(
            "mixpanel: {{projectId: \"{id}\", {auth}, baseUrl: \"{url}\", allowPrivateNetwork: true}}"
        ),
        rules: rules.to_owned(),
        ..Target::default()
    })
    .await;
    (project, world)
}

/// A conversation of this user.
fn of(number: usize, user: &str) -> Value {
    with(inquiry(number), "user_id", user)
}

/// An answer that the whole destination waits for.
fn limited(seconds: u64) -> Fault {
    let answer = Answer::json(StatusCode::TOO_MANY_REQUESTS, &json!({"code": 429}));
    Fault::Answer(answer.with("retry-after", seconds.to_string()))
}

/// How many events each request held.
fn sizes(project: &StandIn<Mixpanel>) -> Vec<usize> {
    let calls = project.calls();
    let sizes = calls
        .iter()
        .map(|call| call.body().as_array().map_or(0, Vec::len));
    sizes.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r43_r46_r54_an_event_reaches_analytics_once_with_its_own_time_and_the_referrer() {
    let (project, world) = start(ACCOUNT, DEFAULT_BODY).await;
    project.fail_next([Fault::Lost, Fault::Broken]);
    let referrer = json!({"source": "ads", "campaign": "spring"});
    world
        .send(&with(inquiry(1), "referrer", referrer.clone()))
        .await;
    world.ended("delivered", 1).await;
    let events = project.with(|it| it.events.clone());
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["event"], "conversation.created");
    let properties = &events[0]["properties"];
    assert_eq!(properties["distinct_id"], "777000");
    assert_eq!(properties["conversation_id"], "c-1");
    assert_eq!(properties["referrer"], referrer);
    // 2026-01-05T10:00:00Z, in seconds or in milliseconds.
    let time = properties["time"].as_i64().expect("a time");
    assert!([1_767_607_200, 1_767_607_200_000].contains(&time), "{time}");
    let calls = project.calls();
    let bodies: Vec<_> = calls.iter().map(|call| &call.request.body).collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies[0] == bodies[1] && bodies[1] == bodies[2]);
    let password = project.with(|it| it.password.clone());
    assert!(!world.hookswitch.output().contains(&password));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projects_token_does_as_well_and_wrong_credentials_are_a_dead_letter() {
    let (project, world) = start(TOKEN, DEFAULT_BODY).await;
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    project.with(|it| it.project_token = "another".to_owned());
    world.send(&inquiry(2)).await;
    world.all_ended(&[("delivered", 1), ("refused", 1)]).await;
    assert_eq!(project.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r43_of_what_goes_together_only_what_mixpanel_refuses_is_a_dead_letter() {
    let (project, world) = start(ACCOUNT, DEFAULT_BODY).await;
    project.fail_next([limited(3)]);
    world.send(&of(0, "u-0")).await;
    calls(&project, 1).await;
    // Mixpanel takes these words for no user's id.
    for (number, user) in [(1, "u-1"), (2, "anonymous"), (3, "u-3")] {
        world.send(&of(number, user)).await;
    }
    world.all_ended(&[("delivered", 3), ("refused", 1)]).await;
    assert!(sizes(&project)[1..].iter().any(|size| *size > 1));
    let mut users = project.with(|it| {
        let users = it.events.iter();
        let users = users.map(|event| event["properties"]["distinct_id"].to_string());
        users.collect::<Vec<_>>()
    });
    users.sort_unstable();
    assert_eq!(users, ["\"u-0\"", "\"u-1\"", "\"u-3\""]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_together_goes_alone() {
    let rules = created("{event: started, properties: {distinct_id: \"${event.data.user_id}\"}}");
    let (project, world) = start(ACCOUNT, &rules).await;
    let too_large = Answer::json(StatusCode::PAYLOAD_TOO_LARGE, &json!({"code": 413}));
    project.fail_next([limited(3), Fault::Answer(too_large)]);
    world.send(&of(0, "u-0")).await;
    calls(&project, 1).await;
    for number in 1..=3 {
        world.send(&of(number, &format!("u-{number}"))).await;
    }
    world.ended("delivered", 4).await;
    let sizes = sizes(&project);
    assert!(sizes[1] > 1, "{sizes:?}");
    assert!(
        sizes[2..].iter().filter(|size| **size == 1).count() >= sizes[1],
        "{sizes:?}"
    );
    assert_eq!(project.with(|it| it.events.len()), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_without_a_hint_is_asked_again_by_the_backoff() {
    let (project, world) = start(ACCOUNT, DEFAULT_BODY).await;
    project.fail_next([
        Fault::Limited(std::time::Duration::ZERO),
        Fault::Limited(std::time::Duration::ZERO),
    ]);
    world.send(&inquiry(1)).await;
    world.repeated_at("rate_limited").await;
    world.ended("delivered", 1).await;
    assert_eq!(project.calls().len(), 3);
}
