//! HTTPS, edits while it runs, and the truth of the health endpoints.

use std::time::Duration;

use hookswitch_tests::destination::Destination;
use hookswitch_tests::hookswitch::{Hookswitch, Workspace};
use hookswitch_tests::sender::{Sender, conversation_created, crypto, sign};
use hookswitch_tests::wait;
use serde_json::Value;

use crate::setup::{self, System};
use crate::yaml;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_serves_https_over_http_1_and_2() {
    crypto();
    let workspace = setup::workspace("");
    let pair =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (
        workspace.config().join("../tls.crt"),
        workspace.config().join("../tls.key"),
    );
    std::fs::write(&certificate, pair.cert.pem()).expect("the certificate is written");
    std::fs::write(&key, pair.signing_key.serialize_pem()).expect("the key is written");
    let hookswitch = Hookswitch::start_with(
        &workspace.config(),
        &workspace.data(),
        &[
            "--tls-cert",
            certificate.to_str().expect("a UTF-8 path"),
            "--tls-key",
            key.to_str().expect("a UTF-8 path"),
        ],
    )
    .await;
    let body = conversation_created(1).to_string();
    let trusted =
        reqwest::Certificate::from_pem(pair.cert.pem().as_bytes()).expect("a certificate");
    for (client, version) in [
        (
            reqwest::Client::builder().http1_only(),
            reqwest::Version::HTTP_11,
        ),
        (reqwest::Client::builder(), reqwest::Version::HTTP_2),
    ] {
        let client = client
            .no_proxy()
            .tls_certs_only([trusted.clone()])
            .build()
            .expect("a client");
        let answer = client
            .post(format!(
                "https://localhost:{}/support/support",
                hookswitch.hooks.port()
            ))
            .header(
                "X-TG-Staff-Signature",
                sign(yaml::SIGNING_KEY, body.as_bytes()),
            )
            .body(body.clone())
            .send()
            .await
            .expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_takes_effect_within_a_second_and_a_bad_one_leaves_the_last_good_config() {
    let (first, second) = (Destination::start().await, Destination::start().await);
    let system = System::start(&yaml::crm(&first.url())).await;
    let (workspace, hookswitch) = (&system.workspace, &system.hookswitch);
    let sequence = async || hookswitch.metric("hookswitch_config_sequence", &[]).await;
    system.send(&conversation_created(1)).await;
    wait::until("the first delivery", Duration::from_secs(10), async || {
        (first.count() == 1).then_some(())
    })
    .await;

    let before = sequence().await;
    workspace.write("route.yaml", &yaml::crm(&second.url()));
    wait::until(
        "the edit to be in use",
        Duration::from_secs(5),
        async || (sequence().await > before).then_some(()),
    )
    .await;
    system.send(&conversation_created(2)).await;
    wait::until("the second delivery", Duration::from_secs(10), async || {
        (second.count() == 1).then_some(())
    })
    .await;

    let bad = yaml::crm(&second.url()).replace("number}", "number");
    workspace.write("route.yaml", &bad);
    wait::until(
        "the bad edit to be reported",
        Duration::from_secs(5),
        async || reported_at(&hookswitch.output(), "route.yaml").then_some(()),
    )
    .await;
    system.send(&conversation_created(3)).await;
    wait::until(
        "the third delivery, by the last good config",
        Duration::from_secs(10),
        async || (second.count() == 2).then_some(()),
    )
    .await;
    assert_eq!(
        second.effects()[1]
            .body
            .get("number")
            .and_then(Value::as_u64),
        Some(3)
    );
    assert_eq!(first.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_r18_a_ping_gets_200_and_reaches_no_destination() {
    let destination = Destination::start().await;
    let of_all_types = yaml::crm(&destination.url()).replace("[conversation.created]", "[]");
    let system = System::start(&of_all_types).await;
    let sender = &system.sender;
    for body in [
        "",
        "{}",
        "ping",
        r#"{"event_type":"ping"}"#,
        r#"{"event_type":"test"}"#,
    ] {
        assert_eq!(
            sender.send_unsigned(body.to_owned()).await,
            Some(200),
            "unsigned {body:?}"
        );
        assert_eq!(
            sender.send_raw(body.to_owned()).await,
            Some(200),
            "signed {body:?}"
        );
    }
    assert_eq!(
        sender
            .send_unsigned(conversation_created(1).to_string())
            .await,
        Some(401)
    );
    assert_eq!(sender.send(&conversation_created(2)).await, Some(200));
    wait::until("the only real event", Duration::from_secs(10), async || {
        (destination.count() == 1).then_some(())
    })
    .await;
    assert_eq!(destination.requests(), 1);
    assert!(system.requests("ping").await >= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_many_projects_have_an_endpoint_each_and_other_paths_are_404() {
    let workspace = Workspace::new();
    for project in 0..20 {
        workspace.write(
            &format!("project-{project}.yaml"),
            &yaml::subscription("").replace("support", &format!("project-{project}")),
        );
    }
    let hookswitch = Hookswitch::start(&workspace.config(), &workspace.data()).await;
    let sender = Sender::new("", yaml::SIGNING_KEY);
    for project in 0..20 {
        let path = format!("/project-{project}/project-{project}");
        assert_eq!(
            sender
                .at(hookswitch.url(&path))
                .send(&conversation_created(1))
                .await,
            Some(200)
        );
    }
    assert_eq!(
        sender
            .at(hookswitch.url("/project-1/other"))
            .send(&conversation_created(1))
            .await,
        Some(404)
    );
}

/// Whether the log names a line of this file.
fn reported_at(log: &str, file: &str) -> bool {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .any(|line| {
            line["file"]
                .as_str()
                .is_some_and(|path| path.ends_with(file))
                && line["line"].is_u64()
        })
}
