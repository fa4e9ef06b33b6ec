//! What is wrong, where, and what to do about it: one form for `lint` and `run`.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::files::node::Position;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work, or not as written.
    Error,
    /// Something is passed over.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing that is wrong. Printed as compilers print it, so that editors can jump to the place:
///
/// ```text
/// routes/crm.yaml:12:11: error: EventRoute support/crm: spec.rules[0].when: no variable `evnt` (InvalidExpression)
/// ```
///
/// Ordered by file, and in it by severity and place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// As the user named it; none where it is not about a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// How bad it is.
    pub severity: Severity,
    /// Where in the file; none where what is served is no longer in it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// `Kind namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// A path such as `spec.rules[0].when`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The condition's reason, as `kubectl` would show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is wrong, and the remedy.
    pub message: String,
}

impl Diagnostic {
    /// An error at a place of a file.
    pub fn error(
        file: impl Into<PathBuf>,
        position: Option<Position>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: Some(file.into()),
            position,
            severity: Severity::Error,
            object: None,
            field: None,
            reason: None,
            message: message.into(),
        }
    }

    /// The same, but only a warning.
    #[must_use]
    pub fn warning(self) -> Self {
        Self {
            severity: Severity::Warning,
            ..self
        }
    }

    /// The same, about an object.
    #[must_use]
    pub fn about(self, object: impl fmt::Display) -> Self {
        Self {
            object: Some(object.to_string()),
            ..self
        }
    }

    /// The same, about a field.
    #[must_use]
    pub fn field(self, field: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()).filter(|field: &String| !field.is_empty()),
            ..self
        }
    }

    /// The same, with a condition's reason.
    #[must_use]
    pub fn reason(self, reason: impl fmt::Display) -> Self {
        Self {
            reason: Some(reason.to_string()),
            ..self
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(Position { line, column }) = self.position {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        write!(f, "{}: ", self.severity)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        Ok(())
    }
}
