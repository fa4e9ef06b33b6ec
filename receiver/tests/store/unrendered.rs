//! Deliveries that wait for look-ups: pending, in order, and rendered once.

use bytes::Bytes;
use hookswitch_receiver::plan::{DeadReason, EchoMark, FrozenBody, NewDelivery, WriteBack};
use hookswitch_receiver::store::archive::{Archive as _, DeadChange};
use hookswitch_receiver::store::{
    DeliveryState, GuardQuestion, LookUpRecord, Next, Render, Rendered, Store, event_bytes,
};

use crate::support::{
    PLENTY, accept, at, claim, delivery, event, finish, key, lane, open, plan, uuid,
};

/// A delivery whose body is still a template.
fn unrendered(seq: u64, subject: Option<&str>) -> NewDelivery {
    let mut delivery = delivery("crm", seq);
    delivery.request.as_mut().unwrap().body = FrozenBody::Unrendered(Bytes::from_static(b"{}"));
    delivery.ordered_by = subject.map(str::to_owned);
    delivery
}

fn ready(seq: u64, seconds: i64, body: &'static str) -> Render {
    Render {
        id: uuid(&format!("crm {seq}")),
        at: at(seconds),
        look_ups: vec![looked_up("profile", Some("timeout"))],
        body: Rendered::Ready {
            body: Bytes::from_static(body.as_bytes()),
            echo: None,
        },
    }
}

fn looked_up(name: &str, failed: Option<&str>) -> LookUpRecord {
    LookUpRecord {
        name: name.to_owned(),
        failed: failed.map(str::to_owned),
    }
}

/// Accepts and plans events of one delivery each.
async fn planned(store: &dyn Store, deliveries: Vec<NewDelivery>) {
    for (seq, delivery) in (1..).zip(deliveries) {
        accept(store, event("a", &seq.to_string(), "{}", 0)).await;
        let plans = vec![plan(seq, 0, vec![delivery])];
        store.plan(&key("a"), seq - 1, plans).await.unwrap();
    }
}

async fn due(store: &dyn Store, seconds: i64) -> Vec<u64> {
    let due = store.due(&lane("crm"), at(seconds), 10).await.unwrap();
    due.ready.iter().map(|one| one.event.seq).collect()
}

async fn waiting(store: &dyn Store, seconds: i64) -> Vec<u64> {
    let due = store
        .unrendered(&lane("crm"), at(seconds), 10)
        .await
        .unwrap();
    due.ready.iter().map(|one| one.event.seq).collect()
}

#[tokio::test]
async fn one_is_due_once_it_is_rendered_and_keeps_what_was_rendered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    planned(&store, vec![unrendered(1, None), delivery("crm", 2)]).await;
    assert_eq!(waiting(&store, 1).await, [1]);
    assert_eq!(due(&store, 1).await, [2], "the others go on");
    let lanes = store.lanes().await.unwrap();
    assert_eq!(lanes[0].pending, 2, "it counts as pending");
    let claims = vec![claim(uuid("crm 1"), 0, 1)];
    assert_eq!(
        store.claim(claims).await.unwrap(),
        [false],
        "it can't be sent yet"
    );

    // Again later, with what is to be remembered.
    let again = Render {
        id: uuid("crm 1"),
        at: at(1),
        look_ups: vec![looked_up("profile", Some("busy")), looked_up("plan", None)],
        body: Rendered::Again {
            body: Bytes::from_static(b"{\"tries\":1}"),
            due: at(5),
        },
    };
    assert_eq!(store.render(vec![again]).await.unwrap(), [true]);
    let found = store.unrendered(&lane("crm"), at(4), 10).await.unwrap();
    assert!(found.ready.is_empty());
    assert_eq!(found.next, Some(at(5)));

    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path());
    let found = store.unrendered(&lane("crm"), at(5), 10).await.unwrap();
    let body = FrozenBody::Unrendered(Bytes::from_static(b"{\"tries\":1}"));
    assert_eq!(found.ready[0].request.body, body);
    let history = store.scan(0, 1).await.unwrap().remove(0);
    let told = &history.deliveries[0];
    assert_eq!(told.state, DeliveryState::Unrendered { due: at(5) });
    assert_eq!(told.request.as_ref().unwrap().body, body);
    let looked_up_then = [looked_up("profile", Some("busy")), looked_up("plan", None)];
    assert_eq!(told.look_ups, looked_up_then);

    assert_eq!(
        store.render(vec![ready(1, 6, "rendered")]).await.unwrap(),
        [true]
    );
    assert_eq!(
        store.render(vec![ready(1, 7, "other")]).await.unwrap(),
        [false],
        "once"
    );
    assert!(waiting(&store, 9).await.is_empty());
    let found = store.due(&lane("crm"), at(9), 10).await.unwrap();
    let first = found.ready.iter().find(|one| one.event.seq == 1).unwrap();
    let body = FrozenBody::Rendered(Bytes::from_static(b"rendered"));
    assert_eq!((&first.request.body, first.attempts), (&body, 0));
    assert_eq!(first.due, at(6));
    let history = store.scan(0, 1).await.unwrap().remove(0);
    let told = &history.deliveries[0];
    assert_eq!(told.look_ups, [looked_up("profile", Some("timeout"))]);
}

