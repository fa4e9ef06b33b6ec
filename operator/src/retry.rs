//! What to do about an error of the API server: a match on its kind, never on its text.

use std::time::Duration;

use backon::BackoffBuilder as _;

/// Kinds of errors, which are also values of the metric's label `category`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// Someone else wrote first: read again.
    Conflict,
    /// The object, or its namespace, is gone.
    NotFound,
    /// The operator's role lacks a right.
    Forbidden,
    /// The API server refuses what it was sent, whoever sends it.
    Invalid,
    /// The API server is away, slow or busy.
    Unavailable,
    /// What was read is not what an operator wrote.
    Damaged,
    /// Another instance leads.
    NotLeader,
    /// A fault of the operator's own.
    Internal,
}

impl Category {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Conflict,
        Self::NotFound,
        Self::Forbidden,
        Self::Invalid,
        Self::Unavailable,
        Self::Damaged,
        Self::NotLeader,
        Self::Internal,
    ];

    /// Of an error of the client.
    #[must_use]
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                401 | 403 => Self::Forbidden,
                404 => Self::NotFound,
                409 => Self::Conflict,
                400 | 405 | 406 | 413 | 415 | 422 => Self::Invalid,
                _ => Self::Unavailable,
            },
            kube::Error::SerdeError(_)
            | kube::Error::BuildRequest(_)
            | kube::Error::HttpError(_) => Self::Internal,
            _ => Self::Unavailable,
        }
    }

    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Damaged => "damaged",
            Self::NotLeader => "not_leader",
            Self::Internal => "internal",
        }
    }

    /// How long to wait at least: no waiting heals a missing right or a refused object, so those are
    /// looked at again only now and then.
    #[must_use]
    pub const fn patience(self) -> Duration {
        match self {
            Self::Conflict => Duration::ZERO,
            Self::NotFound | Self::Unavailable | Self::NotLeader => FIRST,
            Self::Forbidden | Self::Invalid | Self::Damaged | Self::Internal => LAST,
        }
    }
}

/// The shortest and the longest wait.
const FIRST: Duration = Duration::from_millis(200);
const LAST: Duration = Duration::from_secs(10);

/// Waits between attempts: they double, with jitter, up to ten seconds.
#[derive(Debug)]
pub struct Backoff(backon::ExponentialBackoff);

impl Default for Backoff {
    fn default() -> Self {
        Self(builder().build())
    }
}

impl Backoff {
    /// The next wait after an error of this kind.
    pub fn next(&mut self, category: Category) -> Duration {
        let wait = self.0.next().unwrap_or(LAST);
        match category {
            // The first conflict is read again at once; a row of them is a fight.
            Category::Conflict => wait.saturating_sub(FIRST),
            _ => wait.max(category.patience()),
        }
    }

    /// An attempt went well.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The same for a watch, which starts again by itself.
#[must_use]
pub fn watching() -> Watching {
    Watching(builder().build())
}

/// Waits of a watch.
#[derive(Debug)]
pub struct Watching(backon::ExponentialBackoff);

impl Iterator for Watching {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl kube::runtime::utils::Backoff for Watching {
    fn reset(&mut self) {
        *self = watching();
    }
}

fn builder() -> backon::ExponentialBuilder {
    backon::ExponentialBuilder::default()
        .with_min_delay(FIRST)
        .with_max_delay(LAST)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16) -> kube::Error {
        kube::Error::Api(
            kube::core::Status::failure("no", "")
                .with_code(code)
                .boxed(),
        )
    }

    #[test]
    fn an_error_is_known_by_its_code() {
        for (code, category) in [
            (409, Category::Conflict),
            (403, Category::Forbidden),
            (404, Category::NotFound),
            (422, Category::Invalid),
            (429, Category::Unavailable),
            (500, Category::Unavailable),
        ] {
            assert_eq!(Category::of(&api(code)), category, "{code}");
        }
    }

    #[test]
    fn waits_grow_to_a_bound_and_start_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..20)
            .map(|_| backoff.next(Category::Unavailable))
            .collect();
        assert!(
            waits.iter().all(|wait| *wait >= FIRST && *wait <= 2 * LAST),
            "{waits:?}"
        );
        assert!(waits.last() >= Some(&LAST), "{waits:?}");
        backoff.reset();
        assert!(backoff.next(Category::Unavailable) < Duration::from_secs(1));
        assert!(backoff.next(Category::Forbidden) >= LAST);
    }
}
