//! Writing to the log.
//!
//! ```text
//! changes ──▶ queue ──▶ all that has queued up is one batch ──▶ publish ──▶ acknowledged
//!                                    │                             ▲  │
//!                                    └─ who waits is noted         └──┘ again, under the same name
//! ```
//!
//! - A batch is sent again until it is acknowledged, under the name that it had: the servers drop what they
//!   have already. They remember names for two minutes, so after one the batch is given up.
//! - What is new comes after all that the replica has seen. If not, the log is another one: the engine stops.
//! - What a batch came to is told by the replica, when it applies it: the acknowledgement answers nobody.
//! - Several batches are under way at once, and their order is open: who needs an order waits.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishError;
use bytes::Bytes;
use futures::future::try_join_all;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::Parts;
use super::connection::{REMEMBERED, is_full};
use crate::store::Error;
use crate::store::embedded::change::{Change, Done};
use crate::store::embedded::record;
use crate::store::embedded::writer::Reply;

/// Changes that wait at most; more wait to be queued.
const QUEUE: usize = 1024;
/// Changes of a batch at most.
const CHANGES: usize = 512;
/// Bytes of a batch, but for the last change of it.
const BYTES: usize = 256 << 10;
/// Batches under way at once.
const UNDER_WAY: usize = 8;
/// How long a change may take before its caller is told that it is not known what becomes of it.
pub(super) const ANSWERED: Duration = Duration::from_secs(10);
/// How long the servers may take to acknowledge a message before it is sent again.
const ACKNOWLEDGED: Duration = Duration::from_secs(3);
/// How long a batch is sent again.
const GIVEN_UP: Duration = REMEMBERED.saturating_sub(Duration::from_mins(1));
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// A change as it is written, and who waits.
pub(super) type Queued = (Vec<u8>, Reply<Done>);

/// Where changes are handed in.
pub(super) struct Log(mpsc::Sender<Queued>);

impl Log {
    pub(super) fn new() -> (Self, mpsc::Receiver<Queued>) {
        let (queue, queued) = mpsc::channel(QUEUE);
        (Self(queue), queued)
    }

    /// Writes a change, and gives what it came to, where that is known in time.
    ///
    /// Cancellation: the change may be done all the same.
    pub(super) async fn change(&self, change: &Change, within: Duration) -> Result<Done, Error> {
        let (reply, mut answer) = oneshot::channel();
        let asked = async {
            self.0
                .send((record::encode(change)?, reply))
                .await
                .map_err(|_| closed())?;
            (&mut answer).await.map_err(|_| closed())?
        };
        if let Ok(answered) = timeout(within, asked).await {
            answered
        } else {
            // It may come at this very moment; from here on nobody hears it.
            answer.close();
            answer.try_recv().unwrap_or_else(|_| {
                Err(Error::Unavailable(format!(
                    "no answer within {within:?}; it may come later"
                )))
            })
        }
    }
}

fn closed() -> Error {
    Error::Stopped("it is closed".into())
}

