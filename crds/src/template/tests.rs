use proptest::prelude::*;
use serde_json::json;

use super::*;

fn render_with(template: &Json, event: &Json) -> Result<Json, EvalError> {
    Template::compile(template, Scope::Event)
        .unwrap_or_else(|errors| panic!("{errors:?}"))
        .render(&Variables::new(event))
}

fn render(template: &Json) -> Json {
    let event = json!({"id": "e-1", "subject": "c-1", "hops": 2, "data": {
        "username": "ada", "count": 3, "ok": true, "none": null,
        "tags": ["a", "b"], "user": {"name": "Ada \"}\" L"},
    }});
    render_with(template, &event).unwrap()
}

#[test]
fn r32_the_title_names_the_user_with_a_fallback() {
    let title = json!("Telegram user ${event.data.?username.orValue('unknown')} new inquiry");
    for (data, name) in [
        (json!({"username": "ada"}), "ada"),
        (json!({"username": null}), "unknown"),
        (json!({}), "unknown"),
        (json!([]), "unknown"),
    ] {
        assert_eq!(
            render_with(&title, &json!({"data": data})),
            Ok(json!(format!("Telegram user {name} new inquiry")))
        );
    }
}

#[test]
fn a_leaf_that_is_one_expression_keeps_its_type() {
    assert_eq!(
        render(&json!({
            "number": "${event.data.count}",
            "bool": "${event.data.ok}",
            "null": "${null}",
            "list": "${event.data.tags}",
            "map": "${event.data.user}",
            "text": "${event.subject}",
            "absent": "${event.data.?nothing}",
            "constant": [1, true, null, "x", 1.5],
        })),
        json!({
            "number": 3, "bool": true, "null": null, "list": ["a", "b"],
            "map": {"name": "Ada \"}\" L"}, "text": "c-1", "absent": null,
            "constant": [1, true, null, "x", 1.5],
        })
    );
}

#[test]
fn mixed_text_is_joined() {
    assert_eq!(
        render(&json!(
            "${event.subject}: ${event.data.count}, ${event.data.ok}, [${event.data.none}], ${event.data.tags} ${event.data.user}"
        )),
        json!("c-1: 3, true, [], [\"a\",\"b\"] {\"name\":\"Ada \\\"}\\\" L\"}")
    );
}

#[test]
fn braces_and_quotes_inside_an_expression_do_not_end_it() {
    for (template, rendered) in [
        ("${{'a': 1}}", json!({"a": 1})),
        ("${{'a': {'b': 1}}.a.b}", json!(1)),
        ("${'}'}", json!("}")),
        ("${\"}\"}", json!("}")),
        ("${'it\\'s }'}", json!("it's }")),
        ("${'''a'}' b'''}", json!("a'}' b")),
        ("${\"\"\"a\"}\" b\"\"\"}", json!("a\"}\" b")),
        ("${r'\\'}", json!("\\")),
        ("${r'}\\' + 'x'}", json!("}\\x")),
        ("${string(br'}')}", json!("}")),
        ("${'$${'}", json!("$${")),
        ("${'${x}'}!", json!("${x}!")),
        ("${1 // a comment }\n + 1}", json!(2)),
        ("${''}", json!("")),
        ("a${''}", json!("a")),
    ] {
        assert_eq!(render(&json!(template)), rendered, "{template}");
    }
}

#[test]
fn dollars_are_themselves_but_before_a_brace() {
    for (template, rendered) in [
        ("$5", "$5"),
        ("5$", "5$"),
        ("$$", "$$"),
        ("$${event.id}", "${event.id}"),
        ("$$${event.id}", "$${event.id}"),
        ("$ {event.id}", "$ {event.id}"),
        ("{event.id}", "{event.id}"),
        ("€${event.data.count}", "€3"),
        ("", ""),
    ] {
        assert_eq!(render(&json!(template)), json!(rendered), "{template}");
    }
}

#[test]
fn keys_are_no_templates() {
    assert_eq!(
        render(&json!({"${event.id}": "${event.id}"})),
        json!({"${event.id}": "e-1"})
    );
}

#[test]
fn every_error_is_told_with_its_leaf() {
    let errors = Template::compile(
        &json!({
            "ticket": {"subject": "a ${event.user}", "a/b~c": ["ok", "€ ${event.id", "${}"]},
        }),
        Scope::Event,
    )
    .unwrap_err();
    insta::assert_snapshot!(
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn r30_a_missing_field_is_told_by_its_name() {
    assert_eq!(
        render_with(
            &json!({"a": ["x", "${event.data.media.url}"]}),
            &json!({"data": {"text": "hi"}})
        ),
        Err(EvalError::MissingField("event.data.media".to_owned()))
    );
}

/// Each leaf alone would have room; together they would fill a store's row, or the memory.
#[test]
fn the_leaves_of_a_body_share_one_bound() {
    let event = json!({"data": {"text": "x".repeat(1 << 20)}});
    let leaves = |count| vec![json!("${event.data.text}"); count];
    assert!(render_with(&json!(leaves(16)), &event).is_ok());
    assert_eq!(
        render_with(&json!(leaves(17)), &event),
        Err(EvalError::Failed(
            "there are more than 16777216 bytes of text".to_owned()
        ))
    );
}

proptest! {
    #[test]
    fn text_without_an_expression_renders_to_itself(text in "\\PC*") {
        prop_assume!(!text.contains("${"));
        prop_assert_eq!(render(&json!(text)), json!(text));
    }

    #[test]
    fn escaped_text_renders_to_what_was_escaped(text in "[a${}' ]{0,20}") {
        let escaped = text.replace("${", "$${");
        prop_assert_eq!(render(&json!(escaped)), json!(text));
    }

    #[test]
    fn a_text_put_into_an_expression_comes_out(text in "\\PC{0,30}", before in "[a-z ]{0,5}") {
        let quoted = text.replace('\\', "\\\\").replace('\'', "\\'");
        let template = format!("{before}${{'{quoted}'}}");
        prop_assert_eq!(render(&json!(template)), json!(format!("{before}{text}")));
    }

    #[test]
    fn any_text_compiles_or_is_refused(text in "[a${}'\"r\\\\/]{0,30}") {
        drop(Template::compile(&json!(text), Scope::Event));
    }
}
