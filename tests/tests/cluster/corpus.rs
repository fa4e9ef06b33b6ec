//! The objects of `tests/corpus` on a real API server: it takes the good ones and keeps all that they
//! say; it refuses the bad ones at the field and with the remedy that their first line names. The same
//! corpus runs through `lint`, so both say the same.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hookswitch_tests::cluster::{Cluster, Namespace};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many commands run at once.
const AT_ONCE: usize = 4;

/// What `lint` says in its own words, and the API server in its own: the schema can't set the words of a
/// bound, an enumeration or a pattern, as it can those of a rule. Each of them names the remedy.
const SAME: [(&str, &str); 11] = [
    ("there already", "Duplicate value"),
    ("is required", "Required value"),
    ("did you mean", "supported values: "),
    ("add one", "should have at least 1 items"),
    ("at least ", "should be greater than or equal to"),
    ("above ", "should be greater than"),
    ("at most ", "may not be more than"),
    ("h, m, s, ms", "(h|m|s|ms)"),
    ("500Mi", "(k|M|G|T|Ki|Mi|Gi|Ti)"),
    ("JSON pointer", "should match '^(/"),
    (
        "without its colon",
        "should match '^[-!#$%&*+.^_`|~0-9A-Za-z]+$'",
    ),
];

/// A file of the corpus.
struct Object {
    file: String,
    text: String,
    json: Value,
}

/// The objects of a folder, each with the name of its file, in the namespace of a test.
fn objects(folder: &str, namespace: &Namespace) -> Vec<Object> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(folder);
    let mut objects: Vec<Object> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("a file").path())
        .map(|path| {
            let file = path.file_stem().expect("a name").to_string_lossy();
            let text = fs::read_to_string(&path).expect("text");
            let mut json: Value = serde_saphyr::from_str(&text).expect("YAML");
            json["metadata"]["name"] = file.as_ref().into();
            json["metadata"]["namespace"] = namespace.name().into();
            Object {
                file: file.into_owned(),
                text,
                json,
            }
        })
        .collect();
    objects.sort_by(|a, b| a.file.cmp(&b.file));
    assert!(objects.len() > 10, "the corpus is all but empty");
    objects
}

/// Runs `check` on each object, some at once; gives what is wrong.
async fn check<F>(objects: Vec<Object>, check: impl Fn(Object) -> F) -> Vec<String>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut checks = JoinSet::new();
    for object in objects {
        let turns = Arc::clone(&turns);
        let name = object.file.clone();
        let check = check(object);
        checks.spawn(async move {
            let _turn = turns.acquire().await.expect("it is never closed");
            check.await.map_err(|wrong| format!("{name}: {wrong}"))
        });
    }
    let results = checks.join_all().await;
    let mut wrong: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    wrong.sort();
    wrong
}

/// Takes away the two defaults that the schema sets where the object doesn't say otherwise.
fn without_defaults(stored: &mut Value, sent: &Value) {
    for (field, default) in [
        (
            "allowedRoutes",
            serde_json::json!({"namespaces": {"from": "Same"}}),
        ),
        ("suspend", false.into()),
    ] {
        if sent.get(field).is_none() && stored.get(field) == Some(&default) {
            stored.as_object_mut().expect("a spec").remove(field);
        }
    }
}

#[tokio::test]
async fn good_objects_are_accepted_and_kept_as_they_are() {
    let cluster = Cluster::shared().await;
    cluster.install_crds().await;
    let namespace = Arc::new(cluster.namespace().await);
    let wrong = check(objects("good", &namespace), |object| {
        let namespace = Arc::clone(&namespace);
        async move {
            let applied = namespace.apply(&object.json.to_string()).await;
            if !applied.success {
                return Err(applied.stderr);
            }
            let kind = object.json["kind"].as_str().expect("a kind");
            let get = ["get", kind, &object.file, "-o", "json"];
            let stored = namespace.kubectl(&get).await.ok();
            let mut stored: Value = serde_json::from_str(&stored).expect("JSON");
            let (stored, sent) = (&mut stored["spec"], &object.json["spec"]);
            without_defaults(stored, sent);
            if stored == sent {
                Ok(())
            } else {
                Err(format!("sent {sent}, stored {stored}"))
            }
        }
    })
    .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn bad_objects_are_refused_at_the_field_and_with_the_remedy() {
    let cluster = Cluster::shared().await;
    cluster.install_crds().await;
    let namespace = Arc::new(cluster.namespace().await);
    let wrong = check(objects("bad", &namespace), |object| {
        let namespace = Arc::clone(&namespace);
        async move {
            let [field, message, by] = expectation(&object.text);
            let created = namespace.create(&object.json.to_string()).await;
            let says = |what: &str| created.stderr.contains(what);
            let remedy = || {
                let same = |(ours, theirs): &(&str, &str)| message.contains(ours) && says(theirs);
                says(message) || SAME.iter().any(same)
            };
            let as_expected = match by {
                "schema" => !created.success && says(&format!("{field}: ")) && remedy(),
                // What a schema can't say is for compile, but for a field that isn't there: kubectl asks
                // the API server to be strict.
                _ => created.success || says(&format!("unknown field \"{field}\"")),
            };
            if as_expected {
                Ok(())
            } else {
                Err(format!(
                    "expected {field}: {message} (by {by}); {} {}",
                    created.stdout, created.stderr
                ))
            }
        }
    })
    .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The field, the message and who refuses, as the file's first two lines say.
fn expectation(text: &str) -> [&str; 3] {
    let mut lines = text.lines();
    let expect = lines
        .next()
        .and_then(|line| line.strip_prefix("# expect: "));
    let by = lines
        .next()
        .and_then(|line| line.strip_prefix("# refused by: "));
    let (field, message) = expect.and_then(|it| it.split_once(": ")).expect("# expect");
    [field, message, by.expect("# refused by")]
}

#[tokio::test]
async fn the_examples_are_accepted_as_they_are() {
    let cluster = Cluster::shared().await;
    cluster.install_crds().await;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let folders = fs::read_dir(examples).expect("the examples are there");
    for folder in folders.map(|entry| entry.expect("a folder").path()) {
        let namespace = cluster.namespace().await;
        let mut objects = Vec::new();
        for file in fs::read_dir(&folder).expect("an example is a folder") {
            let path = file.expect("a file").path();
            if path.extension().is_some_and(|it| it == "yaml") {
                let text = fs::read_to_string(&path).expect("text");
                objects.extend(serde_saphyr::from_multiple::<Value>(&text).expect("YAML"));
            }
        }
        assert!(!objects.is_empty(), "{} has no YAML", folder.display());
        for object in &mut objects {
            object["metadata"]["namespace"] = namespace.name().into();
        }
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        namespace.apply(&list.to_string()).await.ok();
    }
}
