use serde_json::json;

use super::super::{Expression, Scope, Variables};

fn condition(source: &str) -> Result<Expression, String> {
    Expression::compile_condition(source, Scope::Event).map_err(|error| error.message)
}

fn refused(source: &str) -> String {
    condition(source).expect_err(source)
}

#[test]
fn what_is_known_to_be_no_bool_is_refused_with_place_and_remedy() {
    insta::assert_snapshot!(
        [
            "'closed'",
            "event.type",
            "event.hops",
            "event.time",
            "event",
            "1 + event.data.x",
            "event.data.a + 'b'",
            "null",
            "[event.data.x]",
            "event.data.tags.map(t, t)",
            "event.data.?vip",
            "size(event.data.tags)",
            "event.data.text.lowerAscii()",
            "int(event.data.x)",
            "event.data.x ? 'yes' : event.data.y",
            "event.data.x\n  ? true\n  : 5",
            "type(event.data.x)",
            "-5",
            "optional.of(event.data.x)",
        ]
        .map(|source| format!("{source}\n    {}", refused(source)))
        .join("\n")
    );
}

#[test]
fn operands_that_can_not_go_together_are_refused_with_place_and_remedy() {
    insta::assert_snapshot!(
        [
            "event.data.a && event.type",
            "event.type || event.data.a",
            "!event.subject",
            "event.data.a && !'x'",
            "1 ? true : false",
            "event.data.tags.exists(t, 'x')",
            "event.data.tags.all(t, size(t))",
            "event.data.tags.filter(t, t.trim()).size() > 0",
            "event.type == 5",
            "event.time > '2026-03-01T10:00:00Z'",
            "event.type < 3",
            "event.data.?status == 'closed'",
            "size(event.data.text) > '5'",
        ]
        .map(|source| format!("{source}\n    {}", refused(source)))
        .join("\n")
    );
}

#[test]
fn literals_that_can_not_be_read_are_refused_with_place_and_remedy() {
    insta::assert_snapshot!(
        [
            "event.data.text.matches('(foo')",
            "event.data.text.matches('a(?=b)')",
            "event.data.text.matches('[z-a]')",
            "event.data.text.matches('*')",
            "has(event.data.text) &&\n  event.data.text.matches('\\\\q')",
            "event.time > timestamp('yesterday')",
            "event.time - timestamp('2026-03-01T10:00:00Z') > duration('1 hour')",
            "int('five') == 5",
            "double('x') > 1.0",
        ]
        .map(|source| format!("{source}\n    {}", refused(source)))
        .join("\n")
    );
    // A template's expressions too.
    assert!(Expression::compile("event.data.text.matches('(')", Scope::Event).is_err());
}

#[test]
fn what_may_be_a_bool_is_accepted() {
    for source in [
        "true",
        "event.data.vip",
        "event['data']['vip']",
        "event.data.?vip.orValue(false)",
        "event.data.vip || event.data.x == 1",
        "event.data.x ? event.data.y : true",
        "event.data.count == 3.0",
        "event.data.count > 2u",
        "event.subject == null",
        "event.data.x == 'a' || 'a' == event.data.x",
        "event.data.tags.exists(event, event)",
        "event.data.tags.exists_one(t, t == 'a')",
        "event.data.tags.all(type, type)",
        "event.data.tags.filter(t, t != '').size() > 0",
        "event.data.tags.map(t, t == 'x')[0]",
        "type(event.data.x) == string",
        "event.data.text.matches(r'^\\d+$')",
        "event.data.text.matches(event.data.pattern)",
        "event.time > timestamp('2026-03-01T10:00:00Z') - duration('1h30m')",
        "event.time - event.data.x > duration('5s')",
        "[true, false][0]",
        "{'a': true}.a",
        "has(event.subject) && event.subject != ''",
        "bool('true')",
        "event.data.x + 1 > 2",
        "math.isNaN(event.data.x)",
        "optional.of(1).hasValue()",
        "event.data.?a.or(event.data.?b).orValue(true)",
        "dyn('x') == dyn(1)",
    ] {
        condition(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    }
}

/// What is refused as a condition would have failed for this event, where the rest of it lets it.
#[test]
fn no_condition_is_refused_that_has_a_bool() {
    let event = json!({
        "id": "e", "type": "t", "source": "/s", "subject": "c", "hops": 0,
        "time": "2026-03-01T10:00:00Z",
        "data": {"x": true, "y": true, "a": "a", "tags": ["t"], "vip": true, "n": 1, "text": "T"},
    });
    let variables = Variables::new(&event);
    for source in [
        "'closed'",
        "event.type",
        "event.hops",
        "event.time",
        "event",
        "1 + event.data.n",
        "event.data.a + 'b'",
        "null",
        "event.data.tags.map(t, t)",
        "event.data.?vip",
        "size(event.data.tags)",
        "event.data.text.lowerAscii()",
        "int(event.data.n)",
        "event.data.x ? 'yes' : event.data.y",
        "type(event.data.x)",
        "optional.of(event.data.x)",
        "event.data.tags.filter(t, t != '')",
        "'a b'.split(' ')",
        "math.ceil(1.5)",
        "base64.encode(b'a')",
        "base64.decode('YQ==')",
        "[3, 1].sort()",
        "'abc'.charAt(0)",
        "'abc'.indexOf('b')",
        "event.time.getHours()",
    ] {
        refused(source);
        let unchecked = Expression::compile(source, Scope::Event).unwrap();
        assert!(unchecked.evaluate_bool(&variables).is_err(), "{source}");
        // And it has a value, of the type that was told.
        unchecked
            .evaluate(&variables)
            .map(drop)
            .or_else(|error| {
                if source.starts_with("type(") {
                    Ok(())
                } else {
                    Err(format!("{source}: {error}"))
                }
            })
            .unwrap();
    }
}
