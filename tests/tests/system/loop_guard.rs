//! A real A→B→A loop: TG-Staff's API fires `message.received` for each message that a route sends.

use std::time::Duration;

use hookswitch_tests::destination::Destination;
use hookswitch_tests::sender::message_received;
use hookswitch_tests::tgstaff::TgStaff;
use hookswitch_tests::wait;

use crate::setup::System;
use crate::yaml;

/// Where an unguarded loop is cut, so that the test ends.
const STORM: u64 = 60;

/// A route that answers every message, and a QA route that wants to see every message.
fn routes(tgstaff: &TgStaff, qa: &Destination, guard: &str) -> String {
    format!(
        "apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {{name: autoreply, namespace: support}}
spec:
  subscriptionRefs: [{{name: support}}]
  destinations:
  - name: reply
    tgstaff:
      baseUrl: {}
      path: /messages
      tokenSecretRef: {{name: tg-staff, key: api-token}}
      allowPrivateNetwork: true
    delivery: {}
  rules:
  - name: reply
    types: [message.received]
    deliver:
    - destination: reply
      body: {{conversation_id: \"${{event.subject}}\", text: \"Thank you: ${{event.data.text}}\"}}
  loopGuard: {guard}
---
{}",
        tgstaff.base_url(),
        yaml::QUICK,
        yaml::route(
            "qa",
            "[message.received]",
            &qa.url(),
            "{sender: \"${event.sender}\", text: \"${event.data.text}\"}",
            yaml::QUICK
        ),
    )
}

/// Starts all three, and sends one message of a user.
async fn first_message(sender_type: &str, guard: &str) -> (TgStaff, Destination, System) {
    let tgstaff = TgStaff::start("planted-api-token-41aa", sender_type, STORM).await;
    let qa = Destination::start().await;
    let system = System::start(&routes(&tgstaff, &qa, guard)).await;
    tgstaff.webhook(system.sender.clone());
    let message = message_received("m-1", "conv-1", "user", "hello");
    system.send(&message).await;
    (tgstaff, qa, system)
}

async fn suppressed(system: &System, reason: &str) -> u64 {
    let reason = format!("reason=\"{reason}\"");
    system
        .hookswitch
        .metric("hookswitch_loop_suppressed_total", &[&reason])
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27_without_an_enforced_guard_the_loop_storms_and_observe_counts_it() {
    let (tgstaff, _qa, system) =
        first_message("agent", "{mode: Observe, senders: [agent, system]}").await;
    wait::until("the storm", Duration::from_mins(1), async || {
        (tgstaff.messages_sent() > STORM).then_some(())
    })
    .await;
    assert!(
        suppressed(&system, "sender").await >= 1,
        "Observe counts what it lets through"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27_r28_r29_r36_the_sender_guard_stops_the_loop_and_qa_still_sees_the_agents_message() {
    let (tgstaff, qa, system) =
        first_message("agent", "{mode: Enforce, senders: [agent, system]}").await;
    wait::until(
        "QA to see the user's and the agent's message",
        Duration::from_secs(20),
        async || (qa.count() == 2).then_some(()),
    )
    .await;
    wait::until("the suppression", Duration::from_secs(20), async || {
        (suppressed(&system, "sender").await == 1).then_some(())
    })
    .await;
    let senders: Vec<_> = qa
        .effects()
        .iter()
        .map(|effect| effect.body["sender"].clone())
        .collect();
    assert!(
        senders.contains(&"user".into()) && senders.contains(&"agent".into()),
        "{senders:?}"
    );
    assert_eq!(tgstaff.messages_sent(), 1);
}

/// The API's own messages come back as a sender that the list does not name: only the echo guard can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27_the_echo_guard_recognises_what_we_caused_ourselves() {
    let guard = "{mode: Enforce, senders: [system], echo: {sent: \"event.subject + ':' + request.text\", received: \"event.subject + ':' + event.data.text\", window: 5m}}";
    let (tgstaff, qa, system) = first_message("bot", guard).await;
    wait::until(
        "QA to see both messages",
        Duration::from_secs(20),
        async || (qa.count() == 2).then_some(()),
    )
    .await;
    wait::until("the suppression", Duration::from_secs(20), async || {
        (suppressed(&system, "echo").await == 1).then_some(())
    })
    .await;
    assert_eq!(tgstaff.messages_sent(), 1);
}

/// Nothing else sees this loop: every message is new text from an unknown sender.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27_the_rate_guard_breaks_a_loop_that_no_other_guard_sees_and_loses_nothing() {
    let (tgstaff, qa, system) = first_message(
        "bot",
        "{mode: Enforce, senders: [], perSubject: {limit: 5, window: 10m}}",
    )
    .await;
    wait::until("the breaker", Duration::from_secs(30), async || {
        (suppressed(&system, "rate").await >= 1).then_some(())
    })
    .await;
    wait::until(
        "QA to see the last message",
        Duration::from_secs(20),
        async || (qa.count() == 6).then_some(()),
    )
    .await;
    assert_eq!(tgstaff.messages_sent(), 5);
    assert_eq!(
        system
            .hookswitch
            .metric("hookswitch_dead_letters", &["destination=\"reply\""])
            .await,
        1,
        "what the breaker stopped is a dead letter"
    );
}
