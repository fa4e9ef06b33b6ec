//! Deliveries to a real NATS server, with JetStream and without.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_nats::ConnectOptions;
use hookswitch_tests::hookswitch::{Hookswitch, Workspace};
use hookswitch_tests::proxy::Proxy;
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::servers::certificates;
use hookswitch_tests::servers::nats::Nats;
use hookswitch_tests::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::setup::System;
use crate::yaml;

const LIMIT: Duration = Duration::from_mins(1);
const SUBJECT: &str = "subject: 'support.${event.type}'";

/// A route that publishes every event; `nats` is the destination, without its braces.
fn route(nats: &str) -> String {
    format!(
        "apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {{name: queue, namespace: support}}
spec:
  subscriptionRefs: [{{name: support}}]
  destinations:
  - name: queue
    nats: {{{nats}, allowPrivateNetwork: true}}
    delivery: {}
  rules: [{{name: all, deliver: [{{destination: queue}}]}}]
",
        yaml::QUICK
    )
}

/// A Secret.
fn secret(value: &str) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: nats, namespace: support}}
stringData: {{it: {}}}
",
        json!(value)
    )
}

async fn start(nats: &str, secret_value: &str) -> System {
    System::with_secret(&route(nats), &secret(secret_value)).await
}

async fn send(system: &System, numbers: Range<usize>) {
    for number in numbers {
        system.send(&conversation_created(number)).await;
    }
}

