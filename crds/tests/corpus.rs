//! The objects of `tests/corpus`: good ones are accepted, and each bad one is refused at the field
//! and with the remedy that its first line names.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails here fails the test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use hookswitch_crds::event_route::EventRoute;
use hookswitch_crds::subscription::WebhookSubscription;
use hookswitch_crds::validation::{Violation, read};
use serde_json::Value as Json;

/// Who finds what is wrong with a bad object.
#[derive(Debug, PartialEq, Eq)]
enum RefusedBy {
    /// The API server, by the schema.
    Schema,
    /// Compile: a structural schema can't say it.
    Compile,
    /// Compile, when it looks at references and expressions.
    References,
}

struct Bad {
    field: String,
    message: String,
    by: RefusedBy,
}

fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/corpus")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() > 10, "{} is all but empty", folder.display());
    files
}

fn expectation(text: &str) -> Bad {
    let mut lines = text.lines();
    let expect = lines.next().unwrap().strip_prefix("# expect: ").unwrap();
    let by = lines
        .next()
        .unwrap()
        .strip_prefix("# refused by: ")
        .unwrap();
    let (field, message) = expect.split_once(": ").unwrap();
    Bad {
        field: field.to_owned(),
        message: message.to_owned(),
        by: match by {
            "schema" => RefusedBy::Schema,
            "compile" => RefusedBy::Compile,
            "references" => RefusedBy::References,
            other => panic!("{other}: write schema, compile or references"),
        },
    }
}

/// Reads the object as every program does, and checks it.
fn violations(text: &str) -> Vec<Violation> {
    let object: Json = serde_saphyr::from_str(text).unwrap();
    let checked = match object["kind"].as_str().unwrap().to_owned().as_str() {
        "WebhookSubscription" => {
            read(object).map(|object: WebhookSubscription| object.spec.validate())
        }
        "EventRoute" => read(object).map(|object: EventRoute| object.spec.validate()),
        kind => panic!("no such kind: {kind}"),
    };
    checked.unwrap_or_else(|violations| violations)
}

#[test]
fn good_objects_are_accepted() {
    for (path, text) in files("good") {
        assert_eq!(violations(&text), [], "{}", path.display());
    }
}

#[test]
fn bad_objects_are_refused_at_the_field_and_with_the_remedy() {
    let mut wrong = Vec::new();
    for (path, text) in files("bad") {
        let bad = expectation(&text);
        let found = violations(&text);
        let hit = |it: &Violation| it.field == bad.field && it.message.contains(&bad.message);
        let ok = if bad.by == RefusedBy::References {
            found.is_empty()
        } else {
            !found.is_empty() && found.iter().all(hit)
        };
        if !ok {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            wrong.push(format!("{}: found {found:#?}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
