//! Expressions: CEL, compiled when a resource is accepted and evaluated per event.
//!
//! The language is CEL with optional fields (`event.data.?user.orValue('unknown')`) and the string,
//! list, math and base64 functions of cel-go's extensions. Three things are our own:
//! - Every name is checked when it is compiled: an unknown variable, event attribute or function is
//!   refused with a suggestion.
//! - An optional that holds `null` is an empty one for `orValue`, `or` and `hasValue`, since senders
//!   write a missing value as `null` as often as they leave it out.
//! - A field that is missing, and a field of something that has no fields (`null`, a text), are both
//!   [`EvalError::MissingField`].
//!
//! Invariants:
//! - What is bounded when it is compiled can't exhaust the stack or run for long when it is evaluated:
//!   length and nesting have limits, and an evaluation pays for its work (`cost`).
//! - No error text holds a value of the event: names come from the expression's own source.
//! - What can be known to fail for every event is refused when it is compiled: a literal that is no
//!   regular expression, operands whose types can't go together, a condition that is no bool.
//! - A panic inside the CEL library is an [`EvalError::Failed`], or an [`Error`] at compile.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::common::value::CowVal;
use cel::{Context, Env, ExecutionError, Value};
use regex::Regex;
use serde_json::Value as Json;

mod check;
mod conjuncts;
mod cost;
mod functions;
mod lists;
mod names;
mod path;
mod shared;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub use conjuncts::conjuncts;
pub use cost::MAX_COST;
pub use lists::WordLists;
pub(crate) use names::nearest;
pub use value::Variables;

/// The longest source, in bytes.
pub const MAX_SOURCE: usize = 4096;
/// How deeply brackets, and how deeply operations, may be nested.
pub const MAX_NESTING: u16 = 32;

/// The most bytes of text that an expression's value may hold, and all values of a template together.
pub const MAX_VALUE: usize = 16 << 20;

/// The most nodes from an expression's root to a leaf: chains such as `a + b + c` nest too.
const MAX_DEPTH: usize = 100;
/// Room for the parser, which goes some hundred kilobytes deep for each bracket in a debug build.
/// It is reserved, and only used as far as an expression needs it.
const PARSE_STACK: usize = 64 << 20;
/// Room for a level of an evaluation: some forty kilobytes in a debug build, and to spare.
const LEVEL_STACK: usize = 96 << 10;

/// What an expression may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `event`.
    Event,
    /// `event` and `request`, the rendered body of a write-back.
    Sent,
    /// `event`, and `first`: the event that started a wait.
    Unless,
    /// `event` and `enriched`, what a rule's look-ups have found: its bodies.
    Enriched,
}

/// A compiled expression, shared by all who have the same text.
#[derive(Debug, Clone)]
pub struct Expression(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    root: IdedExpr,
    /// Nodes from the root to the deepest leaf.
    depth: usize,
    /// The fields that it names without `?`, in the order written.
    paths: Vec<path::Path>,
    /// The variables that it names.
    variables: BTreeSet<String>,
    /// The fields of `enriched` that it names; `None` stands for `enriched` as a whole.
    enriched: Vec<Option<String>>,
    /// All nodes, paid for when it begins.
    nodes: usize,
    /// The literals that are regular expressions.
    regexes: Arc<[Regex]>,
    /// The word lists that it names, each with where.
    word_lists: Vec<WordListRef>,
}

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong, where (line and column of the expression), and the remedy.
    pub message: String,
}

/// Why an expression has no value for an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The event does not have the field.
    #[error("the event has no field `{0}`")]
    MissingField(String),
    /// The value is not of the type that is needed.
    #[error("the value is {got}, and {want} is needed")]
    Type {
        /// What is needed.
        want: &'static str,
        /// What there is.
        got: String,
    },
    /// Anything else that went wrong; never holds the event's text.
    #[error("{0}")]
    Failed(String),
}

/// A word list that an expression names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WordListRef {
    /// `None` where it is computed.
    name: Option<String>,
    line: usize,
    column: usize,
}

/// Functions, macros and types; made once.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(names::environment()));

impl Expression {
    /// Parses the expression, and checks every variable and function that it names, and the types
    /// as far as they are known before there is an event.
    ///
    /// # Errors
    /// With the position and, for an unknown name, a suggestion.
    pub fn compile(source: &str, scope: Scope) -> Result<Self, Error> {
        Self::checked(source, scope, false)
    }

