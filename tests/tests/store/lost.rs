//! Logs that are not the one that a replica was made from: made anew, or without their last messages.

use std::fs;
use std::path::Path;

use hookswitch_receiver::store::{Error, Store as _};
use hookswitch_tests::servers::nats::Nats;
use hookswitch_tests::wait;

use crate::replica::{Replica, SOON, level, settings};
use crate::support::event;

async fn accept(replica: &Replica, ids: std::ops::Range<u32>) {
    for id in ids {
        let new = event("a", &id.to_string(), "body", 0);
        replica.store().accept(new).await.unwrap();
    }
}

/// Why a store has stopped.
async fn stopped(replica: &Replica) -> String {
    let why = wait::until("the store to stop", SOON, async || {
        match replica.store().health() {
            Err(Error::Stopped(why)) => Some(why),
            _ => None,
        }
    });
    why.await.to_string()
}

/// Makes the stream anew, as it was.
async fn make_anew(nats: &Nats, name: &str) {
    let client = async_nats::connect(nats.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let config = context.get_stream(name).await.unwrap();
    let config = config.cached_info().config.clone();
    context.delete_stream(name).await.unwrap();
    context.create_stream(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_a_stream_that_is_made_anew_under_receivers_stops_them() {
    let nats = Nats::start().await;
    let settings = settings(&nats, "anew");
    let (one, idle) = (
        Replica::start(&settings).await,
        Replica::start(&settings).await,
    );
    one.members(2).await;
    accept(&one, 0..5).await;
    level(&[&one, &idle]).await;
    make_anew(&nats, "anew-log").await;
    for replica in [&one, &idle] {
        let why = stopped(replica).await;
        assert!(why.contains("made anew"), "{why}");
    }
}

/// The first one to write finds it out, however seldom anybody looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_what_is_put_in_a_place_that_was_read_is_not_taken_for_new() {
    let nats = Nats::start().await;
    let mut settings = settings(&nats, "place");
    settings.takeover = SOON * 10;
    let one = Replica::start(&settings).await;
    accept(&one, 0..5).await;
    make_anew(&nats, "place-log").await;
    let refused = one.store().accept(event("a", "6", "body", 0)).await;
    assert!(matches!(refused, Err(Error::Stopped(_))), "{refused:?}");
    let why = stopped(&one).await;
    assert!(why.contains("lost messages"), "{why}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Others went on with the older copy, past what this one has read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_a_stream_that_lost_its_end_and_went_on_is_refused() {
    let mut nats = Nats::start().await;
    let settings = settings(&nats, "end");
    let mut one = Replica::start(&settings).await;
    let mut other = Replica::start(&settings).await;
    one.members(2).await;
    accept(&one, 0..5).await;
    level(&[&one, &other]).await;
    other.close().await;
    one.members(1).await;
    nats.kill();
    let streams = nats.folder().path().join("jetstream");
    let older = nats.folder().path().join("older");
    copy(&streams, &older);
    nats.restart().await;
    wait::until("the store to be well", SOON, async || {
        one.store().health().ok()
    })
    .await;
    accept(&one, 5..8).await;
    one.close().await;
    let read = position(&one);
    nats.kill();
    fs::remove_dir_all(&streams).unwrap();
    fs::rename(&older, &streams).unwrap();
    nats.restart().await;
    other.open().await.unwrap();
    accept(&other, 10..20).await;
    assert!(other.store().applied() > read);
    let refused = one.open().await.unwrap_err().to_string();
    assert!(refused.contains("another message"), "{refused}");
    assert!(refused.contains("Restore a newer copy"), "{refused}");
    // The one that knows no more than the stream goes on.
    accept(&other, 20..22).await;
}

/// How far a closed replica has read.
fn position(replica: &Replica) -> u64 {
    let file = replica
        .dir
        .path()
        .join(hookswitch_receiver::store::embedded::FILE);
    let file = rusqlite::Connection::open(file).unwrap();
    let applied: i64 = file
        .query_row("SELECT applied FROM log", (), |row| row.get(0))
        .unwrap();
    applied.try_into().unwrap()
}
