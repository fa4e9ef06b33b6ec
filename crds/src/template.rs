//! Templates: YAML whose text holds `${...}` expressions.

use serde_json::Value as Json;

use crate::expression::{self, EvalError, Scope, Variables};

/// A compiled template.
#[derive(Debug)]
pub struct Template {}

/// Why a value is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {source}")]
pub struct Error {
    /// The leaf, as a JSON pointer into the template; empty for the root.
    pub pointer: String,
    /// What is wrong with it.
    pub source: expression::Error,
}

impl Template {
    /// Compiles every leaf.
    ///
    /// # Errors
    /// All that is wrong, each with its leaf.
    pub fn compile(_template: &Json, _scope: Scope) -> Result<Self, Vec<Error>> {
        todo!()
    }

    /// Renders it for an event.
    ///
    /// # Errors
    /// Those of the first leaf that has no value.
    pub fn render(&self, _variables: &Variables) -> Result<Json, EvalError> {
        todo!()
    }
}
