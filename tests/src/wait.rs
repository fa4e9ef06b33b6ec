//! Waiting for conditions.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Looks every few milliseconds until `look` gives something.
///
/// # Panics
/// After `limit`, with what was waited for.
pub async fn until<T>(
    what: impl Display,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            began.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
