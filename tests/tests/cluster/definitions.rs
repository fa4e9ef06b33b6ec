//! The definitions in `crds/` are valid, and what a user sees of them is what was meant.

use hookswitch_tests::cluster::Cluster;
use serde_json::{Value, json};

const SUBSCRIPTION: &str = "
apiVersion: hookswitch.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: support}
spec:
  provider: TGStaff
  verification: {hmac: {secretRefs: [{name: tg-staff, key: signing-key}]}}
";

const ROUTE: &str = "
apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {name: crm}
spec:
  subscriptionRefs: [{name: support}]
  destinations: [{name: audit, http: {url: https://audit.example.com/hooks}}]
  rules: [{name: all, deliver: [{destination: audit}]}]
";

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn condition(kind: &str, status: &str) -> Value {
    json!({
        "type": kind,
        "status": status,
        "reason": "Because",
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-05T10:00:00Z",
    })
}

#[tokio::test]
async fn the_api_server_takes_the_definitions_without_a_complaint() {
    let cluster = Cluster::shared().await;
    cluster.install_crds().await;
    for name in ["webhooksubscriptions", "eventroutes"] {
        let name = format!("{name}.hookswitch.dev");
        let definition = json(
            &cluster
                .kubectl(&["get", "crd", &name, "-o", "json"])
                .await
                .ok(),
        );
        let conditions = definition["status"]["conditions"]
            .as_array()
            .expect("conditions");
        for condition in conditions {
            // NonStructuralSchema and the like are there only where something is wrong.
            let kind = condition["type"].as_str().expect("a type");
            assert!(
                ["NamesAccepted", "Established"].contains(&kind) && condition["status"] == "True",
                "{name}: {condition}"
            );
        }
    }
}

#[tokio::test]
async fn explain_describes_nested_fields() {
    let cluster = Cluster::shared().await;
    cluster.install_crds().await;
    for (field, words) in [
        ("whsub.spec.verification.hmac.secretRefs", "rotation"),
        ("evroute.spec.rules.after.unless", "event"),
        ("evroute.status.parents.conditions", "condition"),
    ] {
        let text = cluster.kubectl(&["explain", field]).await.ok();
        assert!(text.contains(words), "{field}: {text}");
    }
}

#[tokio::test]
async fn the_printer_columns_show_the_status() {
    let cluster = Cluster::shared().await;
    cluster.install_crds().await;
    let namespace = cluster.namespace().await;
    for yaml in [SUBSCRIPTION, ROUTE] {
        namespace.apply(yaml).await.ok();
    }
    let status = json!({"status": {
        "url": "https://hooks.example.com/support/support",
        "attachedRoutes": 7,
        "conditions": [condition("Accepted", "True"), condition("Programmed", "False")],
    }});
    let patch = |object| {
        let status = status.to_string();
        let namespace = &namespace;
        async move {
            let patch = [
                "patch",
                object,
                "--subresource=status",
                "--type=merge",
                "-p",
                &status,
            ];
            namespace.kubectl(&patch).await
        }
    };
    patch("whsub/support").await.ok();
    let table = namespace.kubectl(&["get", "whsub"]).await.ok();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let [head, row] = rows.as_slice() else {
        panic!("not one subscription: {table}");
    };
    let age = "AGE";
    assert_eq!(
        head,
        &["NAME", "URL", "ROUTES", "ACCEPTED", "PROGRAMMED", age]
    );
    assert_eq!(
        row.get(..5).expect("five cells"),
        [
            "support",
            "https://hooks.example.com/support/support",
            "7",
            "True",
            "False"
        ]
    );
    let table = namespace.kubectl(&["get", "evroute"]).await.ok();
    let head: Vec<&str> = table
        .lines()
        .next()
        .expect("a head")
        .split_whitespace()
        .collect();
    assert_eq!(head, ["NAME", "ACCEPTED", "PROGRAMMED", age]);
    // Both kinds are one category.
    let all = namespace
        .kubectl(&["get", "hookswitch", "-o", "name"])
        .await
        .ok();
    assert_eq!(all.lines().count(), 2, "{all}");
}

#[tokio::test]
async fn only_two_defaults_are_stored() {
    let cluster = Cluster::shared().await;
    cluster.install_crds().await;
    let namespace = cluster.namespace().await;
    for yaml in [SUBSCRIPTION, ROUTE] {
        namespace.apply(yaml).await.ok();
    }
    let spec = async |object| {
        let object = namespace.kubectl(&["get", object, "-o", "json"]).await.ok();
        json(&object)["spec"].clone()
    };
    assert_eq!(
        spec("whsub/support").await,
        json!({
            "provider": "TGStaff",
            "verification": {"hmac": {"secretRefs": [{"name": "tg-staff", "key": "signing-key"}]}},
            "allowedRoutes": {"namespaces": {"from": "Same"}},
            "suspend": false,
        })
    );
    assert_eq!(
        spec("evroute/crm").await,
        json!({
            "subscriptionRefs": [{"name": "support"}],
            "destinations": [{"name": "audit", "http": {"url": "https://audit.example.com/hooks"}}],
            "rules": [{"name": "all", "deliver": [{"destination": "audit"}]}],
        })
    );
}

#[tokio::test]
async fn the_status_is_written_apart_from_the_spec() {
    let cluster = Cluster::shared().await;
    cluster.install_crds().await;
    let namespace = cluster.namespace().await;
    namespace.apply(SUBSCRIPTION).await.ok();
    let get = async || {
        let object = namespace
            .kubectl(&["get", "whsub", "support", "-o", "json"])
            .await
            .ok();
        json(&object)
    };
    let patch = async |routes: u32, suspend: bool, arguments: &[&str]| {
        let patch = json!({"spec": {"suspend": suspend}, "status": {"attachedRoutes": routes}});
        let patch = patch.to_string();
        let command = ["patch", "whsub", "support", "--type=merge", "-p", &patch];
        namespace
            .kubectl(&[command.as_slice(), arguments].concat())
            .await
            .ok();
    };

    patch(1, true, &["--subresource=status"]).await;
    let object = get().await;
    assert_eq!(object["status"]["attachedRoutes"], 1);
    assert_eq!(object["spec"]["suspend"], false);
    assert_eq!(object["metadata"]["generation"], 1);

    patch(2, true, &[]).await;
    let object = get().await;
    assert_eq!(object["status"]["attachedRoutes"], 1);
    assert_eq!(object["spec"]["suspend"], true);
    assert_eq!(object["metadata"]["generation"], 2);
}
