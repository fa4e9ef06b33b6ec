//! The one place where the operator reads the time of day. Pure code is given the time; what waits
//! goes by tokio's clock, which nobody sets.

use jiff::Timestamp;

/// Now.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}
