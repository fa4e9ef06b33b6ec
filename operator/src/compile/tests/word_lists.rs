//! Word lists, from wherever their words stand; and what a destination must not see.

use hookswitch_crds::condition::reason;
use hookswitch_crds::snapshot::{Pattern, WordList};

use super::{ROUTE, SUBSCRIPTION, all, compiled, edited, recompiled, told};

const QA: &str = "
kind: EventRoute
metadata: {name: qa, namespace: support, generation: 1}
spec:
  subscriptionRefs: [{name: support}]
  wordLists:
  - {name: risk, configMapRef: {name: words, key: words.txt}}
  - {name: own, inline: [refund, 'charge back', '[legal]', 'sue*']}
  - {name: hidden, secretRef: {name: secret-words, key: list}}
  destinations: [{name: qa, http: {url: 'https://qa.example.com'}}]
  rules:
  - name: risk
    when: words.risk.matches(event.data.text) || words.own.matches(event.data.text)
    deliver: [{destination: qa, body: {hits: '${words[\"hidden\"].hits(event.data.text)}'}}]
";

const WORDS: &str = "
kind: ConfigMap
metadata: {name: words, namespace: support}
data: {words.txt: \"# all\\n\\nscam\\n[x]\\n fraud \\n\"}
";

const SECRET: &str = "
kind: Secret
metadata: {name: secret-words, namespace: support}
stringData: {list: \"alpha\\nbeta\\n\"}
";

fn list(name: &str, words: Option<&str>) -> WordList {
    WordList {
        name: name.to_owned(),
        words: words.map(str::to_owned),
    }
}

#[test]
fn r37_words_come_from_a_config_map_a_secret_or_the_spec() {
    let compiled = compiled(&all(&[SUBSCRIPTION, QA, WORDS, SECRET]));
    assert_eq!(told(&compiled.route("support/qa").problems), "");
    assert_eq!(
        compiled.route_entry("support/qa").unwrap().word_lists,
        [
            list("risk", Some("scam\n[x]\nfraud\n")),
            list("own", Some("refund\ncharge back\n[legal]\nsue*\n")),
            list("hidden", Some("alpha\nbeta\n")),
        ]
    );
}

#[test]
fn a_change_of_words_is_a_change_and_one_of_comments_is_none() {
    let yaml = all(&[SUBSCRIPTION, QA, WORDS, SECRET]);
    let first = compiled(&yaml);
    let same = recompiled(&first, &edited(&yaml, "# all", "# all of them"));
    assert_eq!(same.snapshot, first.snapshot);
    let changed = recompiled(&first, &edited(&yaml, "scam", "scam\\nhoax"));
    assert!(changed.snapshot.sequence > first.snapshot.sequence);
    let since = |it: &super::Compiled| it.route_entry("support/qa").unwrap().origin.since;
    assert!(since(&changed) > since(&first));
}

#[test]
fn words_that_are_missing_are_told_and_the_route_is_served() {
    let compiled = compiled(&all(&[
        SUBSCRIPTION,
        QA,
        &edited(WORDS, "words.txt:", "other:"),
    ]));
    assert_eq!(
        compiled.refusals("support/qa"),
        (None, Some(reason::SECRET_KEY_MISSING))
    );
    insta::assert_snapshot!(told(&compiled.route("support/qa").problems));
    let entry = compiled.route_entry("support/qa").unwrap();
    assert_eq!(entry.word_lists[0], list("risk", None));
}

#[test]
fn words_that_are_none_are_told_with_their_line() {
    let compiled_with = |qa: &str, words: &str| compiled(&all(&[SUBSCRIPTION, qa, words, SECRET]));
    let inline = compiled_with(&edited(QA, "[legal]", "[legal"), WORDS);
    assert_eq!(
        inline.refusals("support/qa"),
        (Some(reason::WORD_LIST_INVALID), None)
    );
    let elsewhere = compiled_with(QA, &edited(WORDS, "[x]", "[x"));
    assert_eq!(
        elsewhere.refusals("support/qa"),
        (None, Some(reason::WORD_LIST_INVALID))
    );
    let problems = [inline, elsewhere].map(|it| told(&it.route("support/qa").problems));
    insta::assert_snapshot!(problems.join("\n"));
}

#[test]
fn a_list_that_the_route_does_not_have_is_refused_with_a_suggestion() {
    let wrong = edited(QA, "words.own", "words.owm");
    let wrong = edited(&wrong, "words[\"hidden\"]", "words.nothing");
    let compiled = compiled(&all(&[SUBSCRIPTION, &wrong, WORDS, SECRET]));
    insta::assert_snapshot!(told(&compiled.route("support/qa").problems));
    let none = edited(
        ROUTE,
        "types: [conversation.created]",
        "when: words.risk.matches('x')",
    );
    let compiled = super::compiled(&all(&[SUBSCRIPTION, &none]));
    assert!(
        told(&compiled.route("support/crm").problems).contains("add it to `spec.wordLists`"),
        "{}",
        told(&compiled.route("support/crm").problems)
    );
}

#[test]
fn the_words_of_a_route_are_bounded() {
    let words = format!("{}\\n", "0".repeat(200)).repeat(1000);
    let map = format!(
        "\nkind: ConfigMap\nmetadata: {{name: words, namespace: support}}\ndata: {{words.txt: \"{words}\"}}\n"
    );
    let list = "  - {name: lN, configMapRef: {name: words, key: words.txt}}\n";
    let lists = ["a", "b", "c"].map(|it| list.replace('N', it)).concat();
    let route = edited(
        ROUTE,
        "  destinations:",
        &format!("  wordLists:\n{lists}  destinations:"),
    );
    let compiled = compiled(&all(&[SUBSCRIPTION, &route, &map]));
    let told = told(&compiled.route("support/crm").problems);
    assert!(told.contains("together they have 603000 bytes"), "{told}");
}

#[test]
fn r55_what_a_destination_must_not_see_is_in_the_snapshot() {
    let route = edited(
        ROUTE,
        "{name: tickets,",
        "{name: tickets, redact: {pointers: [/text], patterns: [Phone, Card]},",
    );
    let compiled = compiled(&all(&[SUBSCRIPTION, &route]));
    let entry = compiled.route_entry("support/crm").unwrap();
    let redact = entry.destinations[0].redact.as_ref().unwrap();
    assert_eq!(redact.pointers, ["/text"]);
    assert_eq!(redact.patterns, [Pattern::Phone, Pattern::Card]);
}

const LATE: &str = "
kind: EventRoute
metadata: {name: crm, namespace: support, generation: 1}
spec:
  subscriptionRefs: [{name: support}]
  wordLists: [{name: own, inline: [refund]}]
  destinations:
  - {name: qa, redact: {pointers: [/enriched/profile/phone]}, http: {url: 'https://qa.example.com'}}
  rules:
  - name: risk
    types: [message.received]
    enrich: [{name: profile, http: {url: 'https://api.example.com/${words.own.hits(event.data.text)[0]}'}}]
    after: {wait: 5m, key: event.subject, unless: {when: words.own.matches(event.data.text) && first.id != event.id}}
    deliver: [{destination: qa, body: {hits: '${words.own.hits([event.data.text, enriched.?profile])}'}}]
";

#[test]
fn words_and_redaction_go_with_look_ups_and_with_what_ends_a_wait() {
    let compiled = compiled(&all(&[SUBSCRIPTION, LATE]));
    assert_eq!(told(&compiled.route("support/crm").problems), "");
    for (from, to, field) in [
        (
            "words.own.hits([",
            "words.owm.hits([",
            "spec.rules[0].deliver[0].body.hits",
        ),
        (
            "${words.own",
            "${words.owm",
            "spec.rules[0].enrich[0].http.url",
        ),
        (
            "when: words.own",
            "when: words.owm",
            "spec.rules[0].after.unless.when",
        ),
    ] {
        let compiled = super::compiled(&all(&[SUBSCRIPTION, &edited(LATE, from, to)]));
        let told = told(&compiled.route("support/crm").problems);
        let expected = format!("refused [InvalidExpression] {field}: ");
        assert!(told.starts_with(&expected), "{told}");
        assert!(told.contains("did you mean `words.own`?"), "{told}");
    }
}
