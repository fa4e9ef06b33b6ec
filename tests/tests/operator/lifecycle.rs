//! What a user does, from the first `kubectl apply` to the last `kubectl delete`.

use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::destination::Destination;
use hookswitch_tests::installation::{Installation, LIMIT};
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::wait;

use super::{KEY, SUBSCRIPTION, path, route};

#[tokio::test]
async fn an_event_goes_in_and_comes_out_through_edits_rotation_and_deletion() {
    let cluster = Cluster::shared().await;
    let here = Installation::new(cluster, &[]).await;
    let operator = here.operator("operator-a").await;
    let receiver = here.receiver(0);
    let destination = Destination::start().await;

    // Created.
    let good = route("crm", &destination.url(), "true");
    here.namespace
        .apply(&format!("{SUBSCRIPTION}---{good}"))
        .await
        .ok();
    for object in ["whsub/support", "evroute/crm"] {
        here.condition(object, "Accepted", "True", "Accepted").await;
        here.condition(object, "ResolvedRefs", "True", "ResolvedRefs")
            .await;
        here.condition(object, "Programmed", "True", "Programmed")
            .await;
    }
    let table = here
        .namespace
        .kubectl(&["get", "whsub", "support"])
        .await
        .ok();
    let path = path(&here, "support");
    assert!(
        table.contains(&format!("https://hooks.example.com{path}")),
        "{table}"
    );

    // Used.
    let sender = Sender::new(receiver.url(&path), KEY);
    assert_eq!(
        sender.send(&conversation_created(1)).await,
        Some(200),
        "{}",
        receiver.log()
    );
    let delivered = async |count: usize| {
        wait::until(format!("{count} deliveries"), LIMIT, async || {
            (destination.count() >= count).then_some(())
        })
        .await;
    };
    delivered(1).await;

    // Rotated: sender and receiver never change in the same moment, so both keys hold for a while.
    let rotated = "
apiVersion: v1
kind: Secret
metadata: {name: tg-staff}
stringData: {signing-key: the-next-key, previous-signing-key: the-signing-key}
";
    here.namespace.apply(rotated).await.ok();
    let next = Sender::new(receiver.url(&path), "the-next-key");
    let mut number = 2;
    wait::until("the next key to be known", LIMIT, async || {
        number += 1;
        let old = sender.send(&conversation_created(number)).await;
        assert_eq!(old, Some(200), "the old key is refused");
        number += 1;
        (next.send(&conversation_created(number)).await == Some(200)).then_some(())
    })
    .await;
    here.condition("whsub/support", "Programmed", "True", "Programmed")
        .await;

    // Broken: the last good spec goes on.
    let bad = route("crm", &destination.url(), "event.nothing.like.this");
    here.namespace.apply(&bad).await.ok();
    here.condition("evroute/crm", "Accepted", "False", "InvalidExpression")
        .await;
    here.condition("evroute/crm", "Programmed", "False", "LastGoodKept")
        .await;
    let before = destination.count();
    number += 1;
    assert_eq!(next.send(&conversation_created(number)).await, Some(200));
    delivered(before + 1).await;
    wait::until("an Event about it", LIMIT, async || {
        let reasons = "-o=jsonpath={.items[*].reason}";
        let get = ["get", "events.events.k8s.io", reasons];
        let reasons = here.namespace.kubectl(&get).await.ok();
        reasons.contains("InvalidExpression").then_some(())
    })
    .await;

    // Mended, and deleted.
    here.namespace.apply(&good).await.ok();
    here.condition("evroute/crm", "Accepted", "True", "Accepted")
        .await;
    here.condition("evroute/crm", "Programmed", "True", "Programmed")
        .await;
    here.namespace
        .kubectl(&["delete", "whsub", "support"])
        .await
        .ok();
    here.condition("evroute/crm", "Accepted", "False", "NoMatchingSubscription")
        .await;
    wait::until("the path to be gone", LIMIT, async || {
        number += 1;
        (next.send(&conversation_created(number)).await == Some(404)).then_some(())
    })
    .await;

    assert_eq!(here.refusals(cluster), Vec::<String>::new());
    receiver.terminate().await;
    operator.terminate().await;
}

#[tokio::test]
async fn a_secret_that_goes_is_told_and_comes_back() {
    let cluster = Cluster::shared().await;
    let here = Installation::new(cluster, &[]).await;
    let _operator = here.operator("operator-a").await;
    let receiver = here.receiver(0);
    here.namespace.apply(SUBSCRIPTION).await.ok();
    here.condition("whsub/support", "Programmed", "True", "Programmed")
        .await;

    // A Secret that goes takes its key along, and the receiver asks the sender to come again.
    let sender = Sender::new(receiver.url(&path(&here, "support")), KEY);
    assert_eq!(sender.send(&conversation_created(1)).await, Some(200));
    here.namespace
        .kubectl(&["delete", "secret", "tg-staff"])
        .await
        .ok();
    here.condition("whsub/support", "ResolvedRefs", "False", "SecretNotFound")
        .await;
    here.condition("whsub/support", "Programmed", "True", "Programmed")
        .await;
    assert_eq!(sender.send(&conversation_created(2)).await, Some(503));
    here.namespace.apply(SUBSCRIPTION).await.ok();
    here.condition("whsub/support", "ResolvedRefs", "True", "ResolvedRefs")
        .await;
    here.condition("whsub/support", "Programmed", "True", "Programmed")
        .await;
    assert_eq!(sender.send(&conversation_created(2)).await, Some(200));
}
