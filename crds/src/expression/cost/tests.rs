//! Nothing that an expression can write takes a receiver's time, or its memory.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::super::{EvalError, Expression, MAX_SOURCE, Scope, Variables};

/// What one evaluation may take here, in a debug build on a busy machine. In a release it is a tenth of
/// a second.
const LONG: Duration = Duration::from_secs(20);

/// As large as events come.
fn event() -> Json {
    json!({"data": {
        "text": "a".repeat(1 << 20),
        "almost": format!("{}b", "a".repeat(1 << 19)),
        "numbers": (0..100_000).collect::<Vec<_>>(),
        "texts": (0..10_000).map(|n| format!("text {n}")).collect::<Vec<_>>(),
        "pattern": r"(?i)(\w{1,40}\s?){1,40}x",
        "map": (0..10_000).map(|n| (format!("key {n}"), json!([n]))).collect::<serde_json::Map<_, _>>(),
    }})
}

fn run(event: &Json, source: &str) -> Result<Json, EvalError> {
    let expression = Expression::compile(source, Scope::Event)
        .unwrap_or_else(|error| panic!("{source}: {error}"));
    let variables = Variables::new(event);
    let begin = Instant::now();
    let value = expression.evaluate(&variables);
    let took = begin.elapsed();
    assert!(took < LONG, "{source} took {took:?}");
    value
}

#[test]
fn what_would_take_long_ends_early() {
    let event = event();
    let doubled = ".map(x, [x, x])".repeat(14);
    let joined = "event.data.text".to_owned() + &" + event.data.text".repeat(90);
    for source in [
        // Much work in single steps.
        "event.data.numbers.all(x, event.data.text.indexOf(event.data.almost) < 0)",
        "event.data.numbers.all(x, event.data.text.lastIndexOf(event.data.almost) < 0)",
        "event.data.text.replace('a', event.data.text)",
        "event.data.text.replace('', event.data.text)",
        "event.data.numbers.map(n, string(n)).join(event.data.text)",
        "event.data.texts.join(event.data.text)",
        "event.data.texts.distinct()",
        "event.data.numbers.map(n, event.data.numbers)",
        "event.data.numbers.map(n, event.data.numbers == event.data.numbers)",
        "event.data.numbers.exists(n, -1 in event.data.numbers)",
        "event.data.numbers.all(n, event.data.text.contains(event.data.almost + 'c') == false)",
        "event.data.numbers.all(n, size(event.data.text) > 0)",
        "event.data.numbers.all(n, event.data.text.split('a', 3).size() > 0)",
        "event.data.numbers.all(n, event.data.?map.hasValue())",
        "event.data.numbers.all(n, hash.sha512(event.data.text) != '')",
        "event.data.numbers.all(n, json.encode(event.data.map) != '')",
        "event.data.texts.map(n, event.data.texts.sort())",
        "event.data.texts.map(n, event.data.map)",
        "event.data.text.split('').map(c, event.data.text.split(''))",
        "event.data.numbers.map(x, event.data.numbers.map(y, x * y))",
        "event.data.numbers.filter(x, event.data.numbers.exists(y, x == y + 1))",
        &format!("[1]{doubled}{doubled}"),
        &joined,
    ] {
        let value = run(&event, source);
        assert!(
            matches!(&value, Err(EvalError::Failed(message)) if message.contains("too much work")),
            "{}: {}",
            &source[..source.len().min(90)],
            value.map_or_else(
                |error| error.to_string(),
                |value| value.to_string().len().to_string()
            )
        );
    }
}

/// Its failure is a value that `||` may pass over, as CEL has it; it must not take long each time.
#[test]
fn a_regular_expression_that_is_too_large_is_soon_given_up() {
    let source = "event.data.texts.all(n, event.data.text.matches(event.data.pattern) || true)";
    assert_eq!(run(&event(), source).unwrap(), json!(true));
    let literal = r"event.data.text.matches('(?i)(\\w{1,9}x?){1,9}y')";
    let error = Expression::compile(literal, Scope::Event).unwrap_err();
    assert!(error.to_string().contains("exceeds size limit"), "{error}");
}

#[test]
fn large_events_have_room_for_what_is_usual() {
    let event = event();
    for (source, expected) in [
        ("event.data.text.contains('b')", json!(false)),
        ("event.data.text.matches('(?i)refund|lawyer')", json!(false)),
        ("event.data.text.lowerAscii().endsWith('a')", json!(true)),
        ("size(event.data.text + event.data.text)", json!(2 << 20)),
        ("event.data.text.indexOf('b')", json!(-1)),
        ("event.data.almost.lastIndexOf('b')", json!(1 << 19)),
        (
            "size(event.data.texts.filter(t, t.endsWith('0')))",
            json!(1000),
        ),
        ("event.data.texts.exists(t, t == 'text 9999')", json!(true)),
        ("event.data.?map.?none.orValue('x')", json!("x")),
        ("size(hash.sha256(event.data.text))", json!(64)),
        ("size(base64.encode(event.data.text)) > 1", json!(true)),
        ("size(event.data.texts.sort())", json!(10_000)),
        ("size(event.data.texts.join(','))", json!(98_889)),
        ("99999 in event.data.numbers", json!(true)),
    ] {
        assert_eq!(run(&event, source), Ok(expected), "{source}");
    }
}

/// Each evaluation has its own budget, whatever the one before has spent.
#[test]
fn what_ran_out_costs_the_next_one_nothing() {
    let event = event();
    run(&event, "event.data.numbers.map(n, event.data.numbers)").unwrap_err();
    assert_eq!(run(&event, "1 + 1"), Ok(json!(2)));
}

/// Without a loop, and without an event's size behind it, no expression costs more than it may.
#[test]
fn small_events_never_cost_too_much() {
    let event =
        json!({"type": "x", "data": {"text": "a refund, please", "n": 7, "tags": ["a", "b"]}});
    for piece in [
        "event.data.text.contains('refund')",
        "event.data.text.matches('^a .*e$')",
        "event.data.tags.exists(t, t == 'b')",
        "event.data.?none.orValue('') == ''",
        "event.data.text.replace('a', 'b').size() == 16",
    ] {
        let count = (MAX_SOURCE / (piece.len() + 4)).min(90);
        let source = vec![piece; count].join(" && ");
        assert_eq!(run(&event, &source), Ok(json!(true)), "{piece}");
    }
}
