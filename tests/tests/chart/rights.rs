//! Rights: as few as there can be, by the letter and by the API server's own judgement.

use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::wait;
use serde_json::Value;

use crate::files::{Helm, chart, values};
use crate::install::LIMIT;

/// A rule of a role, and whose it is.
struct Rule {
    role: String,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    verbs: Vec<String>,
}

fn rules(objects: &[Value]) -> Vec<Rule> {
    let list = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items
            .map(|it| it.as_str().expect("text").to_owned())
            .collect()
    };
    let roles = objects
        .iter()
        .filter(|it| it["kind"] == "Role" || it["kind"] == "ClusterRole");
    roles
        .flat_map(|role| {
            let granted = role["rules"].as_array().expect("rules");
            granted.iter().map(|rule| Rule {
                role: role["metadata"]["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned(),
                groups: list(&rule["apiGroups"]),
                resources: list(&rule["resources"]),
                names: list(&rule["resourceNames"]),
                verbs: list(&rule["verbs"]),
            })
        })
        .collect()
}

impl Rule {
    fn verbs(&self) -> Vec<&str> {
        self.verbs.iter().map(String::as_str).collect()
    }
}

#[tokio::test]
async fn no_role_has_more_than_it_needs() {
    let helm = Helm::new();
    for values in values() {
        let objects = helm.objects(&["-f", &values]).await;
        let rules = rules(&objects);
        assert!(rules.len() > 6, "{values}");
        for rule in rules {
            let Rule {
                role,
                groups,
                resources,
                names,
                verbs,
            } = &rule;
            let all = [groups, resources, names, verbs].into_iter().flatten();
            for word in all {
                assert!(!word.contains('*'), "{role}: {word}");
                assert!(
                    !["escalate", "bind", "impersonate", "pods/exec"].contains(&word.as_str()),
                    "{role}: {word}"
                );
            }
            if role.ends_with("-receiver") {
                assert!(!names.is_empty(), "{role} names nothing: {resources:?}");
                match resources.join(",").as_str() {
                    "secrets" => assert_eq!(rule.verbs(), ["get", "watch"]),
                    "leases" => assert_eq!(rule.verbs(), ["get", "update", "patch"]),
                    other => panic!("{role} may do something to {other}"),
                }
            } else if resources.iter().any(|it| it == "secrets") {
                assert!(role.ends_with("-operator"), "{role} reads Secrets");
                let writes = ["update", "patch", "delete"].map(str::to_owned);
                assert!(
                    !names.is_empty() || !verbs.iter().any(|it| writes.contains(it)),
                    "{role} may change any Secret"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_release_for_some_namespaces_has_no_right_in_the_cluster() {
    let objects = Helm::new()
        .objects(&["-f", &(chart() + "/ci/namespaced-values.yaml")])
        .await;
    for object in &objects {
        let kind = object["kind"].as_str().expect("a kind");
        assert!(!kind.starts_with("Cluster"), "{object}");
        let namespace = object["metadata"]["namespace"].as_str();
        assert!(namespace.is_some(), "{kind} is of the whole cluster");
    }
    let mut roles: Vec<&str> = objects
        .iter()
        .filter(|it| it["kind"] == "Role")
        .map(|it| it["metadata"]["namespace"].as_str().expect("a namespace"))
        .collect();
    roles.sort_unstable();
    assert_eq!(roles, ["hooks", "hooks", "sales", "support"]);
}

#[tokio::test]
async fn the_rights_grow_with_shards_and_receivers_and_no_further() {
    let objects = Helm::new().objects(&["--set", "snapshot.shards=2"]).await;
    let rules = rules(&objects);
    let receivers = rules.iter().filter(|it| it.role == "hookswitch-receiver");
    let names: Vec<&String> = receivers.flat_map(|it| &it.names).collect();
    assert_eq!(
        names,
        [
            "hookswitch-snapshot-0",
            "hookswitch-snapshot-1",
            "hookswitch-receiver-0"
        ]
    );
}

/// Who, in which namespace (own: the release's), does what, and whether they may.
const QUESTIONS: &[(&str, bool, &str, &str, bool)] = &[
    (
        "receiver",
        true,
        "get",
        "secrets/hookswitch-snapshot-0",
        true,
    ),
    (
        "receiver",
        true,
        "watch",
        "secrets/hookswitch-snapshot-0",
        true,
    ),
    (
        "receiver",
        true,
        "get",
        "secrets/hookswitch-snapshot-1",
        false,
    ),
    (
        "receiver",
        true,
        "patch",
        "secrets/hookswitch-snapshot-0",
        false,
    ),
    ("receiver", true, "get", "secrets/other", false),
    ("receiver", true, "list", "secrets", false),
    (
        "receiver",
        true,
        "update",
        "leases.coordination.k8s.io/hookswitch-receiver-0",
        true,
    ),
    (
        "receiver",
        true,
        "patch",
        "leases.coordination.k8s.io/hookswitch-receiver-0",
        true,
    ),
    (
        "receiver",
        true,
        "update",
        "leases.coordination.k8s.io/hookswitch-operator",
        false,
    ),
    (
        "receiver",
        true,
        "create",
        "leases.coordination.k8s.io",
        false,
    ),
    (
        "receiver",
        true,
        "list",
        "webhooksubscriptions.hookswitch.dev",
        false,
    ),
    ("receiver", true, "get", "pods", false),
    ("operator", true, "create", "secrets", true),
    (
        "operator",
        true,
        "patch",
        "secrets/hookswitch-snapshot-3",
        true,
    ),
    (
        "operator",
        true,
        "delete",
        "secrets/hookswitch-snapshot-3",
        true,
    ),
    ("operator", true, "patch", "secrets/other", false),
    ("operator", true, "delete", "secrets/other", false),
    (
        "operator",
        true,
        "create",
        "leases.coordination.k8s.io",
        true,
    ),
    (
        "operator",
        true,
        "watch",
        "leases.coordination.k8s.io",
        true,
    ),
    (
        "operator",
        true,
        "update",
        "leases.coordination.k8s.io/hookswitch-operator",
        true,
    ),
    (
        "operator",
        true,
        "update",
        "leases.coordination.k8s.io/hookswitch-receiver-0",
        false,
    ),
    (
        "operator",
        false,
        "watch",
        "webhooksubscriptions.hookswitch.dev",
        true,
    ),
    (
        "operator",
        false,
        "patch",
        "eventroutes.hookswitch.dev/a --subresource=status",
        true,
    ),
    (
        "operator",
        false,
        "patch",
        "eventroutes.hookswitch.dev/a",
        false,
    ),
    ("operator", false, "watch", "configmaps", true),
    ("operator", false, "get", "configmaps/any", true),
    ("operator", false, "patch", "configmaps/any", false),
    ("receiver", true, "get", "configmaps/any", false),
    ("operator", false, "watch", "secrets", true),
    ("operator", false, "get", "secrets/any", true),
    ("operator", false, "create", "secrets", false),
    (
        "operator",
        false,
        "patch",
        "secrets/hookswitch-snapshot-0",
        false,
    ),
    ("operator", false, "create", "events.events.k8s.io", true),
    (
        "operator",
        false,
        "update",
        "leases.coordination.k8s.io/hookswitch-operator",
        false,
    ),
    ("operator", false, "create", "configmaps", false),
    ("operator", false, "update", "configmaps/any", false),
    ("operator", false, "delete", "configmaps/any", false),
    ("operator", false, "get", "pods", false),
];

#[tokio::test]
async fn the_api_server_allows_what_is_needed_and_no_more() {
    let cluster = Cluster::shared().await;
    // kubectl asks for kinds that it finds.
    cluster.install_crds().await;
    for scoped in [false, true] {
        let own = cluster.namespace().await;
        let watched = cluster.namespace().await;
        let watch = format!("watchNamespaces={{{}}}", watched.name());
        let set = if scoped {
            watch.as_str()
        } else {
            "crds.install=false"
        };
        let chart = chart();
        let install = [
            "install",
            "hookswitch",
            &chart,
            "--set",
            "crds.install=false",
        ];
        own.helm(&[install.as_slice(), &["--set", set]].concat())
            .await
            .ok();
        let may = async |who: &str, namespace: &str, verb: &str, what: &str| {
            let account = format!("--as=system:serviceaccount:{}:hookswitch-{who}", own.name());
            let mut question = vec!["auth", "can-i", verb];
            question.extend(what.split(' '));
            question.extend(["-n", namespace, &account]);
            let answer = cluster.kubectl(&question).await;
            answer.stdout.trim() == "yes"
        };
        // The authorizer learns of roles by a watch.
        wait::until("the rights to be in force", LIMIT, async || {
            let receiver = may(
                "receiver",
                own.name(),
                "get",
                "secrets/hookswitch-snapshot-0",
            )
            .await;
            let operator = may("operator", watched.name(), "watch", "secrets").await;
            (receiver && operator).then_some(())
        })
        .await;
        for (who, is_own, verb, what, allowed) in QUESTIONS {
            let namespace = if *is_own { own.name() } else { watched.name() };
            assert_eq!(
                may(who, namespace, verb, what).await,
                *allowed,
                "{who}, {verb} {what}, in its own namespace: {is_own}, watchNamespaces: {scoped}"
            );
        }
        let labels = if scoped {
            format!("namespaces/{}", watched.name())
        } else {
            "namespaces".to_owned()
        };
        assert!(may("operator", watched.name(), "get", &labels).await);
        let elsewhere = cluster.namespace().await;
        assert_eq!(
            may("operator", elsewhere.name(), "get", "secrets/any").await,
            !scoped
        );
        own.helm(&["uninstall", "hookswitch"]).await.ok();
    }
}
