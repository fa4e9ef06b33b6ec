//! What the chart makes is known to the oldest Kubernetes that it says to support.
//!
//! The API server of the tests is newer, and knows fields that the oldest one would drop or refuse.

use std::collections::BTreeMap;
use std::fs;

use hookswitch_tests::servers;
use serde::Deserialize;
use serde_json::Value;

use crate::files::{Helm, read, values};

/// A type, as Kubernetes' client describes it.
#[derive(Deserialize)]
struct Type {
    name: String,
    #[serde(flatten)]
    shape: Shape,
}

/// One of these, or a reference to a type that has a name.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    named_type: Option<String>,
    map: Option<Map>,
    list: Option<List>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Map {
    #[serde(default)]
    fields: Vec<Field>,
    element_type: Option<Box<Shape>>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    r#type: Shape,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    element_type: Box<Shape>,
}

struct Types(BTreeMap<String, Shape>);

impl Types {
    fn read() -> Self {
        #[derive(Deserialize)]
        struct File {
            types: Vec<Type>,
        }
        let path = servers::oldest_kubernetes();
        let file = fs::read_to_string(&path).expect("it can be read");
        let file: File = serde_saphyr::from_str(&file).expect("the form of types");
        let types = file.types.into_iter().map(|it| (it.name, it.shape));
        Self(types.collect())
    }

    /// The type of an object of Kubernetes' own: `apps/v1` and `StatefulSet` are
    /// `io.k8s.api.apps.v1.StatefulSet`.
    fn of(&self, object: &Value) -> &Shape {
        let version = object["apiVersion"].as_str().expect("a version");
        let kind = object["kind"].as_str().expect("a kind");
        let (group, version) = version.split_once('/').unwrap_or(("core", version));
        let group = group.split('.').next().expect("a part");
        let name = format!("io.k8s.api.{group}.{version}.{kind}");
        self.0
            .get(&name)
            .unwrap_or_else(|| panic!("the oldest Kubernetes has no {name}"))
    }

    /// Tells the first field that the type lacks.
    fn unknown(&self, value: &Value, shape: &Shape, path: &str) -> Option<String> {
        let shape = match &shape.named_type {
            Some(name) => &self.0[name],
            None => shape,
        };
        match value {
            Value::Object(members) => {
                // A quantity or a time may have any form that its text has.
                let map = shape.map.as_ref()?;
                members.iter().find_map(|(name, value)| {
                    let path = format!("{path}.{name}");
                    let field = map.fields.iter().find(|it| it.name == *name);
                    match (field, &map.element_type) {
                        (Some(field), _) => self.unknown(value, &field.r#type, &path),
                        (None, Some(element)) => self.unknown(value, element, &path),
                        (None, None) => Some(path),
                    }
                })
            }
            Value::Array(items) => {
                let element = &shape.list.as_ref()?.element_type;
                let mut items = items.iter();
                items.find_map(|it| self.unknown(it, element, &format!("{path}[]")))
            }
            _ => None,
        }
    }
}

/// Groups that Kubernetes itself does not serve, or not from these types.
const OTHERS: &[&str] = &[
    "apiextensions.k8s.io/",
    "cert-manager.io/",
    "gateway.networking.k8s.io/",
    "monitoring.coreos.com/",
];

#[tokio::test]
async fn the_oldest_supported_kubernetes_knows_every_field() {
    let types = Types::read();
    let helm = Helm::new();
    for values in values() {
        // As if an autoscaler could be had already.
        let scaled = "receiver.autoscaling.enabled=true";
        let scaled = ["--skip-schema-validation", "--set", scaled, "-f", &values];
        for object in helm.objects(&scaled).await {
            let version = object["apiVersion"].as_str().expect("a version");
            if OTHERS.iter().any(|it| version.starts_with(it)) {
                continue;
            }
            let kind = object["kind"].as_str().expect("a kind");
            let unknown = types.unknown(&object, types.of(&object), kind);
            assert_eq!(unknown, None, "{values}");
        }
    }
}

#[test]
fn a_field_that_is_too_new_is_found() {
    let types = Types::read();
    let pod = |spec: Value| {
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "spec": spec});
        types.unknown(&pod, types.of(&pod), "Pod")
    };
    // Of Kubernetes 1.33.
    let stop = serde_json::json!({"containers": [{"lifecycle": {"stopSignal": "SIGTERM"}}]});
    let found = pod(stop);
    assert_eq!(
        found.as_deref(),
        Some("Pod.spec.containers[].lifecycle.stopSignal")
    );
    let old =
        serde_json::json!({"containers": [{"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}]});
    assert_eq!(pod(old), None);
}

#[test]
fn the_types_are_those_of_the_oldest_version_that_the_chart_takes() {
    let module = read("tests/servers/oldest/go.mod");
    let (_, version) = module
        .split_once("k8s.io/client-go v0.")
        .expect("a version");
    let minor = version.split('.').next().expect("a minor version");
    let chart = read("charts/hookswitch/Chart.yaml");
    let wanted = format!("kubeVersion: \">=1.{minor}.0-0\"");
    assert!(chart.contains(&wanted), "Chart.yaml has no {wanted}");
}
