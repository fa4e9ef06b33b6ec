//! The pause of a lane: a wait that its destination asked for.

use std::time::Duration;

use hookswitch_crds::snapshot::Delivery;
use tokio::time::Instant;

use super::backoff;

/// Until when nothing is sent.
#[derive(Debug, Default)]
pub(super) struct Pause {
    until: Option<Instant>,
    /// Without a success between them.
    in_a_row: u32,
}

impl Pause {
    /// The end of the pause, where there is one now.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }

    /// Waits for what the answer said, else for a backoff that grows with each pause in a row. Answers
    /// to attempts that were in flight together are one pause.
    pub(super) fn extend(
        &mut self,
        retry_after: Option<Duration>,
        settings: &Delivery,
        now: Instant,
    ) {
        let paused = self.until(now);
        let wait = match (retry_after, paused) {
            (Some(wait), _) => backoff::delay_after(settings, wait),
            (None, Some(_)) => return,
            (None, None) => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                backoff::delay(settings, self.in_a_row)
            }
        };
        self.until = Some(paused.map_or(now + wait, |until| until.max(now + wait)));
    }

    /// The destination takes what it is sent: the next pause is a first one.
    pub(super) fn over(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::tests::settings;

    #[tokio::test(start_paused = true)]
    async fn answers_that_were_in_flight_together_are_one_pause() {
        let (mut pause, now) = (Pause::default(), Instant::now());
        let settings = settings();
        pause.extend(Some(Duration::from_secs(30)), &settings, now);
        let until = pause.until(now).unwrap();
        for _ in 0..100 {
            pause.extend(None, &settings, now);
        }
        assert_eq!(pause.until(now), Some(until));
        pause.extend(Some(Duration::from_secs(10)), &settings, now);
        assert_eq!(
            pause.until(now),
            Some(until),
            "a shorter wait ends no longer one"
        );
        pause.extend(Some(Duration::from_mins(1)), &settings, now);
        assert!(pause.until(now).unwrap() > until);
        assert_eq!(pause.until(now + Duration::from_mins(2)), None);
    }
}
