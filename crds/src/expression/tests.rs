use proptest::prelude::*;
use serde_json::json;

use super::*;

fn event() -> Json {
    json!({
        "id": "e-1",
        "type": "conversation.created",
        "source": "/support/support",
        "time": "2026-03-01T10:00:00Z",
        "subject": "c-1",
        "hops": 0,
        "data": {
            "status": "waiting",
            "count": 3,
            "big": 18_446_744_073_709_551_615_u64,
            "price": 1.5,
            "none": null,
            "empty": [],
            "tags": ["vip", "de"],
            "user": {"name": "Ada", "username": null, "secret-text": "hunter2"},
            "media": [{"url": "https://x.example/1.png"}],
            "key": "hunter2",
        },
    })
}

fn evaluate(source: &str) -> Result<Json, EvalError> {
    let event = event();
    Expression::compile(source, Scope::Event)
        .unwrap_or_else(|error| panic!("{source}: {error}"))
        .evaluate(&Variables::new(&event))
}

fn refused(source: &str) -> String {
    Expression::compile(source, Scope::Event)
        .expect_err(source)
        .message
}

#[track_caller]
fn is(source: &str, expected: impl Into<Json>) {
    assert_eq!(evaluate(source), Ok(expected.into()), "{source}");
}

#[track_caller]
fn lacks(source: &str, field: &str) {
    assert_eq!(
        evaluate(source),
        Err(EvalError::MissingField(field.to_owned())),
        "{source}"
    );
}

#[test]
fn attributes_and_data_are_read() {
    is(
        "event.type == 'conversation.created' && event.hops == 0",
        true,
    );
    is("event.data.count + 1", 4);
    is("event.data.big", 18_446_744_073_709_551_615_u64);
    is("event.data.price * 2.0", 3.0);
    is(
        "event.data.user",
        json!({"name": "Ada", "username": null, "secret-text": "hunter2"}),
    );
    is("event.data.tags[1]", "de");
    is("event.data['user']['name']", "Ada");
    is("event['type']", "conversation.created");
    is("'vip' in event.data.tags", true);
    is("'status' in event.data", true);
    is(
        "event.data.tags.map(t, t.upperAscii())",
        json!(["VIP", "DE"]),
    );
    is("event.data.tags.exists(t, t.startsWith('v'))", true);
    is(
        "event.data.tags.filter(event, event == 'de')",
        json!(["de"]),
    );
    is(
        "{'a': event.data.count, 1: [true, null]}",
        json!({"a": 3, "1": [true, null]}),
    );
    is(
        "type(event.data.count) == int && type(event.data.user) == map",
        true,
    );
    is("event.data.status.matches('^w.*g$')", true);
    is("event.data.missing == 1 || event.data.count == 3", true);
}

#[test]
fn extensions_are_there() {
    is("base64.encode(b'hi')", "aGk=");
    is("' a-b '.trim().split('-').join('+')", "a+b");
    is("'%s has %d'.format(['x', 2])", "x has 2");
    is("math.greatest(1, 3, 2)", 3);
    is("[3, 1, 2].sort()", json!([1, 2, 3]));
    is("['bb', 'a'].sortBy(t, size(t))", json!(["a", "bb"]));
    is("optional.of(1).value()", 1);
    is("type(event.time) == google.protobuf.Timestamp", true);
}

#[test]
fn time_is_a_timestamp() {
    is("event.time", "2026-03-01T10:00:00Z");
    is("event.time + duration('90s')", "2026-03-01T10:01:30Z");
    is(
        "event.time.getHours() == 10 && event.time > timestamp('2026-01-01T00:00:00Z')",
        true,
    );
    is("event.time - timestamp('2026-03-01T09:59:58.5Z')", "1.5s");
}

#[test]
fn an_optional_field_falls_back_where_it_is_absent_null_or_not_even_an_object() {
    for missing in [
        "event.data.?username",
        "event.data.user.?username",
        "event.data.user.?username.?x",
        "event.data.?none.name",
        "event.data[?'x']",
        "event.?sender",
        "event.data.?user.username",
        "event.data.?user.username.x.y",
    ] {
        is(&format!("{missing}.orValue('unknown')"), "unknown");
        is(&format!("{missing}.hasValue()"), false);
        is(&format!("{missing}.or(optional.of('b')).value()"), "b");
    }
    is("event.data.user.?name.orValue('unknown')", "Ada");
    is("event.data.?none", Json::Null);
    is("event.data.?user.name", "Ada");
    is(
        "has(event.data.user.name) && !has(event.data.user.age)",
        true,
    );
    is("has(event.sender)", false);
}

