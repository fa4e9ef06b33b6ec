//! Checkpoints: copies of a replica, so that nobody needs the whole log, and what is in one can be purged.
//!
//! ```text
//! replica ── VACUUM INTO ──▶ copy at message N ──▶ bucket ──▶ then: purge the log up to the copy before, and what is older than that
//! ```
//!
//! The copy before stays, and the log from there on: a receiver that begins with it may be reading them yet. Only
//! where the log has little room left is all purged that the new copy holds.
//!
//! One of the members makes them: the first of the view. Two that do at once, around a change of the view,
//! purge no more than the older copy or the newer one holds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::object_store::ObjectStore;
use futures::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::Parts;
use super::connection::{Connection, Info};
use super::follow::{self, Ended};
use crate::store::Error;
use crate::store::embedded::FILE;
use crate::store::embedded::replica::file;

/// Between two looks whether one is due.
const LOOK: Duration = Duration::from_secs(15);
/// What an object's name begins with; then the place in the log, so that names sort as places do.
const NAME: &str = "state-";
/// How long nothing may come of what is asked for.
const SILENT: Duration = Duration::from_secs(30);
/// Bytes that are copied at once.
const PIECE: usize = 128 << 10;
/// A copy that is under way.
const MAKING: &str = "checkpoint.making";
/// One that is fetched.
const FETCHING: &str = "checkpoint.fetching";

/// Makes checkpoints when they are due, until the end.
pub(super) async fn run(parts: Arc<Parts>) {
    // Tests want them at once.
    let look = LOOK.min(parts.connection.settings().takeover);
    loop {
        tokio::select! {
            () = parts.leaving.cancelled() => return,
            () = sleep(look) => {}
        }
        // A full log may have lost who leads, and takes no other view before it is purged.
        let may = parts.leads() || parts.connection.is_full();
        if !may || parts.connection.reachable().is_err() {
            continue;
        }
        let made = tokio::select! {
            () = parts.leaving.cancelled() => return,
            made = make_if_due(&parts) => made,
        };
        if let Err(error) = made {
            tracing::warn!(
                error,
                "no checkpoint could be made; the log grows, and it is tried again"
            );
        }
    }
}

async fn make_if_due(parts: &Parts) -> Result<(), String> {
    let connection = &parts.connection;
    let info = connection.info().await?;
    let state = std::fs::metadata(parts.dir.join(FILE)).map_or(0, |file| file.len());
    let (bytes, messages) = connection.settings().checkpoint;
    let is_due = |log: u64, count: u64| log >= bytes.max(state) || count >= messages;
    let crowded = connection
        .settings()
        .max_bytes
        .is_some_and(|most| info.bytes > most / 2);
    if !crowded && !is_due(info.bytes, info.messages) {
        return Ok(());
    }
    // A part of the log is in a copy already.
    let bucket = connection.checkpoints().await?;
    let copies = names(&bucket).await?;
    let place = copies.last().and_then(|name| place_of(name)).unwrap_or(0);
    let count = info.last.saturating_sub(place).min(info.messages);
    let share = u128::from(info.bytes) * u128::from(count) / u128::from(info.messages.max(1));
    let log = u64::try_from(share).unwrap_or(u64::MAX);
    if crowded || is_due(log, count) {
        let name = make(parts, &bucket).await?;
        let stays = if crowded { Some(&name) } else { copies.last() };
        if let Some(stays) = stays {
            purge(parts, &bucket, stays).await?;
        }
    }
    Ok(())
}

/// Makes one, and gives its name.
async fn make(parts: &Parts, bucket: &ObjectStore) -> Result<String, String> {
    // Of another log it would be worth nothing, and take the place of one that is.
    if let Err(Ended::Again(why) | Ended::Lost(why) | Ended::Stop(why)) =
        follow::verify(parts).await
    {
        return Err(why);
    }
    let making = parts.dir.join(MAKING);
    let (dir, to) = (parts.dir.clone(), making.clone());
    let position = tokio::task::spawn_blocking(move || {
        // One that an earlier process did not finish is in the way.
        drop(std::fs::remove_file(&to));
        file::copy(&dir, &to)
    })
    .await
    .map_err(|error| error.to_string())?
    .map_err(|error| error.to_string())?;
    let name = format!("{NAME}{:020}", position.applied);
    let mut copy = tokio::fs::File::open(&making)
        .await
        .map_err(|error| error.to_string())?;
    bucket
        .put(name.as_str(), &mut copy)
        .await
        .map_err(|error| format!("{name} can't be stored: {error}"))?;
    drop(copy);
    drop(tokio::fs::remove_file(&making).await);
    tracing::info!(applied = position.applied, "a checkpoint is made");
    Ok(name)
}

