//! HubSpot: an object is found by a unique property, a batch says of each what became of it, and a day's
//! quota is told from a burst.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use hookswitch_cli::mock::answer::Answer;
use hookswitch_cli::mock::hubspot::{Hubspot, Object};
use hookswitch_cli::mock::stand_in::{Call, Fault, StandIn};
use hookswitch_tests::wait;
use serde_json::{Value, json};

use crate::world::{
    DEFAULT_BODY, LIMIT, Target, World, assert_wait, between, calls, created, inquiry, stand_in,
    with,
};

const TOKEN: &str = "pat-mock-hubspot-token";
const CONTACT: &str =
    "objectType: contacts, idProperty: tgstaff_user_id, id: \"${event.data.user_id}\"";
const TICKET: &str =
    "objectType: tickets, idProperty: tgstaff_conversation_id, id: \"${event.subject}\"";

async fn start(
    token: &str,
    object: &str,
    delivery: &str,
    rules: &str,
) -> (StandIn<Hubspot>, World) {
    let hubspot = stand_in(Hubspot::default()).await;
    let url = hubspot.url();
    let world = World::start(&Target {
        secrets: vec![("token", token.to_owned())],
        kind: format!(
            "hubspot: {{tokenSecretRef: {{name: vendor, key: token}}, {object}, baseUrl: \"{url}\", \
             allowPrivateNetwork: true}}"
        ),
        delivery,
        rules: rules.to_owned(),
    })
    .await;
    (hubspot, world)
}

/// A conversation of a user of that number.
fn of_user(number: usize) -> Value {
    with(inquiry(number), "user_id", format!("u-{number}"))
}

/// A limit that the whole destination waits for.
fn limited(seconds: u64) -> Fault {
    let answer = Answer::json(
        StatusCode::TOO_MANY_REQUESTS,
        &json!({"errorType": "RATE_LIMIT"}),
    );
    Fault::Answer(answer.with("retry-after", seconds.to_string()))
}

/// The ids in a request.
fn ids(call: &Call) -> Vec<Value> {
    let body = call.body();
    let inputs = body["inputs"].as_array().expect("a batch");
    inputs.iter().map(|input| input["id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r31_r54_r56_a_user_is_one_contact_whatever_happens_to_the_answer() {
    let (hubspot, world) = start(TOKEN, CONTACT, "", DEFAULT_BODY).await;
    hubspot.fail_next([Fault::Lost, Fault::Broken]);
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    world.send(&inquiry(2)).await;
    world.ended("delivered", 2).await;
    let objects = hubspot.with(|it| it.objects.clone());
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0].kind, "contacts");
    let properties = [("firstname", "alice"), ("tgstaff_user_id", "777000")];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(objects[0].properties, BTreeMap::from(properties));
    let bodies: Vec<_> = hubspot
        .calls()
        .iter()
        .map(|call| call.request.body.clone())
        .collect();
    assert_eq!(bodies.len(), 4);
    assert!(bodies[0] == bodies[1] && bodies[1] == bodies[2]);
    assert!(!world.hookswitch.output().contains(TOKEN));
}

fn status_changed(id: &str, status: &str) -> Value {
    json!({
        "event_type": "conversation.status_changed",
        "event_id": id,
        "conversation_id": "c-1",
        "status": status,
    })
}

