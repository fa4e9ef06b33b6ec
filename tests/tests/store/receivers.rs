//! What only several receivers have: one effect of a duplicate that reaches another one, one owner for each
//! piece of work, and others who take over.

use std::sync::Arc;

use hookswitch_receiver::config::Planned;
use hookswitch_receiver::plan::{DeadReason, MemoryKey, NewTimer, Part, Plan, Scope};
use hookswitch_receiver::store::archive::{Archive as _, DeadQuery};
use hookswitch_receiver::store::embedded::FILE;
use hookswitch_receiver::store::{
    Accepted, DeliveryState, Error, Next, Store as _, StoredDelivery,
};
use hookswitch_tests::servers::nats::Nats;
use hookswitch_tests::wait;

use crate::replica::{Replica, SOON, level, settings};
use crate::support::{at, claim, delivery, event, finish, key, lane, plan};

/// Two receivers that share the work.
async fn two(nats: &Nats, prefix: &str) -> (Replica, Replica) {
    let settings = settings(nats, prefix);
    let one = Replica::start(&settings).await;
    let other = Replica::start(&settings).await;
    one.members(2).await;
    (one, other)
}

/// The one that plans a subscription, and the other one. There is an event to plan.
async fn planner<'a>(
    one: &'a mut Replica,
    other: &'a mut Replica,
    name: &str,
) -> (&'a mut Replica, &'a mut Replica) {
    level(&[one, other]).await;
    let here = one.store().unplanned_subscriptions().await.unwrap();
    let there = other.store().unplanned_subscriptions().await.unwrap();
    assert_ne!(
        here.contains(&key(name)),
        there.contains(&key(name)),
        "one plans it"
    );
    if here.contains(&key(name)) {
        (one, other)
    } else {
        (other, one)
    }
}

async fn due(replica: &Replica) -> Vec<StoredDelivery> {
    let due = replica.store().due(&lane("crm"), at(100), 10).await;
    due.unwrap().ready
}

/// Waits for the one that has something due.
async fn owner<'a>(
    one: &'a mut Replica,
    other: &'a mut Replica,
) -> (&'a mut Replica, &'a mut Replica) {
    level(&[one, other]).await;
    let (here, there) = (due(one).await.len(), due(other).await.len());
    assert_ne!(here > 0, there > 0, "one delivers it");
    if here > 0 { (one, other) } else { (other, one) }
}

