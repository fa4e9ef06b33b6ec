//! References to a key of a Secret or a ConfigMap, always in the namespace of the object that has
//! them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text;

/// A key of a Secret in the same namespace.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(with = "text::ObjectName")]
    pub name: String,
    /// The key of its data.
    #[schemars(with = "text::DataKey")]
    pub key: String,
}

/// A key of a Secret in the same namespace, one of several while secrets are rotated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotatedSecretRef {
    /// The Secret's name.
    #[schemars(with = "text::ObjectName")]
    pub name: String,
    /// The key of its data.
    #[schemars(with = "text::DataKey")]
    pub key: String,
    /// True where the key may be missing, as the previous one is after a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// A key of a ConfigMap in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMapRef {
    /// The ConfigMap's name.
    #[schemars(with = "text::ObjectName")]
    pub name: String,
    /// The key of its data.
    #[schemars(with = "text::DataKey")]
    pub key: String,
}

impl RotatedSecretRef {
    /// The reference itself.
    #[must_use]
    pub fn secret_ref(&self) -> SecretRef {
        SecretRef {
            name: self.name.clone(),
            key: self.key.clone(),
        }
    }

    /// True where the key may be missing.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.optional.unwrap_or(false)
    }
}
