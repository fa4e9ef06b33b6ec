//! Rows that are damaged: each is set aside by itself and said, and the others go on.

use std::path::Path;
use std::sync::Arc;

use hookswitch_receiver::event::Disposition;
use hookswitch_receiver::plan::{
    DeadReason, Memory, MemoryKey, NewTimer, Outcome, Part, Remember, Scope, Verdict, WaitState,
};
use hookswitch_receiver::store::archive::{Archive as _, DeadQuery, EventQuery, From};
use hookswitch_receiver::store::embedded::FILE;
use hookswitch_receiver::store::{DeliveryState, Next, Store};
use rusqlite::Connection;

use crate::support::{
    accept, at, claim, delivery, event, finish, keep_nothing, key, lane, open, open_measured, plan,
};

/// Changes rows behind the store's back, while it is closed.
fn tamper(dir: &Path, sql: &str) {
    let connection = Connection::open(dir.join(FILE)).unwrap();
    connection.execute_batch(sql).unwrap();
}

/// What damages the first delivery's row, or one that it needs.
const DELIVERIES: [&str; 6] = [
    "UPDATE rendered SET body = x'00' WHERE key = (SELECT min(key) FROM rendered)",
    "UPDATE delivery SET shape = 'no shape' WHERE key = (SELECT min(key) FROM delivery)",
    "UPDATE delivery SET id = x'00' WHERE key = (SELECT min(key) FROM delivery)",
    "UPDATE delivery SET tries = '[' WHERE key = (SELECT min(key) FROM delivery)",
    "UPDATE delivery SET rule = 99 WHERE key = (SELECT min(key) FROM delivery)",
    "UPDATE event SET body = x'00' WHERE seq = 1",
];

#[tokio::test]
async fn a_damaged_delivery_goes_to_the_dead_letters_and_its_lane_goes_on() {
    for sql in DELIVERIES {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for seq in 1..=3 {
            accept(&store, event("a", &seq.to_string(), "{}", 0)).await;
            let mut delivery = delivery("crm", seq);
            // The second waits for the first, the third for nobody.
            delivery.ordered_by = (seq < 3).then(|| "conversation-1".to_owned());
            store
                .plan(&key("a"), seq - 1, vec![plan(seq, 0, vec![delivery])])
                .await
                .unwrap();
        }
        store.close().await.unwrap();
        drop(store);
        tamper(dir.path(), sql);

        let store = open(dir.path());
        let due = store.due(&lane("crm"), at(1), 10).await.unwrap();
        assert_eq!(due.damaged, 1, "{sql}");
        assert_eq!(due.ready.len(), 1, "{sql}");
        let due = store.due(&lane("crm"), at(1), 10).await.unwrap();
        assert_eq!(due.damaged, 0, "{sql}: it is said once");
        let ready: Vec<_> = due.ready.iter().map(|one| one.event.seq).collect();
        assert_eq!(ready, [2, 3], "{sql}: what waited behind it may go");
        let claims = due.ready.iter().map(|one| claim(one.id, 0, 2)).collect();
        assert_eq!(store.claim(claims).await.unwrap(), [true, true]);
        let ends = due
            .ready
            .iter()
            .map(|one| finish(one.id, 1, 3, Next::Delivered))
            .collect();
        assert_eq!(store.finish(ends).await.unwrap(), [true, true]);

        let lanes = store.lanes().await.unwrap();
        assert_eq!((lanes[0].pending, lanes[0].dead), (0, 1), "{sql}");
        // It can be told of, and goes when dead letters go.
        let histories = store.scan(0, 10).await.unwrap();
        assert_eq!(histories.len(), 3, "{sql}");
        let state = histories[0].deliveries.first().map(|one| one.state);
        assert_eq!(
            state,
            Some(DeliveryState::Dead(DeadReason::Damaged)),
            "{sql}"
        );
        let letters = store
            .dead_letters(DeadQuery::default(), 0, 10)
            .await
            .unwrap();
        let reasons: Vec<_> = letters.found.iter().map(|one| one.reason).collect();
        assert_eq!(reasons, [DeadReason::Damaged], "{sql}");
        let purged = store
            .purge(at(90_000), Vec::new(), keep_nothing())
            .await
            .unwrap();
        assert_eq!(purged.dead_letters, 1, "{sql}");
        assert!(store.health().is_ok());
        // What is in memory is what is in the file.
        store.close().await.unwrap();
        drop(store);
        let store = open(dir.path());
        assert!(store.lanes().await.unwrap().is_empty(), "{sql}");
    }
}

