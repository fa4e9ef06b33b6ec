//! Where an attribute is found in a request: `/event_type`, or `{header: X-GitHub-Event}`.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a pointer must look like.
pub(crate) const POINTER: &str = "^(/([^~/]|~0|~1)*)+$";

/// What a header's name must look like.
pub(crate) const HEADER: &str = "^[-!#$%&*+.^_`|~0-9A-Za-z]+$";

/// A place in a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FieldSource {
    /// A JSON pointer (RFC 6901) into the body.
    Pointer(String),
    /// A header's name.
    Header(String),
}

/// The form of a header in YAML.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderForm {
    header: String,
}

impl Serialize for FieldSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Pointer(pointer) => serializer.serialize_str(pointer),
            Self::Header(header) => HeaderForm {
                header: header.clone(),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FieldSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = FieldSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON pointer such as /event_type, or {header: Name}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FieldSource, E> {
                Ok(FieldSource::Pointer(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FieldSource, A::Error> {
                HeaderForm::deserialize(MapAccessDeserializer::new(map))
                    .map(|form| FieldSource::Header(form.header))
            }
        }

        deserializer.deserialize_any(Form)
    }
}

/// A text or an object. A structural schema has no type for that, and where there is no type there
/// are no CEL rules: bounds and patterns hold for the one or the other, and numbers and lists are
/// only refused when the object is compiled.
impl JsonSchema for FieldSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FieldSource".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true,
            "maxLength": 512,
            "pattern": POINTER,
            "maxProperties": 1,
            "required": ["header"],
            "properties": {
                "header": {
                    "description": "The name of the header that holds the attribute.",
                    "type": "string",
                    "maxLength": 256,
                    "pattern": HEADER,
                },
            },
        })
    }
}
