//! What a restart must not lose, and what two operators must not do.

use std::time::Duration;

use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::destination::Destination;
use hookswitch_tests::installation::{Installation, LIMIT};
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::wait;

use super::{KEY, SUBSCRIPTION, path, route};

/// The version of the snapshot's Secret.
async fn snapshot(here: &Installation) -> String {
    let get = [
        "get",
        "secret",
        "hookswitch-snapshot-0",
        "-o=jsonpath={.data}",
    ];
    here.namespace.kubectl(&get).await.ok()
}

#[tokio::test]
async fn an_operator_takes_over_at_once_and_writes_nothing_that_is_there() {
    let cluster = Cluster::shared().await;
    let here = Installation::new(cluster, &["operator.replicas=2"]).await;
    let first = here.operator("operator-a").await;
    let _receiver = here.receiver(0);
    here.namespace.apply(SUBSCRIPTION).await.ok();
    here.condition("whsub/support", "Programmed", "True", "Programmed")
        .await;
    let bad = route("crm", "https://crm.example.com", "true");
    here.namespace.apply(&bad).await.ok();
    here.condition("evroute/crm", "Programmed", "True", "Programmed")
        .await;
    here.namespace
        .apply(&bad.replace("\"true\"", "\"no such thing\""))
        .await
        .ok();
    here.condition("evroute/crm", "Programmed", "False", "LastGoodKept")
        .await;
    let before = snapshot(&here).await;

    let second = here.operator("operator-b").await;
    assert_eq!(second.metric("hookswitch_leading").await, Some(0.0));
    assert_eq!(first.metric("hookswitch_leading").await, Some(1.0));
    first.terminate().await;
    wait::until("the second to lead", Duration::from_secs(10), async || {
        (second.metric("hookswitch_leading").await == Some(1.0)).then_some(())
    })
    .await;
    wait::until("the second to compile", LIMIT, async || {
        (second.metric("hookswitch_compile_seconds_count").await >= Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(
        snapshot(&here).await,
        before,
        "the same objects give the same snapshot"
    );

    // The last good spec lives on in the snapshot.
    here.condition("evroute/crm", "Programmed", "False", "LastGoodKept")
        .await;
    here.namespace.apply(&bad).await.ok();
    here.condition("evroute/crm", "Programmed", "True", "Programmed")
        .await;
    assert_eq!(here.refusals(cluster), Vec::<String>::new());
}

#[tokio::test]
async fn r15_a_receiver_serves_and_starts_while_the_api_server_is_away() {
    let mut cluster = Cluster::start().await;
    let here = Installation::new(&cluster, &[]).await;
    let operator = here.operator("operator-a").await;
    let receiver = here.receiver(0);
    let destination = Destination::start().await;
    let objects = format!(
        "{SUBSCRIPTION}---{}",
        route("crm", &destination.url(), "true")
    );
    here.namespace.apply(&objects).await.ok();
    here.condition("evroute/crm", "Programmed", "True", "Programmed")
        .await;

    cluster.kill_apiserver();
    let path = path(&here, "support");
    let sender = Sender::new(receiver.url(&path), KEY);
    assert_eq!(sender.send(&conversation_created(1)).await, Some(200));
    receiver.terminate().await;
    let receiver = here.receiver(0);
    receiver.ready().await;
    let sender = sender.at(receiver.url(&path));
    assert_eq!(sender.send(&conversation_created(2)).await, Some(200));
    wait::until("both deliveries", LIMIT, async || {
        (destination.count() == 2).then_some(())
    })
    .await;

    // Back, all goes on by itself.
    cluster.start_apiserver().await;
    let edit = [
        "patch",
        "whsub",
        "support",
        "--type=merge",
        "-p",
        r#"{"spec":{"path":"/PATH"}}"#,
    ];
    let moved = format!("{path}/moved");
    let edit = edit.map(|it| it.replace("/PATH", &moved));
    let edit: Vec<&str> = edit.iter().map(String::as_str).collect();
    here.namespace.kubectl(&edit).await.ok();
    here.condition("whsub/support", "Programmed", "True", "Programmed")
        .await;
    let sender = sender.at(receiver.url(&moved));
    assert_eq!(sender.send(&conversation_created(3)).await, Some(200));
    receiver.terminate().await;
    operator.terminate().await;
}