/// The number in each message.
fn numbers(messages: &[hookswitch_tests::servers::nats::Message]) -> BTreeSet<u64> {
    let number = |message: &Value| message["data"]["number"].as_u64();
    messages
        .iter()
        .filter_map(|it| number(&it.json()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_each_event_is_in_the_stream_once_through_an_outage() {
    let mut nats = Nats::start().await;
    nats.client(ConnectOptions::new())
        .await
        .create_stream("EVENTS", &["support.>"])
        .await;
    let system = start(&format!("url: '{}', {SUBJECT}", nats.url()), "none").await;
    send(&system, 0..30).await;
    system.ended("delivered", 30).await;
    nats.kill();
    send(&system, 30..60).await;
    system.failed("connect").await;
    nats.restart().await;
    system.ended("delivered", 60).await;
    let messages = nats
        .client(ConnectOptions::new())
        .await
        .messages("EVENTS")
        .await;
    assert_eq!(messages.len(), 60);
    assert_eq!(numbers(&messages).len(), 60);
    let keys: BTreeSet<_> = messages
        .iter()
        .map(|it| it.headers["Nats-Msg-Id"].clone())
        .collect();
    assert_eq!(keys.len(), 60);
    assert_eq!(messages[0].subject, "support.conversation.created");
    assert_eq!(messages[0].headers["content-type"], "application/json");
    assert_eq!(messages[0].headers["X-Hookswitch-Hops"], "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_a_message_whose_answer_was_lost_is_stored_once() {
    let nats = Nats::start().await;
    let client = nats.client(ConnectOptions::new()).await;
    client.create_stream("EVENTS", &["support.>"]).await;
    let proxy = Proxy::start(nats.address(), b"HPUB").await;
    let url = format!("url: 'nats://{}', {SUBJECT}", proxy.address);
    let system = start(&url, "none").await;
    proxy.lose(1);
    send(&system, 0..1).await;
    system.failed("connection_lost").await;
    system.ended("delivered", 1).await;
    assert_eq!((proxy.lost(), client.count("EVENTS").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_who_listens_gets_messages_with_the_events_attributes() {
    let nats = Nats::start().await;
    let client = nats.client(ConnectOptions::new()).await;
    let mut subscription = client.subscribe("support.>").await;
    let more = "jetstream: false, format: CloudEventsBinary";
    let to = format!("url: '{}', {SUBJECT}, {more}", nats.url());
    let system = start(&to, "none").await;
    send(&system, 7..8).await;
    let message = subscription.next().await;
    assert_eq!(message.subject, "support.conversation.created");
    assert_eq!(message.json(), conversation_created(7));
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "evt-7"),
        ("ce-type", "conversation.created"),
        ("ce-source", "/support/support"),
        ("ce-subject", "conv-7"),
        ("ce-datacontenttype", "application/json"),
    ] {
        assert_eq!(message.headers[name], value, "{name}");
    }
    system.ended("delivered", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_a_missing_stream_is_said_and_waited_for() {
    let nats = Nats::start().await;
    let system = start(&format!("url: '{}', {SUBJECT}", nats.url()), "none").await;
    send(&system, 0..1).await;
    system.failed("no_stream").await;
    let client = nats.client(ConnectOptions::new()).await;
    client.create_stream("EVENTS", &["support.>"]).await;
    system.ended("delivered", 1).await;
    assert_eq!(client.count("EVENTS").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_a_message_that_is_too_large_is_a_dead_letter_and_takes_no_other_with_it() {
    let mut nats = Nats::start_with("max_payload: 2048").await;
    nats.client(ConnectOptions::new())
        .await
        .create_stream("EVENTS", &["support.>"])
        .await;
    let system = start(&format!("url: '{}', {SUBJECT}", nats.url()), "none").await;
    nats.kill();
    let mut large = conversation_created(99);
    large["data"]["first_message"] = "x".repeat(4000).into();
    send(&system, 0..2).await;
    system.send(&large).await;
    send(&system, 2..4).await;
    system.failed("connect").await;
    nats.restart().await;
    system.ended("delivered", 4).await;
    system.ended("refused", 1).await;
    assert_eq!(
        nats.client(ConnectOptions::new())
            .await
            .count("EVENTS")
            .await,
        4
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_a_message_that_is_too_large_for_our_own_account_is_a_dead_letter() {
    let nats = Nats::start_with(
        "accounts { support { jetstream: enabled, limits { max_payload: 2048 }, users: [{user: hookswitch, \
         password: planted-nats-password}] } }",
    )
    .await;
    let who = || {
        let password = "planted-nats-password".to_owned();
        ConnectOptions::with_user_and_password("hookswitch".to_owned(), password)
    };
    let client = nats.client(who()).await;
    client.create_stream("EVENTS", &["support.>"]).await;
    let user = "user: {usernameSecretRef: {name: nats, key: user}, passwordSecretRef: {name: nats, key: it}}";
    let to = format!("url: '{}', {SUBJECT}, {user}", nats.url());
    let secret = secret("planted-nats-password").replace("{it:", "{user: hookswitch, it:");
    let system = System::with_secret(&route(&to), &secret).await;
    let mut large = conversation_created(0);
    large["data"]["first_message"] = "x".repeat(4000).into();
    system.send(&large).await;
    system.ended("refused", 1).await;
    send(&system, 1..3).await;
    system.ended("delivered", 2).await;
    assert_eq!(client.count("EVENTS").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_wrong_credentials_wait_and_work_once_the_secret_is_right() {
    // Those of https://docs.nats.io/nats-tools/nk.
    let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    let key = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
    let token = "planted-nats-token-55d1";
    let by_token = format!("authorization {{ token: {token} }}");
    let by_key =
        format!("authorization {{ users: [{{nkey: {key}}}, {{user: reader, password: reader}}] }}");
    for (server, field, right, wrong, who) in [
        (
            by_token.as_str(),
            "tokenSecretRef",
            token,
            "planted-wrong",
            ConnectOptions::with_token(token.to_owned()),
        ),
        (
            by_key.as_str(),
            "nkeySecretRef",
            seed,
            seed,
            ConnectOptions::with_user_and_password("reader".to_owned(), "reader".to_owned()),
        ),
    ] {
        let nats = Nats::start_with(server).await;
        let client = nats.client(who).await;
        client.create_stream("EVENTS", &["support.>"]).await;
        let to = format!(
            "url: '{}', {SUBJECT}, {field}: {{name: nats, key: it}}",
            nats.url()
        );
        let system = start(&to, wrong).await;
        send(&system, 0..1).await;
        if wrong != right {
            system.failed("unauthorized").await;
            assert_eq!(client.count("EVENTS").await, 0);
            system.workspace.write("secret.yaml", &secret(right));
        }
        system.ended("delivered", 1).await;
        assert_eq!(client.count("EVENTS").await, 1);
        let (_, output) = system.hookswitch.terminate().await;
        assert!(
            !output.contains(wrong) && !output.contains(right),
            "{output}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_the_server_is_known_by_a_certificate_of_its_own_authority() {
    let (folder, other) = (
        TempDir::new().expect("a folder"),
        TempDir::new().expect("a folder"),
    );
    let authority = certificates::write(folder.path());
    let at = folder.path().display();
    let tls = format!(
        "tls {{ cert_file: \"{at}/server.crt\", key_file: \"{at}/server.key\" }}\nallow_non_tls: true"
    );
    let nats = Nats::start_with(&tls).await;
    let client = nats.client(ConnectOptions::new()).await;
    client.create_stream("EVENTS", &["support.>"]).await;
    let url = nats.url().replace("nats:", "tls:");
    let to = format!("url: '{url}', {SUBJECT}, caSecretRef: {{name: nats, key: it}}");
    let system = start(&to, &certificates::write(other.path())).await;
    send(&system, 0..1).await;
    system.failed("tls").await;
    assert_eq!(client.count("EVENTS").await, 0);
    system.workspace.write("secret.yaml", &secret(&authority));
    system.ended("delivered", 1).await;
    assert_eq!(client.count("EVENTS").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r54_the_example_puts_each_event_into_a_stream() {
    let nats = Nats::start().await;
    let client = nats.client(ConnectOptions::new()).await;
    client.create_stream("SUPPORT", &["support.>"]).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/events-to-nats");
    let example = |name: &str| fs::read_to_string(folder.join(name)).expect("the example's file");
    let workspace = Workspace::new();
    for name in ["subscription.yaml", "secret.yaml"] {
        workspace.write(name, &example(name));
    }
    let route = example("route.yaml");
    assert!(route.contains("nats://127.0.0.1:4222"));
    let route = route.replace("nats://127.0.0.1:4222", &nats.url());
    workspace.write("route.yaml", &route);
    let hookswitch = Hookswitch::start(&workspace.config(), &workspace.data()).await;
    let url = hookswitch.url("/support/tg-staff");
    let sender = Sender::new(url, "quickstart-signing-key");
    for number in 0..3 {
        assert_eq!(sender.send(&conversation_created(number)).await, Some(200));
    }
    wait::until("three messages", LIMIT, async || {
        (client.count("SUPPORT").await == 3).then_some(())
    })
    .await;
    let first = client.messages("SUPPORT").await.remove(0);
    assert_eq!(first.subject, "support.conversation.created");
    assert_eq!(first.headers["ce-id"], "evt-0");
    assert_eq!(first.headers["ce-subject"], "conv-0");
    hookswitch.terminate().await;
}
