//! Dashboards and alerts name metrics, labels and outcomes that exist.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::files::{Helm, chart, find, read};

fn alerts() -> Vec<Value> {
    let alerts: Value =
        serde_saphyr::from_str(&read("charts/hookswitch/files/alerts.yaml")).expect("YAML");
    let groups = alerts["groups"].as_array().expect("groups").iter();
    groups
        .flat_map(|it| it["rules"].as_array().expect("rules").clone())
        .collect()
}

#[test]
fn every_metric_of_the_receiver_is_on_its_dashboard() {
    let source = read("receiver/src/metrics.rs");
    let made = source.split("make.").skip(1);
    let names: Vec<&str> = made
        .filter_map(|it| it.split('"').nth(1))
        .filter(|it| !it.contains(' '))
        .collect();
    assert!(names.len() > 15, "{names:?}");
    let board = read("charts/hookswitch/dashboards/receivers.json");
    for name in names {
        assert!(
            board.contains(&format!("hookswitch_{name}")),
            "hookswitch_{name} is on no panel"
        );
    }
}

#[test]
fn every_alert_tells_what_is_wrong_and_what_to_do() {
    let mut names = BTreeSet::new();
    for rule in alerts() {
        let name = rule["alert"].as_str().expect("a name");
        assert!(name.starts_with("Hookswitch"), "{name}");
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        let severity = rule["labels"]["severity"].as_str();
        assert!(
            matches!(severity, Some("critical" | "warning")),
            "{name}: {severity:?}"
        );
        for annotation in ["summary", "description"] {
            let text = rule["annotations"][annotation].as_str().expect("a text");
            assert!(text.len() > 15, "{name}: {annotation}");
        }
    }
}

#[tokio::test]
async fn dashboards_and_alerts_reach_the_cluster_unchanged() {
    let everything = chart() + "/ci/everything-values.yaml";
    let objects = Helm::new().objects(&["-f", &everything]).await;
    for board in ["receivers", "operator"] {
        let name = format!("hookswitch-dashboard-{board}");
        let map = find(&objects, "ConfigMap", &name);
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        let data = map["data"].as_object().expect("data");
        let text = data.values().next().and_then(Value::as_str);
        let file = read(&format!("charts/hookswitch/dashboards/{board}.json"));
        let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(json(text.expect("a text")), json(&file));
    }
    let rule = find(&objects, "PrometheusRule", "hookswitch");
    let rules = rule["spec"]["groups"][0]["rules"]
        .as_array()
        .expect("rules");
    // But for the one that these values leave out.
    let mut wanted = alerts();
    wanted.retain(|it| it["alert"] != "HookswitchCircuitOpen");
    assert_eq!(*rules, wanted);
}
