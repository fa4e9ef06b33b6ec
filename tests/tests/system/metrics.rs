//! What Prometheus scrapes, by the judgement of Prometheus' own tool.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use hookswitch_tests::destination::{Behaviour, Destination};
use hookswitch_tests::sender::conversation_created;
use hookswitch_tests::servers::Program;
use hookswitch_tests::wait;

use crate::setup::System;
use crate::yaml;

/// The metrics that operators build dashboards and alerts on: their names may not change unnoticed.
const PROMISED: &[&str] = &[
    "hookswitch_ack_seconds",
    "hookswitch_circuit_open",
    "hookswitch_config_reload_seconds",
    "hookswitch_config_sequence",
    "hookswitch_dead_letters",
    "hookswitch_deliveries_total",
    "hookswitch_delivery_attempt_seconds",
    "hookswitch_delivery_retries_total",
    "hookswitch_event_delivery_seconds",
    "hookswitch_events_total",
    "hookswitch_events_unmatched_total",
    "hookswitch_queue_depth",
    "hookswitch_queue_oldest_seconds",
    "hookswitch_requests_total",
    "hookswitch_rule_verdicts_total",
    "hookswitch_store_batch_size",
    "hookswitch_store_commit_seconds",
    "hookswitch_verification_key_matches_total",
    "process_resident_memory_bytes",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_the_metrics_show_retries_and_rejects_and_prometheus_has_no_complaint() {
    let destination = Destination::start().await;
    destination.behave(Behaviour::Fails(503));
    let system = System::start(&yaml::crm(&destination.url())).await;
    system.send(&conversation_created(1)).await;
    let unsigned = conversation_created(2).to_string();
    assert_eq!(system.sender.send_unsigned(unsigned).await, Some(401));
    let mut other = conversation_created(3);
    other["event_type"] = "a.type.that.nobody.named".into();
    system.send(&other).await;
    let hookswitch = &system.hookswitch;
    wait::until("retries", Duration::from_secs(20), async || {
        (hookswitch
            .metric("hookswitch_delivery_retries_total", &[])
            .await
            > 5)
        .then_some(())
    })
    .await;
    wait::until("the circuit to open", Duration::from_secs(20), async || {
        (hookswitch
            .metric("hookswitch_circuit_open", &["route=\"support/crm\""])
            .await
            == 1)
            .then_some(())
    })
    .await;
    destination.behave(Behaviour::Works);
    system.ended("delivered", 1).await;
    assert_eq!(system.requests("signature_missing").await, 1);
    assert_eq!(
        hookswitch
            .metric(
                "hookswitch_events_total",
                &["type=\"conversation.created\""]
            )
            .await,
        1
    );
    assert_eq!(
        hookswitch
            .metric("hookswitch_events_total", &["type=\"other\""])
            .await,
        1,
        "a sender can't make new series"
    );

    let (_, text) = hookswitch
        .get("/metrics")
        .await
        .expect("metrics are served");
    for name in PROMISED {
        assert!(
            text.contains(&format!("# TYPE {name} ")),
            "{name} is missing:\n{text}"
        );
    }
    assert_eq!(complaints(&text), "", "promtool complains about:\n{text}");
}

/// What `promtool check metrics` says.
fn complaints(metrics: &str) -> String {
    let mut promtool = Command::new(Program::PROMTOOL.path())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut input = promtool.stdin.take().expect("its input is piped");
    input.write_all(metrics.as_bytes()).expect("promtool reads");
    drop(input);
    let said = promtool.wait_with_output().expect("promtool ends");
    String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr)
}