#[tokio::test]
async fn a_damaged_event_is_handed_out_as_such_and_the_ones_behind_it_too() {
    for sql in [
        "UPDATE event SET body = x'00' WHERE seq = 1",
        "UPDATE event SET disposition = 99 WHERE seq = 1",
        "UPDATE event SET accepted_at = 9223372036854775807 WHERE seq = 1",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for seq in 1..=2 {
            accept(&store, event("a", &seq.to_string(), "{}", 0)).await;
        }
        store.close().await.unwrap();
        drop(store);
        tamper(dir.path(), sql);
        let store = open(dir.path());
        let (after, events) = store.unplanned(&key("a"), 10).await.unwrap();
        assert_eq!(after, 0);
        let found: Vec<_> = events
            .iter()
            .map(|one| (one.seq, one.event.id.as_str(), one.event.disposition))
            .collect();
        assert_eq!(
            found,
            [(1, "1", Disposition::Damaged), (2, "2", Disposition::Route)],
            "{sql}"
        );
        let mut first = plan(1, 1, Vec::new());
        first.set_aside = Some(Disposition::Damaged);
        store
            .plan(&key("a"), 0, vec![first, plan(2, 1, Vec::new())])
            .await
            .unwrap();
        // It can be told of, and is removed like any other.
        let histories = store.scan(0, 10).await.unwrap();
        assert_eq!(histories[0].event.event.disposition, Disposition::Damaged);
        assert_eq!(histories[1].event.event.disposition, Disposition::Route);
        for from in [From::After(0), From::Before(u64::MAX)] {
            let query = EventQuery {
                since: Some(at(0)),
                ..EventQuery::default()
            };
            let page = store.events(query, from, 10).await.unwrap();
            assert!(page.found.iter().any(|one| one.head.seq == 2), "{sql}");
        }
        let purged = store
            .purge(at(90_000), Vec::new(), keep_nothing())
            .await
            .unwrap();
        assert_eq!(purged.events, 2, "{sql}");
    }
}

#[tokio::test]
async fn what_waits_is_told_by_subscription_and_since_when_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for seq in 1..=3 {
        accept(&store, event("a", &seq.to_string(), "{}", i64::from(seq))).await;
    }
    accept(&store, event("b", "1", "{}", 9)).await;
    store
        .plan(&key("a"), 0, vec![plan(1, 5, Vec::new())])
        .await
        .unwrap();
    let told = |waiting: Vec<hookswitch_receiver::store::Waiting>| {
        waiting
            .into_iter()
            .map(|one| {
                (
                    one.subscription.name,
                    one.events,
                    one.oldest,
                    one.removed_since,
                )
            })
            .collect::<Vec<_>>()
    };
    let a = |since| ("a".to_owned(), 2, Some(at(2)), since);
    let b = |since| ("b".to_owned(), 1, Some(at(9)), since);
    assert_eq!(told(store.waiting().await.unwrap()), [a(None), b(None)]);

    // A purge sees that the configuration has only one of them.
    let only_a = || vec![(key("a"), keep_nothing())];
    for seconds in [20, 30] {
        store
            .purge(at(seconds), only_a(), keep_nothing())
            .await
            .unwrap();
    }
    assert_eq!(
        told(store.waiting().await.unwrap()),
        [a(None), b(Some(at(20)))]
    );
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(
        told(store.waiting().await.unwrap()),
        [a(None), b(Some(at(20)))]
    );
    let both = vec![(key("a"), keep_nothing()), (key("b"), keep_nothing())];
    store.purge(at(40), both, keep_nothing()).await.unwrap();
    assert_eq!(told(store.waiting().await.unwrap()), [a(None), b(None)]);
}

