//! One tenant's or one destination's trouble stays its own.

use std::time::Duration;

use hookswitch_tests::destination::{Behaviour, Destination};
use hookswitch_tests::sender::conversation_created;
use hookswitch_tests::wait;
use serde_json::Value;

use crate::setup::{self, System};
use crate::yaml;

fn route(name: &str, destination: &Destination, delivery: &str) -> String {
    let body = "{number: \"${event.data.data.number}\", subject: \"${event.subject}\"}";
    let types = "[conversation.created]";
    yaml::route(name, types, &destination.url(), body, delivery)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_a_hanging_and_a_failing_destination_hold_nothing_else_back() {
    let (good, hanging, failing) = (
        Destination::start().await,
        Destination::start().await,
        Destination::start().await,
    );
    hanging.behave(Behaviour::Hangs);
    failing.behave(Behaviour::Fails(500));
    let routes = [
        ("good", &good),
        ("hanging", &hanging),
        ("failing", &failing),
    ];
    let routes = routes.map(|(name, destination)| route(name, destination, yaml::QUICK));
    let system = System::start(&routes.join("---\n")).await;
    for number in 0..100 {
        system.send(&conversation_created(number)).await;
    }
    wait::until(
        "the good destination to have all",
        Duration::from_secs(20),
        async || (good.count() == 100).then_some(()),
    )
    .await;
    assert_eq!((hanging.count(), failing.count()), (0, 0));
    hanging.behave(Behaviour::Works);
    failing.behave(Behaviour::Works);
    wait::until(
        "the others to have all",
        Duration::from_mins(1),
        async || (hanging.count() == 100 && failing.count() == 100).then_some(()),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_over_its_stored_bytes_gets_503_alone_and_recovers() {
    let destination = Destination::start().await;
    destination.behave(Behaviour::Fails(503));
    let workspace = setup::workspace(&route("crm", &destination, yaml::QUICK));
    workspace.write(
        "subscription.yaml",
        &yaml::subscription("  limits: {storedBytes: 64Ki}\n"),
    );
    workspace.write(
        "neighbour.yaml",
        "apiVersion: hookswitch.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: neighbour, namespace: support}
spec:
  provider: TGStaff
  verification: {hmac: {secretRefs: [{name: tg-staff, key: signing-key}]}}
",
    );
    let system = System::of(workspace).await;
    let sender = &system.sender;
    let mut answered = 0;
    let refused = loop {
        assert!(answered < 5000, "the quota never took effect");
        match sender.send(&conversation_created(answered)).await {
            Some(200) => answered += 1,
            other => break other,
        }
    };
    assert_eq!(refused, Some(503));
    let neighbour = sender.at(system.hookswitch.url("/support/neighbour"));
    assert_eq!(neighbour.send(&conversation_created(1)).await, Some(200));
    assert_eq!(system.requests("quota").await, 1);

    destination.behave(Behaviour::Works);
    wait::until(
        "all that was answered 200 to be delivered",
        Duration::from_mins(1),
        async || (destination.count() == answered).then_some(()),
    )
    .await;
    wait::until(
        "the subscription to accept again",
        Duration::from_secs(10),
        async || (sender.send(&conversation_created(answered)).await == Some(200)).then_some(()),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn per_subject_order_holds_through_failures() {
    let destination = Destination::start().await;
    destination.behave(Behaviour::Fails(500));
    let delivery = yaml::QUICK.replacen('{', "{ordering: PerSubject, ", 1);
    let system = System::start(&route("crm", &destination, &delivery)).await;
    for number in 0..200 {
        system.send(&conversation_created(number)).await;
    }
    destination.behave(Behaviour::Works);
    wait::until("all to be delivered", Duration::from_mins(1), async || {
        (destination.count() == 200).then_some(())
    })
    .await;
    let mut last = std::collections::HashMap::new();
    for effect in destination.effects() {
        let number = effect
            .body
            .get("number")
            .and_then(Value::as_u64)
            .expect("a number");
        let subject = effect
            .body
            .get("subject")
            .and_then(Value::as_str)
            .expect("a subject")
            .to_owned();
        let before = last.insert(subject.clone(), number);
        assert!(
            before < Some(number),
            "{subject}: {number} came after {before:?}"
        );
    }
}
