//! Several receivers: `Programmed` waits for every one that lives, and for no other.

use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::installation::{Installation, LIMIT, Program};
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::wait;

use super::{KEY, SUBSCRIPTION, path, retain};

const OBJECT: &str = "whsub/support";

/// Waits until the operator counts this many receivers.
async fn live(operator: &Program, count: f64) {
    wait::until(format!("{count} live receivers"), LIMIT, async || {
        (operator.metric("hookswitch_receivers_live").await == Some(count)).then_some(())
    })
    .await;
}

/// Waits until a receiver has loaded all that is written.
async fn up_to_date(here: &Installation, number: u32) {
    wait::until(
        format!("receiver {number} to catch up"),
        LIMIT,
        async || {
            let written = here.sequence().await?;
            (here.loaded(number).await? == written).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn r15_programmed_waits_for_each_of_three_and_not_for_those_that_are_gone() {
    let cluster = Cluster::shared().await;
    let here = Installation::new(cluster, &["receiver.replicas=3"]).await;
    let operator = here.operator("operator-a").await;
    here.namespace.apply(SUBSCRIPTION).await.ok();
    here.condition(OBJECT, "Programmed", "False", "NoReceivers")
        .await;
    let first = here.receiver(0);
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    let second = here.receiver(1);
    let mut third = here.receiver(2);
    for receiver in [&first, &second, &third] {
        receiver.ready().await;
    }
    live(&operator, 3.0).await;

    // True says that all three have it.
    retain(&here, "71h").await;
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    let written = here.sequence().await;
    for number in 0..3 {
        assert_eq!(here.loaded(number).await, written, "receiver {number}");
    }

    // One lags. It is waited for as long as it lives; once it goes on it catches up by itself.
    third.signal("STOP");
    retain(&here, "70h").await;
    here.condition(OBJECT, "Programmed", "False", "Pending")
        .await;
    assert!(here.loaded(2).await < here.sequence().await);
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    live(&operator, 2.0).await;
    third.signal("CONT");
    live(&operator, 3.0).await;
    up_to_date(&here, 2).await;
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;

    // One vanishes without a word.
    drop(second);
    retain(&here, "69h").await;
    here.condition(OBJECT, "Programmed", "False", "Pending")
        .await;
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    live(&operator, 2.0).await;

    // A rotated Secret is a change like any other: no event is refused while it comes through.
    let rotated = SUBSCRIPTION.replace(
        "{signing-key: the-signing-key}",
        "{signing-key: the-next-key, previous-signing-key: the-signing-key}",
    );
    here.namespace.apply(&rotated).await.ok();
    let path = path(&here, "support");
    for receiver in [&first, &third] {
        let old = Sender::new(receiver.url(&path), KEY);
        let next = Sender::new(receiver.url(&path), "the-next-key");
        let mut number = 0;
        wait::until("the next key to be known", LIMIT, async || {
            number += 2;
            let answer = old.send(&conversation_created(number)).await;
            assert_eq!(answer, Some(200), "the old key is refused");
            let answer = next.send(&conversation_created(number + 1)).await;
            (answer == Some(200)).then_some(())
        })
        .await;
    }
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;

    // One that is newer than the operator, and reads none of its formats.
    here.namespace
        .apply(
            "
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: hooks-receiver-7
  annotations: {hookswitch.dev/loaded: '', hookswitch.dev/formats: '2,3'}
spec: {holderIdentity: newer, leaseDurationSeconds: 30, renewTime: '2100-01-01T00:00:00.000000Z'}
",
        )
        .await
        .ok();
    here.condition(OBJECT, "Programmed", "False", "Pending")
        .await;
    let message = "-o=jsonpath={.status.conditions[?(@.type==\"Programmed\")].message}";
    let message = here.namespace.kubectl(&["get", OBJECT, message]).await.ok();
    assert!(message.ends_with("upgrade the operator"), "{message}");
    // By its own clock it would live for decades; by ours it is silent.
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    assert_eq!(here.refusals(cluster), Vec::<String>::new());
    first.terminate().await;
    third.terminate().await;
    operator.terminate().await;
}
