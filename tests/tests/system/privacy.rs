//! Logs never hold secrets or message text.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use hookswitch_tests::destination::{Behaviour, Destination};
use hookswitch_tests::hookswitch::Hookswitch;
use hookswitch_tests::sender::Sender;
use hookswitch_tests::wait;
use serde_json::json;

use crate::setup::{self, System};
use crate::yaml;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r57_planted_secrets_and_texts_are_in_no_log_line_and_no_metric() {
    const TEXT: &str = "planted-message-text-93fe";
    const TOKEN: &str = "planted-destination-token-5d20";
    let destination = Destination::start().await;
    destination.behave(Behaviour::Fails(400));
    let workspace = setup::workspace(&format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: audit, namespace: support}}
stringData: {{authorization: {TOKEN}}}
---
apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {{name: audit, namespace: support}}
spec:
  subscriptionRefs: [{{name: support}}]
  destinations:
  - name: target
    http:
      url: {}
      allowPrivateNetwork: true
      headers: [{{name: Authorization, secretRef: {{name: audit, key: authorization}}}}]
  rules:
  - name: refused
    deliver: [{{destination: target, body: {{text: \"${{event.data.text}}\"}}}}]
  - name: broken
    when: \"event.data.text > 5\"
    deliver: [{{destination: target}}]
",
        destination.url()
    ));
    let hookswitch =
        Hookswitch::start_verbose(&workspace.config(), &workspace.data(), "debug").await;
    let sender = Sender::new(hookswitch.url("/support/support"), yaml::SIGNING_KEY);
    let event = json!({"event_type": "message.received", "event_id": "e-1", "text": TEXT});
    assert_eq!(sender.send(&event).await, Some(200));
    assert_eq!(
        sender.send_raw(format!("not json: {TEXT}")).await,
        Some(200)
    );
    assert_eq!(sender.send_unsigned(event.to_string()).await, Some(401));
    let forger = Sender::new(hookswitch.url("/support/support"), "another-key");
    assert_eq!(forger.send(&event).await, Some(401));
    wait::until("the dead letters", Duration::from_secs(20), async || {
        (hookswitch.metric("hookswitch_dead_letters", &[]).await >= 2).then_some(())
    })
    .await;
    let (_, metrics) = hookswitch
        .get("/metrics")
        .await
        .expect("metrics are served");
    let (clean, log) = hookswitch.terminate().await;
    assert!(clean);
    assert!(
        log.contains("e-1"),
        "the accepted event is in the log:\n{log}"
    );
    for planted in [TEXT, TOKEN, yaml::SIGNING_KEY, "planted-api-token-41aa"] {
        assert!(!log.contains(planted), "{planted} is in the log:\n{log}");
        assert!(
            !metrics.contains(planted),
            "{planted} is in the metrics:\n{metrics}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r55_what_customers_write_is_kept_for_the_owner_alone() {
    let workspace = setup::workspace("");
    std::fs::create_dir(workspace.data()).expect("the data directory is made");
    let system = System::of(workspace).await;
    let event = json!({"event_type": "message.received"});
    system.send(&event).await;
    let files = std::fs::read_dir(system.workspace.data()).expect("the data directory can be read");
    // The other two hold a process id and places in the store.
    let tells = |name: &std::ffi::OsStr| name != "lock" && name != "planning";
    for file in files
        .map(|file| file.expect("a file"))
        .filter(|file| tells(&file.file_name()))
    {
        let mode = file.metadata().expect("its rights").permissions().mode();
        assert_eq!(
            mode & 0o077,
            0,
            "{} has mode {mode:o}",
            file.path().display()
        );
    }
}
