//! What an object must be, checked as the API server checks it.
//!
//! The rules are written once, in the schema: [`schema`] walks the same schema that is applied to
//! the cluster, with the same CEL rules and messages, so that `lint`, the operator and the API
//! server give one answer. What a schema can't say is added here, and is found when the object is
//! compiled.

use std::fmt;
use std::sync::LazyLock;

use ipnet::IpNet;
use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use self::schema::Schema;
use crate::crd;
use crate::event_route::{EventRoute, EventRouteSpec};
use crate::subscription::{FieldSource, WebhookSubscription, WebhookSubscriptionSpec};

mod schema;

/// A rule that an object breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The field, as `kubectl` writes it: `spec.rules[2].name`.
    pub field: String,
    /// What is wrong, and the remedy.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Reads a spec from its JSON.
///
/// # Errors
/// The first field that has no place in the spec, is missing or is of another type. What can be
/// read may still break a rule: `validate` tells.
pub fn read<Spec: DeserializeOwned>(spec: &Json) -> Result<Spec, Violation> {
    serde_path_to_error::deserialize(spec).map_err(|error| {
        let field = match error.path().to_string() {
            root if root == "." => "spec".to_owned(),
            path => format!("spec.{path}"),
        };
        Violation {
            field,
            message: error.into_inner().to_string(),
        }
    })
}

static SUBSCRIPTION: LazyLock<Schema> = LazyLock::new(own_schema::<WebhookSubscription>);
static ROUTE: LazyLock<Schema> = LazyLock::new(own_schema::<EventRoute>);

impl WebhookSubscriptionSpec {
    /// All rules that the spec breaks, in the order of its fields; none for a valid one.
    ///
    /// References, expressions and other objects are not looked at.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let mut violations = against(&SUBSCRIPTION, self);
        for (index, range) in self.verification.source_ranges.iter().enumerate() {
            let field = format!("spec.verification.sourceRanges[{index}]");
            if range.parse::<IpNet>().is_err()
                && violations.iter().all(|found| found.field != field)
            {
                violations.push(Violation {
                    field,
                    message: format!(
                        "`{range}` is no range of addresses: write it in CIDR notation, as in \
                         203.0.113.0/24"
                    ),
                });
            }
        }
        if let Some(fields) = &self.fields {
            for (name, source) in [
                ("type", &fields.r#type),
                ("id", &fields.id),
                ("time", &fields.time),
                ("subject", &fields.subject),
                ("sender", &fields.sender),
            ] {
                let field = format!("spec.fields.{name}");
                if let Some((below, message)) = source.as_ref().and_then(FieldSource::problem) {
                    violations.retain(|found| found.field != field);
                    violations.push(Violation {
                        field: field + below,
                        message,
                    });
                }
            }
        }
        violations
    }
}

impl EventRouteSpec {
    /// All rules that the spec breaks, in the order of its fields; none for a valid one.
    ///
    /// References, expressions and other objects are not looked at.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        against(&ROUTE, self)
    }
}

fn against(schema: &Schema, spec: &impl Serialize) -> Vec<Violation> {
    let mut violations = Vec::new();
    match serde_json::to_value(spec) {
        Ok(json) => schema.check(&json, "spec", &mut violations),
        Err(error) => violations.push(Violation {
            field: "spec".to_owned(),
            message: format!("can't be written as JSON: {error}"),
        }),
    }
    violations
}

#[expect(
    clippy::expect_used,
    reason = "the schema is this crate's own, and the tests compile it"
)]
fn own_schema<K: CustomResourceExt + JsonSchema>() -> Schema {
    let props = crd::spec_schema::<K>().expect("the derived schema is one that Kubernetes knows");
    Schema::compile(&props).expect("the schema's patterns and rules compile")
}
