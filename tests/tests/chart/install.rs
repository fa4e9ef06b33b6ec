//! The chart on a real API server: every object is taken, and the pods are admitted where only
//! restricted ones are.

use std::time::Duration;

use hookswitch_tests::cluster::{Cluster, Command, Namespace};
use hookswitch_tests::servers;
use hookswitch_tests::wait;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::files::{Helm, chart, find, values};

pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// Other projects' definitions, once.
async fn install_definitions(cluster: &Cluster) {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_init(async || {
        let file = servers::definitions();
        let file = file.to_str().expect("a path in UTF-8");
        // With kind in the question, discovery is what is waited for.
        cluster
            .kubectl(&["apply", "--server-side", "-f", file])
            .await
            .ok();
        wait::until("the definitions to be served", LIMIT, async || {
            let kinds = "certificates.cert-manager.io,httproutes.gateway.networking.k8s.io,\
                         prometheusrules.monitoring.coreos.com,servicemonitors.monitoring.coreos.com";
            let served = cluster.kubectl(&["get", kinds, "-A"]).await;
            served.success.then_some(())
        })
        .await;
    })
    .await;
}

/// A namespace that takes restricted pods only, and warns of what would make others.
async fn restricted(cluster: &Cluster) -> Namespace {
    let namespace = cluster.namespace().await;
    let labels = ["enforce", "warn", "audit"]
        .map(|mode| format!("pod-security.kubernetes.io/{mode}=restricted"));
    let mut label = vec!["label", "namespace", namespace.name()];
    label.extend(labels.iter().map(String::as_str));
    cluster.kubectl(&label).await.ok();
    namespace
}

