//! The control plane behaves as Kubernetes does in production: what other tests rely on.

use std::time::Duration;

use hookswitch_tests::cluster::{Cluster, Command, Request};
use hookswitch_tests::wait;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn programs_report_the_release_that_they_are() {
    let cluster = Cluster::shared().await;
    let version = cluster.kubectl(&["version", "-o", "json"]).await.ok();
    let version: Value = serde_json::from_str(&version).expect("JSON");
    let release = |of: &str| {
        let release = version[of]["gitVersion"].as_str().expect("a version");
        let [major, minor, _patch] = release
            .strip_prefix('v')
            .expect("a v")
            .splitn(3, '.')
            .map(|part| part.parse().unwrap_or(0))
            .collect::<Vec<u32>>()
            .try_into()
            .expect("three parts");
        (major, minor)
    };
    let (major, server) = release("serverVersion");
    let (_, client) = release("clientVersion");
    assert!(
        (major, server) >= (1, 30),
        "Kubernetes 1.30 is the oldest that we support, this is {version}"
    );
    assert!(
        server.abs_diff(client) <= 1,
        "kubectl is too far: {version}"
    );
}

#[tokio::test]
async fn a_service_account_may_do_what_its_role_says_and_no_more() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    namespace
        .kubectl(&["create", "serviceaccount", "reader"])
        .await
        .ok();
    let role = [
        "create",
        "role",
        "reader",
        "--verb=get",
        "--resource=secrets",
    ];
    namespace
        .kubectl(&[role.as_slice(), &["--resource-name=one"]].concat())
        .await
        .ok();
    let account = format!("{}:reader", namespace.name());
    let bind = ["create", "rolebinding", "reader", "--role=reader"];
    let to = format!("--serviceaccount={account}");
    namespace
        .kubectl(&[bind.as_slice(), &[&to]].concat())
        .await
        .ok();
    for secret in ["one", "two"] {
        namespace
            .kubectl(&["create", "secret", "generic", secret])
            .await
            .ok();
    }

    let kubeconfig = cluster.kubeconfig_for(namespace.name(), "reader").await;
    let reader = Command::new(&kubeconfig, kubeconfig.parent().expect("a folder"));
    let secret = async |name| {
        reader
            .kubectl(&["get", "secret", name, "-n", namespace.name()])
            .await
    };
    // The authorizer learns of a binding by a watch.
    wait::until("the role to be bound", LIMIT, async || {
        secret("one").await.success.then_some(())
    })
    .await;
    let refusal = secret("two").await.refused();
    let user = format!("system:serviceaccount:{account}");
    assert!(
        refusal.contains("Forbidden") && refusal.contains(&user),
        "{refusal}"
    );
    let requests = cluster.requests_of(namespace.name(), "reader");
    let asked = |name: &str, status: u16| {
        let asked = |it: &&Request| {
            (it.verb.as_str(), it.resource.as_str()) == ("get", "secrets")
                && (it.name.as_str(), it.status) == (name, status)
        };
        requests.iter().filter(asked).count()
    };
    assert_eq!(
        (asked("one", 200), asked("two", 403)),
        (1, 1),
        "{requests:?}"
    );
    assert!(!requests.iter().any(Request::writes), "{requests:?}");
}

#[tokio::test]
async fn a_namespace_takes_along_what_is_in_it() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    namespace.kubectl(&["create", "configmap", "a"]).await.ok();
    cluster
        .kubectl(&["delete", "namespace", namespace.name(), "--timeout=60s"])
        .await
        .ok();
    let gone = namespace
        .kubectl(&["get", "configmap", "a"])
        .await
        .refused();
    assert!(gone.contains("NotFound"), "{gone}");
}

#[tokio::test]
async fn an_owner_takes_along_what_it_owns() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let configmap = |name: &str, owners: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "ownerReferences": owners},
        })
        .to_string()
    };
    namespace.apply(&configmap("owner", json!([]))).await.ok();
    let uid = namespace
        .kubectl(&[
            "get",
            "configmap",
            "owner",
            "-o",
            "jsonpath={.metadata.uid}",
        ])
        .await
        .ok();
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
    namespace.apply(&configmap("owned", owner)).await.ok();
    namespace
        .kubectl(&["delete", "configmap", "owner"])
        .await
        .ok();
    namespace
        .kubectl(&["wait", "--for=delete", "configmap/owned", "--timeout=60s"])
        .await
        .ok();
}

#[tokio::test]
async fn pod_security_is_enforced_where_a_namespace_asks_for_it() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let label = "pod-security.kubernetes.io/enforce=restricted";
    cluster
        .kubectl(&["label", "namespace", namespace.name(), label])
        .await
        .ok();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "root", "image": "root"}]},
    });
    // The account that a pod has by default is made by a controller.
    let refusal = wait::until("a verdict on the pod", LIMIT, async || {
        let refusal = namespace.apply(&pod.to_string()).await.refused();
        (!refusal.contains("serviceaccount \"default\" not found")).then_some(refusal)
    })
    .await;
    assert!(refusal.contains("violates PodSecurity"), "{refusal}");
}

#[tokio::test]
async fn helm_installs_lists_and_removes_a_chart() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let chart = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = chart.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(path, text).expect("the file is written");
    };
    write(
        "Chart.yaml",
        "{apiVersion: v2, name: tiny, version: 1.2.3, kubeVersion: '>=1.30.0-0'}",
    );
    write(
        "templates/map.yaml",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Release.Name }}'}}",
    );
    let chart = chart.path().to_str().expect("a path in UTF-8");

    // Without a cluster Helm takes a Kubernetes version for granted: it must be one of today.
    namespace.helm(&["template", "it", chart]).await.ok();
    namespace.helm(&["install", "it", chart]).await.ok();
    let list = namespace.helm(&["list"]).await.ok();
    assert!(list.contains("tiny-1.2.3"), "{list}");
    namespace.kubectl(&["get", "configmap", "it"]).await.ok();
    namespace.helm(&["uninstall", "it"]).await.ok();
    namespace
        .kubectl(&["get", "configmap", "it"])
        .await
        .refused();
}
