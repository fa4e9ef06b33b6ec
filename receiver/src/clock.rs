//! The one place where the time of day is read. Pure code is given the time.

use jiff::Timestamp;

/// A source of the time of day.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The machine's.
    System,
    /// Moves with tokio's time, so that a paused test moves it.
    Virtual {
        /// The time of day at `origin`.
        base: Timestamp,
        /// A moment of tokio's clock.
        origin: tokio::time::Instant,
    },
}

impl Clock {
    /// A clock for tests in virtual time, which starts at `base`.
    #[must_use]
    pub fn starting_at(base: Timestamp) -> Self {
        Self::Virtual {
            base,
            origin: tokio::time::Instant::now(),
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Virtual { base, origin } => jiff::SignedDuration::try_from(origin.elapsed())
                .map_or(Timestamp::MAX, |elapsed| {
                    base.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
                }),
        }
    }
}
