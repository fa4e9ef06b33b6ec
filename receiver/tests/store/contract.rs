//! What every engine promises, one promise a test.

use std::sync::Arc;

use hookswitch_crds::duration::Duration;
use hookswitch_receiver::event::Disposition;
use hookswitch_receiver::plan::{DeadReason, EchoMark};
use hookswitch_receiver::store::embedded::FILE;
use hookswitch_receiver::store::{
    Accepted, DeliveryState, Error, GuardQuestion, Next, Store, event_bytes,
};

use crate::support::{
    accept, at, claim, delivery, event, finish, keep_nothing, key, lane, open, plan, try_open,
};

#[tokio::test]
async fn r6_an_event_goes_from_accept_to_delivered_and_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let seq = accept(&store, event("a", "1", "body", 0)).await;
    assert_eq!(store.unplanned_subscriptions().await.unwrap(), [key("a")]);
    let (last, events) = store.unplanned(&key("a"), 10).await.unwrap();
    assert_eq!((last, events.len()), (0, 1));
    assert_eq!(events[0].event, event("a", "1", "body", 0).event);

    let planned = delivery("crm", seq);
    store
        .plan(&key("a"), 0, vec![plan(seq, 1, vec![planned.clone()])])
        .await
        .unwrap();
    assert!(store.unplanned_subscriptions().await.unwrap().is_empty());
    let due = store.due(&lane("crm"), at(1), 10).await.unwrap();
    assert_eq!(due.ready.len(), 1);
    assert_eq!(Some(&due.ready[0].request), planned.request.as_ref());
    assert_eq!(store.lanes().await.unwrap()[0].oldest, Some(at(0)));

    assert_eq!(
        store.claim(vec![claim(planned.id, 0, 2)]).await.unwrap(),
        [true]
    );
    assert_eq!(
        store.claim(vec![claim(planned.id, 0, 2)]).await.unwrap(),
        [false]
    );
    let done = finish(planned.id, 1, 3, Next::Delivered);
    assert_eq!(
        store
            .finish(vec![done.clone(), done.clone()])
            .await
            .unwrap(),
        [true, false]
    );
    let uid = events[0].event.uid;
    let history = store.history(uid).await.unwrap().unwrap();
    assert_eq!(history.deliveries[0].state, DeliveryState::Delivered);
    assert_eq!(history.deliveries[0].attempts[0].answer, done.answer);
    assert!(store.lanes().await.unwrap().is_empty());

    let purged = store
        .purge(at(3), Vec::new(), keep_nothing())
        .await
        .unwrap();
    assert_eq!(purged.events, 1);
    assert!(store.history(uid).await.unwrap().is_none());
    assert_eq!(
        store.accept(event("a", "1", "body", 10)).await.unwrap(),
        Accepted::Duplicate,
        "its id outlives it"
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn r14_concurrent_duplicates_share_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let mut offers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = Arc::clone(&store);
        offers.spawn(async move { store.accept(event("a", "1", "body", 0)).await.unwrap() });
    }
    let outcomes = offers.join_all().await;
    let new = |one: &&Accepted| matches!(one, Accepted::New { .. });
    assert_eq!(outcomes.iter().filter(new).count(), 1);
    assert_eq!(
        outcomes
            .iter()
            .filter(|one| **one == Accepted::Duplicate)
            .count(),
        49
    );
    assert_eq!(store.scan(0, 100).await.unwrap().len(), 1);
}

#[tokio::test]
async fn r14_the_same_id_with_another_body_is_kept_once_and_not_routed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    accept(&store, event("a", "1", "one", 0)).await;
    let other = store.accept(event("a", "1", "two", 1)).await.unwrap();
    assert_eq!(other, Accepted::IdReused { seq: 2 });
    let again = store.accept(event("a", "1", "two", 2)).await.unwrap();
    assert_eq!(again, Accepted::Duplicate);
    let kept = store.scan(1, 10).await.unwrap();
    assert_eq!(kept[0].event.event.disposition, Disposition::IdReused);
    accept(&store, event("b", "1", "one", 3)).await;
    accept(&store, event("a", "1", "one", 4000)).await;
}

