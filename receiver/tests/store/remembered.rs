//! What rules remember takes room of their subscription's, and of no other's.

use std::sync::Arc;

use hookswitch_receiver::plan::{Memory, MemoryKey, Part, Remember, Scope};
use hookswitch_receiver::store::embedded::FILE;
use hookswitch_receiver::store::{Error, MEMORY_BYTES, Store, event_bytes};
use rusqlite::Connection;

use crate::support::{accept, at, event, keep_nothing, key, open, plan};

fn memory_key(number: u32) -> MemoryKey {
    let scope = Scope {
        route: key("route"),
        rule: "rule".to_owned(),
        part: Part::Once("crm".to_owned()),
    };
    MemoryKey::new(&Arc::new(scope), &number.to_string())
}

fn claims(numbers: std::ops::Range<u32>, until: i64) -> Vec<Remember> {
    let claim = |number| Remember {
        key: memory_key(number),
        memory: Memory::Claimed,
        until: at(until),
    };
    numbers.map(claim).collect()
}

/// Accepts an event of a subscription and plans it, with what its rules are to remember.
async fn planned(
    store: &dyn Store,
    subscription: &str,
    after: u64,
    remember: Vec<Remember>,
) -> u64 {
    let id = format!("{subscription} {after}");
    let seq = accept(store, event(subscription, &id, "{}", 0)).await;
    let mut plan = plan(seq, 0, Vec::new());
    plan.remember = remember;
    store
        .plan(&key(subscription), after, vec![plan])
        .await
        .unwrap();
    seq
}

#[tokio::test]
async fn keys_count_once_and_who_has_too_many_gets_no_room_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = planned(&store, "a", 0, claims(0..100, 60)).await;
    // The same keys again take no more.
    planned(&store, "a", first, claims(0..100, 70)).await;
    let one = event_bytes(&event("a", "a 0", "{}", 0).event);
    let used = 2 * one + 100 * MEMORY_BYTES;

    let offer = |subscription: &str, id: &str, seconds, quota| {
        let mut new = event(subscription, id, "{}", seconds);
        new.quota = quota;
        store.accept(new)
    };
    let room = event_bytes(&event("a", "next", "{}", 1).event);
    offer("a", "last", 1, used + room).await.unwrap();
    assert_eq!(store.scan(0, 10).await.unwrap().len(), 3, "all has room");
    // Even without its finished history there is no more.
    let kept = 100 * MEMORY_BYTES + room;
    let refused = offer("a", "next", 1, kept + room - 1).await;
    assert!(
        matches!(refused, Err(Error::QuotaExceeded { used, .. }) if used == kept),
        "{refused:?}"
    );
    offer("b", "next", 1, room).await.unwrap();
    let recalled = store.recall(&key("a"), vec![memory_key(7)]).await.unwrap();
    assert!(recalled[0].is_some(), "what counts still is kept");
}

#[tokio::test]
async fn what_may_be_forgotten_goes_before_history_and_what_counts_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = planned(&store, "a", 0, claims(0..50, 60)).await;
    planned(&store, "a", first, claims(50..60, 600)).await;
    planned(&store, "b", 0, claims(0..50, 60)).await;
    let used = 2 * event_bytes(&event("a", "a 0", "{}", 0).event) + 60 * MEMORY_BYTES;
    let mut next = event("a", "x", "{}", 100);
    next.quota = used;
    store.accept(next).await.unwrap();
    assert_eq!(store.scan(0, 10).await.unwrap().len(), 4, "no history went");
    let remembered = async |subscription: &str, number| {
        let keys = vec![memory_key(number)];
        let recalled = store.recall(&key(subscription), keys).await.unwrap();
        recalled[0].is_some()
    };
    assert!(!remembered("a", 7).await && remembered("a", 55).await);
    assert!(remembered("b", 7).await, "another one's is its own matter");

    // An event that waits for its plan may ask for what was remembered when it was accepted.
    let mut waits = event("b", "waits", "{}", 50);
    waits.quota = u64::MAX;
    store.accept(waits).await.unwrap();
    let mut next = event("b", "full", "{}", 100);
    next.quota = 50 * MEMORY_BYTES + event_bytes(&next.event);
    assert!(store.accept(next).await.is_err());
    assert!(remembered("b", 7).await);
}

#[tokio::test]
async fn a_purge_gives_the_room_back_and_a_restart_counts_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    planned(&store, "a", 0, claims(0..50, 60)).await;
    for seconds in [10, 61] {
        store.close().await.unwrap();
        drop(store);
        store = open(dir.path());
        let purged = store.purge(at(seconds), Vec::new(), keep_nothing()).await;
        assert_eq!(purged.unwrap().events, u64::from(seconds == 10));
        let mut next = event("a", "next", "{}", seconds);
        next.quota = event_bytes(&next.event);
        assert_eq!(store.accept(next).await.is_ok(), seconds == 61);
    }
}

#[tokio::test]
async fn a_file_of_the_layout_before_counts_what_it_remembers_from_now_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    planned(&store, "a", 0, claims(0..50, 60)).await;
    store.close().await.unwrap();
    drop(store);
    let connection = Connection::open(dir.path().join(FILE)).unwrap();
    let before = format!(
        "ALTER TABLE delivery DROP COLUMN look_ups; ALTER TABLE timer DROP COLUMN ended_by; \
         UPDATE subscription SET bytes = bytes - {}; PRAGMA user_version = 2;",
        50 * MEMORY_BYTES
    );
    connection.execute_batch(&before).unwrap();
    drop(connection);

    let store = open(dir.path());
    assert_eq!(store.scan(0, 10).await.unwrap().len(), 1);
    let mut next = event("a", "next", "{}", 1);
    next.quota = 50 * MEMORY_BYTES + event_bytes(&next.event) - 1;
    assert!(store.accept(next.clone()).await.is_err());
    next.quota += 1;
    store.accept(next).await.unwrap();
}