/// Writes what is queued, until the end.
pub(super) async fn write(parts: Arc<Parts>, mut queue: mpsc::Receiver<Queued>) {
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    let mut under_way = JoinSet::new();
    let mut number = 0;
    loop {
        let first = tokio::select! {
            () = parts.stop.cancelled() => break,
            Some(_) = under_way.join_next() => continue,
            queued = queue.recv() => queued,
        };
        let Some((mut bytes, reply)) = first else {
            break;
        };
        let permit = tokio::select! {
            () = parts.stop.cancelled() => break,
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let mut replies = vec![reply];
        while replies.len() < CHANGES && bytes.len() < BYTES {
            let Ok((more, reply)) = queue.try_recv() else {
                break;
            };
            bytes.extend_from_slice(&more);
            replies.push(reply);
        }
        number += 1;
        let parts = Arc::clone(&parts);
        parts.common.waiters.add(number, replies);
        under_way.spawn(async move {
            tokio::select! {
                () = parts.stop.cancelled() => {}
                () = send(&parts, number, &bytes) => {}
            }
            drop(permit);
        });
    }
    while under_way.join_next().await.is_some() {}
}

/// Sends a batch until it is acknowledged, refused, or too old.
async fn send(parts: &Parts, batch: u64, bytes: &[u8]) {
    let Parts {
        connection, common, ..
    } = parts;
    let messages = match record::messages(common.me, batch, bytes, connection.longest()) {
        Ok(messages) => messages,
        Err(error) => return common.waiters.fail(batch, &error),
    };
    let began = Instant::now();
    let mut turns = connection.turns();
    loop {
        match publish(parts, batch, &messages).await {
            Ok(sequence) => {
                connection.acknowledge(sequence);
                connection.set_full(false);
                connection.set_stuck(false);
                return;
            }
            Err(Refused::Full(why)) => {
                connection.set_full(true);
                connection.set_stuck(false);
                return common.waiters.fail(batch, &Error::Full(why));
            }
            Err(Refused::Lost(why)) => {
                parts.engine.stop(&why);
                return common.waiters.fail(batch, &Error::Stopped(why.into()));
            }
            Err(Refused::Unanswered(why)) => {
                // It may have come all the same, and be applied by now.
                if !common.waiters.has(batch) {
                    connection.set_stuck(false);
                    return;
                }
                if began.elapsed() > ACKNOWLEDGED {
                    connection.set_stuck(true);
                }
                connection.leave_server(began.elapsed(), &why).await;
                if began.elapsed() > GIVEN_UP {
                    // So that others are tried; they tell when it goes on.
                    connection.set_stuck(false);
                    return common.waiters.fail(batch, &Error::Unavailable(why));
                }
                tracing::debug!(batch, why, "a batch is sent again");
            }
        }
        turns.mark_unchanged();
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = turns.changed() => {}
        }
        while !connection.is_connected() {
            if began.elapsed() > GIVEN_UP {
                break;
            }
            tokio::select! {
                () = sleep(ACKNOWLEDGED) => {}
                _ = turns.changed() => {}
            }
        }
    }
}

enum Refused {
    /// There is no room.
    Full(String),
    /// The log is not the one that the replica was made from.
    Lost(String),
    /// It can't be known.
    Unanswered(String),
}

/// Sends the messages of a batch once; gives the place of the last.
async fn publish(parts: &Parts, batch: u64, messages: &[Bytes]) -> Result<u64, Refused> {
    let connection = &parts.connection;
    let refused = |error: PublishError| {
        if is_full(&error) {
            Refused::Full(error.to_string())
        } else {
            Refused::Unanswered(error.to_string())
        }
    };
    let applied = parts.common.applied();
    let mut acknowledgements = Vec::with_capacity(messages.len());
    for (part, message) in messages.iter().enumerate() {
        let mut headers = HeaderMap::new();
        let name = format!("{}-{batch}-{part}", parts.common.me.simple());
        headers.insert(async_nats::header::NATS_MESSAGE_ID, name.as_str());
        let sent = connection
            .context()
            .publish_with_headers(connection.subject(), headers, message.clone())
            .await
            .map_err(refused)?;
        acknowledgements.push(sent);
    }
    let all = try_join_all(acknowledgements.into_iter().map(IntoFuture::into_future));
    match timeout(ACKNOWLEDGED, all).await {
        Ok(Ok(acknowledged)) => {
            let again = acknowledged
                .iter()
                .find(|one| !one.duplicate && one.sequence <= applied);
            if let Some(again) = again {
                return Err(Refused::Lost(format!(
                    "the stream {} has put something new in the place {}, and this receiver has read up to {applied}: its servers have lost messages, or it was made anew. Restore a newer copy of the stream; only where what was pending may be lost, remove the directory of every receiver",
                    connection.name(),
                    again.sequence
                )));
            }
            let places = acknowledged.iter().map(|one| one.sequence);
            Ok(places.max().unwrap_or_default())
        }
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(Refused::Unanswered(format!(
            "no acknowledgement within {ACKNOWLEDGED:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_in_time_is_not_known_and_heard_by_nobody() {
        let (log, mut queue) = Log::new();
        let began = Instant::now();
        let within = Duration::from_secs(3);
        let change = Change::Claim(Vec::new());
        let answer = log.change(&change, within).await;
        assert!(matches!(answer, Err(Error::Unavailable(_))));
        assert_eq!(began.elapsed(), within);
        let (_, reply) = queue.recv().await.unwrap();
        let won = reply.send(Ok(Done::Each(vec![true])));
        assert!(won.is_err(), "it comes back, and is given back");
    }
}
