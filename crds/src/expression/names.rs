//! The names that expressions may use, and the environment that knows them.

use cel::common::types::{self, CelNull, CelOptional};
use cel::common::value::CowVal;
use cel::{Env, ExecutionError, extensions};

use regex::{Regex, RegexBuilder};

use super::cost::{self, COST};
use super::{functions, lists};

/// What a compiled regular expression may take, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// The event's attributes.
pub(super) const ATTRIBUTES: [&str; 8] = [
    "id", "type", "source", "time", "subject", "sender", "data", "hops",
];

/// Types, which are values too: `type(event.data.referrer) == string`. `type` itself is left out: who
/// writes it means `event.type`.
pub(super) const TYPES: [&str; 12] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "optional_type",
    "string",
    "uint",
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
];

/// Functions called as `f(x)`, those with a dot included.
pub(super) const FUNCTIONS: [&str; 45] = [
    "base64.decode",
    "base64.encode",
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "hash.sha1",
    "hash.sha256",
    "hash.sha512",
    "hex.decode",
    "hex.encode",
    "int",
    "json.decode",
    "json.encode",
    "math.abs",
    "math.bitAnd",
    "math.bitNot",
    "math.bitOr",
    "math.bitShiftLeft",
    "math.bitShiftRight",
    "math.bitXor",
    "math.ceil",
    "math.floor",
    "math.greatest",
    "math.isFinite",
    "math.isInf",
    "math.isNaN",
    "math.least",
    "math.round",
    "math.sign",
    "math.sqrt",
    "math.trunc",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "size",
    "string",
    "strings.quote",
    "time.format",
    "timestamp",
    "type",
    "uint",
    "url.decode",
    "url.encode",
];

/// Functions called as `x.f()`.
pub(super) const METHODS: [&str; 37] = [
    "charAt",
    "contains",
    "distinct",
    "endsWith",
    "flatten",
    "format",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "groups",
    "hasValue",
    "hits",
    "indexOf",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "matches",
    "or",
    "orValue",
    "replace",
    "reverse",
    "size",
    "slice",
    "sort",
    "split",
    "startsWith",
    "substring",
    "trim",
    "upperAscii",
    "value",
];

/// Macros; a call of one that was not expanded has the wrong arguments.
pub(super) const MACROS: [(&str, &str); 7] = [
    ("has", "has(event.data.field)"),
    ("all", "list.all(x, condition)"),
    ("exists", "list.exists(x, condition)"),
    ("exists_one", "list.exists_one(x, condition)"),
    ("filter", "list.filter(x, condition)"),
    ("map", "list.map(x, value)"),
    ("sortBy", "list.sortBy(x, key)"),
];

/// Takes null out of an optional. No expression can spell the name.
pub(super) const PRESENT: &str = "@present";
/// Pays for what a macro goes through. No expression can spell the name.
pub(super) const STEPS: &str = "@steps";

/// A regular expression within bounds: one that compiles to more takes long to compile, and to search
/// with.
pub(super) fn regex(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_REGEX)
        .dfa_size_limit(MAX_REGEX)
        .build()
}

/// Functions, macros and types.
pub(super) fn environment() -> Env {
    let mut env = Env::stdlib();
    let declared = env
        .add_extension(extensions::strings)
        .and_then(|()| env.add_extension(extensions::lists))
        .and_then(|()| env.add_extension(extensions::math))
        .and_then(|()| env.add_extension(extensions::encoders))
        .and_then(|()| env.add_overload(PRESENT, PRESENT, vec![types::DYN_TYPE], present))
        .and_then(|()| functions::declare(&mut env))
        .and_then(|()| lists::declare(&mut env))
        .and_then(|()| {
            let any = || types::DYN_TYPE;
            env.add_overload(COST, COST, vec![any()], cost::cost)?;
            env.add_overload(COST, "@cost(int)", vec![any(), types::INT_TYPE], cost::cost)?;
            env.add_overload(STEPS, STEPS, vec![any(), types::INT_TYPE], cost::steps)
        });
    debug_assert!(declared.is_ok(), "each is declared once: {declared:?}");
    env
}

/// An optional that holds null is empty.
fn present<'b, 'v>(mut arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = arguments
        .pop()
        .ok_or_else(ExecutionError::missing_argument_or_target)?;
    let null = value
        .downcast_ref::<CelOptional<'_>>()
        .and_then(CelOptional::option)
        .is_some_and(|inner| inner.downcast_ref::<CelNull>().is_some());
    Ok(if null {
        CowVal::owned(CelOptional::none())
    } else {
        value
    })
}

/// A function's name as it is written: `_+_` is `+`.
pub(super) fn written(function: &str) -> &str {
    match function {
        "_?_:_" => "? :",
        "_[?_]" => "[?]",
        "add" => "+",
        "sub" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" => "%",
        _ => function.trim_matches(|c| c == '_' || c == '@'),
    }
}

/// The name among `known` that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance * 3 <= candidate.len().max(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters must be changed, added or removed; case does not count.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.to_lowercase().chars().enumerate() {
        let mut previous = i + 1;
        let mut next = vec![previous];
        for ((b, diagonal), above) in right.iter().zip(&row).zip(row.iter().skip(1)) {
            let cost = usize::from(a != *b);
            previous = (diagonal + cost).min(above + 1).min(previous + 1);
            next.push(previous);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