    /// The same for a condition: what is known to give no bool is refused too. Receivers compile
    /// what was accepted before, and leave the types to the evaluation.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn compile_condition(source: &str, scope: Scope) -> Result<Self, Error> {
        Self::checked(source, scope, true)
    }

    fn checked(source: &str, scope: Scope, condition: bool) -> Result<Self, Error> {
        if source.trim().is_empty() {
            return Err(Error::new("the expression is empty"));
        }
        if source.len() > MAX_SOURCE {
            return Err(Error::new(format!(
                "the expression has {} bytes, and at most {MAX_SOURCE} are allowed",
                source.len()
            )));
        }
        let compiled = shared::compile(source, scope, condition, || {
            stacker::grow(PARSE_STACK, || {
                catch_unwind(AssertUnwindSafe(|| {
                    check::compile(source, scope, condition)
                }))
            })
            .unwrap_or_else(|_| {
                Err(Error::new(
                    "the expression can't be parsed; write it in another way",
                ))
            })
        });
        compiled.map(Self)
    }

    /// Whether it names a variable.
    #[must_use]
    pub fn names(&self, variable: &str) -> bool {
        self.0.variables.contains(variable)
    }

    /// Checks that the word lists that it names are among these.
    ///
    /// # Errors
    /// With the position and a suggestion.
    pub fn check_word_lists(&self, known: &[&str]) -> Result<(), Error> {
        let found = self.0.word_lists.iter().find_map(|it| match &it.name {
            None => Some((
                it,
                "write out the word list's name: `words.risk`, or `words['risk']`".to_owned(),
            )),
            Some(name) if known.contains(&name.as_str()) => None,
            Some(name) => {
                let remedy = match (names::nearest(name, known.iter().copied()), known) {
                    (Some(near), _) => format!("did you mean `words.{near}`?"),
                    (None, []) => "add it to `spec.wordLists`".to_owned(),
                    (None, known) => format!("it has {}", known.join(", ")),
                };
                Some((
                    it,
                    format!("`spec.wordLists` has no list `{name}`; {remedy}"),
                ))
            }
        });
        match found {
            None => Ok(()),
            Some((at, message)) => Err(Error::at(at.line, at.column, &message)),
        }
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// [`EvalError::MissingField`] where the event lacks a field that it names without `?`.
    pub fn evaluate(&self, variables: &Variables<'_>) -> Result<Json, EvalError> {
        let mut room = MAX_VALUE;
        self.evaluate_within(variables, &mut room)
    }

    /// The same for one of several values that have this much room together, in bytes of text.
    pub(crate) fn evaluate_within(
        &self,
        variables: &Variables<'_>,
        room: &mut usize,
    ) -> Result<Json, EvalError> {
        self.resolve(variables, |value| value::to_json(&**value, room))
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and [`EvalError::Type`] where the value is no bool.
    pub fn evaluate_bool(&self, variables: &Variables<'_>) -> Result<bool, EvalError> {
        self.resolve(variables, |value| {
            value
                .downcast_ref::<CelBool>()
                .map(|value| *value.inner())
                .ok_or_else(|| EvalError::Type {
                    want: "a bool",
                    got: value::describe(&**value),
                })
        })
    }

    /// The look-ups that it names, in every way of writing them; `None` stands for all of them.
    pub(crate) fn enriched(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.enriched.iter().map(Option::as_deref)
    }

    /// Evaluates, and reads the result before what it borrows is gone.
    fn resolve<T>(
        &self,
        variables: &Variables<'_>,
        read: impl FnOnce(&CowVal<'_, '_>) -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        let needed = self.0.depth * LEVEL_STACK;
        stacker::maybe_grow(needed, needed + LEVEL_STACK, || {
            catch_unwind(AssertUnwindSafe(|| {
                cost::start(self.0.nodes, &self.0.regexes);
                let mut context = Context::with_env(Arc::clone(&ENV));
                context.set_variable_resolver(variables);
                match Value::resolve_val(&self.0.root, &context) {
                    Ok(value) => read(&value),
                    Err(error) => Err(self.explain(&error, variables)),
                }
            }))
        })
        .unwrap_or_else(|_| {
            Err(EvalError::Failed(
                "the expression crashed the CEL library".to_owned(),
            ))
        })
    }

    /// The library's errors hold values of the event; ours never do.
    fn explain(&self, error: &ExecutionError, variables: &Variables<'_>) -> EvalError {
        let failed = |text: &str| EvalError::Failed(text.to_owned());
        match error {
            ExecutionError::NoSuchKey(name) => self.missing(Some(name), variables),
            ExecutionError::IndexOutOfBounds(_) => self.missing(None, variables),
            ExecutionError::NoSuchOverload(overload) => match overload.function() {
                "_._" | "_[_]" | "_?._" => self.missing(None, variables),
                function => EvalError::Failed(format!(
                    "`{}` can't be used on {}",
                    names::written(function),
                    overload.argument_types().join(" and ")
                )),
            },
            ExecutionError::FunctionError { function, .. } if function == cost::COST => {
                EvalError::Failed(format!(
                    "it takes too much work for this event: more than {MAX_COST} units"
                ))
            }
            ExecutionError::FunctionError { function, message } if function == lists::MISSING => {
                EvalError::Failed(format!(
                    "the word list `{message}` is not there: its ConfigMap, Secret or key is missing"
                ))
            }
            ExecutionError::FunctionError { function, .. } => EvalError::Failed(format!(
                "`{}` failed on what it was given",
                names::written(function)
            )),
            ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
                EvalError::Failed(format!(
                    "`{}` can't be used on {} and {}",
                    names::written(operator),
                    left.type_of(),
                    right.type_of()
                ))
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                failed("division by zero")
            }
            ExecutionError::Overflow(..) => failed("a number is out of range"),
            ExecutionError::DuplicateKey(_) => failed("a map has the same key twice"),
            ExecutionError::UnexpectedType { want, .. } => {
                EvalError::Failed(format!("a value is not of the type that is needed, {want}"))
            }
            ExecutionError::ValuesNotComparable(..) => {
                failed("values of different types are compared")
            }
            _ => failed("it has no value for this event"),
        }
    }

    /// Which of the fields that it names is missing. A name that was computed is not told: it may
    /// be a value of the event.
    fn missing(&self, name: Option<&str>, variables: &Variables<'_>) -> EvalError {
        let missing = || {
            self.0
                .paths
                .iter()
                .filter_map(|path| path.missing(variables))
        };
        let found = missing()
            .find(|found| name.is_none_or(|name| found.ends_with(name)))
            .or_else(|| missing().next());
        EvalError::MissingField(found.unwrap_or_else(|| "(a computed name)".to_owned()))
    }
}

/// The names of all functions and methods, for whoever explains them.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    names::FUNCTIONS.into_iter().chain(names::METHODS)
}

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }

    /// With its place, both counted from 1.
    fn at(line: usize, column: usize, message: &str) -> Self {
        Self::new(format!("line {line}, column {column}: {message}"))
    }
}
