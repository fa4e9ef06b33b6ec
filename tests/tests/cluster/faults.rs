//! The faults that a cluster can be given.

use std::time::Duration;

use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::wait;

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
