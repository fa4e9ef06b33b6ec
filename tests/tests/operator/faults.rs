//! What befalls a cluster: nothing is lost, and all heals by itself.

use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::installation::{Installation, LIMIT};
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::wait;

use super::{KEY, SUBSCRIPTION, path, retain, route, serve};

const OBJECT: &str = "whsub/support";

#[tokio::test]
async fn r15_no_event_is_refused_while_the_api_server_etcd_and_watches_fail() {
    let mut cluster = Cluster::start().await;
    let here = Installation::new(&cluster, &["operator.replicas=2"]).await;
    let first = here.operator("operator-a").await;
    let second = here.operator("operator-b").await;
    let receiver = here.receiver(0);
    let destination = serve(&here).await;
    let sender = Sender::new(receiver.url(&path(&here, "support")), KEY);
    let mut sent = 0;
    let mut push = async |count: usize| {
        for _ in 0..count {
            sent += 1;
            let answer = sender.send(&conversation_created(sent)).await;
            assert_eq!(answer, Some(200), "event {sent}");
        }
        sent
    };

    // The API server is killed with an edit under way, and comes back.
    retain(&here, "71h").await;
    cluster.kill_apiserver();
    push(3).await;
    cluster.start_apiserver().await;
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;

    // etcd hangs, and every write with it. Nobody can lead meanwhile, and nobody goes mad.
    cluster.pause_etcd();
    for program in [&first, &second] {
        wait::until("the leader to step down", LIMIT, async || {
            (program.metric("hookswitch_leading").await == Some(0.0)).then_some(())
        })
        .await;
    }
    push(3).await;
    cluster.resume_etcd();
    wait::until("an edit to be taken", LIMIT, async || {
        let patch = r#"{"spec":{"retention":"70h"}}"#;
        let patch = [
            "patch",
            OBJECT,
            "--type=merge",
            "-p",
            patch,
            "--request-timeout=5s",
        ];
        here.namespace.kubectl(&patch).await.success.then_some(())
    })
    .await;
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;

    // Every watch ends, and none can go on from where it was: 410 Gone.
    cluster.expire_watches().await;
    push(3).await;
    here.namespace
        .apply(&route("more", &destination.url(), "true"))
        .await
        .ok();
    here.condition("evroute/more", "Programmed", "True", "Programmed")
        .await;
    // What went meanwhile is known to be gone.
    here.namespace
        .kubectl(&["delete", "evroute", "more"])
        .await
        .ok();
    wait::until("the route to be gone", LIMIT, async || {
        let routes = "-o=jsonpath={.status.attachedRoutes}";
        let routes = here.namespace.kubectl(&["get", OBJECT, routes]).await;
        (routes.ok() == "1").then_some(())
    })
    .await;

    let sent = push(1).await;
    wait::until("every event to be delivered", LIMIT, async || {
        (destination.count() >= sent).then_some(())
    })
    .await;
    // Of refusals nothing can be said: an API server that starts knows no roles for a moment.
    receiver.terminate().await;
    second.terminate().await;
    first.terminate().await;
}

