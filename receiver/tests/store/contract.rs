//! What every engine promises, one promise a test.

use hookswitch_receiver::store::{Accepted, DeliveryState, Next, Store};

use crate::support::{
    accept, at, claim, delivery, event, finish, keep_nothing, key, lane, open, plan,
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
