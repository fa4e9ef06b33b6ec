//! The guides name everything that the programs can say: a word that is added is explained.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::answer_to;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    let path = root(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values of a file's text constants, those in `module` where one is named.
fn constants(path: &str, module: Option<&str>) -> Vec<String> {
    let text = read(path);
    let begin = module.map_or(0, |module| text.find(&format!("mod {module} {{")).unwrap());
    let text = &text[begin..];
    let end = text
        .find("\n}\n")
        .filter(|_| module.is_some())
        .unwrap_or(text.len());
    let values: Vec<String> = text[..end]
        .lines()
        .filter(|line| line.contains("const ") && line.contains(": &str = \""))
        .map(|line| line.split('"').nth(1).unwrap().to_owned())
        .collect();
    assert!(!values.is_empty(), "{path} has no constants");
    values
}

fn assert_named(guide: &str, words: &[String], form: impl Fn(&str) -> String) {
    let text = read(guide);
    let missing: Vec<&String> = words
        .iter()
        .filter(|word| !text.contains(&form(word)))
        .collect();
    assert!(missing.is_empty(), "{guide} does not explain {missing:?}");
}

#[test]
fn r20_every_outcome_of_a_request_has_its_remedy() {
    let outcomes: Vec<String> = constants("receiver/src/metrics.rs", Some("outcome"))
        .into_iter()
        .filter(|outcome| outcome != "accepted")
        .collect();
    assert_named("docs/troubleshooting.md", &outcomes, |word| {
        format!("`{word}`")
    });
}

#[test]
fn every_reason_for_a_retry_and_for_a_condition_is_explained() {
    let attempts = constants("receiver/src/deliver/kind.rs", Some("reason"));
    let attempts: Vec<String> = attempts
        .into_iter()
        .filter(|reason| reason != "delivered" && reason != "internal")
        .collect();
    assert_named("docs/troubleshooting.md", &attempts, |word| {
        format!("`{word}`")
    });
    let kept_by_the_operator = [
        "Accepted",
        "ResolvedRefs",
        "Programmed",
        "Pending",
        "NoReceivers",
        "LastGoodKept",
        "SnapshotFull",
        "ReceiverTooOld",
    ];
    let reasons: Vec<String> = constants("crds/src/condition.rs", Some("reason"))
        .into_iter()
        .filter(|reason| !kept_by_the_operator.contains(&reason.as_str()))
        .collect();
    assert_named("docs/troubleshooting.md", &reasons, |word| {
        format!("`{word}`")
    });
}

#[test]
fn every_metric_is_explained() {
    let text = read("receiver/src/metrics.rs");
    let names: Vec<String> = text
        .split("make.")
        .skip(1)
        .filter_map(|call| call.split('"').nth(1))
        .map(ToOwned::to_owned)
        .collect();
    assert!(names.len() > 15, "{names:?}");
    assert_named("docs/reference.md", &names, |word| {
        format!("`hookswitch_{word}`")
    });
}

#[test]
fn every_dead_letter_is_explained() {
    let text = read("receiver/src/plan.rs");
    let labels = text.split("impl DeadReason").nth(1).unwrap();
    let labels: Vec<String> = labels
        .lines()
        .filter(|line| line.contains("=> \""))
        .map(|line| line.split('"').nth(1).unwrap().to_owned())
        .collect();
    assert!(labels.len() >= 7, "{labels:?}");
    assert_named("docs/concepts.md", &labels, |word| format!("`{word}`"));
}

#[test]
fn links_between_guides_lead_somewhere() {
    for guide in guides() {
        let text = fs::read_to_string(&guide).unwrap();
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                guide.clone()
            } else {
                guide.parent().unwrap().join(path)
            };
            assert!(target.exists(), "{}: {link}", guide.display());
            if !anchor.is_empty() {
                let headings = fs::read_to_string(&target).unwrap();
                let found = headings
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| slug(line) == anchor);
                assert!(found, "{}: {link}", guide.display());
            }
        }
    }
}