/// A cluster whose definitions are of a later version than the operator.
#[tokio::test]
async fn an_object_that_an_older_operator_cannot_read_keeps_its_last_good_spec() {
    let cluster = Cluster::start().await;
    let here = Installation::new(&cluster, &[]).await;
    let operator = here.operator("operator-a").await;
    let receiver = here.receiver(0);
    let destination = serve(&here).await;
    let watches = |definition: &str| {
        let requests = cluster.requests_of(here.namespace.name(), "hooks-operator");
        let watches = requests.iter().filter(|it| it.verb == "watch");
        watches.filter(|it| it.resource == definition).count()
    };
    let definitions = ["webhooksubscriptions", "eventroutes"];
    let before = definitions.map(watches);
    let later = r#"[{"op": "add", "value": {"type": "string"},
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/fromTheFuture"}]"#;
    for definition in definitions {
        let definition = format!("crd/{definition}.hookswitch.dev");
        let patch = ["patch", &definition, "--type=json", "-p", later];
        cluster.kubectl(&patch).await.ok();
    }
    // The API server ends the watches by the earlier definitions a moment later. Until then it leaves out
    // of objects what those don't have, and does not tell of it again when the watch goes on.
    wait::until("watches by the later definitions", LIMIT, async || {
        let now = definitions.map(watches);
        let all = now.iter().zip(&before).all(|(now, before)| now > before);
        all.then_some(())
    })
    .await;
    let patch = r#"{"spec":{"fromTheFuture":"yes"}}"#;
    for object in [OBJECT, "evroute/crm"] {
        wait::until("the later definition to be served", LIMIT, async || {
            let patch = ["patch", object, "--type=merge", "-p", patch];
            here.namespace.kubectl(&patch).await.ok();
            let field = "-o=jsonpath={.spec.fromTheFuture}";
            let field = here.namespace.kubectl(&["get", object, field]).await.ok();
            (field == "yes").then_some(())
        })
        .await;
        here.condition(object, "Accepted", "False", "Unreadable")
            .await;
        here.condition(object, "Programmed", "False", "LastGoodKept")
            .await;
        let message = "-o=jsonpath={.status.conditions[?(@.type==\"Accepted\")].message}";
        let message = here.namespace.kubectl(&["get", object, message]).await.ok();
        assert!(
            message.contains("fromTheFuture") && message.contains("upgrade the operator"),
            "{message}"
        );
    }

    // They are served, an operator that starts anew goes on with them, and others are not touched.
    operator.terminate().await;
    let operator = here.operator("operator-b").await;
    let other = SUBSCRIPTION.replace("name: support", "name: other");
    here.namespace.apply(&other).await.ok();
    here.condition("whsub/other", "Programmed", "True", "Programmed")
        .await;
    let sender = Sender::new(receiver.url(&path(&here, "support")), KEY);
    assert_eq!(sender.send(&conversation_created(1)).await, Some(200));
    wait::until("its delivery", LIMIT, async || {
        (destination.count() == 1).then_some(())
    })
    .await;

    for object in [OBJECT, "evroute/crm"] {
        let patch = r#"{"spec":{"fromTheFuture":null}}"#;
        let patch = ["patch", object, "--type=merge", "-p", patch];
        here.namespace.kubectl(&patch).await.ok();
        here.condition(object, "Programmed", "True", "Programmed")
            .await;
    }
    receiver.terminate().await;
    operator.terminate().await;
}

#[tokio::test]
async fn a_right_that_is_taken_and_given_back_takes_no_key_along() {
    let cluster = Cluster::shared().await;
    let here = Installation::new(cluster, &[]).await;
    let operator = here.operator("operator-a").await;
    let receiver = here.receiver(0);
    here.namespace.apply(SUBSCRIPTION).await.ok();
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    let sender = Sender::new(receiver.url(&path(&here, "support")), KEY);

    // What was got stays: of the rotated key nothing is known, and the old one is good.
    let may = async |verbs: &str| {
        let role = format!("role/hooks-{}-operator", here.namespace.name());
        // The rule on Secrets and ConfigMaps; the API server is asked, in case it is another one day.
        let about = "-o=jsonpath={.rules[2].resources}";
        let about = here.namespace.kubectl(&["get", &role, about]).await.ok();
        assert_eq!(about, r#"["configmaps","secrets"]"#);
        let patch = format!(r#"[{{"op": "replace", "path": "/rules/2/verbs", "value": {verbs}}}]"#);
        let patch = ["patch", &role, "--type=json", "-p", &patch];
        here.namespace.kubectl(&patch).await.ok();
    };
    may(r#"["list", "watch"]"#).await;
    let rotated = "
apiVersion: v1
kind: Secret
metadata: {name: tg-staff}
stringData: {signing-key: the-next-key}
";
    here.namespace.apply(rotated).await.ok();
    retain(&here, "71h").await;
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    assert_eq!(sender.send(&conversation_created(1)).await, Some(200));

    // The right comes back, and with it the key.
    may(r#"["get", "list", "watch"]"#).await;
    let next = Sender::new(receiver.url(&path(&here, "support")), "the-next-key");
    let mut number = 1;
    wait::until("the next key to be known", LIMIT, async || {
        number += 1;
        (next.send(&conversation_created(number)).await == Some(200)).then_some(())
    })
    .await;
    receiver.terminate().await;
    operator.terminate().await;
}