#[tokio::test]
async fn a_damaged_plan_is_told_as_far_as_it_can_be_read_and_hides_no_other() {
    for (sql, sequence) in [
        ("UPDATE plan SET verdicts = '[' WHERE seq = 1", 7),
        (
            "UPDATE plan SET suppressions = CAST(x'ff' AS TEXT) WHERE seq = 1",
            7,
        ),
        (
            "UPDATE verdicts SET list = '{}' WHERE id = (SELECT verdicts FROM plan WHERE seq = 1)",
            7,
        ),
        (
            "UPDATE plan SET planned_at = 9223372036854775807 WHERE seq = 1",
            7,
        ),
        (
            "UPDATE plan SET suppressions = '{' WHERE seq = 1; UPDATE plan SET sequence = -1 WHERE seq = 1",
            0,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for seq in 1..=2 {
            accept(&store, event("a", &seq.to_string(), "{}", 0)).await;
            let mut planned = plan(seq, 0, vec![delivery("crm", seq)]);
            planned.verdicts.push(Verdict {
                route: key("route"),
                rule: format!("rule {seq}"),
                outcome: Outcome::Fired,
                detail: None,
            });
            store.plan(&key("a"), seq - 1, vec![planned]).await.unwrap();
        }
        store.close().await.unwrap();
        drop(store);
        tamper(dir.path(), sql);

        let (store, metrics) = open_measured(dir.path());
        let histories = store.scan(0, 10).await.unwrap();
        let plans: Vec<_> = histories
            .iter()
            .map(|history| history.plan.as_ref().unwrap())
            .collect();
        assert_eq!((plans[0].damaged, plans[1].damaged), (true, false), "{sql}");
        assert_eq!(plans[0].sequence, sequence, "{sql}");
        assert_eq!(plans[1].verdicts[0].rule, "rule 2");
        assert_eq!(histories[0].deliveries.len(), 1, "{sql}");
        let uid = histories[0].event.event.uid;
        assert!(
            store
                .history(uid)
                .await
                .unwrap()
                .unwrap()
                .plan
                .unwrap()
                .damaged
        );
        for from in [From::After(0), From::Before(u64::MAX)] {
            let page = store.events(EventQuery::default(), from, 10).await.unwrap();
            assert_eq!(page.found.len(), 2, "{sql}");
        }
        // However often it is read it is one row.
        let damaged = metrics.store_damaged_rows.with_label_values(&["plan"]);
        assert_eq!(damaged.get(), 1, "{sql}");
        assert!(store.health().is_ok());
    }
}

#[tokio::test]
async fn what_is_remembered_and_damaged_is_forgotten_so_that_planning_goes_on() {
    for (sql, damaged) in [
        ("UPDATE memory SET kind = 99", 1),
        ("UPDATE memory SET until = 9223372036854775000", 1),
        // The wait itself is whole: only the event that it began with is not.
        (
            "UPDATE memory SET kind = 2, value = 1; UPDATE event SET body = x'00' WHERE seq = 1",
            0,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        accept(&store, event("a", "1", "{}", 0)).await;
        let scope = Scope {
            route: key("route"),
            rule: "rule".to_owned(),
            part: Part::Transition,
        };
        let known = MemoryKey::new(&Arc::new(scope), "key");
        let mut planned = plan(1, 0, Vec::new());
        planned.remember.push(Remember {
            key: known.clone(),
            memory: Memory::State {
                rank: 1,
                at: at(0),
                reopened: None,
            },
            until: at(100),
        });
        store.plan(&key("a"), 0, vec![planned]).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        tamper(dir.path(), sql);
        let (store, metrics) = open_measured(dir.path());
        let recalled = store.recall(&key("a"), vec![known]).await.unwrap();
        assert_eq!(recalled[0].is_none(), damaged == 1, "{sql}");
        let counted = metrics.store_damaged_rows.with_label_values(&["memory"]);
        assert_eq!(counted.get(), damaged, "{sql}");
    }
}

#[tokio::test]
async fn what_waits_for_a_damaged_timer_is_dead_and_the_others_fire() {
    for sql in [
        "UPDATE timer SET once = '[' WHERE seq = 1",
        "UPDATE timer SET key = x'00' WHERE seq = 1",
        "UPDATE delivery SET id = x'00' WHERE key = (SELECT min(key) FROM delivery)",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let scope = Arc::new(Scope {
            route: key("route"),
            rule: "rule".to_owned(),
            part: Part::After(1),
        });
        for seq in 1..=2 {
            accept(&store, event("a", &seq.to_string(), "{}", 0)).await;
            let mut waits = delivery("crm", seq);
            waits.waits_until = Some(at(10));
            let mut planned = plan(seq, 0, vec![waits]);
            let memory = MemoryKey::new(&scope, &seq.to_string());
            planned.remember.push(Remember {
                key: memory.clone(),
                memory: Memory::Wait {
                    state: WaitState::Pending { seq },
                    at: at(0),
                },
                until: jiff::Timestamp::MAX,
            });
            planned.timers.push(NewTimer {
                key: memory,
                at: at(0),
                due: at(10),
                once: Vec::new(),
            });
            store.plan(&key("a"), seq - 1, vec![planned]).await.unwrap();
        }
        store.close().await.unwrap();
        drop(store);
        tamper(dir.path(), sql);
        let (store, metrics) = open_measured(dir.path());
        let due = || store.timers_due(&key("a"), at(11), at(-100), 10);
        for _ in 0..2 {
            let seqs: Vec<_> = due()
                .await
                .unwrap()
                .timers
                .iter()
                .map(|it| it.id.seq)
                .collect();
            assert_eq!(seqs, [2], "{sql}");
        }
        let counted = metrics.store_damaged_rows.with_label_values(&["timer"]);
        assert_eq!(counted.get(), 1, "{sql}: it is said once");
        assert_eq!(store.timers().await.unwrap()[0].pending, 1, "{sql}");
        let lanes = store.lanes().await.unwrap();
        assert_eq!((lanes[0].pending, lanes[0].dead), (0, 1), "{sql}");
        let history = store.scan(0, 1).await.unwrap().remove(0);
        let state = DeliveryState::Dead(DeadReason::Damaged);
        assert_eq!(history.deliveries[0].state, state, "{sql}");
        let keys = [1, 2].map(|seq: u64| MemoryKey::new(&scope, &seq.to_string()));
        let recalled = store.recall(&key("a"), keys.to_vec()).await.unwrap();
        let known: Vec<_> = recalled.iter().map(Option::is_some).collect();
        assert_eq!(known, [false, true], "{sql}: its key is free");
        assert!(store.health().is_ok());
    }
}
