//! Lists of words that expressions look for in an event's text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret_ref::{ConfigMapRef, SecretRef};
use crate::text;

/// A list of words, one a line where it is read from a ConfigMap or a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.configMapRef), has(self.secretRef), has(self.inline) && size(self.inline) > 0].exists_one(given, given)",
    "message": "name one source of the words: configMapRef, secretRef or inline",
}]))]
pub struct WordList {
    /// What expressions call the list.
    #[schemars(with = "text::Name")]
    pub name: String,
    /// A key of a ConfigMap in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapRef>,
    /// A key of a Secret in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// The words themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::Word>", length(max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub inline: Vec<String>,
}
