//! Enrichment: makes the look-ups of bodies that name them, renders those, and hands them on.
//!
//! ```text
//!  planner ─ store.plan ─▶ unrendered deliveries ─▶ runner of a lane ─ look-ups ─ render ─▶ store.render
//!     │        (frozen: template, URLs)                  ▲               │                    │
//!     └─ Wake<Lane> (by the engine) ─────────────────────┘   cache, turns, breaker            ▼
//!                                                                       the lane's deliveries, due
//! ```
//!
//! Planning never waits for a look-up: an event's plan holds the template and the URLs, and its other
//! deliveries go on at once. What waits is the one delivery that needs the answer, and in a lane that is
//! ordered what comes after it in its subject.
//!
//! Invariants:
//! - A body is rendered once, and what is rendered is durable before it is sent: every attempt sends the same
//!   bytes, whatever the API says later.
//! - Headers, secrets and word lists are those of the current configuration; template, URLs and redaction
//!   are the plan's.
//! - A lane has a runner of its own, and a look-up has turns, a limit and a breaker of its own: one that
//!   hangs holds up neither another lane nor another look-up.
//! - Look-ups are repeated after a crash: they ask, and change nothing.
//!
//! Where a look-up fails, `onFailure` decides: `Continue` renders without it; `Retry` tries again as a delivery
//! is tried, until `giveUpAfter`, or until the API refuses for good; `DeadLetter` gives up at once. That
//! it is not our turn, or that a secret is missing, says nothing about the API: it waits, or goes on without.

use std::sync::Arc;

use super::{Engine, Error, Runners};

mod cache;
mod lane;
mod look_up;

#[cfg(test)]
mod tests;

pub(super) use look_up::LookUps;

/// Makes look-ups until shutdown. One under way then is made again at the next start.
///
/// Cancellation: loses nothing.
pub(super) async fn run(engine: Arc<Engine>) -> Result<(), Error> {
    let look_ups = Arc::new(LookUps::new(&engine));
    let started = Arc::clone(&engine);
    let mut runners = Runners::new(move |lane, wake| {
        Box::pin(lane::run(
            Arc::clone(&started),
            Arc::clone(&look_ups),
            lane,
            wake,
        ))
    });
    engine
        .shutdown
        .run_until_cancelled(engine.configured())
        .await;
    for lane in engine.pending_lanes().await {
        runners.wake(lane);
    }
    let mut config = engine.config.clone();
    config.mark_unchanged();
    loop {
        tokio::select! {
            () = engine.shutdown.cancelled() => return Ok(()),
            // Another receiver may have planned look-ups by it before it was here.
            Ok(()) = config.changed(), if engine.store.is_shared() => {
                let mut lanes = engine.pending_lanes().await;
                lanes.retain(|lane| engine.looks_up(lane));
                for lane in lanes {
                    runners.wake(lane);
                }
            }
            lanes = engine.unrendered.take() => lanes.into_iter().for_each(|lane| runners.wake(lane)),
            Some(ended) = runners.tasks.join_next() => runners.ended(ended?),
        }
    }
}
