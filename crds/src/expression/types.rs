//! What can be known of an expression's types before there is an event.
//!
//! Most of an event is known to nobody before it comes, so most types are unknown (`None`), and what
//! is unknown passes. What is known and can't work is refused: it would fail for every event. Known
//! are literals, the event's attributes and the results of operators and functions. A literal that
//! is to be a regular expression, a time or a number is read as one.
//!
//! Runs on an expression whose names and nesting are checked.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};
use cel::{Context, Value};

use super::path::Path;
use super::{ENV, Error, names};

#[cfg(test)]
mod tests;

/// A type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Bytes,
    Double,
    Duration,
    Int,
    List,
    Map,
    Null,
    Optional,
    Text,
    Timestamp,
    Kind,
    Uint,
}

/// Makes an error at a node.
type At<'a> = dyn Fn(u64, &str) -> Error + 'a;

struct Typing<'a> {
    at: &'a At<'a>,
    /// Variables of the macros around.
    bound: Vec<(String, Option<Type>)>,
}

/// Refuses what can't have a value, whatever the event; and, of a condition, what is no bool.
pub(super) fn check(root: &IdedExpr, condition: bool, at: &At<'_>) -> Result<(), Error> {
    let mut typing = Typing {
        at,
        bound: Vec::new(),
    };
    if condition {
        typing.bool_of(root, "a condition must be a bool")
    } else {
        typing.of(root).map(drop)
    }
}

