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

/// A route with as many of everything as the schema allows.
fn largest_route() -> Value {
    let many = |count: usize, one: &dyn Fn(usize) -> Value| (0..count).map(one).collect::<Value>();
    let types = many(64, &|n| json!(format!("conversation.status_changed.{n}")));
    let headers = |count| {
        many(
            count,
            &|n| json!({"name": format!("X-Header-{n}"), "value": "a value of a header"}),
        )
    };
    let when = format!("event.data.status == '{}'", "closed ".repeat(50));
    let enrich = many(4, &|n| {
        let url = "https://api.example.com/users/${event.data.user_id}";
        json!({"name": format!("profile{n}"), "http": {"url": url, "headers": headers(8)}, "timeout": "2s"})
    });
    let deliver = many(8, &|n| {
        json!({
            "destination": format!("destination-{n}"),
            "once": {"key": "event.subject", "window": "720h"},
            "body": {"text": "${event.data.text}"},
        })
    });
    json!({
        "apiVersion": "hookswitch.dev/v1alpha1",
        "kind": "EventRoute",
        "metadata": {"name": "largest"},
        "spec": {
            "subscriptionRefs": many(16, &|n| json!({"name": format!("subscription-{n}")})),
            "wordLists": many(16, &|n| json!({
                "name": format!("words{n}"),
                "inline": many(256, &|n| json!(format!("word {n}"))),
            })),
            "destinations": many(16, &|n| json!({
                "name": format!("destination-{n}"),
                "http": {"url": "https://api.example.com/hooks", "headers": headers(32)},
                "redact": {"pointers": many(64, &|n| json!(format!("/message/text/{n}")))},
                "delivery": {"timeout": "10s", "backoff": {"initial": "2s", "max": "10m"}},
            })),
            "rules": many(64, &|n| json!({
                "name": format!("rule-{n}"),
                "types": types,
                "when": when,
                "enrich": enrich,
                "deliver": deliver,
                "after": {"wait": "30m", "key": "event.subject", "unless": {"types": types, "when": when}},
            })),
        },
    })
}

/// The API server gives all rules of an object together a budget at run time, too.
#[tokio::test]
async fn a_route_with_as_much_of_everything_as_is_allowed_is_accepted() {
    let cluster = Cluster::shared().await;
    cluster.install_crds().await;
    let namespace = cluster.namespace().await;
    let mut route = largest_route();
    namespace.create(&route.to_string()).await.ok();

    let rules = route["spec"]["rules"].as_array_mut().expect("rules");
    rules.push(json!({"name": "one-more", "deliver": [{"destination": "destination-0"}]}));
    let refusal = namespace.create(&route.to_string()).await.refused();
    assert!(refusal.contains("spec.rules: Too many: 65"), "{refusal}");
}
