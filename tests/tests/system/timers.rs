//! Timers, states and once-only effects of the program as it is installed.

use std::time::Duration;

use hookswitch_tests::destination::Destination;
use hookswitch_tests::hookswitch::{Hookswitch, Workspace};
use hookswitch_tests::sender::Sender;
use hookswitch_tests::wait;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::setup;
use crate::yaml;

const PATH: &str = "/support/support";

/// An alert after a short wait, a ticket that follows its conversation, and one survey for each closing.
fn route(url: &str, wait: &str) -> String {
    format!(
        "apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {{name: flows, namespace: support}}
spec:
  subscriptionRefs: [{{name: support}}]
  destinations:
  - name: target
    http: {{url: \"{url}\", allowPrivateNetwork: true}}
    delivery: {quick}
  rules:
  - name: agent-gone
    types: [agent.status_changed]
    when: event.data.status == 'offline'
    after:
      wait: {wait}
      key: event.data.agent
      unless: {{types: [agent.status_changed], when: event.data.status != 'offline'}}
    deliver: [{{destination: target, body: {{gone: '${{event.data.agent}}'}}}}]
  - name: ticket
    types: [conversation.status_changed]
    transition:
      key: event.data.conversation
      rank: \"{{'waiting': 0, 'assigned': 1, 'in progress': 2, 'closed': 3}}[event.data.status]\"
      reopenWhen: event.data.?reopened.orValue(false)
    deliver: [{{destination: target, body: {{ticket: '${{event.data.status}}'}}}}]
  - name: survey
    types: [conversation.status_changed]
    when: event.data.status == 'closed'
    deliver:
    - destination: target
      once: {{key: \"event.data.conversation + ' ' + event.data.at\", window: 24h}}
      body: {{survey: '${{event.data.at}}'}}
",
        quick = yaml::QUICK
    )
}

async fn start(workspace: &Workspace, grace: &str) -> (Hookswitch, Sender) {
    let arguments = ["--timer-grace", grace];
    let hookswitch =
        Hookswitch::start_with(&workspace.config(), &workspace.data(), &arguments).await;
    let sender = Sender::new(hookswitch.url(PATH), yaml::SIGNING_KEY);
    (hookswitch, sender)
}

fn workspace(destination: &Destination, wait: &str) -> Workspace {
    setup::workspace(&route(&destination.url(), wait))
}

/// A change of an agent's status, so many seconds after another moment.
fn agent(id: &str, agent: &str, status: &str, begin: Timestamp, seconds: i64) -> Value {
    let time = begin + SignedDuration::from_secs(seconds);
    json!({
        "event_type": "agent.status_changed", "event_id": id, "timestamp": time.to_string(),
        "agent": agent, "status": status,
    })
}

/// What reached the destination under a name.
fn told(destination: &Destination, name: &str) -> Vec<String> {
    let effects = destination.effects();
    let values = effects.iter().filter_map(|it| it.body.get(name)?.as_str());
    values.map(ToOwned::to_owned).collect()
}

async fn until_told(destination: &Destination, name: &str, count: usize) -> Vec<String> {
    let what = format!("{count} of {name}");
    wait::until(what, Duration::from_mins(1), async || {
        let told = told(destination, name);
        (told.len() >= count).then_some(told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r47_r48_a_timer_survives_kill_9_and_a_restart_longer_than_its_wait() {
    let destination = Destination::start().await;
    let workspace = workspace(&destination, "3s");
    let (hookswitch, sender) = start(&workspace, "1s").await;
    let begin = Timestamp::now();
    for (id, name) in [("1", "a-1"), ("2", "a-2")] {
        let event = agent(id, name, "offline", begin, 0);
        assert_eq!(sender.send(&event).await, Some(200));
    }
    wait::until("both timers", Duration::from_secs(10), async || {
        let pending = hookswitch.metric("hookswitch_timers_pending", &[]).await;
        (pending == 2).then_some(())
    })
    .await;
    hookswitch.kill().await;
    assert_eq!(destination.count(), 0);

    // Due before it is up again, and held until the sender had time: one of them came back.
    let (hookswitch, sender) = start(&workspace, "8s").await;
    assert_eq!(hookswitch.metric("hookswitch_timers_pending", &[]).await, 2);
    let event = agent("3", "a-1", "online", begin, 1);
    assert_eq!(sender.send(&event).await, Some(200));
    assert_eq!(until_told(&destination, "gone", 1).await, ["a-2"]);
    let labels = ["outcome=\"cancelled\""];
    let cancelled = hookswitch.metric("hookswitch_timers_total", &labels).await;
    assert_eq!(cancelled, 1);
    hookswitch.kill().await;

    // Exactly once: it has fired, in this process or another.
    let (hookswitch, sender) = start(&workspace, "1s").await;
    assert_eq!(hookswitch.metric("hookswitch_timers_pending", &[]).await, 0);
    let event = agent("4", "a-3", "offline", Timestamp::now(), 0);
    assert_eq!(sender.send(&event).await, Some(200));
    assert_eq!(until_told(&destination, "gone", 2).await, ["a-2", "a-3"]);
    assert_eq!(destination.conflicts(), Vec::<String>::new());
    let (clean, output) = hookswitch.terminate().await;
    assert!(clean, "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r40_r41_r44_r45_tickets_never_go_back_and_a_closing_has_one_survey_over_restarts() {
    let destination = Destination::start().await;
    let workspace = workspace(&destination, "30m");
    let change = |id: &str, status: &str, at: &str, reopened: bool| {
        json!({
            "event_type": "conversation.status_changed", "event_id": id, "conversation": "c-1",
            "status": status, "at": at, "reopened": reopened,
        })
    };
    let (mut hookswitch, mut sender) = start(&workspace, "1s").await;
    for (id, status, at, reopened) in [
        ("1", "waiting", "1", false),
        ("2", "assigned", "2", false),
        ("3", "in progress", "3", false),
        ("4", "closed", "4", false),
        // Told again under another id, then one that comes late.
        ("5", "closed", "4", false),
        ("6", "assigned", "2", false),
        ("7", "waiting", "7", true),
        ("8", "closed", "8", false),
        ("9", "closed", "8", false),
    ] {
        let event = change(id, status, at, reopened);
        assert_eq!(sender.send(&event).await, Some(200));
        if id == "4" || id == "7" {
            hookswitch.kill().await;
            (hookswitch, sender) = start(&workspace, "1s").await;
        }
    }
    let mut tickets = until_told(&destination, "ticket", 8).await;
    tickets.sort();
    let expected = [
        "assigned",
        "closed",
        "closed",
        "closed",
        "closed",
        "in progress",
        "waiting",
        "waiting",
    ];
    assert_eq!(tickets, expected);
    wait::until("an empty queue", Duration::from_secs(20), async || {
        let queue = hookswitch.metric("hookswitch_queue_depth", &[]).await;
        (queue == 0).then_some(())
    })
    .await;
    let mut surveys = told(&destination, "survey");
    surveys.sort();
    assert_eq!(surveys, ["4", "8"], "one for each closing");
    hookswitch.kill().await;
}
