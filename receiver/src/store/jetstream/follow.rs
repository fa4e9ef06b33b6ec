//! Reading the log into the replica.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::stream::Stream;
use futures::StreamExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep};

use super::Parts;
use super::connection::Info;
use crate::store::Error;
use crate::store::embedded::replica::{self, Message};
use crate::store::embedded::state::lock;

/// Messages of one transaction at most.
const AT_ONCE: usize = 64;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// How long what was acknowledged may take to come before it is asked for anew.
const LATE: Duration = Duration::from_secs(2);
/// How long a full disk is left alone.
const FULL: Duration = Duration::from_secs(1);

/// Between two looks whether the log is still the same, at most.
const CHECK: Duration = Duration::from_secs(10);
/// For so many times as long as it takes to take over must a log not be the one that was read before the engine stops.
const SURE: u32 = 5;

/// Why it was not followed to the end.
pub(super) enum Ended {
    /// Try again.
    Again(String),
    /// The log is not the one that was read, says who answered. It may be a server that was cut off and does not
    /// know yet.
    Lost(String),
    /// It can't go on.
    Stop(String),
}

/// Follows the log until the end. What can't be followed stops the engine.
pub(super) async fn run(parts: Arc<Parts>) {
    let sure = parts.connection.settings().takeover * SURE;
    let mut lost_since = None;
    loop {
        let ended = tokio::select! {
            () = parts.stop.cancelled() => return,
            ended = follow(&parts) => ended,
        };
        if lock(&parts.lost).is_none() {
            // It was followed meanwhile.
            lost_since = None;
        }
        lock(&parts.lost).get_or_insert_with(Instant::now);
        let stop = match ended {
            Ended::Again(why) => {
                tracing::debug!(why, "the log is followed anew");
                None
            }
            Ended::Lost(why) => {
                // Told once, as it is looked at several times a second.
                let since = *lost_since.get_or_insert_with(|| {
                    tracing::warn!(why, "the log can't be followed; will look again");
                    Instant::now()
                });
                Some(why).filter(|_| since.elapsed() >= sure)
            }
            Ended::Stop(why) => Some(why),
        };
        if let Some(why) = stop {
            tracing::error!(why, "the log can't be followed");
            parts.engine.stop(&why);
            return;
        }
        tokio::select! {
            () = parts.stop.cancelled() => return,
            () = sleep(PAUSE) => {}
        }
    }
}

async fn follow(parts: &Parts) -> Ended {
    let mut messages = match begin(parts).await {
        Ok(messages) => messages.ready_chunks(AT_ONCE),
        Err(ended) => return ended,
    };
    *lock(&parts.lost) = None;
    let mut turns = parts.connection.turns();
    turns.mark_unchanged();
    let mut late = interval(LATE);
    late.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = None;
    let mut waited = None;
    // Tests want to know at once.
    let every = CHECK.min(parts.connection.settings().takeover);
    let mut check = interval_at(Instant::now() + every, every);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            chunk = messages.next() => {
                let Some(chunk) = chunk else {
                    return Ended::Again("the log's reader has ended".to_owned());
                };
                if let Err(ended) = take(parts, chunk).await {
                    return ended;
                }
            }
            _ = turns.changed() => {
                if parts.connection.is_connected() {
                    return Ended::Again("there is a new connection".to_owned());
                }
            }
            _ = late.tick() => {
                let applied = parts.common.applied();
                if seen == Some(applied) && parts.connection.acknowledged() > applied {
                    return Ended::Again("what was acknowledged does not come".to_owned());
                }
                seen = Some(applied);
            }
            _ = check.tick() => {
                match verify(parts).await {
                    // Whoever is right is found out by a second look.
                    Err(Ended::Lost(why) | Ended::Stop(why)) => return Ended::Again(why),
                    Err(Ended::Again(_)) => {}
                    Ok((stream, applied)) => {
                        let waits = (Info::of(&stream).last > applied).then_some(applied);
                        if waits.is_some() && waits == waited {
                            return Ended::Again("what stands in the log does not come".to_owned());
                        }
                        waited = waits;
                    }
                }
            }
        }
    }
}

