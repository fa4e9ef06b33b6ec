//! Expressions: CEL, compiled when a resource is accepted and evaluated per event.

use serde_json::Value as Json;

/// What an expression may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `event`.
    Event,
    /// `event` and `request`, the rendered body of a write-back.
    Sent,
}

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {}

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

/// The variables of one evaluation, converted once per event.
pub struct Variables {}

impl Variables {
    /// `event`, from its attributes and data.
    #[must_use]
    pub fn new(_event: &Json) -> Self {
        todo!()
    }

    /// The same with `request`.
    #[must_use]
    pub fn with_request(&self, _request: &Json) -> Self {
        todo!()
    }
}

impl Expression {
    /// Parses the expression and checks every variable and function that it names.
    ///
    /// # Errors
    /// With the position and, for an unknown name, a suggestion.
    pub fn compile(_source: &str, _scope: Scope) -> Result<Self, Error> {
        todo!()
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// [`EvalError::MissingField`] where the event lacks a field that it names without `?`.
    pub fn evaluate(&self, _variables: &Variables) -> Result<Json, EvalError> {
        todo!()
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and [`EvalError::Type`] where the value is no bool.
    pub fn evaluate_bool(&self, _variables: &Variables) -> Result<bool, EvalError> {
        todo!()
    }
}
