//! Reading good and bad files, and keeping what was good.

use std::fs;
use std::path::Path;

use super::*;

const ROUTE: &str =
    "apiVersion: hookswitch.dev/v1alpha1\nkind: EventRoute\nmetadata: {name: crm}\n";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: tg-staff, namespace: support}\nstringData: {key: hunter2}\n";

fn files(dir: &Path) -> Files {
    Files::new(vec![Source::Path(dir.to_owned())], LastGood::new())
}

fn ids(loaded: &Loaded) -> Vec<String> {
    loaded.objects.keys().map(ToString::to_string).collect()
}

fn messages(loaded: &Loaded, dir: &Path) -> Vec<String> {
    let prefix = format!("{}/", dir.display());
    loaded
        .problems
        .iter()
        .map(|problem| problem.to_string().replace(&prefix, ""))
        .collect()
}

#[test]
fn reads_many_documents_of_many_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("a.yaml"),
        format!("{ROUTE}---\n{SECRET}---\n"),
    )
    .unwrap();
    fs::write(
        dir.path().join("b.yml"),
        "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Namespace, metadata: {name: support, labels: {team: a}}}]}",
    )
    .unwrap();
    let loaded = files(dir.path()).load();
    assert_eq!(messages(&loaded, dir.path()), Vec::<String>::new());
    assert_eq!(
        ids(&loaded),
        [
            "EventRoute default/crm",
            "Secret support/tg-staff",
            "Namespace support"
        ]
    );
    let route = loaded.objects.values().next().unwrap();
    assert_eq!(route.json()["metadata"]["namespace"], "default");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    fs::write(path.join("a.yaml"), format!("{ROUTE}---\n{ROUTE}")).unwrap();
    fs::write(
        path.join("b.yaml"),
        ROUTE.replace("EventRoute", "EventRout"),
    )
    .unwrap();
    fs::write(path.join("c.yaml"), ROUTE.replace("v1alpha1", "v1")).unwrap();
    fs::write(
        path.join("d.yaml"),
        "apiVersion: apps/v1\nkind: Deployment\n",
    )
    .unwrap();
    fs::write(
        path.join("e.yaml"),
        ROUTE.replace("name: crm", "labels: {}"),
    )
    .unwrap();
    fs::write(path.join("f.yaml"), SECRET.replace("stringData", "data")).unwrap();
    fs::write(path.join("g.yaml"), "kind: [\n").unwrap();
    fs::write(
        path.join("h.yaml"),
        SECRET
            .replace("hunter2", "\"hunter2\\n\"")
            .replace("tg-staff", "other"),
    )
    .unwrap();
    fs::write(
        path.join("i.yaml"),
        ROUTE.replace("name: crm", "name: Our_CRM"),
    )
    .unwrap();
    let loaded = files(path).load();
    insta::assert_snapshot!(messages(&loaded, path).join("\n"));
    assert!(!format!("{:?}", loaded.problems).contains("hunter2"));
}

#[test]
fn a_bad_file_keeps_what_it_held_and_a_removed_file_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a.yaml", "b.yaml"].map(|name| dir.path().join(name));
    fs::write(&a, ROUTE).unwrap();
    fs::write(&b, SECRET).unwrap();
    let mut files = files(dir.path());
    assert_eq!(files.load().objects.len(), 2);

    for bad in ["kind: [\n", "", "apiVersion: v1\nkind: Secret\n"] {
        fs::write(&b, bad).unwrap();
        let loaded = files.load();
        assert_eq!(
            ids(&loaded),
            ["EventRoute default/crm", "Secret support/tg-staff"]
        );
        let [error, stays] = loaded.problems.as_slice() else {
            panic!("{:?}", loaded.problems);
        };
        assert_eq!(error.severity, Severity::Error);
        assert!(stays.message.contains("stays in use"), "{stays}");
    }
    // The same after a restart that knows the last good texts.
    let mut again = Files::new(files.sources.clone(), files.last_good().clone());
    assert_eq!(again.load().objects.len(), 2);

    fs::remove_file(&b).unwrap();
    let loaded = files.load();
    assert_eq!(ids(&loaded), ["EventRoute default/crm"]);
    assert!(loaded.problems.is_empty());
}

#[test]
fn a_directory_that_is_gone_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("conf");
    fs::create_dir(&conf).unwrap();
    fs::write(conf.join("a.yaml"), ROUTE).unwrap();
    let mut files = files(&conf);
    assert_eq!(files.load().objects.len(), 1);
    fs::rename(&conf, dir.path().join("away")).unwrap();
    let loaded = files.load();
    assert_eq!(loaded.objects.len(), 1);
    assert!(messages(&loaded, dir.path())[0].contains("no such file"));
    assert!(loaded.directories.contains(&dir.path().to_owned()));
}

#[test]
fn an_object_may_move_while_its_old_file_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a.yaml", "b.yaml"].map(|name| dir.path().join(name));
    fs::write(&a, ROUTE).unwrap();
    let mut files = files(dir.path());
    assert_eq!(files.load().objects.len(), 1);
    fs::write(&a, "kind: [").unwrap();
    fs::write(&b, ROUTE.replace("metadata", "spec: {rules: []}\nmetadata")).unwrap();
    let loaded = files.load();
    let route = loaded.objects.values().next().unwrap();
    assert_eq!(route.file, b);
    assert_eq!(loaded.problems.len(), 2);
}