#[test]
fn a_missing_field_is_named_with_its_path() {
    lacks("event.data.username", "event.data.username");
    lacks("'a' + event.data.user.nick + 'b'", "event.data.user.nick");
    lacks(
        "event.data.count == 3 && event.data.deep.er == 1",
        "event.data.deep",
    );
    lacks("has(event.data.deep.er.still)", "event.data.deep");
    lacks("event.data.none.name", "event.data.none.name");
    lacks("event.data.status.name", "event.data.status.name");
    lacks("event.data.empty[0].url", "event.data.empty[0]");
    lacks("event.data['user']['x']", "event.data.user.x");
    lacks("event.sender", "event.sender");
    lacks("event.data.media.map(m, m.caption)", "(a computed name)");
}

#[test]
fn r57_no_error_holds_a_value_of_the_event() {
    for source in [
        "event.data[event.data.key]",
        "event.data.user[event.data.key]",
        "event.data.tags[event.data.key]",
        "event.data.key + 1",
        "-event.data.key",
        "int(event.data.key)",
        "timestamp(event.data.key)",
        "event.time.getHours(event.data.key)",
        "event.data.key < 1",
        "event.data.key in event.data.key",
        "event.data.key ? 1 : 2",
        "event.data.key.matches('(' + event.data.key)",
        "{event.data.key: 1, 'hunter2': 2}",
        "{event.data.user: 1}",
        "event.data.key.map(x, x)",
        "base64.decode(event.data.key + '!')",
        "'%d'.format([event.data.key])",
        "event.data.key.substring(100)",
        "size(event.data.count)",
        "[event.data.key][7]",
        "event.data.user.all(k, event.data.user[k] > 1)",
        "math.greatest(event.data.key, 1)",
        "event.data.key || true && event.data.key",
        "optional.of(event.data.key).value().x",
    ] {
        match evaluate(source) {
            Ok(value) => panic!("{source} is {value}"),
            Err(error) => {
                let said = format!("{error} {error:?}");
                assert!(!said.contains("hunter2"), "{source}: {said}");
            }
        }
    }
}

#[test]
fn what_goes_wrong_is_said_in_words() {
    let said = |source| evaluate(source).unwrap_err().to_string();
    assert_eq!(
        said("event.data.key + 1"),
        "`+` can't be used on string and int"
    );
    assert_eq!(said("1 / (event.data.count - 3)"), "division by zero");
    assert_eq!(
        said("9223372036854775807 + event.data.count"),
        "a number is out of range"
    );
    assert_eq!(
        said("int(event.data.key)"),
        "`int` failed on what it was given"
    );
    assert_eq!(said("1.0 / 0.0"), "a number is not finite");
    assert_eq!(
        said("type(1)"),
        "the value is a type, and a value that JSON has is needed"
    );
}

#[test]
fn a_condition_is_a_bool() {
    let event = event();
    let variables = Variables::new(&event);
    let condition = |source| {
        Expression::compile(source, Scope::Event)
            .unwrap()
            .evaluate_bool(&variables)
    };
    assert_eq!(condition("event.data.count == 3"), Ok(true));
    assert_eq!(condition("!has(event.data.test)"), Ok(true));
    assert_eq!(
        condition("event.data.count").unwrap_err().to_string(),
        "the value is an int, and a bool is needed"
    );
    assert_eq!(
        condition("event.data.none").unwrap_err().to_string(),
        "the value is null, and a bool is needed"
    );
}

#[test]
fn request_is_known_where_a_write_back_is_rendered() {
    let event = event();
    let request = json!({"text": "hi"});
    let sent = Expression::compile("event.subject + ':' + request.text", Scope::Sent).unwrap();
    assert_eq!(
        sent.evaluate(&Variables::new(&event).with_request(&request)),
        Ok(json!("c-1:hi"))
    );
    assert_eq!(
        refused("request.text"),
        "line 1, column 1: `request` is known in `loopGuard.echo.sent` only"
    );
}

#[test]
fn unknown_names_are_refused_with_a_suggestion() {
    insta::assert_snapshot!(
        [
            "username == 'x'",
            "evnt.data.x",
            "type == 'x'",
            "event.foo",
            "'é' + event.foo",
            "event.typ",
            "event.?username.orValue('')",
            "has(event.text)",
            "event['username']",
            "event.data.x.startswith('a')",
            "event.data.x.len()",
            "lenght(event.data.x)",
            "startsWith(event.data.x, 'a')",
            "event.data.x.string()",
            "base64.encod(event.data.x)",
            "lists.range(5)",
            "event.data.x.exists(1)",
            "event.data.tags.map(x, y)",
            "Foo{a: 1}",
            "_+_",
            ".event.id",
            "@steps([])",
        ]
        .map(|source| format!("{source}\n    {}", refused(source)))
        .join("\n"),
    );
}

#[test]
fn syntax_errors_have_a_place_and_our_words() {
    insta::assert_snapshot!(
        [
            "",
            "1 +",
            "event.data.x ==",
            "'abc",
            "a b",
            "a..b",
            "event.type = 'x'",
            "event.type === 'x'",
            "event.data\n  .x and true",
            "event.data['x'",
            "event.data.x ? 1",
            "has(event)",
            "event.data.tags.map(1, 2)",
            "if event.data.x",
            "99999999999999999999",
            "'\\q'",
            "1 + ü",
            "\"\"\"abc",
            "event.data.`x`",
            "@",
        ]
        .map(|source| format!("{source}\n    {}", refused(source)))
        .join("\n"),
    );
}