#[tokio::test]
async fn one_tenants_quota_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let offer = |subscription: &str, number: i64| {
        let mut new = event(subscription, &number.to_string(), "0123456789", number);
        new.quota = event_bytes(&new.event) * 3;
        store.accept(new)
    };
    for number in 0..3 {
        offer("a", number).await.unwrap();
    }
    let Err(Error::QuotaExceeded {
        subscription,
        used,
        limit,
    }) = offer("a", 3).await
    else {
        panic!("pending events are never removed");
    };
    assert_eq!((subscription, used), (key("a"), limit));
    for number in 0..3 {
        offer("b", number).await.unwrap();
    }
    // The first is finished, the second a dead letter, the third pending: only the first may go.
    let mut dead = delivery("crm", 2);
    dead.dead = Some(DeadReason::RuleError);
    dead.request = None;
    let plans = vec![plan(1, 5, Vec::new()), plan(2, 5, vec![dead])];
    store.plan(&key("a"), 0, plans).await.unwrap();
    assert!(
        offer("a", 4).await.is_err(),
        "the dead letter's own bytes are in the way"
    );
    let uids: Vec<_> = store.scan(0, 2).await.unwrap();
    assert_eq!(uids[0].event.seq, 2, "finished history went first");
    assert_eq!(store.scan(0, 100).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = try_open(dir.path()).unwrap_err().to_string();
    assert!(error.contains(dir.path().to_str().unwrap()), "{error}");
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    assert!(error.contains("--data"), "{error}");
    store.close().await.unwrap();
    assert!(matches!(
        store.accept(event("a", "1", "body", 0)).await,
        Err(Error::Stopped(_))
    ));
    assert!(store.health().is_err());
    open(dir.path());
}

#[tokio::test]
async fn a_newer_or_foreign_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let file = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    let error = try_open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("layout 99") && error.contains("newer"),
        "{error}"
    );
    file.pragma_update(None, "application_id", 1).unwrap();
    let error = try_open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("not one of Hookswitch's"), "{error}");
}

#[tokio::test]
async fn of_many_attempts_the_first_five_and_the_last_twenty_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let seq = accept(&store, event("a", "1", "body", 0)).await;
    let one = delivery("crm", seq);
    let plans = vec![plan(seq, 0, vec![one.clone()])];
    store.plan(&key("a"), 0, plans).await.unwrap();
    for attempt in 0..40 {
        let now = i64::from(attempt);
        store
            .claim(vec![claim(one.id, attempt, now)])
            .await
            .unwrap();
        let retry = finish(one.id, attempt + 1, now, Next::RetryAt(at(now + 1)));
        assert_eq!(store.finish(vec![retry]).await.unwrap(), [true]);
    }
    let history = store.scan(0, 1).await.unwrap().remove(0);
    let numbers: Vec<u32> = history.deliveries[0]
        .attempts
        .iter()
        .map(|attempt| attempt.number)
        .collect();
    let expected: Vec<u32> = (1..=5).chain(21..=40).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test]
async fn an_event_that_ends_the_process_while_it_is_planned_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for id in ["1", "2"] {
        accept(&store, event("a", id, "body", 0)).await;
    }
    assert!(store.suspects().is_empty());
    store.planning(&[1, 2]).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.suspects(), [(1, 1), (2, 1)]);
    store
        .plan(&key("a"), 0, vec![plan(1, 1, Vec::new())])
        .await
        .unwrap();
    store.planning(&[2]).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.suspects(), [(2, 2)]);
    store.planning(&[2]).unwrap();
    store.planning(&[]).unwrap();
    drop(store);
    assert_eq!(
        open(dir.path()).suspects(),
        [(2, 2)],
        "it was survived this time"
    );
}

#[tokio::test]
async fn marks_outlive_their_end_for_events_that_are_not_planned_yet() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let seq = accept(&store, event("a", "1", "body", 0)).await;
    let mut one = delivery("reply", seq);
    one.echo = Some(EchoMark {
        key: [7; 32],
        window: Duration::from_secs(60),
    });
    let plans = vec![plan(seq, 0, vec![one.clone()])];
    store.plan(&key("a"), 0, plans).await.unwrap();
    store.claim(vec![claim(one.id, 0, 10)]).await.unwrap();
    accept(&store, event("b", "echo", "body", 20)).await;
    let purge = || store.purge(at(1000), Vec::new(), keep_nothing());
    let ask = || {
        store.guard(vec![GuardQuestion {
            lane: lane("reply"),
            echo_key: Some([7; 32]),
            at: at(20),
            subject: String::new(),
            since: at(0),
        }])
    };
    purge().await.unwrap();
    assert_eq!(ask().await.unwrap()[0].marks, [one.id]);
    let mut echo = plan(2, 1000, Vec::new());
    echo.marks_consumed.push(one.id);
    let twice = vec![echo.clone()];
    store.plan(&key("b"), 0, vec![echo]).await.unwrap();
    assert!(ask().await.unwrap()[0].marks.is_empty());
    accept(&store, event("b", "echo 2", "body", 21)).await;
    let mut again = twice;
    again[0].seq = 3;
    assert!(matches!(
        store.plan(&key("b"), 2, again).await,
        Err(Error::Conflict)
    ));
}