/// Purges the log up to a checkpoint, and removes those that are older.
async fn purge(parts: &Parts, bucket: &ObjectStore, stays: &str) -> Result<(), String> {
    let place = place_of(stays).ok_or_else(|| format!("{stays} is no checkpoint's name"))?;
    let stream = parts.connection.stream().await?;
    // Up to this one, and without it.
    stream
        .purge()
        .sequence(place + 1)
        .await
        .map_err(|error| format!("the log can't be purged: {error}"))?;
    for older in names(bucket).await? {
        if *older < *stays {
            bucket
                .delete(&older)
                .await
                .map_err(|error| format!("{older} can't be deleted: {error}"))?;
        }
    }
    tracing::info!(up_to = place, "the log is purged");
    Ok(())
}

/// The place in the log of a checkpoint.
fn place_of(name: &str) -> Option<u64> {
    name.strip_prefix(NAME)?.parse().ok()
}

/// The checkpoints that there are, in their order.
async fn names(bucket: &ObjectStore) -> Result<Vec<String>, String> {
    let mut list = bucket
        .list()
        .await
        .map_err(|error| format!("the checkpoints can't be listed: {error}"))?;
    let mut names = Vec::new();
    loop {
        let next = timeout(SILENT, list.next()).await;
        let next = next
            .map_err(|_| format!("the checkpoints can't be listed: nothing came for {SILENT:?}"))?;
        let Some(object) = next else { break };
        let object = object.map_err(|error| format!("the checkpoints can't be listed: {error}"))?;
        if object.name.starts_with(NAME) && !object.deleted {
            names.push(object.name);
        }
    }
    names.sort();
    Ok(names)
}

/// Copies what comes, for as long as something does: servers that are lost in the middle say nothing.
async fn fetch(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = timeout(SILENT, from.read(&mut piece)).await.map_err(|_| {
            let what = format!("nothing came for {SILENT:?}");
            std::io::Error::new(std::io::ErrorKind::TimedOut, what)
        })??;
        let bytes = piece.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        to.write_all(bytes).await?;
    }
}

/// Replaces the copy in a directory with the newest checkpoint, where there is one of this log; says where
/// it stands.
pub(super) async fn restore(
    connection: &Connection,
    dir: &Path,
    info: &Info,
) -> Result<Option<u64>, Error> {
    let bucket = connection.bucket();
    let failed =
        |error: &dyn std::fmt::Display| Error::Open(format!("the bucket {bucket}: {error}"));
    let Some(store) = connection.bucket_if_there().await.map_err(Error::Open)? else {
        return Ok(None);
    };
    let Some(name) = names(&store).await.map_err(Error::Open)?.pop() else {
        return Ok(None);
    };
    let fetching = dir.join(FETCHING);
    let unusable = |error: std::io::Error| {
        Error::Open(format!("{} can't be written: {error}", fetching.display()))
    };
    let mut object = store.get(&name).await.map_err(|error| failed(&error))?;
    let mut copy = tokio::fs::File::create(&fetching).await.map_err(unusable)?;
    fetch(&mut object, &mut copy)
        .await
        .map_err(|error| failed(&error))?;
    copy.flush().await.map_err(unusable)?;
    copy.sync_all().await.map_err(unusable)?;
    drop(copy);
    let (dir, name, stream) = (dir.to_owned(), name, info.stream.clone());
    let placed = tokio::task::spawn_blocking(move || {
        let position = file::position_of(&fetching)?;
        if position.stream != stream {
            return Err(Error::Open(format!(
                "the checkpoint {name} in the bucket {bucket} is of the stream that was made at {}, and the one that is there was made at {stream}: remove the bucket, or restore the stream",
                position.stream
            )));
        }
        file::remove(&dir)?;
        std::fs::rename(&fetching, dir.join(FILE)).map_err(|error| {
            Error::Open(format!("{} can't be put in place: {error}", fetching.display()))
        })?;
        Ok(position.applied)
    })
    .await
    .map_err(|error| Error::Stopped(error.to_string().into()))??;
    Ok((placed + 1 >= info.first).then_some(placed))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_checkpoint_that_stops_coming_is_not_waited_for() {
        let (mut from, mut server) = tokio::io::duplex(64);
        let sends = tokio::spawn(async move {
            for _ in 0..10 {
                server.write_all(b"slowly, but it comes").await.unwrap();
                sleep(SILENT / 2).await;
            }
            server
        });
        let began = Instant::now();
        let mut to = Vec::new();
        let error = fetch(&mut from, &mut to).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(to.len(), 200);
        assert!(began.elapsed() < SILENT * 7, "{:?}", began.elapsed());
        // The end is the end.
        drop(sends.await.unwrap());
        fetch(&mut from, &mut to).await.unwrap();
    }
}
