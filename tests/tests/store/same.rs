//! The cases that every engine goes through, and replicas that must not differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hookswitch_receiver::plan::{Memory, MemoryKey, Part, Plan, Remember, Scope};
use hookswitch_receiver::store::archive::Archive;
use hookswitch_receiver::store::{Store as _, event_bytes};
use hookswitch_tests::servers::nats::Nats;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::random::{Engine, Run, step};
use crate::replica::{Replica, assert_same, level, settings};
use crate::support::{at, claim, delivery, event, finish, keep_nothing, key, lane, plan};
use hookswitch_receiver::store::Next;

/// One receiver at a time; after a crash another one takes over, with what the first has left or with an
/// empty disk.
struct Alone {
    replica: Replica,
    restarts: u32,
}

impl Engine for Alone {
    fn store(&self) -> &dyn Archive {
        self.replica.store()
    }

    async fn restart(&mut self, crash: bool) {
        if crash {
            self.replica.kill().await;
        } else {
            self.replica.close().await;
        }
        self.restarts += 1;
        if self.restarts.is_multiple_of(2) {
            self.replica.wipe();
        }
        self.replica.open().await.unwrap();
        // With an empty disk nobody knows that the last one has ended, until it is missed.
        self.replica.members(1).await;
    }
}

#[test]
fn r14_random_operations_with_crashes_leave_what_the_model_says_and_replicas_alike() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let nats = runtime.block_on(Nats::start());
    let cases = AtomicU32::new(0);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 24,
        max_shrink_iters: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&prop::collection::vec(step(), 1..60), |steps| {
            let case = cases.fetch_add(1, Ordering::Relaxed);
            let settings = settings(&nats, &format!("case-{case}"));
            runtime.block_on(async {
                let replica = Replica::start(&settings).await;
                let alone = Alone {
                    replica,
                    restarts: 0,
                };
                let mut run = Run::new(alone);
                for step in steps {
                    run.step(step).await;
                }
                // What was done live, in pieces and over restarts is what the log says from its beginning.
                let mut other = Replica::start(&settings).await;
                let mut first = run.into_engine().replica;
                level(&[&first, &other]).await;
                assert_same(first.dir.path(), other.dir.path());
                other.close().await;
                first.close().await;
            });
            Ok(())
        })
        .unwrap();
}

/// Enough events that memory is written to the file, by two at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_replicas_of_a_long_log_hold_the_same_rows() {
    const EVENTS: usize = 17_000;
    let nats = Nats::start().await;
    let settings = settings(&nats, "long");
    let (one, mut two) = (
        Replica::start(&settings).await,
        Replica::start(&settings).await,
    );
    one.members(2).await;
    for first in (0..EVENTS).step_by(1000) {
        let offers = (first..first + 1000).map(|number| {
            let store = if number % 3 == 0 { &two } else { &one }.store();
            let name = if number % 2 == 0 { "a" } else { "b" };
            // Some ids come again, with the same body or another.
            let (id, body) = (number - number % 7 % 2, number % 5);
            store.accept(event(name, &id.to_string(), &body.to_string(), 0))
        });
        futures::future::try_join_all(offers).await.unwrap();
        if first == 8000 {
            two.close().await;
            two.open().await.unwrap();
        }
    }
    for name in ["a", "b"] {
        level(&[&one, &two]).await;
        let owner = match one.store().unplanned(&key(name), 1).await.unwrap().1.len() {
            0 => two.store(),
            _ => one.store(),
        };
        for _ in 0..4 {
            let (after, events) = owner.unplanned(&key(name), 300).await.unwrap();
            let plans = events
                .iter()
                .map(|event| plan(event.seq, 1, vec![delivery("crm", event.seq)]));
            owner
                .plan(&key(name), after, plans.collect())
                .await
                .unwrap();
        }
    }
    level(&[&one, &two]).await;
    let now = at(2);
    let mut due = one.store().due(&lane("crm"), now, 500).await.unwrap().ready;
    let owner = if due.is_empty() {
        due = two.store().due(&lane("crm"), now, 500).await.unwrap().ready;
        two.store()
    } else {
        one.store()
    };
    assert_eq!(due.len(), 500);
    let claims = due.iter().map(|delivery| claim(delivery.id, 0, 2));
    assert!(
        owner
            .claim(claims.collect())
            .await
            .unwrap()
            .iter()
            .all(|won| *won)
    );
    let finishes = due
        .iter()
        .map(|delivery| finish(delivery.id, 1, 3, Next::Delivered));
    owner.finish(finishes.collect()).await.unwrap();
    for store in [one.store(), two.store()] {
        // One of them leads; the other one has nothing to do.
        while store
            .purge(at(9000), Vec::new(), keep_nothing())
            .await
            .unwrap()
            .more
        {}
    }
    let empty = Replica::start(&settings).await;
    level(&[&one, &two, &empty]).await;
    assert_same(one.dir.path(), two.dir.path());
    assert_same(one.dir.path(), empty.dir.path());
}

/// What is forgotten before its time depends on what waits for its plan, and not on how many messages of the log
/// are applied at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_replicas_forget_alike_in_whatever_pieces_they_read_the_log() {
    let nats = Nats::start().await;
    let settings = settings(&nats, "forget");
    let one = Replica::start(&settings).await;
    one.members(1).await;
    let scope = Scope {
        route: key("route"),
        rule: "first".to_owned(),
        part: Part::Once("crm".to_owned()),
    };
    let remember = Remember {
        key: MemoryKey::new(&Arc::new(scope), "user-1"),
        memory: Memory::Claimed,
        until: at(5),
    };
    one.store()
        .accept(event("a", "1", "body", 0))
        .await
        .unwrap();
    let planned = Plan {
        remember: vec![remember],
        ..plan(1, 0, Vec::new())
    };
    one.store().plan(&key("a"), 0, vec![planned]).await.unwrap();
    // There is room for it only where everything before is gone.
    let mut next = event("a", "2", "body", 10);
    next.quota = event_bytes(&next.event);
    one.store().accept(next).await.unwrap();
    let other = Replica::start(&settings).await;
    level(&[&one, &other]).await;
    assert_same(one.dir.path(), other.dir.path());
}