const FOLLOWS: &str = "[\
    {name: created, types: [conversation.created], deliver: [{destination: target, body: {properties: \
        {subject: \"${event.subject}\", hs_pipeline_stage: \"1\"}}}]}, \
    {name: status, types: [conversation.status_changed], transition: {key: event.subject, rank: \
        \"{'waiting': 0, 'assigned': 1, 'in progress': 2, 'closed': 3}[event.data.status]\", reopenWhen: \
        event.data.?reopened.orValue(false)}, deliver: [{destination: target, body: {properties: \
        {tgstaff_status: \"${event.data.status}\"}}}]}]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_r44_r45_a_ticket_is_made_once_follows_all_states_and_a_reopening_and_never_goes_back()
{
    let (hubspot, world) = start(TOKEN, TICKET, ", ordering: PerSubject", FOLLOWS).await;
    hubspot.fail_next([Fault::Lost]);
    world.send(&inquiry(1)).await;
    for status in ["waiting", "assigned", "in progress", "closed"] {
        world.send(&status_changed(status, status)).await;
    }
    // One that was on its way for too long, and a reopening.
    world.send(&status_changed("late", "assigned")).await;
    let reopened = with(status_changed("again", "waiting"), "reopened", true);
    world.send(&reopened).await;
    world.ended("delivered", 6).await;
    let verdicts = "hookswitch_rule_verdicts_total";
    wait::until("the late one to be left out", LIMIT, async || {
        let late = ["verdict=\"would_go_back\""];
        (world.hookswitch.metric(verdicts, &late).await == 1).then_some(())
    })
    .await;
    let tickets = hubspot.with(|it| it.objects.clone());
    assert_eq!(tickets.len(), 1);
    assert_eq!(tickets[0].properties["tgstaff_status"], "waiting");
    let written = hubspot.calls();
    let written = written.iter().filter_map(|call| {
        let status = call
            .body()
            .pointer("/inputs/0/properties/tgstaff_status")?
            .clone();
        status.as_str().map(ToOwned::to_owned)
    });
    assert_eq!(
        written.collect::<Vec<_>>(),
        ["waiting", "assigned", "in progress", "closed", "waiting"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r31_r54_a_ticket_is_tied_to_its_contact_in_the_right_direction() {
    for (number, outcome) in [(16, "delivered"), (15, "refused")] {
        let object = format!(
            "objectType: tickets, associations: [{{to: \"${{event.data.contact}}\", typeId: {number}}}]"
        );
        let (hubspot, world) = start(TOKEN, &object, "", DEFAULT_BODY).await;
        hubspot.with(|it| {
            it.objects.push(Object {
                kind: "contacts".to_owned(),
                properties: BTreeMap::new(),
                ties: Vec::new(),
            });
        });
        // A number in the event: HubSpot wants text.
        world.send(&with(inquiry(1), "contact", 1)).await;
        world.ended(outcome, 1).await;
        let tickets = hubspot.with(|it| it.objects[1..].to_vec());
        if outcome == "refused" {
            assert!(tickets.is_empty());
            continue;
        }
        assert_eq!(tickets[0].ties, [("1".to_owned(), 16)]);
        let properties = &tickets[0].properties;
        assert_eq!(properties["subject"], "Telegram user alice new inquiry");
        assert!(properties["content"].contains("where is my order?"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_goes_together_only_what_hubspot_refuses_is_a_dead_letter() {
    let body = created("{properties: {firstname: x, email: \"${event.data.email}\"}}");
    let (hubspot, world) = start(TOKEN, CONTACT, "", &body).await;
    hubspot.fail_next([limited(3)]);
    let emails = [(1, "a@a.example"), (2, "no address"), (3, "c@a.example")];
    world.send(&with(of_user(0), "email", "o@a.example")).await;
    calls(&hubspot, 1).await;
    for (number, email) in emails {
        world.send(&with(of_user(number), "email", email)).await;
    }
    world.all_ended(&[("delivered", 3), ("refused", 1)]).await;
    let calls = hubspot.calls();
    let partial = calls.iter().find(|call| call.status() == Some(207));
    assert!(ids(partial.expect("a partial success")).len() > 1);
    let mut written = hubspot.with(|it| {
        let ids = it.objects.iter();
        let ids = ids.map(|object| object.properties["tgstaff_user_id"].clone());
        ids.collect::<Vec<_>>()
    });
    written.sort_unstable();
    assert_eq!(written, ["u-0", "u-1", "u-3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_repeats_long_inquiries_is_read_and_nothing_is_made_twice() {
    let (hubspot, world) = start(TOKEN, "objectType: tickets", "", DEFAULT_BODY).await;
    hubspot.fail_next([limited(3)]);
    world.send(&inquiry(0)).await;
    calls(&hubspot, 1).await;
    for number in 1..=40 {
        let long = with(inquiry(number), "first_message", "x".repeat(4000));
        world.send(&long).await;
    }
    world.ended("delivered", 41).await;
    assert_eq!(hubspot.with(|it| it.objects.len()), 41);
    let answers = hubspot.calls();
    let answers = answers.iter().filter_map(|it| it.answer.as_ref());
    assert!(answers.map(|it| it.body.len()).max() > Some(64 << 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_there_already_keeps_no_others_from_being_made() {
    let (hubspot, world) = start(TOKEN, "objectType: tickets", "", DEFAULT_BODY).await;
    let conflict = Answer::json(StatusCode::CONFLICT, &json!({"category": "CONFLICT"}));
    hubspot.fail_next([limited(3), Fault::Answer(conflict)]);
    world.send(&inquiry(0)).await;
    calls(&hubspot, 1).await;
    for number in 1..=2 {
        world.send(&inquiry(number)).await;
    }
    world.ended("delivered", 3).await;
    let calls = hubspot.calls();
    let inputs: Vec<_> = calls.iter().map(|call| ids(call).len()).collect();
    let refused = calls.iter().position(|call| call.status() == Some(409));
    let (before, after) = inputs.split_at(refused.expect("a conflict") + 1);
    assert!(before.last() > Some(&1), "{inputs:?}");
    assert!(after.iter().all(|it| *it == 1), "{inputs:?}");
    assert_eq!(hubspot.with(|it| it.objects.len()), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_updates_of_one_object_are_no_batch_and_both_are_written() {
    let (hubspot, world) = start(TOKEN, CONTACT, "", DEFAULT_BODY).await;
    hubspot.fail_next([limited(3)]);
    world.send(&of_user(0)).await;
    calls(&hubspot, 1).await;
    for number in 1..=3 {
        world.send(&inquiry(number)).await;
    }
    world.ended("delivered", 4).await;
    let calls = hubspot.calls();
    let refused = calls.iter().find(|call| call.status() == Some(400));
    assert!(ids(refused.expect("a batch with one id twice")).len() > 1);
    assert_eq!(hubspot.with(|it| it.objects.len()), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_passes_in_ten_seconds_and_a_days_quota_does_not() {
    // The stand-in names the policy by the wait.
    for (wait, seconds) in [(1, 10), (7200, 3600)] {
        let (hubspot, world) = start(TOKEN, CONTACT, "", DEFAULT_BODY).await;
        hubspot.fail_next([Fault::Limited(Duration::from_secs(wait))]);
        world.send(&of_user(1)).await;
        let until = world.repeated_at("rate_limited").await;
        assert_wait(&hubspot.calls()[0], until, seconds);
        world.send(&of_user(2)).await;
        world.pending(2).await;
        assert_eq!(hubspot.calls().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_and_a_move_between_data_centres_are_waited_for() {
    let (hubspot, world) = start(TOKEN, CONTACT, "", DEFAULT_BODY).await;
    let locked = Answer::json(StatusCode::LOCKED, &json!({"category": "LOCKED"}));
    hubspot.fail_next([Fault::Answer(Hubspot::migrating(1)), Fault::Answer(locked)]);
    world.send(&of_user(1)).await;
    world.ended("delivered", 1).await;
    let calls = hubspot.calls();
    assert_eq!(calls.len(), 3);
    assert!(between(&calls[0], &calls[1]) >= Duration::from_secs(1));
    assert!(between(&calls[1], &calls[2]) >= Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hubspot_refuses_is_a_dead_letter() {
    let property = created("{properties: {shoe: large}}");
    let (hubspot, world) = start(TOKEN, CONTACT, "", &property).await;
    world.send(&inquiry(1)).await;
    world.ended("refused", 1).await;
    assert_eq!(hubspot.calls().len(), 1);
    drop(world);
    let (hubspot, world) = start("wrong", CONTACT, "", DEFAULT_BODY).await;
    world.send(&inquiry(1)).await;
    world.ended("refused", 1).await;
    assert_eq!(hubspot.calls()[0].status(), Some(401));
}
