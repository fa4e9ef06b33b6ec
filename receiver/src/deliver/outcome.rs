//! What follows from an attempt for its delivery. Pure.

use hookswitch_crds::snapshot::{self, OnAmbiguous};
use jiff::Timestamp;

use super::backoff;
use super::kind::{Class, Verdict};
use crate::plan::DeadReason;
use crate::store::{Answer, Finish, Next, StoredDelivery};

/// The end of an attempt or of a delivery, on its way into the store.
pub(super) struct Conclusion {
    pub(super) delivery: StoredDelivery,
    pub(super) finish: Finish,
}

impl Conclusion {
    /// The end of an attempt.
    pub(super) fn attempted(
        delivery: StoredDelivery,
        verdict: &Verdict,
        answer: Answer,
        settings: &snapshot::Delivery,
        at: Timestamp,
    ) -> Self {
        Self {
            finish: Finish {
                id: delivery.id,
                attempts: delivery.attempts,
                at,
                answer: Some(answer),
                next: next(verdict, settings, &delivery, at),
            },
            delivery,
        }
    }

    /// A delivery that ends without an attempt.
    pub(super) fn dead(delivery: StoredDelivery, at: Timestamp, reason: DeadReason) -> Self {
        Self {
            finish: Finish {
                id: delivery.id,
                attempts: delivery.attempts,
                at,
                answer: None,
                next: Next::Dead(reason),
            },
            delivery,
        }
    }

    /// A delivery that was interrupted, and is not to be attempted again.
    pub(super) fn interrupted(delivery: StoredDelivery, at: Timestamp) -> Self {
        let answer = Answer {
            status: None,
            reason: Verdict::interrupted().reason.to_owned(),
            ambiguous: true,
            excerpt: None,
        };
        let mut conclusion = Self::dead(delivery, at, DeadReason::Ambiguous);
        conclusion.finish.answer = Some(answer);
        conclusion
    }
}

/// What comes after an attempt.
fn next(
    verdict: &Verdict,
    settings: &snapshot::Delivery,
    delivery: &StoredDelivery,
    now: Timestamp,
) -> Next {
    match verdict.class {
        Class::Delivered => Next::Delivered,
        Class::Refused => Next::Dead(DeadReason::Refused),
        Class::Alone => Next::RetryAt(now),
        Class::Ambiguous if settings.on_ambiguous == OnAmbiguous::DeadLetter => {
            Next::Dead(DeadReason::Ambiguous)
        }
        Class::Retry | Class::RateLimited | Class::Ambiguous => {
            if overdue(delivery, settings, now) {
                return Next::Dead(DeadReason::GaveUp);
            }
            let delay = verdict.retry_after.map_or_else(
                || backoff::delay(settings, delivery.attempts),
                |wait| backoff::delay_after(settings, wait),
            );
            Next::RetryAt(now.saturating_add(delay).unwrap_or(Timestamp::MAX))
        }
    }
}

/// Whether `giveUpAfter` has passed since the plan.
pub(super) fn overdue(
    delivery: &StoredDelivery,
    settings: &snapshot::Delivery,
    now: Timestamp,
) -> bool {
    let limit = settings.give_up_after.to_std();
    delivery
        .planned_at
        .saturating_add(limit)
        .is_ok_and(|limit| now >= limit)
}