impl Typing<'_> {
    /// The type of what it gives, where that is known.
    fn of(&mut self, node: &IdedExpr) -> Result<Option<Type>, Error> {
        if let Some(path) = Path::of(node) {
            return Ok(self.path(&path));
        }
        match &node.expr {
            Expr::Unspecified | Expr::Ident(_) | Expr::Struct(_) => Ok(None),
            Expr::Literal(literal) => Ok(Some(literal_type(literal))),
            Expr::Select(select) => {
                self.of(&select.operand)?;
                Ok(select.test.then_some(Type::Bool))
            }
            Expr::List(list) => {
                self.all(&list.elements)?;
                Ok(Some(Type::List))
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            self.of(&entry.key)?;
                            self.of(&entry.value)?;
                        }
                        EntryExpr::StructField(field) => {
                            self.of(&field.value)?;
                        }
                    }
                }
                Ok(Some(Type::Map))
            }
            Expr::Call(call) => self.call(node.id, call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn all(&mut self, nodes: &[IdedExpr]) -> Result<(), Error> {
        nodes.iter().try_for_each(|node| self.of(node).map(drop))
    }

    fn path(&self, path: &Path) -> Option<Type> {
        let bound = self.bound.iter().rev();
        if let Some((_, bound)) = bound.clone().find(|(name, _)| name == path.variable()) {
            return bound.filter(|_| path.depth() == 1);
        }
        if names::TYPES.contains(&path.dotted().as_str()) {
            return Some(Type::Kind);
        }
        match (path.variable(), path.attribute(), path.depth()) {
            ("event", None, 1) => Some(Type::Map),
            ("event", Some("id" | "type" | "source" | "subject" | "sender"), 2) => Some(Type::Text),
            ("event", Some("time"), 2) => Some(Type::Timestamp),
            ("event", Some("hops"), 2) => Some(Type::Int),
            _ => None,
        }
    }

    /// Refuses what is known to be no bool; of a choice, each of its values.
    fn bool_of(&mut self, node: &IdedExpr, why: &str) -> Result<(), Error> {
        if let Expr::Call(call) = &node.expr
            && call.func_name == operators::CONDITIONAL
            && let [condition, yes, no] = call.args.as_slice()
        {
            self.bool_of(condition, CHOICE)?;
            self.bool_of(yes, why)?;
            return self.bool_of(no, why);
        }
        match self.of(node)? {
            None | Some(Type::Bool) => Ok(()),
            Some(other) => Err((self.at)(
                Path::of(node).map_or(node.id, |path| path.id),
                &format!(
                    "this is {}, and {why}: {}",
                    other.described(),
                    other.remedy()
                ),
            )),
        }
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Result<Option<Type>, Error> {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::CONDITIONAL, [condition, yes, no]) => {
                self.bool_of(condition, CHOICE)?;
                let (yes, no) = (self.of(yes)?, self.of(no)?);
                return Ok(yes.filter(|_| yes == no));
            }
            (operator @ (operators::LOGICAL_AND | operators::LOGICAL_OR), [left, right]) => {
                let why = format!("`{}` takes bools", names::written(operator));
                self.bool_of(left, &why)?;
                self.bool_of(right, &why)?;
                return Ok(Some(Type::Bool));
            }
            (operators::LOGICAL_NOT, [operand]) => {
                self.bool_of(operand, "`!` takes a bool")?;
                return Ok(Some(Type::Bool));
            }
            // What it wraps, as it is.
            (names::PRESENT | names::STEPS, [operand]) => return self.of(operand),
            _ => {}
        }
        // The name in front of a dot is a namespace where it is no variable: it has no type.
        let target = match &call.target {
            Some(target) => self.of(target)?,
            None => None,
        };
        let types = call
            .args
            .iter()
            .map(|argument| self.of(argument))
            .collect::<Result<Vec<_>, _>>()?;
        self.literals(id, call)?;
        if let [Some(left), Some(right)] = types.as_slice() {
            self.pair(id, &call.func_name, *left, *right)?;
        }
        Ok(result(call, target, &types))
    }

    /// Refuses an operator whose two sides can't go together.
    fn pair(&self, id: u64, operator: &str, left: Type, right: Type) -> Result<(), Error> {
        let says = match operator {
            operators::EQUALS | operators::NOT_EQUALS
                if left != Type::Null && right != Type::Null =>
            {
                "is never equal to"
            }
            operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS => "can't be compared with",
            _ => return Ok(()),
        };
        if left == right || (left.is_number() && right.is_number()) {
            return Ok(());
        }
        let remedy = if left == Type::Optional || right == Type::Optional {
            "end the optional with `.orValue(...)`"
        } else {
            "convert one, as `string(x)`, `int(x)` and `timestamp(x)` do"
        };
        Err((self.at)(
            id,
            &format!(
                "{} {says} {}: {remedy}",
                left.described(),
                right.described()
            ),
        ))
    }

    /// Reads literals as what the function will read them as.
    fn literals(&self, id: u64, call: &CallExpr) -> Result<(), Error> {
        let [argument] = call.args.as_slice() else {
            return Ok(());
        };
        let Expr::Literal(literal @ LiteralValue::String(text)) = &argument.expr else {
            return Ok(());
        };
        match (call.func_name.as_str(), &call.target) {
            ("matches", Some(_)) => match names::regex(text.inner()) {
                Ok(_) => Ok(()),
                Err(error) => Err((self.at)(argument.id, &no_regex(&error))),
            },
            (function @ ("bool" | "double" | "duration" | "int" | "timestamp" | "uint"), None) => {
                let conversion = IdedExpr {
                    id,
                    expr: Expr::Call(CallExpr {
                        func_name: function.to_owned(),
                        target: None,
                        args: vec![IdedExpr {
                            id: argument.id,
                            expr: Expr::Literal(literal.clone()),
                        }],
                    }),
                };
                let context = Context::with_env(ENV.clone());
                if Value::resolve_val(&conversion, &context).is_ok() {
                    return Ok(());
                }
                let example = match function {
                    "duration" => "; write it as '90s' or '1h30m'",
                    "timestamp" => "; write it as '2026-03-01T10:00:00Z'",
                    _ => "",
                };
                Err((self.at)(
                    argument.id,
                    &format!("this text is no {function}{example}"),
                ))
            }
            _ => Ok(()),
        }
    }

    fn comprehension(&mut self, node: &ComprehensionExpr) -> Result<Option<Type>, Error> {
        self.of(&node.iter_range)?;
        let accumulator = self.of(&node.accu_init)?;
        let outer = self.bound.len();
        self.bound.push((node.iter_var.clone(), None));
        self.bound
            .extend(node.iter_var2.clone().map(|name| (name, None)));
        self.bound.push((node.accu_var.clone(), accumulator));
        self.of(&node.loop_cond)?;
        self.of(&node.loop_step)?;
        let result = self.of(&node.result)?;
        self.bound.truncate(outer);
        Ok(result)
    }
}

/// Why the first part of `x ? y : z` must be a bool.
const CHOICE: &str = "what stands before `?` must be a bool";

