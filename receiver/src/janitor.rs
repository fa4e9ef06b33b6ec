//! Removes what is finished and past its retention, a bounded piece at a time.

use std::sync::Arc;
use std::time::Duration;

use hookswitch_crds::duration;
use hookswitch_crds::key::ObjectKey;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Follow;
use crate::store::{Retention, Store};

/// Between two rounds that found nothing left to do.
const IDLE: Duration = Duration::from_secs(10);
/// Between two pieces of one round: other writers go first.
const BETWEEN_PIECES: Duration = Duration::from_millis(50);
/// For events of subscriptions that are gone: the defaults of the API.
pub(crate) const ORPHANED: Retention = Retention {
    finished: duration::Duration::from_secs(72 * 3600),
    dead_letters: duration::Duration::from_secs(30 * 24 * 3600),
};

/// Purges until the shutdown. Each round is also a write, by which a store that was full notices
/// that there is room again.
///
/// Cancellation: safe at any point; a piece is one append.
pub async fn run(store: Arc<dyn Store>, config: Follow, clock: Clock, shutdown: CancellationToken) {
    loop {
        let retentions = config.borrow().as_ref().map(|config| {
            config
                .subscriptions
                .values()
                .map(|subscription| (subscription.key().clone(), retention(&subscription.spec)))
                .collect::<Vec<(ObjectKey, Retention)>>()
        });
        let pause = match retentions {
            // Without a configuration nothing says how long to keep anything.
            None => IDLE,
            Some(retentions) => match store.purge(clock.now(), retentions, ORPHANED).await {
                Ok(purged) => {
                    if purged.events + purged.dead_letters > 0 {
                        tracing::debug!(
                            events = purged.events,
                            dead_letters = purged.dead_letters,
                            "purged"
                        );
                    }
                    if purged.more { BETWEEN_PIECES } else { IDLE }
                }
                Err(error) => {
                    tracing::warn!(%error, "what is past its retention could not be removed");
                    IDLE
                }
            },
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn retention(spec: &hookswitch_crds::snapshot::Subscription) -> Retention {
    Retention {
        finished: spec.retention,
        dead_letters: spec.dead_letter_retention,
    }
}
