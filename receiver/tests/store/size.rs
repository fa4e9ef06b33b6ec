//! What grows and what must not.

use std::sync::Arc;
use std::time::Instant;

use hookswitch_receiver::plan::FrozenBody;
use hookswitch_receiver::store::embedded::{Embedded, FILE};
use hookswitch_receiver::store::{Accepted, Next, Store};

use crate::support::{
    accept, at, claim, delivery, event, finish, keep_nothing, key, lane, open, plan,
};

/// Accepts events with 64 senders at once, as a server does.
async fn fill(store: &Arc<Embedded>, subscription: &'static str, numbers: std::ops::Range<usize>) {
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..64 {
        let (store, mine) = (Arc::clone(store), numbers.clone().skip(sender).step_by(64));
        senders.spawn(async move {
            for number in mine {
                let body = format!("{number} {}", "x".repeat(580));
                let mut new = event(subscription, &format!("id {number}"), &body, 0);
                new.remember_until = at(1_000_000);
                store.accept(new).await.unwrap();
            }
        });
    }
    senders.join_all().await;
}

async fn plan_all(store: &Embedded, subscription: &str) {
    loop {
        let (after, events) = store.unplanned(&key(subscription), 256).await.unwrap();
        if events.is_empty() {
            return;
        }
        let plans = events
            .iter()
            .map(|event| plan(event.seq, 1, vec![delivery("crm", event.seq)]))
            .collect();
        store.plan(&key(subscription), after, plans).await.unwrap();
    }
}

async fn deliver_all(store: &Embedded) {
    loop {
        let due = store.due(&lane("crm"), at(2), 256).await.unwrap();
        if due.ready.is_empty() {
            return;
        }
        let claims = due.ready.iter().map(|one| claim(one.id, one.attempts, 2));
        store.claim(claims.collect()).await.unwrap();
        let ends = due
            .ready
            .iter()
            .map(|one| finish(one.id, one.attempts + 1, 3, Next::Delivered));
        store.finish(ends.collect()).await.unwrap();
    }
}

async fn purge_all(store: &Embedded, seconds: i64) {
    while store
        .purge(at(seconds), Vec::new(), keep_nothing())
        .await
        .unwrap()
        .more
    {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_does_not_grow_over_many_cycles() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let size = |name: String| std::fs::metadata(dir.path().join(name)).map_or(0, |file| file.len());
    let mut sizes = Vec::new();
    for cycle in 0..10 {
        fill(&store, "a", cycle * 2500..(cycle + 1) * 2500).await;
        plan_all(&store, "a").await;
        deliver_all(&store).await;
        // The ids expire as well, or they would be what grows.
        purge_all(&store, 2_000_000).await;
        sizes.push(size(FILE.to_owned()));
        assert!(size(format!("{FILE}-wal")) < 80 << 20);
    }
    assert!(store.scan(0, 10).await.unwrap().is_empty());
    // From the fifth cycle on all has happened before.
    assert!(sizes[9] <= sizes[4] + sizes[4] / 10, "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_ids_and_missing_plans_are_found_long_after_they_left_memory() {
    const EVENTS: usize = 40_000;
    let dir = tempfile::tempdir().unwrap();
    let mut store = Arc::new(open(dir.path()));
    // One is suspended; the other's events are planned and removed while it waits.
    let began = Instant::now();
    fill(&store, "suspended", 0..EVENTS).await;
    let rate = f64::from(u32::try_from(EVENTS).unwrap()) / began.elapsed().as_secs_f64();
    eprintln!("{rate:.0} events a second, in a debug build");
    fill(&store, "a", 0..500).await;
    plan_all(&store, "a").await;
    deliver_all(&store).await;
    purge_all(&store, 10).await;

    for restarted in [false, true] {
        if restarted {
            drop(store);
            store = Arc::new(open(dir.path()));
        }
        for number in (0..EVENTS).step_by(997) {
            let body = format!("{number} {}", "x".repeat(580));
            let new = event("suspended", &format!("id {number}"), &body, 5);
            let uid = event("suspended", &format!("id {number}"), &body, 0)
                .event
                .uid;
            assert_eq!(store.accept(new).await.unwrap(), Accepted::Duplicate);
            assert!(store.history(uid).await.unwrap().is_some());
        }
        for number in 0..500 {
            let body = format!("{number} {}", "x".repeat(580));
            let new = event("a", &format!("id {number}"), &body, 5);
            assert_eq!(store.accept(new).await.unwrap(), Accepted::Duplicate);
        }
        let (after, events) = store.unplanned(&key("suspended"), 10).await.unwrap();
        assert_eq!((after, events.len()), (0, 10));
    }
    let mut before = 0;
    let mut planned = 0;
    loop {
        let (after, events) = store.unplanned(&key("suspended"), 1000).await.unwrap();
        let Some(last) = events.last() else { break };
        assert_eq!(after, before);
        before = last.seq;
        planned += events.len();
        let plans = events.iter().map(|event| plan(event.seq, 1, Vec::new()));
        store
            .plan(&key("suspended"), after, plans.collect())
            .await
            .unwrap();
    }
    assert_eq!(planned, EVENTS);
    assert!(store.unplanned_subscriptions().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_does_not_take_longer_for_what_is_pending() {
    const EVENTS: usize = 60_000;
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    fill(&store, "a", 0..EVENTS).await;
    plan_all(&store, "a").await;
    accept(&*store, event("b", "last", "body", 0)).await;
    drop(store);
    let began = Instant::now();
    let store = open(dir.path());
    let due = store.due(&lane("crm"), at(2), 64).await.unwrap();
    let took = began.elapsed();
    assert_eq!(due.ready.len(), 64);
    assert_eq!(store.lanes().await.unwrap()[0].pending, 60_000);
    eprintln!("the first due delivery after {took:?}, in a debug build");
    assert!(took.as_secs() < 2, "{took:?}");
}

#[tokio::test]
async fn what_senders_put_into_a_content_type_is_not_kept_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let seq = accept(&store, event("a", "1", "{}", 0)).await;
    let deliveries: Vec<_> = (0..2000)
        .map(|number| {
            let mut one = delivery("crm", number);
            let request = one.request.as_mut().unwrap();
            request.content_type = format!("application/json; nonce={number}");
            request.body = FrozenBody::Event;
            one
        })
        .collect();
    let requests: Vec<_> = deliveries.iter().map(|one| one.request.clone()).collect();
    let plans = vec![plan(seq, 0, deliveries)];
    store.plan(&key("a"), 0, plans).await.unwrap();

    let due = store.due(&lane("crm"), at(1), 2000).await.unwrap().ready;
    let read: Vec<_> = due.into_iter().map(|one| Some(one.request)).collect();
    assert_eq!(read, requests);
    let history = store.scan(0, 1).await.unwrap().remove(0).deliveries;
    let read: Vec<_> = history.into_iter().map(|one| one.request).collect();
    assert_eq!(read, requests);
    let file = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    let kept: i64 = file
        .query_row("SELECT count(*) FROM shape", (), |row| row.get(0))
        .unwrap();
    assert!(kept <= 1024, "{kept} shapes outlive their deliveries");
}
