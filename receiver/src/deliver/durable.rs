//! What a lane writes to the store: that attempts start, and what became of them.

use std::time::Duration;

use tokio::time::sleep;

use super::Engine;
use super::outcome::Conclusion;
use super::report::Report;
use crate::store::{self, Claim, Finish, StoredDelivery};

/// The pause after the store failed.
pub(super) const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Makes the start of attempts durable, and gives those that were won.
pub(super) async fn claim(
    engine: &Engine,
    requests: Vec<Vec<StoredDelivery>>,
) -> Result<Vec<Vec<StoredDelivery>>, store::Error> {
    if requests.is_empty() {
        return Ok(requests);
    }
    let at = engine.clock.now();
    let claims = requests
        .iter()
        .flatten()
        .map(|delivery| Claim {
            id: delivery.id,
            attempts: delivery.attempts,
            at,
        })
        .collect();
    let mut won = engine.store.claim(claims).await?.into_iter();
    let mut claimed = Vec::with_capacity(requests.len());
    for request in requests {
        let ours = request
            .into_iter()
            .filter(|_| won.next().unwrap_or(false))
            .map(|delivery| StoredDelivery {
                attempts: delivery.attempts.saturating_add(1),
                ..delivery
            });
        let ours: Vec<_> = ours.collect();
        if !ours.is_empty() {
            claimed.push(ours);
        }
    }
    Ok(claimed)
}

/// Makes conclusions durable, however long it takes. Given up only when the time to drain is over:
/// then they are interrupted at the next start.
pub(super) async fn conclude(engine: &Engine, report: &mut Report, conclusions: Vec<Conclusion>) {
    if conclusions.is_empty() {
        return;
    }
    let finishes: Vec<Finish> = conclusions.iter().map(|one| one.finish.clone()).collect();
    loop {
        match engine.store.finish(finishes.clone()).await {
            Ok(current) => {
                report.store_works();
                for (conclusion, current) in conclusions.iter().zip(current) {
                    report.concluded(conclusion, current);
                }
                return;
            }
            Err(error) => report.store_failed(&error),
        }
        tokio::select! {
            () = engine.drained.cancelled() => {
                report.left_behind(conclusions.len());
                return;
            }
            () = sleep(STORE_PAUSE) => {}
        }
    }
}
