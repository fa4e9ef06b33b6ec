//! The page of reference on expressions: each of its examples is run, and every function is on it.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hookswitch_crds::expression::{self, Expression, Scope, Variables, WordLists};
use hookswitch_crds::words::Words;
use serde_json::Value as Json;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/expressions.md");
    fs::read_to_string(path).unwrap()
}

/// The blocks of code in a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = page.split(&fence).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_example_has_the_value_that_the_page_tells() {
    let page = page();
    let event: Json = serde_json::from_str(&blocks(&page, "json")[0]).unwrap();
    let list = Words::parse("refund\n[legal]\nlawyer\nsue*").unwrap();
    let lists = WordLists::new([("risk".to_owned(), Some(Arc::new(list)))]);
    let variables = Variables::new(&event).with_words(&lists);
    let mut wrong = Vec::new();
    let mut count = 0;
    for block in blocks(&page, "cel") {
        for line in block.lines() {
            let (source, expected) = line.rsplit_once(" => ").unwrap_or_else(|| panic!("{line}"));
            let expected: Json = serde_json::from_str(expected).unwrap();
            count += 1;
            let value = Expression::compile(source.trim(), Scope::Event)
                .map_err(|error| error.to_string())
                .and_then(|it| {
                    it.check_word_lists(&["risk"]).unwrap();
                    it.evaluate(&variables).map_err(|error| error.to_string())
                });
            if value.as_ref() != Ok(&expected) {
                wrong.push(format!("{source}\n    is {value:?}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 90, "{count} examples");
}

#[test]
fn every_function_is_on_the_page() {
    let page = page();
    let missing: Vec<&str> = expression::function_names()
        .filter(|name| {
            // Those of bits are one family.
            !name.starts_with("math.bit") && !page.contains(&format!("{name}("))
        })
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "the page lacks {missing:?}");
}
