//! The programs take exactly the arguments that the chart gives them: read by the programs' own code.

use std::collections::BTreeSet;
use std::fmt::Debug;

use clap::Parser;
use hookswitch_receiver::run::Engine;
use serde_json::Value;

use crate::files::{Helm, find, values};

/// The arguments of a pod's only container, as its program gets them. What clap reads from the
/// environment is given as arguments, and must be in the container's.
fn arguments(objects: &[Value], kind: &str, name: &str) -> Vec<String> {
    let object = find(objects, kind, name);
    let container = &object["spec"]["template"]["spec"]["containers"][0];
    let given = container["args"].as_array().expect("arguments");
    let given = given
        .iter()
        .map(|it| it.as_str().expect("a text").to_owned());
    let environment: BTreeSet<&str> = container["env"]
        .as_array()
        .expect("variables")
        .iter()
        .map(|it| it["name"].as_str().expect("a name"))
        .collect();
    let from_environment = [
        ("POD_NAMESPACE", "--namespace=hooks"),
        ("POD_NAME", "--pod-name=pod-0"),
    ];
    let from_environment = from_environment.into_iter().map(|(variable, argument)| {
        assert!(environment.contains(variable), "{name} has no {variable}");
        argument.to_owned()
    });
    std::iter::once(name.to_owned())
        .chain(given)
        .chain(from_environment)
        .collect()
}

fn parse<Args: Parser + Debug>(arguments: &[String], values: &str) -> Args {
    Args::try_parse_from(arguments).unwrap_or_else(|error| panic!("{values}: {error}"))
}

#[tokio::test]
async fn both_programs_take_the_arguments_that_the_chart_renders() {
    let helm = Helm::new();
    for file in values() {
        let objects = helm.objects(&["-f", &file]).await;
        let operator = arguments(&objects, "Deployment", "hookswitch-operator");
        let operator = parse::<hookswitch_operator::options::Args>(&operator, &file).options("x");
        let receiver = arguments(&objects, "StatefulSet", "hookswitch-receiver");
        let receiver = parse::<hookswitch_receiver::options::Args>(&receiver, &file);
        // What one is told about the other is so.
        assert_eq!(operator.shards, receiver.shards, "{file}");
        assert_eq!(operator.namespace, receiver.namespace, "{file}");
        assert_eq!(operator.receiver, "hookswitch-receiver", "{file}");
        let options = receiver.options();
        assert!(options.listen.ip().is_unspecified(), "{file}");
        assert_eq!(
            matches!(options.engine, Engine::JetStream(_)),
            file.ends_with("shared-values.yaml"),
            "{file}"
        );
    }
}

#[tokio::test]
async fn what_values_say_reaches_the_programs() {
    let helm = Helm::new();
    let values = "{operator: {replicas: 1}, baseUrl: 'https://hooks.example.com', watchNamespaces: [a, b], \
        snapshot: {shards: 3}, receiver: {trustedProxies: [10.0.0.0/8, 'fd00::/8']}, \
        pathGrants: [{namespaces: [platform, infra], prefix: /hooks}, {namespaces: ['*'], prefix: /shared}], \
        privateNetworks: [{namespaces: [support], cidrs: [10.0.0.0/8, 192.168.0.0/16]}], \
        ceilings: {bodyBytes: 2097152, storedBytes: 2Gi, eventsPerSecond: 50, retention: 100h, deduplicationWindow: 90h}}";
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("values.yaml");
    std::fs::write(&file, values).expect("it can be written");
    let file = file.to_str().expect("UTF-8");
    let objects = helm.objects(&["-f", file]).await;
    let operator = arguments(&objects, "Deployment", "hookswitch-operator");
    let operator = parse::<hookswitch_operator::options::Args>(&operator, file).options("x");
    let settings = &operator.settings;
    assert_eq!(
        settings.base_url.as_deref(),
        Some("https://hooks.example.com")
    );
    assert_eq!(
        operator.watch_namespaces,
        Some(vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(operator.shards, 3);
    assert_eq!(settings.path_grants.len(), 2);
    assert_eq!(settings.path_grants[1].prefix, "/shared");
    assert_eq!(settings.private_networks[0].cidrs.len(), 2);
    assert_eq!(settings.ceilings.body_bytes, 2 << 20);
    assert_eq!(settings.ceilings.stored_bytes, 2 << 30);
    assert_eq!(settings.ceilings.events_per_second, Some(50));
    assert_eq!(settings.ceilings.retention.as_millis(), 100 * 3_600_000);
    let receiver = arguments(&objects, "StatefulSet", "hookswitch-receiver");
    let receiver = parse::<hookswitch_receiver::options::Args>(&receiver, file);
    assert_eq!(receiver.shards, 3);
    assert_eq!(receiver.options().ingress.trusted_proxies.len(), 2);
}
