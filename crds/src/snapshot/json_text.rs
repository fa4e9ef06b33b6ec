//! JSON that is kept for later: a spec as it was written, the template of a body.
//!
//! It is kept as text: of ten thousand objects it is read of hardly any, and parsed it takes ten times
//! the memory.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Error, Value};

/// JSON as text. Two are equal where they say the same, in whatever order.
#[derive(Clone)]
pub struct JsonText(Arc<RawValue>);

impl JsonText {
    /// Keeps a value.
    ///
    /// # Errors
    /// Where it can't be written as JSON.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, Error> {
        Ok(Self(serde_json::value::to_raw_value(value)?.into()))
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where it is none of this kind.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.0.get())
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        // One operator writes one value in one way; another version may write it in another.
        let parsed = |text: &Self| text.read::<Value>().ok();
        self.0.get() == other.0.get() || parsed(self) == parsed(other)
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Box::<RawValue>::deserialize(deserializer)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_may_be_written_in_any_order() {
        let kept = |text: &str| serde_json::from_str::<JsonText>(text).unwrap();
        assert_eq!(kept(r#"{"a":1,"b":[2]}"#), kept(r#"{ "b": [2], "a": 1 }"#));
        assert_ne!(kept(r#"{"a":1}"#), kept(r#"{"a":2}"#));
    }

    #[test]
    fn it_is_written_as_it_was_read() {
        let text = r#"{"rules":[{"name":"b","when":"x"}],"a":null}"#;
        let kept: JsonText = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&kept).unwrap(), text);
        let value = serde_json::to_value(&kept).unwrap();
        assert_eq!(serde_json::from_value::<JsonText>(value).unwrap(), kept);
        assert_eq!(JsonText::of(&kept.read::<Value>().unwrap()).unwrap(), kept);
    }
}
