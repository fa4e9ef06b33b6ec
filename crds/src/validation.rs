//! What an object must be, checked as the API server checks it.
//!
//! The rules are written once, in the schema: `schema` walks the same schema that is applied to
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
use crate::subscription::{WebhookSubscription, WebhookSubscriptionSpec};

mod check;
mod schema;
mod shape;

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

/// A kind of object that [`read`] reads.
pub trait Resource: DeserializeOwned {
    /// Removes nulls from a spec and gives every field that is unknown, missing or of another type.
    fn prepare(spec: &mut Json) -> Vec<Violation>;
}

impl Resource for WebhookSubscription {
    fn prepare(spec: &mut Json) -> Vec<Violation> {
        SUBSCRIPTION.prepare(spec)
    }
}

impl Resource for EventRoute {
    fn prepare(spec: &mut Json) -> Vec<Violation> {
        ROUTE.prepare(spec)
    }
}

/// Reads an object from its JSON. A null is a field that is left out, but for those in a body.
///
/// # Errors
/// Every field that is unknown, missing or of another type. What can be read may still break a
/// rule: `validate` of its spec tells.
pub fn read<Kind: Resource>(mut object: Json) -> Result<Kind, Vec<Violation>> {
    let misfits = match object.get_mut("spec") {
        Some(spec) => Kind::prepare(spec),
        None => vec![Violation {
            field: "spec".to_owned(),
            message: "is required: write it".to_owned(),
        }],
    };
    if !misfits.is_empty() {
        return Err(misfits);
    }
    serde_path_to_error::deserialize(object).map_err(|error| {
        vec![Violation {
            field: error.path().to_string(),
            message: error.into_inner().to_string(),
        }]
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
    match serde_json::to_value(spec) {
        Ok(json) => schema.broken_rules(&json),
        Err(error) => vec![Violation {
            field: "spec".to_owned(),
            message: format!("can't be written as JSON: {error}"),
        }],
    }
}

#[expect(
    clippy::expect_used,
    reason = "the schema is this crate's own, and the tests compile it"
)]
fn own_schema<K: CustomResourceExt + JsonSchema>() -> Schema {
    let props = crd::spec_schema::<K>().expect("the derived schema is one that Kubernetes knows");
    Schema::compile(&props).expect("the schema's patterns and rules compile")
}