/// Sees to it that the log is the one that the replica was made from, and holds what the replica has seen. A
/// replica of another one would apply what comes next to what that was never written for.
pub(super) async fn verify(parts: &Parts) -> Result<(Stream, u64), Ended> {
    const REMEDY: &str = "Restore a newer copy of the stream; only where what was pending may be lost, remove the directory of every receiver";
    let connection = &parts.connection;
    let name = connection.name();
    let mut missing = false;
    loop {
        // Before the log is looked at: it goes on meanwhile.
        let (applied, digest) = parts.common.tail();
        let stream = connection.stream().await.map_err(Ended::Again)?;
        let info = Info::of(&stream);
        if info.stream != parts.stream {
            return Err(Ended::Lost(format!(
                "the stream {name} was deleted and made anew, at {}: what this receiver knows is not in it. {REMEDY}",
                info.stream
            )));
        }
        if info.last < applied {
            return Err(Ended::Lost(format!(
                "the stream {name} ends at {}, and this receiver has read up to {applied}: its servers have lost messages. {REMEDY}",
                info.last
            )));
        }
        if applied + 1 < info.first {
            // No server that knows less would say so.
            return Err(Ended::Stop(format!(
                "the stream {name} begins at {}, and this receiver has read up to {applied}: the next start takes a checkpoint",
                info.first
            )));
        }
        let Some(digest) = digest.filter(|_| applied >= info.first) else {
            return Ok((stream, applied));
        };
        let kept = connection.message(&stream, applied).await;
        match kept.map_err(Ended::Again)? {
            Some(payload) if replica::digest(&payload) == digest => return Ok((stream, applied)),
            Some(_) => {
                return Err(Ended::Lost(format!(
                    "the stream {name} has another message {applied} than the one that this receiver has read: its servers have lost messages, or it was restored from an older copy. {REMEDY}"
                )));
            }
            // It may have been purged just now.
            None if !missing => missing = true,
            None => {
                return Err(Ended::Lost(format!(
                    "the stream {name} has no message {applied}, which this receiver has read: its servers have lost it. {REMEDY}"
                )));
            }
        }
    }
}

/// Asks for what comes after the last message that is applied.
async fn begin(parts: &Parts) -> Result<Ordered, Ended> {
    let (stream, applied) = verify(parts).await?;
    let name = parts.connection.name();
    let again = |error: &dyn std::fmt::Display| Ended::Again(format!("{name}: {error}"));
    let consumer = stream
        .create_consumer(OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: applied + 1,
            },
            description: Some("A receiver of Hookswitch".to_owned()),
            ..OrderedConfig::default()
        })
        .await
        .map_err(|error| again(&error))?;
    consumer.messages().await.map_err(|error| again(&error))
}

/// Applies what has come.
async fn take<E: std::fmt::Display>(
    parts: &Parts,
    chunk: Vec<Result<jetstream::Message, E>>,
) -> Result<(), Ended> {
    let mut messages = Vec::with_capacity(chunk.len());
    let mut broken = None;
    for message in chunk {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                broken = Some(error.to_string());
                break;
            }
        };
        match message.info() {
            Ok(info) => messages.push(Message {
                sequence: info.stream_sequence,
                payload: message.message.payload.clone(),
            }),
            Err(error) => {
                broken = Some(format!("a message without its place: {error}"));
                break;
            }
        }
    }
    while !messages.is_empty() {
        match parts.engine.apply(messages.clone()).await {
            Ok(()) => break,
            // The disk's: others go on meanwhile, and this receiver says that it is not ready.
            Err(Error::Full(_)) => sleep(FULL).await,
            Err(error) => return Err(Ended::Stop(error.to_string())),
        }
    }
    match broken {
        None => Ok(()),
        Some(why) => Err(Ended::Again(why)),
    }
}
