//! Amounts of bytes as Kubernetes users write them: `1Gi`, `500Mi`, `1048576`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a quantity in text must look like; the API server checks it too.
pub const PATTERN: &str = "^[0-9]{1,15}(k|M|G|T|Ki|Mi|Gi|Ti)?$";

/// The units, largest first.
const UNITS: [(&str, u64); 8] = [
    ("Ti", 1 << 40),
    ("T", 1_000_000_000_000),
    ("Gi", 1 << 30),
    ("G", 1_000_000_000),
    ("Mi", 1 << 20),
    ("M", 1_000_000),
    ("Ki", 1 << 10),
    ("k", 1_000),
];

/// A number of bytes, at most `i64::MAX`, written with the units of Kubernetes' quantities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Quantity(u64);

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an amount of bytes: write a whole number, perhaps with Ki, Mi, Gi or Ti, as in 500Mi"
)]
pub struct Error(String);

impl Quantity {
    /// An amount of bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let error = || Error(text.to_owned());
        let (digits, unit) = UNITS
            .into_iter()
            .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))
            .unwrap_or((text, 1));
        if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let number: u64 = digits.parse().map_err(|_| error())?;
        number
            .checked_mul(unit)
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .map(Self)
            .ok_or_else(error)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS
            .into_iter()
            .find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit));
        match whole {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl Visitor<'_> for Form {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of bytes such as 500Mi, 1Gi or 1048576")
            }

            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Quantity, E> {
                bytes.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Quantity, E> {
                bytes.to_string().parse().map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 0,
            "maxLength": 17,
            "pattern": PATTERN,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_what_kubernetes_users_write() {
        for (text, bytes, written) in [
            ("0", 0, "0"),
            ("1048576", 1 << 20, "1Mi"),
            ("500Mi", 500 << 20, "500Mi"),
            ("1Gi", 1 << 30, "1Gi"),
            ("2G", 2_000_000_000, "2G"),
            ("7k", 7_000, "7k"),
        ] {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!(quantity.bytes(), bytes, "{text}");
            assert_eq!(quantity.to_string(), written);
            assert_eq!(written.parse(), Ok(quantity));
        }
    }

    #[test]
    fn refuses_what_is_no_whole_number_of_bytes() {
        for text in [
            "",
            "Gi",
            "1.5Gi",
            "-1",
            "1 Gi",
            "1GB",
            "1e3",
            "9999999999Ti",
        ] {
            let error = text.parse::<Quantity>().unwrap_err();
            assert!(error.to_string().contains("500Mi"), "{error}");
        }
    }

    #[test]
    fn a_number_and_a_text_mean_the_same() {
        let number: Quantity = serde_json::from_str("1048576").unwrap();
        let text: Quantity = serde_json::from_str("\"1Mi\"").unwrap();
        assert_eq!(number, text);
        assert!(serde_json::from_str::<Quantity>("-1").is_err());
    }
}
