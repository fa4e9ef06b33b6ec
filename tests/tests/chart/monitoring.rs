//! Dashboards and alerts name metrics, labels and outcomes that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use hookswitch_tests::servers::Program;
use serde_json::{Value, json};

use crate::files::{Helm, chart, find, read, root};

/// The texts in quotes of a source file: names of metrics, labels and values are among them.
fn literals(source: &str) -> BTreeSet<&str> {
    source.split('"').skip(1).step_by(2).collect()
}

/// Every expression of dashboards and alerts, with where it stands.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("charts/hookswitch/dashboards")).expect("the folder") {
        let path = entry.expect("it can be read").path();
        let board: Value =
            serde_json::from_str(&fs::read_to_string(&path).expect("a file")).expect("JSON");
        let variables = board["templating"]["list"].as_array().expect("variables");
        let queries = variables.iter().filter(|it| it["type"] == "query");
        let queries = queries.map(|it| it["query"]["query"].as_str().expect("a query"));
        let panels = board["panels"].as_array().expect("panels").iter();
        let targets = panels.flat_map(|it| it["targets"].as_array().into_iter().flatten());
        let targets = targets.map(|it| it["expr"].as_str().expect("an expression"));
        let place = path.display().to_string();
        found.extend(
            queries
                .chain(targets)
                .map(|it| (place.clone(), it.to_owned())),
        );
    }
    for rule in alerts() {
        let expression = rule["expr"].as_str().expect("an expression");
        let name = rule["alert"].as_str().expect("a name");
        found.push((name.to_owned(), expression.to_owned()));
    }
    assert!(found.len() > 40, "{}", found.len());
    found
}

fn alerts() -> Vec<Value> {
    let alerts: Value =
        serde_saphyr::from_str(&read("charts/hookswitch/files/alerts.yaml")).expect("YAML");
    let groups = alerts["groups"].as_array().expect("groups").iter();
    groups
        .flat_map(|it| it["rules"].as_array().expect("rules").clone())
        .collect()
}

/// The words of an expression outside of quotes.
fn words(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split('"')
        .step_by(2)
        .flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
}

#[test]
fn every_metric_exists() {
    let sources = [
        read("receiver/src/metrics.rs"),
        read("operator/src/metrics.rs"),
        // Values of the label outcome.
        read("receiver/src/plan.rs"),
        read("receiver/src/event.rs"),
    ];
    let known: BTreeSet<&str> = sources.iter().flat_map(|it| literals(it)).collect();
    for (place, expression) in expressions() {
        for word in words(&expression) {
            if let Some(name) = word.strip_prefix("hookswitch_") {
                let series = ["_bucket", "_sum", "_count"];
                let base = series.iter().find_map(|it| name.strip_suffix(it));
                assert!(
                    known.contains(name) || base.is_some_and(|it| known.contains(it)),
                    "{place}: no program has hookswitch_{name}"
                );
            }
        }
        for list in expression.split("by (").skip(1) {
            let labels = list.split(')').next().unwrap_or_default().split(", ");
            for label in labels {
                assert!(
                    known.contains(label) || ["namespace", "le"].contains(&label),
                    "{place}: no metric has the label {label}"
                );
            }
        }
        for list in expression.split("outcome=").skip(1) {
            let list = list.trim_start_matches('~').split('"').nth(1);
            for outcome in list.expect("a value").split('|') {
                assert!(known.contains(outcome), "{place}: no outcome is {outcome}");
            }
        }
    }
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
fn prometheus_takes_every_expression() {
    let promtool = Program::PROMTOOL.path();
    let check = |rules: &Path| {
        let output = Command::new(&promtool)
            .args(["check", "rules", "--lint-fatal"])
            .arg(rules)
            .output()
            .expect("promtool starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {error}", rules.display());
    };
    check(&root().join("charts/hookswitch/files/alerts.yaml"));
    // Those of dashboards as if they were rules, with what Grafana puts in their variables' place.
    let panels = expressions().into_iter().map(|(_, expression)| expression);
    let rules: Vec<Value> = panels
        .filter(|it| !it.starts_with("label_values("))
        .zip(0..)
        .map(|(it, number)| {
            let expression = it.replace("$__rate_interval", "5m");
            json!({"record": format!("panel:{number}"), "expr": expression})
        })
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let groups = json!({"groups": [{"name": "panels", "rules": rules}]});
    fs::write(file.path(), groups.to_string()).expect("it can be written");
    check(file.path());
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