#[test]
fn every_guide_is_led_to() {
    let all = guides();
    let texts: String = all
        .iter()
        .map(|guide| fs::read_to_string(guide).unwrap())
        .collect();
    for guide in all {
        let name = guide.file_name().unwrap().to_str().unwrap();
        let entrance = name == "README.md" || guide.parent().unwrap().ends_with("decisions");
        assert!(
            entrance || texts.contains(&format!("{name})")) || texts.contains(&format!("{name}#")),
            "nothing leads to {}",
            guide.display()
        );
    }
}

#[test]
fn decisions_are_numbered_one_after_another() {
    let mut names: Vec<String> = fs::read_dir(root("docs/decisions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for (number, name) in (1..).zip(&names) {
        assert!(name.starts_with(&format!("{number:04}-")), "{name}");
        let text = read(&format!("docs/decisions/{name}"));
        assert!(text.starts_with(&format!("# {number}. ")), "{name}");
    }
}

#[test]
fn what_is_shown_of_each_sender_can_be_used() {
    let text = read("docs/senders.md");
    let blocks = text.split("```yaml\n").skip(1);
    let specs: Vec<&str> = blocks
        .filter_map(|block| block.split("```").next())
        .filter(|block| block.starts_with("spec:"))
        .collect();
    assert!(specs.len() >= 4, "{specs:?}");
    for spec in specs {
        let head = "apiVersion: hookswitch.dev/v1alpha1\nkind: WebhookSubscription\nmetadata: {name: shown}\n";
        let lint = ["lint", "-f", "-", "--missing-secrets", "warn"];
        let (code, said) = answer_to(&lint, &format!("{head}{spec}"));
        assert_eq!(code, 0, "{spec}{said}");
    }
}

#[test]
fn what_is_shown_of_each_destination_can_be_used() {
    let text = read("docs/destinations.md");
    let blocks = text.split("```yaml\n").skip(1);
    let lists: Vec<&str> = blocks
        .filter_map(|block| block.split("```").next())
        .filter(|block| block.starts_with("- name: "))
        .collect();
    assert!(lists.len() >= 9, "{lists:?}");
    for list in lists {
        let indented = list.replace('\n', "\n  ");
        let names = list
            .lines()
            .filter_map(|line| line.strip_prefix("- name: "));
        let deliver = names.map(|name| format!("{{destination: {name}}}"));
        let deliver = deliver.collect::<Vec<_>>().join(", ");
        let objects = format!(
            "apiVersion: hookswitch.dev/v1alpha1\nkind: WebhookSubscription\nmetadata: {{name: shown}}\nspec: \
             {{provider: TGStaff, verification: {{hmac: {{secretRefs: [{{name: a, key: b}}]}}}}}}\n---\n\
             apiVersion: hookswitch.dev/v1alpha1\nkind: EventRoute\nmetadata: {{name: shown}}\nspec:\n  \
             subscriptionRefs: [{{name: shown}}]\n  destinations:\n  {indented}\n  rules:\n  - {{name: all, deliver: \
             [{deliver}]}}\n"
        );
        let lint = ["lint", "-f", "-", "--missing-secrets", "warn"];
        let (code, said) = answer_to(&lint, &objects);
        assert_eq!(code, 0, "{objects}{said}");
    }
}

#[test]
fn every_example_is_without_fault() {
    for entry in fs::read_dir(root("examples")).unwrap() {
        let path = entry.unwrap().path();
        let (code, said) = answer_to(&["lint", "-f", path.to_str().unwrap()], "");
        assert_eq!(code, 0, "{}: {said}", path.display());
    }
}

/// Everything that is written for people, but for the charts' own.
fn guides() -> Vec<PathBuf> {
    let mut guides = vec![root("README.md"), root("CONTRIBUTING.md")];
    let mut directories = vec![root("docs"), root("examples")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                guides.push(path);
            }
        }
    }
    guides
}

/// A heading's anchor, as GitHub makes it.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