impl Type {
    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    fn described(self) -> &'static str {
        match self {
            Self::Bool => "a bool",
            Self::Bytes => "bytes",
            Self::Double => "a double",
            Self::Duration => "a duration",
            Self::Int => "an int",
            Self::List => "a list",
            Self::Map => "a map",
            Self::Null => "null",
            Self::Optional => "an optional",
            Self::Text => "a string",
            Self::Timestamp => "a timestamp",
            Self::Kind => "a type",
            Self::Uint => "a uint",
        }
    }

    /// How a bool is made of it.
    fn remedy(self) -> &'static str {
        match self {
            Self::Text => "compare it, as in `event.type == 'message.received'`",
            Self::Optional => "end it with `.orValue(false)` or `.hasValue()`",
            Self::List | Self::Map => {
                "ask for its size, `size(x) > 0`, or what is in it, `'a' in x`"
            }
            Self::Null => "leave the condition out, or compare with `== null`",
            Self::Bool
            | Self::Bytes
            | Self::Double
            | Self::Duration
            | Self::Int
            | Self::Timestamp
            | Self::Kind
            | Self::Uint => "compare it, as in `x > y`",
        }
    }
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::Text,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// The type of a call's result, where the function has but one, or its operands' types tell it.
fn result(call: &CallExpr, target: Option<Type>, types: &[Option<Type>]) -> Option<Type> {
    let name = match &call.target {
        Some(target) => match &target.expr {
            Expr::Ident(namespace) => {
                let dotted = format!("{namespace}.{}", call.func_name);
                if names::FUNCTIONS.contains(&dotted.as_str()) {
                    return namespaced(&dotted);
                }
                call.func_name.as_str()
            }
            _ => call.func_name.as_str(),
        },
        None => call.func_name.as_str(),
    };
    match name {
        operators::EQUALS
        | operators::NOT_EQUALS
        | operators::LESS
        | operators::LESS_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS
        | operators::IN
        | operators::NOT_STRICTLY_FALSE
        | "bool"
        | "contains"
        | "endsWith"
        | "hasValue"
        | "matches"
        | "startsWith" => Some(Type::Bool),
        "charAt" | "format" | "join" | "lowerAscii" | "replace" | "string" | "substring"
        | "trim" | "upperAscii" => Some(Type::Text),
        "getDate" | "getDayOfMonth" | "getDayOfWeek" | "getDayOfYear" | "getFullYear"
        | "getHours" | "getMilliseconds" | "getMinutes" | "getMonth" | "getSeconds" | "indexOf"
        | "int" | "lastIndexOf" | "size" => Some(Type::Int),
        "distinct" | "flatten" | "groups" | "hits" | "slice" | "sort" | "split" => Some(Type::List),
        operators::OPT_SELECT | operators::OPT_INDEX => Some(Type::Optional),
        "or" if target == Some(Type::Optional) => Some(Type::Optional),
        "bytes" => Some(Type::Bytes),
        "double" => Some(Type::Double),
        "duration" => Some(Type::Duration),
        "timestamp" => Some(Type::Timestamp),
        "type" => Some(Type::Kind),
        "uint" => Some(Type::Uint),
        // Numbers, texts and lists are added to their like, and times to durations.
        operators::ADD
        | operators::SUBSTRACT
        | operators::MULTIPLY
        | operators::DIVIDE
        | operators::MODULO => {
            let known = types.iter().flatten().copied();
            known
                .clone()
                .find(|it| it.is_number() || matches!(it, Type::Text | Type::List | Type::Bytes))
        }
        operators::NEGATE => types.first().copied().flatten(),
        _ => None,
    }
}

fn namespaced(function: &str) -> Option<Type> {
    match function {
        "base64.decode" | "hex.decode" => Some(Type::Bytes),
        "base64.encode" | "hash.sha1" | "hash.sha256" | "hash.sha512" | "hex.encode"
        | "json.encode" | "strings.quote" | "time.format" | "url.decode" | "url.encode" => {
            Some(Type::Text)
        }
        "math.isFinite" | "math.isInf" | "math.isNaN" => Some(Type::Bool),
        "math.ceil" | "math.floor" | "math.round" | "math.sqrt" | "math.trunc" => {
            Some(Type::Double)
        }
        "optional.none" | "optional.of" | "optional.ofNonZeroValue" => Some(Type::Optional),
        _ => None,
    }
}

/// What is wrong with a regular expression, on one line.
fn no_regex(error: &regex::Error) -> String {
    let text = error.to_string();
    let reason = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("error: "))
        .map_or_else(|| text.replace('\n', " "), str::to_owned);
    format!(
        "this text is no regular expression: {reason}. The syntax is RE2's: no look-around, no \
         back-references; a `\\` of it is written `\\\\` in a text, or once in r'...'"
    )
}
