//! What TG-Staff's integration guide wants to be done with its events, by rules and templates alone.

use std::collections::BTreeMap;
use std::time::Duration;

use hookswitch_tests::destination::Destination;
use hookswitch_tests::sender::{conversation_created, message_received};
use hookswitch_tests::wait;
use serde_json::{Value, json};

use crate::setup::System;

/// A route of one destination with these rules (YAML, indented by two).
fn route(name: &str, url: &str, rules: &str) -> String {
    format!(
        "apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {{name: {name}, namespace: support}}
spec:
  subscriptionRefs: [{{name: support}}]
  destinations:
  - name: target
    http: {{url: \"{url}\", method: PUT, allowPrivateNetwork: true}}
    delivery: {{ordering: PerSubject, timeout: 2s, backoff: {{initial: 50ms, max: 500ms}}}}
  rules:
{rules}"
    )
}

fn status_changed(id: &str, conversation: &str, status: &str) -> Value {
    json!({
        "event_type": "conversation.status_changed",
        "event_id": id,
        "conversation_id": conversation,
        "timestamp": "2026-01-05T10:00:00Z",
        "status": status,
    })
}

async fn send_all(system: &System, events: &[Value]) {
    for event in events {
        system.send(event).await;
    }
}

async fn effects(destination: &Destination, count: usize) -> Vec<Value> {
    wait::until(
        format!("{count} effects"),
        Duration::from_secs(30),
        async || (destination.count() >= count).then_some(()),
    )
    .await;
    destination
        .effects()
        .into_iter()
        .map(|effect| effect.body)
        .collect()
}

/// The CRM keeps one lead for each `external_id`, as every CRM with an upsert does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_a_reopened_conversation_updates_its_lead_and_makes_no_second_one() {
    let crm = Destination::start().await;
    let rules = "  - name: lead
    types: [conversation.created]
    deliver: [{destination: target, body: {external_id: \"${event.subject}\", status: new}}]
  - name: status
    types: [conversation.status_changed]
    deliver: [{destination: target, body: {external_id: \"${event.subject}\", status: \"${event.data.status}\"}}]
";
    let system = System::start(&route("crm", &crm.url(), rules)).await;
    let mut created = conversation_created(1);
    created["conversation_id"] = json!("conv-1");
    let closed = status_changed("s-1", "conv-1", "closed");
    let reopened = status_changed("s-2", "conv-1", "waiting");
    send_all(&system, &[created, closed, reopened]).await;

    let mut leads = BTreeMap::new();
    for body in effects(&crm, 3).await {
        leads.insert(body["external_id"].to_string(), body["status"].clone());
    }
    assert_eq!(
        leads,
        BTreeMap::from([("\"conv-1\"".to_owned(), json!("waiting"))])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r36_r38_r39_agents_messages_go_to_qa_and_all_messages_to_the_knowledge_base_in_order() {
    let (qa, knowledge) = (Destination::start().await, Destination::start().await);
    let body = "{text: \"${event.data.text}\", sender: \"${event.sender}\"}";
    let qa_rules = format!(
        "  - name: agents
    types: [message.received]
    when: \"event.sender == 'agent'\"
    deliver: [{{destination: target, body: {body}}}]
"
    );
    let all = format!(
        "  - name: sync
    types: [message.received]
    deliver: [{{destination: target, body: {body}}}]
"
    );
    let routes =
        route("qa", &qa.url(), &qa_rules) + "---\n" + &route("knowledge", &knowledge.url(), &all);
    let system = System::start(&routes).await;
    let messages: Vec<_> = (0..10)
        .map(|number| {
            let who = if number % 2 == 0 { "user" } else { "agent" };
            message_received(
                &format!("m-{number}"),
                "conv-1",
                who,
                &format!("text {number}"),
            )
        })
        .collect();
    send_all(&system, &messages).await;

    let synced = effects(&knowledge, 10).await;
    let texts: Vec<_> = synced.iter().map(|body| body["text"].clone()).collect();
    let sent: Vec<_> = messages
        .iter()
        .map(|message| message["text"].clone())
        .collect();
    assert_eq!(texts, sent);
    let checked = effects(&qa, 5).await;
    assert_eq!(checked.len(), 5);
    assert!(
        checked.iter().all(|body| body["sender"] == "agent"),
        "{checked:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r40_r41_a_survey_goes_out_only_at_closed_and_once_for_each_closing() {
    let survey = Destination::start().await;
    let rules = "  - name: survey
    types: [conversation.status_changed]
    when: \"event.data.status == 'closed'\"
    deliver: [{destination: target, body: {conversation: \"${event.subject}\"}}]
";
    let system = System::start(&route("survey", &survey.url(), rules)).await;
    for (number, status) in ["waiting", "assigned", "in progress"].iter().enumerate() {
        send_all(
            &system,
            &[status_changed(&format!("s-{number}"), "conv-1", status)],
        )
        .await;
    }
    let closed = status_changed("s-closed", "conv-1", "closed");
    send_all(&system, &[closed.clone(), closed.clone(), closed]).await;
    // The last of the queue: when it is there, nothing of the others is still to come.
    send_all(&system, &[status_changed("s-other", "conv-2", "closed")]).await;

    let mut surveys = effects(&survey, 2).await;
    // Nothing was said about their order.
    surveys.sort_by_key(ToString::to_string);
    assert_eq!(
        surveys,
        [
            json!({"conversation": "conv-1"}),
            json!({"conversation": "conv-2"})
        ]
    );
    let not_closed = system
        .hookswitch
        .metric(
            "hookswitch_rule_verdicts_total",
            &["rule=\"survey\"", "verdict=\"when_false\""],
        )
        .await;
    assert_eq!(not_closed, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r55_each_destination_gets_only_what_its_template_names() {
    let (qa, analytics) = (Destination::start().await, Destination::start().await);
    let rule = |body: &str| {
        format!(
            "  - name: all\n    types: [message.received]\n    deliver: [{{destination: target, body: {body}}}]\n"
        )
    };
    let routes = route("qa", &qa.url(), &rule("{text: \"${event.data.text}\"}"))
        + "---\n"
        + &route(
            "analytics",
            &analytics.url(),
            &rule("{type: \"${event.type}\", length: \"${size(event.data.text)}\"}"),
        );
    let system = System::start(&routes).await;
    send_all(
        &system,
        &[message_received("m-1", "conv-1", "user", "my card is 4111")],
    )
    .await;
    assert_eq!(effects(&qa, 1).await, [json!({"text": "my card is 4111"})]);
    assert_eq!(
        effects(&analytics, 1).await,
        [json!({"type": "message.received", "length": 15})]
    );
}
