//! The chart's files, and what Helm makes of them without a cluster.

use std::fs;
use std::path::{Path, PathBuf};

use hookswitch_tests::cluster::{Command, Outcome};
use serde_json::Value;
use tempfile::TempDir;

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the project.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Where the chart is, as an argument of Helm.
pub(crate) fn chart() -> String {
    let chart = root().join("charts/hookswitch");
    chart.to_str().expect("a path in UTF-8").to_owned()
}

/// The files of values that every test of "any installation" goes through; the chart's own among them.
pub(crate) fn values() -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir(root().join("charts/hookswitch/ci"))
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .map(|path| path.to_str().expect("a path in UTF-8").to_owned())
        .collect();
    files.sort();
    files.insert(0, chart() + "/values.yaml");
    assert!(files.len() > 3, "{files:?}");
    files
}

/// The objects of a manifest of several.
pub(crate) fn objects(manifest: &str) -> Vec<Value> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(manifest).expect("YAML");
    objects.into_iter().filter(|it| !it.is_null()).collect()
}

/// The only object of a kind and name.
pub(crate) fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found: Vec<&Value> = objects
        .iter()
        .filter(|it| it["kind"] == kind && it["metadata"]["name"] == name)
        .collect();
    let [found] = found.as_slice() else {
        panic!("there are {} of {kind} {name}", found.len());
    };
    found
}

/// Helm without a cluster.
pub(crate) struct Helm {
    command: Command,
    _home: TempDir,
}

impl Helm {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        Self {
            command: Command::new(&home.path().join("no-cluster"), home.path()),
            _home: home,
        }
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        self.command.helm(arguments).await
    }

    /// Renders a release of the name `hookswitch` in the namespace `hooks`.
    pub(crate) async fn template(&self, arguments: &[&str]) -> Outcome {
        let template = ["template", "hookswitch", &chart(), "--namespace=hooks"];
        self.run(&[template.as_slice(), arguments].concat()).await
    }

    /// The objects of a release.
    pub(crate) async fn objects(&self, arguments: &[&str]) -> Vec<Value> {
        objects(&self.template(arguments).await.ok())
    }
}

#[tokio::test]
async fn the_chart_has_no_fault_with_any_values() {
    let helm = Helm::new();
    for values in values() {
        helm.run(&["lint", "--strict", "--quiet", &chart(), "-f", &values])
            .await
            .ok();
        let manifest = helm.template(&["-f", &values]).await.ok();
        let untidy = manifest.lines().find(|line| line.ends_with(' '));
        assert_eq!(untidy, None, "{values} leaves blanks at the end of a line");
    }
}

#[test]
fn the_definitions_in_the_chart_are_current() {
    let mut copies = 0;
    for entry in fs::read_dir(root().join("crds")).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|it| it == "yaml") {
            let name = path.file_name().expect("a name").to_str().expect("UTF-8");
            let copy = read(&format!("charts/hookswitch/files/crds/{name}"));
            assert!(
                copy == read(&format!("crds/{name}")),
                "charts/hookswitch/files/crds/{name} is stale: run `make generate`"
            );
            copies += 1;
        }
    }
    let all = fs::read_dir(root().join("charts/hookswitch/files/crds")).expect("the folder");
    assert_eq!(all.count(), copies, "the chart has a definition too many");
}

#[tokio::test]
async fn the_definitions_survive_an_uninstall_and_are_otherwise_as_they_are() {
    let rendered = Helm::new().objects(&["-s", "templates/crds.yaml"]).await;
    assert_eq!(rendered.len(), 2);
    for mut definition in rendered {
        let name = definition["metadata"]["name"].as_str().expect("a name");
        let file = read(&format!("crds/{name}.yaml"));
        let annotations = definition["metadata"]
            .as_object_mut()
            .expect("metadata")
            .remove("annotations");
        assert_eq!(
            annotations,
            Some(serde_json::json!({"helm.sh/resource-policy": "keep"}))
        );
        assert_eq!(objects(&file), [definition]);
    }
}