#[tokio::test]
async fn in_order_what_comes_after_it_waits_and_it_waits_for_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut plain = delivery("crm", 2);
    plain.ordered_by = Some("s".to_owned());
    let deliveries = vec![
        unrendered(1, Some("s")),
        plain,
        unrendered(3, Some("s")),
        unrendered(4, Some("t")),
    ];
    planned(&store, deliveries).await;
    assert_eq!(
        waiting(&store, 1).await,
        [1, 3, 4],
        "look-ups are made ahead"
    );
    assert!(due(&store, 1).await.is_empty());
    // The third is rendered first, and still goes last.
    let renders = vec![ready(3, 1, "3"), ready(4, 1, "4")];
    assert_eq!(store.render(renders).await.unwrap(), [true, true]);
    assert_eq!(due(&store, 2).await, [4]);
    store.render(vec![ready(1, 3, "1")]).await.unwrap();
    for (seq, seconds) in [(1, 4), (2, 5), (3, 6)] {
        let found: Vec<_> = due(&store, seconds)
            .await
            .into_iter()
            .filter(|it| *it != 4)
            .collect();
        assert_eq!(found, [seq]);
        let id = uuid(&format!("crm {seq}"));
        assert_eq!(
            store.claim(vec![claim(id, 0, seconds)]).await.unwrap(),
            [true]
        );
        let end = finish(id, 1, seconds, Next::Delivered);
        assert_eq!(store.finish(vec![end]).await.unwrap(), [true]);
    }
}

#[tokio::test]
async fn one_that_is_given_up_lets_the_next_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut plain = delivery("crm", 2);
    plain.ordered_by = Some("s".to_owned());
    planned(&store, vec![unrendered(1, Some("s")), plain]).await;
    let never = || Render {
        id: uuid("crm 1"),
        at: at(3),
        look_ups: vec![looked_up("profile", Some("refused"))],
        body: Rendered::Never(DeadReason::LookUpFailed),
    };
    assert_eq!(store.render(vec![never()]).await.unwrap(), [true]);
    assert_eq!(store.render(vec![never()]).await.unwrap(), [false], "once");
    assert_eq!(due(&store, 3).await, [2]);
    let lanes = store.lanes().await.unwrap();
    assert_eq!((lanes[0].pending, lanes[0].dead), (1, 1));
    let history = store.scan(0, 1).await.unwrap().remove(0);
    let told = &history.deliveries[0];
    assert_eq!(told.state, DeliveryState::Dead(DeadReason::LookUpFailed));
    assert_eq!(told.look_ups, [looked_up("profile", Some("refused"))]);

    // Who lets it be tried again lets its look-ups be made again.
    let change = DeadChange {
        id: uuid("crm 1"),
        attempts: 0,
        at: at(4),
    };
    assert_eq!(store.retry(vec![change]).await.unwrap(), [true]);
    assert_eq!(waiting(&store, 4).await, [1]);
    assert_eq!(store.render(vec![ready(1, 5, "x")]).await.unwrap(), [true]);
}

#[tokio::test]
async fn what_is_rendered_counts_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    planned(&store, vec![unrendered(1, None)]).await;
    let long: &'static str =
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    store.render(vec![ready(1, 1, long)]).await.unwrap();
    let one = event("a", "1", "{}", 0);
    let used = event_bytes(&one.event) + 128 + u64::try_from(long.len()).unwrap();
    // Exactly as much room as another event takes, and one byte less.
    let mut next = event("a", "2", "{}", 1);
    next.quota = used + event_bytes(&next.event) - 1;
    assert!(store.accept(next.clone()).await.is_err());
    next.quota += 1;
    store.accept(next).await.unwrap();
    assert!(used < PLENTY);
}

#[tokio::test]
async fn a_write_back_leaves_the_mark_of_what_was_rendered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut write_back = unrendered(1, None);
    write_back.write_back = Some(WriteBack {
        subject: "s".to_owned(),
        window: hookswitch_crds::duration::Duration::from_secs(60),
    });
    planned(&store, vec![write_back]).await;
    let mark = EchoMark {
        key: [7; 32],
        window: hookswitch_crds::duration::Duration::from_secs(60),
    };
    let mut render = ready(1, 1, "x");
    if let Rendered::Ready { echo, .. } = &mut render.body {
        *echo = Some(mark);
    }
    store.render(vec![render]).await.unwrap();
    store.claim(vec![claim(uuid("crm 1"), 0, 2)]).await.unwrap();
    let question = GuardQuestion {
        lane: lane("crm"),
        echo_key: Some([7; 32]),
        at: at(3),
        subject: "s".to_owned(),
        since: at(-60),
    };
    let answer = store.guard(vec![question]).await.unwrap().remove(0);
    assert_eq!(answer.marks, [uuid("crm 1")]);
    assert_eq!(answer.write_backs, 1, "it counts from the plan on");
}
