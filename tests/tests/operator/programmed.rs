//! `Programmed`: what the receivers' Leases say, and what becomes of it.

use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::installation::{Installation, LIMIT};
use hookswitch_tests::wait;

use super::{SUBSCRIPTION, retain};

#[tokio::test]
async fn it_is_true_once_every_live_receiver_has_loaded_the_spec() {
    let cluster = Cluster::shared().await;
    // The chart refuses more than one receiver with the embedded store, the operator does not.
    let here = Installation::new(cluster, &[]).await;
    let _operator = here.operator("operator-a").await;
    here.namespace.apply(SUBSCRIPTION).await.ok();
    here.condition("whsub/support", "Accepted", "True", "Accepted")
        .await;
    here.condition("whsub/support", "Programmed", "False", "NoReceivers")
        .await;

    let receiver = here.receiver(0);
    here.condition("whsub/support", "Programmed", "True", "Programmed")
        .await;
    receiver.ready().await;

    // Others, of which only the Leases exist.
    let lease = |number: u32, loaded: &str, formats: &str| {
        format!(
            "
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: hooks-receiver-{number}
  annotations: {{hookswitch.dev/loaded: '{loaded}', hookswitch.dev/formats: '{formats}'}}
spec: {{holderIdentity: r-{number}, leaseDurationSeconds: 30, renewTime: '{time}'}}
",
            time = "2001-01-01T00:00:00.000000Z",
        )
    };
    // One that has loaded more than was ever written: the snapshot is written ahead of it.
    here.namespace.apply(&lease(1, "1000", "1")).await.ok();
    wait::until("a sequence after that", LIMIT, async || {
        let path = "-o=jsonpath={.metadata.annotations.hookswitch\\.dev/sequence}";
        let get = ["get", "secret", "hookswitch-snapshot-0", path];
        let sequence = here.namespace.kubectl(&get).await.ok();
        let sequence: u64 = sequence.parse().ok()?;
        (sequence > 1000).then_some(())
    })
    .await;

    // One that lags. It vanishes, and is waited for no more.
    retain(&here, "71h").await;
    here.condition("whsub/support", "Programmed", "False", "Pending")
        .await;
    here.condition("whsub/support", "Programmed", "True", "Programmed")
        .await;

    // One that is too old for what is written.
    retain(&here, "70h").await;
    here.namespace.apply(&lease(2, "1", "0")).await.ok();
    here.condition("whsub/support", "Programmed", "False", "ReceiverTooOld")
        .await;
    here.namespace
        .kubectl(&["delete", "lease", "hooks-receiver-2"])
        .await
        .ok();
    here.condition("whsub/support", "Programmed", "True", "Programmed")
        .await;
    assert_eq!(here.refusals(cluster), Vec::<String>::new());
}
