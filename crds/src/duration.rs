//! Durations as Kubernetes users write them: `72h`, `1h30m`, `500ms`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a duration must look like; the API server checks it too.
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";
/// The longest: what is written without a loss is read again.
const MAX_MILLIS: u64 = 99_999 * 3_600_000;
/// The CEL rule for [`MAX_MILLIS`], and its message.
pub(crate) const LONGEST: (&str, &str) = (
    "duration(self) <= duration('99999h')",
    "write a duration of at most 99999h",
);
/// The most characters that the pattern matches.
pub const MAX_LENGTH: u32 = 28;

/// A span of time in whole milliseconds, written as Gateway API writes it (GEP-2257).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Duration(std::time::Duration);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a duration: write a number and a unit (h, m, s, ms), as in 30s, 10m or 1h30m, and at \
     most 99999h"
)]
pub struct Error(String);

impl Duration {
    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// A span of milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// The standard library's form.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        self.0
    }

    /// Whole milliseconds, at most `i64::MAX`.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl FromStr for Duration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let error = || Error(text.to_owned());
        let mut rest = text;
        let mut total = 0_u64;
        let mut parts = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at_checked(digits).ok_or_else(error)?;
            let (unit, millis) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
                .into_iter()
                .find(|(unit, _)| after.starts_with(unit))
                .ok_or_else(error)?;
            parts += 1;
            if digits == 0 || digits > 5 || parts > 4 {
                return Err(error());
            }
            let number: u64 = number.parse().map_err(|_| error())?;
            total += number * millis;
            rest = after.strip_prefix(unit).ok_or_else(error)?;
        }
        if parts == 0 || total > MAX_MILLIS {
            return Err(error());
        }
        Ok(Self::from_millis(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (rule, message) = LONGEST;
        json_schema!({
            "type": "string",
            "maxLength": MAX_LENGTH,
            "pattern": PATTERN,
            "x-kubernetes-validations": [{"rule": rule, "message": message}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_what_kubernetes_users_write() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("72h", 259_200_000),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration, Duration::from_millis(millis));
            assert_eq!(duration.to_string(), text);
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["99999h", "99997h99m99s99999ms", "1666h99999m", "1ms"] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.to_string().parse(), Ok(duration), "{text}");
        }
    }

    #[test]
    fn refuses_what_the_pattern_refuses() {
        for text in [
            "",
            "h",
            "10",
            "1d",
            "-1s",
            "1.5h",
            "123456s",
            "1h1h1h1h1h",
            "99999h1ms",
            "99999h99999h",
            "1 h",
        ] {
            let error = text.parse::<Duration>().unwrap_err();
            assert!(error.to_string().contains("30s"), "{error}");
        }
    }
}
