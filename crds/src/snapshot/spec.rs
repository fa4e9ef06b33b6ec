//! A spec as it was written, kept for later.
//!
//! It is kept as JSON text: of ten thousand objects it is read of hardly any, and parsed it takes ten times
//! the memory.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Error, Value};

/// A spec. Two are equal where they say the same, in whatever order.
#[derive(Clone)]
pub struct Spec(Arc<RawValue>);

impl Spec {
    /// Keeps a spec.
    ///
    /// # Errors
    /// Where it can't be written as JSON.
    pub fn of<T: Serialize>(spec: &T) -> Result<Self, Error> {
        Ok(Self(serde_json::value::to_raw_value(spec)?.into()))
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where it is none of this kind.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.0.get())
    }
}

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        // One operator writes one spec in one way; another version may write it in another.
        let parsed = |spec: &Self| spec.read::<Value>().ok();
        self.0.get() == other.0.get() || parsed(self) == parsed(other)
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Box::<RawValue>::deserialize(deserializer)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_specs_may_be_written_in_any_order() {
        let spec = |text: &str| serde_json::from_str::<Spec>(text).unwrap();
        assert_eq!(spec(r#"{"a":1,"b":[2]}"#), spec(r#"{ "b": [2], "a": 1 }"#));
        assert_ne!(spec(r#"{"a":1}"#), spec(r#"{"a":2}"#));
    }

    #[test]
    fn it_is_written_as_it_was_read() {
        let text = r#"{"rules":[{"name":"b","when":"x"}],"a":null}"#;
        let spec: Spec = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&spec).unwrap(), text);
        let value = serde_json::to_value(&spec).unwrap();
        assert_eq!(serde_json::from_value::<Spec>(value).unwrap(), spec);
        assert_eq!(Spec::of(&spec.read::<Value>().unwrap()).unwrap(), spec);
    }
}