async fn get(namespace: &Namespace, what: &str) -> Vec<Value> {
    let list = namespace.kubectl(&["get", what, "-o", "json"]).await.ok();
    let list: Value = serde_json::from_str(&list).expect("JSON");
    list["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn every_object_is_taken_and_every_pod_is_admitted_as_restricted() {
    let cluster = Cluster::shared().await;
    install_definitions(cluster).await;
    // Of values.yaml itself, and of each file in ci/.
    for values in values() {
        let namespace = restricted(cluster).await;
        let chart = chart();
        let own = format!("watchNamespaces={{{}}}", namespace.name());
        let mut install = vec!["install", "hookswitch", &chart, "-f", &values];
        install.extend(["--set", "crds.install=false"]);
        if values.contains("namespaced") {
            install.extend(["--set", &own]);
        }
        // Strict: the API server refuses fields that it doesn't know, where it would drop them.
        let manifest = Helm::new()
            .template(&[&install[3..], &["-n", namespace.name()]].concat())
            .await
            .ok();
        let dry = ["create", "--dry-run=server", "--validate=strict"];
        let kubeconfig = cluster.kubeconfig();
        let home = kubeconfig.parent().expect("a folder");
        let dry = Command::new(kubeconfig, home)
            .kubectl_with(&dry, &manifest)
            .await;
        assert!(
            dry.success && !dry.stderr.contains("Warning"),
            "{values}: {}",
            dry.stderr
        );

        namespace.helm(&install).await.ok();
        // One of the operator at least, and the receiver's: controllers make them.
        let pods = wait::until(format!("the pods of {values}"), LIMIT, async || {
            let pods = get(&namespace, "pods").await;
            let of = |component: &str| {
                let label = "app.kubernetes.io/component";
                pods.iter()
                    .any(|it| it["metadata"]["labels"][label] == component)
            };
            (of("operator") && of("receiver")).then_some(pods)
        })
        .await;
        for pod in pods {
            let spec = &pod["spec"];
            let container = &spec["containers"][0]["securityContext"];
            assert_eq!(container["readOnlyRootFilesystem"], true);
            assert_eq!(spec["enableServiceLinks"], false);
            // Only the token is mounted that is asked for.
            assert_eq!(spec["automountServiceAccountToken"], true);
        }
        namespace.helm(&["uninstall", "hookswitch"]).await.ok();
    }
}

#[tokio::test]
async fn an_upgrade_changes_in_place_and_an_uninstall_keeps_what_users_made() {
    let cluster = Cluster::start().await;
    let namespace = restricted(&cluster).await;
    let chart = chart();
    let release = ["upgrade", "--install", "hookswitch", &chart];
    // Installed by hand before: Helm doesn't take them unasked.
    cluster.install_crds().await;
    let error = namespace.helm(&release).await.refused();
    assert!(error.contains("invalid ownership metadata"), "{error}");
    let adopt = [release.as_slice(), &["--take-ownership"]].concat();
    namespace.helm(&adopt).await.ok();
    let subscription = json!({
        "apiVersion": "hookswitch.dev/v1alpha1",
        "kind": "WebhookSubscription",
        "metadata": {"name": "support"},
        "spec": {"provider": "TGStaff", "verification": {"unverified": true}},
    });
    namespace.apply(&subscription.to_string()).await.ok();
    let claims = wait::until("the receiver's volume", LIMIT, async || {
        Some(get(&namespace, "pvc").await).filter(|it| !it.is_empty())
    })
    .await;

    // What can be changed after an installation, all at once.
    let settings = [
        "operator.replicas=2",
        "snapshot.shards=2",
        "baseUrl=https://hooks.example.com",
        "receiver.drainSeconds=20",
        "service.type=NodePort",
        "networkPolicy.egress.enabled=true",
    ];
    namespace
        .helm(&[release.as_slice(), &["--set", &settings.join(",")]].concat())
        .await
        .ok();
    let stateful = get(&namespace, "statefulset").await;
    let grace = &stateful[0]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    assert_eq!(*grace, 5 + 20 + 15);

    namespace.helm(&["uninstall", "hookswitch"]).await.ok();
    let kept = get(&namespace, "whsub").await;
    assert_eq!(kept[0]["metadata"]["name"], "support");
    let names = |claims: &[Value]| -> Vec<Value> {
        claims
            .iter()
            .map(|it| it["metadata"]["uid"].clone())
            .collect()
    };
    assert_eq!(names(&get(&namespace, "pvc").await), names(&claims));
    let roles = ["get", "clusterroles,clusterrolebindings", "-o", "name"];
    let roles = cluster.kubectl(&roles).await.ok();
    assert!(!roles.contains("hookswitch"), "{roles}");

    // And it can come back.
    namespace.helm(&release).await.ok();
    assert_eq!(get(&namespace, "whsub").await.len(), 1);
}

#[tokio::test]
async fn a_rollout_lets_the_receiver_finish() {
    let set = "receiver.preStopSeconds=7,receiver.drainSeconds=30";
    let objects = Helm::new().objects(&["--set", set]).await;
    let stateful = &find(&objects, "StatefulSet", "hookswitch-receiver")["spec"];
    let pod = &stateful["template"]["spec"];
    let receiver = &pod["containers"][0];
    assert_eq!(receiver["lifecycle"]["preStop"]["sleep"]["seconds"], 7);
    let arguments = receiver["args"].as_array().expect("arguments");
    assert!(arguments.contains(&json!("--drain=30s")), "{arguments:?}");
    // preStop, attempts under way, and requests under way with the store's end.
    assert_eq!(pod["terminationGracePeriodSeconds"], 7 + 30 + 15);
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        assert_eq!(receiver[probe]["httpGet"]["path"], path, "{probe}");
    }
    assert_eq!(
        stateful["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
}

/// Templates that wait for a store with more than one receiver: they are whole all the same.
#[tokio::test]
async fn an_autoscaler_leaves_the_replicas_to_it() {
    let set = "receiver.autoscaling.enabled=true,receiver.autoscaling.maxReplicas=3";
    let objects = Helm::new()
        .objects(&["--skip-schema-validation", "--set", set])
        .await;
    let stateful = find(&objects, "StatefulSet", "hookswitch-receiver");
    assert_eq!(stateful["spec"]["replicas"], Value::Null);
    let scaler = find(&objects, "HorizontalPodAutoscaler", "hookswitch-receiver");
    assert_eq!(scaler["spec"]["scaleTargetRef"]["kind"], "StatefulSet");
    let role = find(&objects, "Role", "hookswitch-receiver");
    let leases = role["rules"][1]["resourceNames"].as_array();
    assert_eq!(leases.expect("names").len(), 3);
}
