//! Values: which are refused, and with what words.

use serde_json::Value;

use crate::files::{Helm, read};

#[tokio::test]
async fn values_that_make_no_sense_are_refused_with_what_to_do() {
    let helm = Helm::new();
    for (values, says) in [
        (
            "receiver.replicas=2",
            "at '/receiver/replicas': value must be '1: the embedded store serves exactly one receiver'",
        ),
        (
            "receiver.autoscaling.enabled=true",
            "value must be 'false: the embedded store serves exactly one receiver'",
        ),
        (
            "store.kind=jetstream",
            "at '/store/jetstream/urls': value must be 'the NATS servers",
        ),
        (
            "store.kind=jetstream,store.jetstream.urls={nats},receiver.replicas=2",
            "at '/store/jetstream/urls/0'",
        ),
        (
            "store.kind=jetstream,store.jetstream.urls={nats://nats},store.jetstream.credentials.secretName=login",
            "at '/store/jetstream/credentials'",
        ),
        ("tls.enabled=true", "or tls.certManager.enabled=true"),
        (
            "tls.enabled=true,tls.certManager.enabled=true",
            "at '/tls/certManager/issuerRef': missing property 'name'",
        ),
        (
            "ingress.enabled=true",
            "at '/ingress/hosts': value must be 'the names that senders use",
        ),
        (
            "httpRoute.enabled=true",
            "at '/httpRoute/parentRefs': value must be 'the Gateways",
        ),
        ("baseUrl=https://hooks.example.com/", "at '/baseUrl'"),
        ("podSecurity.runAsUser=0", "at '/podSecurity/runAsUser'"),
        ("snapshot.shards=17", "at '/snapshot/shards'"),
        ("operator.replica=2", "'replica' not allowed"),
        ("watchNamespaces={Support}", "at '/watchNamespaces/0'"),
        (
            "receiver.trustedProxies={10.0.0.1}",
            "at '/receiver/trustedProxies/0'",
        ),
        ("ceilings.retention=3d", "at '/ceilings/retention'"),
        (
            "privateNetworks[0].namespaces={a}",
            "at '/privateNetworks/0': missing property 'cidrs'",
        ),
        (
            "commonLabels.app\\.kubernetes\\.io/name=mine",
            "invalid propertyName 'app.kubernetes.io/name'",
        ),
        (
            "metrics.prometheusRule.disabled={Dead}",
            "'Dead' does not match pattern",
        ),
    ] {
        let error = helm.template(&["--set", values]).await.refused();
        assert!(error.contains(says), "{values}: {error}");
    }
}

/// What the schema allows and no value of the chart shows: fields of lists and of Kubernetes' own types.
const UNSHOWN: &[&str] = &["global"];

#[test]
fn every_value_has_a_schema_and_every_schema_a_value() {
    let values: Value =
        serde_saphyr::from_str(&read("charts/hookswitch/values.yaml")).expect("YAML");
    let schema: Value =
        serde_json::from_str(&read("charts/hookswitch/values.schema.json")).expect("JSON");
    compare("", &values, &schema);
}

fn compare(path: &str, value: &Value, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    assert_eq!(
        schema["additionalProperties"], false,
        "the schema lets anything pass at {path}"
    );
    let Some(value) = value.as_object().filter(|it| !it.is_empty()) else {
        return;
    };
    // Kubernetes' own: a part of it is shown.
    let whole = !path.ends_with(".resources") && !path.ends_with(".affinity");
    for (name, below) in properties {
        let path = format!("{path}.{name}");
        match value.get(name) {
            Some(value) => compare(&path, value, below),
            None => assert!(
                !whole || UNSHOWN.contains(&name.as_str()),
                "values.yaml does not show {path}"
            ),
        }
    }
}
