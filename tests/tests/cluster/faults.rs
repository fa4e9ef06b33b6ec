//! The faults that a cluster can be given.

use std::time::Duration;

use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::wait;
use serde_json::Value;

#[tokio::test]
async fn the_api_server_is_killed_and_comes_back_and_etcd_is_paused_and_goes_on() {
    let mut cluster = Cluster::start().await;
    let namespace = cluster.namespace().await;
    let get = ["get", "configmap", "kept", "--request-timeout=2s"];
    namespace
        .kubectl(&["create", "configmap", "kept"])
        .await
        .ok();

    cluster.kill_apiserver();
    let refusal = namespace.kubectl(&get).await.refused();
    assert!(refusal.contains("refused"), "{refusal}");
    cluster.start_apiserver().await;
    namespace.kubectl(&get).await.ok();

    cluster.pause_etcd();
    let refusal = namespace
        .kubectl(&["create", "configmap", "late", "--request-timeout=2s"])
        .await
        .refused();
    assert!(refusal.to_lowercase().contains("time"), "{refusal}");
    cluster.resume_etcd();
    wait::until("etcd to go on", Duration::from_mins(1), async || {
        namespace
            .kubectl(&["create", "configmap", "after", "--request-timeout=5s"])
            .await
            .success
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watch_from_before_expires() {
    let mut cluster = Cluster::start().await;
    let list = "/api/v1/namespaces/default/configmaps";
    let objects = cluster.kubectl(&["get", "--raw", list]).await.ok();
    let objects: Value = serde_json::from_str(&objects).expect("JSON");
    let version = objects["metadata"]["resourceVersion"]
        .as_str()
        .expect("a list has a version");
    let watch = format!("{list}?watch=1&timeoutSeconds=1&resourceVersion={version}");
    let watch = ["get", "--raw", &watch];
    let before = cluster.kubectl(&watch).await.ok();
    assert!(!before.contains("too old"), "{before}");

    cluster.expire_watches().await;
    let after = cluster.kubectl(&watch).await;
    let after = after.stdout + &after.stderr;
    assert!(after.contains("too old resource version"), "{after}");
}