#[test]
fn every_known_function_is_one_of_the_library() {
    let event = event();
    let variables = Variables::new(&event);
    let calls = names::FUNCTIONS.map(|name| format!("{name}(event.data)"));
    let methods = names::METHODS.map(|name| format!("event.data.{name}()"));
    for source in calls.iter().chain(&methods) {
        // math.greatest and math.least are macros and check their arguments at once.
        let Ok(expression) = Expression::compile(source, Scope::Event) else {
            assert!(source.starts_with("math."), "{source}");
            continue;
        };
        let context = {
            let mut context = Context::with_env(Arc::clone(&ENV));
            context.set_variable_resolver(&variables);
            context
        };
        let result = Value::resolve_val(&expression.0.root, &context).map(|_| ());
        assert!(
            !matches!(result, Err(ExecutionError::UndeclaredReference(_))),
            "{source}: {result:?}"
        );
    }
}

#[test]
fn what_is_too_long_or_nested_too_deeply_is_refused_without_a_crash() {
    // A thread of tokio's has 2 MiB of stack.
    let test = || {
        for (open, close) in [
            ("(", ")"),
            ("[", "]"),
            ("int(", ")"),
            ("{1:", "}"),
            ("[1].map(x,", ")"),
            ("true?1:", ""),
        ] {
            for depth in [40, 400] {
                let source = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                let said = refused(&source);
                assert!(
                    said.contains("nested") || said.contains("bytes"),
                    "{open} {depth}: {said}"
                );
            }
        }
        for link in ["+1", ".a", "[0]", ".a()", "*1", "?1:1"] {
            let source = format!("event{}", link.repeat((MAX_SOURCE - 5) / link.len()));
            refused(&source);
        }
        assert!(refused(&"-".repeat(4000)).contains("column"));
        assert!(refused(&"1+".repeat(2048)).contains("column"));
        assert!(refused(&"1".repeat(MAX_SOURCE + 1)).contains("4097 bytes"));

        // What is allowed evaluates on the same stack.
        is(&format!("1{}", "+1".repeat(98)), 99);
        let deep = format!("{}1{}", "[1].map(x,".repeat(15), ")".repeat(15));
        evaluate(&deep).unwrap();
        let many = vec!["event.data.status == 'open'"; 140].join("||");
        is(&many, false);
    };
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(test)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn an_evaluation_goes_through_a_bounded_number_of_elements() {
    let mut event = event();
    event["data"]["list"] = Json::from((0..400).collect::<Vec<_>>());
    let variables = Variables::new(&event);
    let run = |source| {
        Expression::compile(source, Scope::Event)
            .unwrap()
            .evaluate(&variables)
    };
    assert_eq!(
        run("event.data.list.map(x, event.data.list.map(y, event.data.list.map(z, 1)))")
            .unwrap_err()
            .to_string(),
        "it takes too much work for this event: more than 1000000 units"
    );
    // The next evaluation begins anew.
    assert_eq!(run("event.data.list.all(x, x >= 0)"), Ok(json!(true)));
    assert_eq!(
        run("size(event.data.list.filter(x, x > 9))"),
        Ok(json!(390))
    );
}

#[test]
fn a_value_has_a_bounded_size() {
    let mut event = event();
    event["data"]["text"] = Json::from("x".repeat(1 << 20));
    event["data"]["list"] = Json::from((0..400).collect::<Vec<_>>());
    let variables = Variables::new(&event);
    let run = |source| {
        Expression::compile(source, Scope::Event)
            .unwrap()
            .evaluate(&variables)
    };
    assert_eq!(
        run("event.data.list.map(x, event.data.text)")
            .unwrap_err()
            .to_string(),
        "it takes too much work for this event: more than 1000000 units"
    );
    assert!(run("event.data.text + event.data.text").is_ok());
}

#[test]
fn an_expression_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Expression>();
    shared::<Variables<'_>>();
}

proptest! {
    #[test]
    fn any_text_compiles_or_is_refused(source in "\\PC{0,60}") {
        drop(Expression::compile(&source, Scope::Event));
    }

    #[test]
    fn any_tokens_compile_or_are_refused(tokens in proptest::collection::vec(
        proptest::sample::select(vec!["event", ".", "data", "?", "(", ")", "[", "]", "{", "}", "'a'", "1", "+", "-", "!", "&&", "||", ":", ",", "has", ".map", "x", "in", "==", " ", "\n", "\"\"\"", "r'", "\\"]),
        0..24,
    )) {
        let source = tokens.concat();
        if let Ok(expression) = Expression::compile(&source, Scope::Event) {
            let event = event();
            drop(expression.evaluate(&Variables::new(&event)));
        }
    }
}