/// Plans all that is accepted, two deliveries a subject.
async fn plan_all(planner: &Replica, name: &str) {
    let store = planner.store();
    let (after, events) = store.unplanned(&key(name), 100).await.unwrap();
    let plans: Vec<Plan> = events
        .iter()
        .map(|event| {
            let mut delivery = delivery("crm", event.seq);
            delivery.ordered_by = Some("conversation-1".to_owned());
            plan(event.seq, 1, vec![delivery])
        })
        .collect();
    store.plan(&key(name), after, plans).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_duplicate_that_reaches_another_receiver_is_seen() {
    async fn offer(replica: &Replica) -> Result<Accepted, Error> {
        replica.store().accept(event("a", "1", "body", 0)).await
    }
    let nats = Nats::start().await;
    let (one, other) = two(&nats, "duplicate").await;
    let (first, second) = tokio::join!(offer(&one), offer(&other));
    let new = [first.unwrap(), second.unwrap()]
        .into_iter()
        .filter(|accepted| matches!(accepted, Accepted::New { seq: 1 }));
    assert_eq!(new.count(), 1);
    assert_eq!(offer(&other).await.unwrap(), Accepted::Duplicate);
    level(&[&one, &other]).await;
    let digest = event("a", "1", "body", 0).digest;
    for replica in [&one, &other] {
        assert!(
            replica
                .store()
                .seen(&key("a"), "1", digest, at(1))
                .await
                .unwrap()
        );
    }
    let reused = other.store().accept(event("a", "1", "another", 0)).await;
    assert_eq!(reused.unwrap(), Accepted::IdReused { seq: 2 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_work_has_one_owner_and_a_killed_ones_is_taken_over_in_order() {
    let nats = Nats::start().await;
    let (mut one, mut other) = two(&nats, "takeover").await;
    for id in ["1", "2"] {
        one.store().accept(event("a", id, "body", 0)).await.unwrap();
    }
    let (plans, rests) = planner(&mut one, &mut other, "a").await;
    assert!(
        rests
            .store()
            .unplanned(&key("a"), 9)
            .await
            .unwrap()
            .1
            .is_empty()
    );
    plan_all(plans, "a").await;
    let (first, survivor) = owner(&mut one, &mut other).await;
    // The second of the subject waits for the first, whoever has that.
    let ready = due(first).await;
    assert_eq!(ready.len(), 1);
    let attempt = claim(ready[0].id, 0, 2);
    assert_eq!(
        first.store().claim(vec![attempt.clone()]).await.unwrap(),
        [true]
    );
    assert_eq!(
        survivor.store().claim(vec![attempt]).await.unwrap(),
        [false]
    );
    assert!(due(first).await.is_empty());

    let killed = std::time::Instant::now();
    first.kill().await;
    survivor.members(1).await;
    let left = wait::until("the work to be taken over", SOON, async || {
        let due = due(survivor).await;
        (!due.is_empty()).then_some(due)
    })
    .await;
    assert!(killed.elapsed().as_secs() < 6, "{:?}", killed.elapsed());
    assert!(
        survivor.lanes.take().await.contains(&lane("crm")),
        "its lane is woken"
    );
    assert_eq!(left.len(), 1, "the subject's order holds");
    assert_eq!((left[0].id, left[0].attempts), (ready[0].id, 1));
    assert!(
        left[0].interrupted,
        "it can't be known what became of the attempt"
    );
    let store = survivor.store();
    assert_eq!(
        store.claim(vec![claim(left[0].id, 1, 3)]).await.unwrap(),
        [true]
    );
    let done = finish(left[0].id, 2, 4, Next::Delivered);
    assert_eq!(store.finish(vec![done]).await.unwrap(), [true]);
    assert_eq!(due(survivor).await.len(), 1, "then the next one goes");

    // It comes back, and takes its part again.
    first.open().await.unwrap();
    first.members(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_a_receiver_that_leaves_hands_over_at_once_and_attempts_of_others_stay_theirs() {
    let nats = Nats::start().await;
    let (mut one, mut other) = two(&nats, "leave").await;
    one.store()
        .accept(event("a", "1", "body", 0))
        .await
        .unwrap();
    let (plans, _) = planner(&mut one, &mut other, "a").await;
    plan_all(plans, "a").await;
    let (holder, leaver) = owner(&mut one, &mut other).await;
    let ready = due(holder).await;
    holder
        .store()
        .claim(vec![claim(ready[0].id, 0, 2)])
        .await
        .unwrap();
    // What says nothing of this attempt leaves it its holder's.
    let stale = finish(ready[0].id, 7, 3, Next::Delivered);
    assert_eq!(leaver.store().finish(vec![stale]).await.unwrap(), [false]);
    leaver.close().await;
    holder.members(1).await;
    let history = holder.store().scan(0, 1).await.unwrap();
    assert_eq!(history[0].deliveries[0].state, DeliveryState::Claimed);
    let dead = finish(ready[0].id, 1, 3, Next::Dead(DeadReason::Refused));
    assert_eq!(holder.store().finish(vec![dead]).await.unwrap(), [true]);
    // Any receiver tells of it.
    leaver.open().await.unwrap();
    let letters = leaver
        .store()
        .dead_letters(DeadQuery::default(), 0, 9)
        .await
        .unwrap();
    assert_eq!(letters.found[0].id, ready[0].id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_a_planner_that_is_not_the_owner_any_more_conflicts() {
    let nats = Nats::start().await;
    let (mut one, mut other) = two(&nats, "stale").await;
    one.store()
        .accept(event("a", "1", "body", 0))
        .await
        .unwrap();
    let (first, second) = planner(&mut one, &mut other, "a").await;
    plan_all(first, "a").await;
    level(&[first, second]).await;
    let stale = vec![plan(1, 2, Vec::new())];
    for replica in [first, second] {
        let outcome = replica.store().plan(&key("a"), 0, stale.clone()).await;
        assert!(matches!(outcome, Err(Error::Conflict)), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_larger_than_a_message_goes_in_parts() {
    let nats = Nats::start().await;
    let (one, other) = two(&nats, "large").await;
    let words: Vec<String> = (0..600_000)
        .map(|number| format!("{:05}", number % 99_991))
        .collect();
    let body = words.join(" ");
    assert!(body.len() > 3 << 20);
    one.store().accept(event("a", "1", &body, 0)).await.unwrap();
    level(&[&one, &other]).await;
    let kept = other.store().scan(0, 1).await.unwrap();
    assert_eq!(kept[0].event.event.body, body.as_bytes());
}

/// A receiver that can apply nothing any more is not waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_the_work_of_a_receiver_whose_store_has_stopped_is_taken_over() {
    let nats = Nats::start().await;
    let (broken, other) = two(&nats, "broken").await;
    let file = broken.dir.path().join(FILE);
    let file = rusqlite::Connection::open(file).unwrap();
    file.execute_batch("DROP TABLE event").unwrap();
    drop(file);
    for id in ["1", "2", "3"] {
        other
            .store()
            .accept(event("a", id, "body", 0))
            .await
            .unwrap();
    }
    wait::until("the broken one to stop", SOON, async || {
        matches!(broken.store().health(), Err(Error::Stopped(_))).then_some(())
    })
    .await;
    other.members(1).await;
    let left = other.store().unplanned(&key("a"), 9).await.unwrap().1;
    assert_eq!(left.len(), 3);
}

/// By which a receiver whose configuration is older knows that it has to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_deliveries_and_timers_tell_what_planned_them() {
    let nats = Nats::start().await;
    let one = Replica::start(&settings(&nats, "planned")).await;
    let store = one.store();
    assert!(store.is_shared());
    let scope = Scope {
        route: key("route"),
        rule: "rule".to_owned(),
        part: Part::After(7),
    };
    let planned = store.timers_planned(&key("a"), &scope).await.unwrap();
    assert_eq!(planned, None);
    for (id, sequence) in [("1", 9), ("2", 12), ("3", 10)] {
        store.accept(event("a", id, "body", 0)).await.unwrap();
        let (after, events) = store.unplanned(&key("a"), 9).await.unwrap();
        let seq = events[0].seq;
        let mut waits = delivery("later", seq);
        waits.waits_until = Some(at(500));
        let timer = NewTimer {
            key: MemoryKey::new(&Arc::new(scope.clone()), id),
            at: at(0),
            due: at(500),
            once: Vec::new(),
        };
        let planned_at = i64::try_from(seq).unwrap();
        let plan = Plan {
            sequence,
            timers: vec![timer],
            ..plan(seq, planned_at, vec![delivery("crm", seq), waits])
        };
        store.plan(&key("a"), after, vec![plan]).await.unwrap();
    }
    let due = due(&one).await;
    let sequences: Vec<u64> = due.iter().map(|delivery| delivery.sequence).collect();
    assert_eq!(sequences, [9, 12, 10]);
    let planned = store.timers_planned(&key("a"), &scope).await.unwrap();
    let newest = Planned {
        sequence: 12,
        at: at(2),
    };
    assert_eq!(planned, Some(newest));
}
