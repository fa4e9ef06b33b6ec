//! The timestamp of a signed request: a signature that was recorded does not live for ever.

use std::fmt;

use hookswitch_crds::duration::Duration;
use hookswitch_crds::snapshot::TimestampUnit;
use jiff::Timestamp;

/// What is wrong with a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// There is none.
    Missing,
    /// It comes more than once.
    Repeated,
    /// It has another format than `timestampUnit`.
    Unreadable,
    /// It is too old.
    Past {
        /// By how many seconds it is older than now.
        seconds: i64,
    },
    /// It is too far in the future.
    Future {
        /// By how many seconds it is later than now.
        seconds: i64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Repeated => f.write_str("comes more than once"),
            Self::Unreadable => f.write_str("does not have the format of timestampUnit"),
            Self::Past { seconds } => write!(
                f,
                "is {seconds} s old, which is more than the tolerance: a replay, a slow delivery or a wrong clock"
            ),
            Self::Future { seconds } => write!(
                f,
                "is {seconds} s in the future, which is more than the tolerance: a wrong clock"
            ),
        }
    }
}

/// Reads a timestamp.
pub(super) fn parse(text: &[u8], unit: TimestampUnit) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    if unit == TimestampUnit::Rfc3339 {
        return text.parse().ok();
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = text.parse().ok()?;
    match unit {
        TimestampUnit::Seconds => Timestamp::from_second(number).ok(),
        TimestampUnit::Milliseconds => Timestamp::from_millisecond(number).ok(),
        TimestampUnit::Rfc3339 => None,
    }
}

/// Whether the timestamp is near enough to now, on either side.
pub(super) fn check(at: Timestamp, now: Timestamp, tolerance: Duration) -> Result<(), Problem> {
    let age = now.duration_since(at);
    if age.unsigned_abs() <= tolerance.to_std() {
        return Ok(());
    }
    let seconds = age.as_secs().saturating_abs();
    Err(if age.is_negative() {
        Problem::Future { seconds }
    } else {
        Problem::Past { seconds }
    })
}
