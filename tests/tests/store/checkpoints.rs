//! The log is cut short, and nobody misses what was in it.

use futures::StreamExt as _;
use hookswitch_receiver::plan::DeadReason;
use hookswitch_receiver::store::embedded::FILE;
use hookswitch_receiver::store::jetstream::Settings;
use hookswitch_receiver::store::{Accepted, DeliveryState, Due, Error, Store as _};
use hookswitch_tests::servers::nats::Nats;
use hookswitch_tests::wait;
use tempfile::TempDir;

use crate::replica::{Replica, SOON, assert_same, level, settings};
use crate::support::{at, delivery, event, key, lane, plan};

async fn accept(replica: &Replica, ids: std::ops::Range<u32>) {
    for id in ids {
        let new = event("a", &id.to_string(), "body", 0);
        replica.store().accept(new).await.unwrap();
    }
}

/// The checkpoints that there are.
async fn checkpoints(settings: &Settings) -> Vec<String> {
    let client = async_nats::connect(&settings.urls[0]).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let bucket = format!("{}-checkpoints", settings.prefix);
    // Made with the first one.
    let Ok(bucket) = context.get_object_store(bucket).await else {
        return Vec::new();
    };
    let list = bucket.list().await.unwrap();
    let mut names: Vec<String> = list.map(|it| it.unwrap().name).collect().await;
    names.sort();
    names
}

/// Waits for the first checkpoint.
async fn checkpoint(settings: &Settings) {
    wait::until("a checkpoint", SOON, async || {
        (!checkpoints(settings).await.is_empty()).then_some(())
    })
    .await;
}

/// The first message that the log holds.
async fn first(settings: &Settings) -> u64 {
    let client = async_nats::connect(&settings.urls[0]).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let name = format!("{}-log", settings.prefix);
    let stream = context.get_stream(name).await.unwrap();
    stream.cached_info().state.first_sequence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_an_empty_disk_and_an_old_one_begin_with_a_checkpoint() {
    let nats = Nats::start().await;
    let settings = Settings {
        checkpoint: (1 << 40, 100),
        ..settings(&nats, "checkpoint")
    };
    let mut one = Replica::start(&settings).await;
    let mut old = Replica::start(&settings).await;
    accept(&one, 0..20).await;
    old.close().await;
    // Too few for a second one.
    accept(&one, 20..150).await;
    checkpoint(&settings).await;
    let whole = first(&settings).await;
    assert!(whole <= 1, "who has no checkpoint may be reading: {whole}");
    accept(&one, 150..400).await;
    // What is older goes after the log is cut.
    let purged = wait::until("the log to go on from the older of two", SOON, async || {
        let first = first(&settings).await;
        let kept = checkpoints(&settings).await;
        let oldest = format!("state-{:020}", first.saturating_sub(1));
        (first > 100 && kept.len() == 2 && kept[0] == oldest).then_some(first)
    })
    .await;
    accept(&one, 400..430).await;

    let empty = Replica::start(&settings).await;
    old.open().await.unwrap();
    assert!(old.store().applied() > purged);
    for replica in [&empty, &old] {
        let again = replica
            .store()
            .accept(event("a", "7", "body", 1))
            .await
            .unwrap();
        assert_eq!(
            again,
            Accepted::Duplicate,
            "what was in the log's first part is known"
        );
    }
    level(&[&one, &old, &empty]).await;
    assert_same(one.dir.path(), empty.dir.path());
    assert_same(one.dir.path(), old.dir.path());
    one.close().await;
}

/// Spoils the body of every delivery in a replica's file.
fn damage(replica: &Replica) {
    let file = rusqlite::Connection::open(replica.dir.path().join(FILE)).unwrap();
    file.execute("UPDATE rendered SET body = x'00'", ())
        .unwrap();
}

/// A receiver with a delivery that is due, and whose row is damaged.
async fn damaged(settings: &Settings) -> Replica {
    let one = Replica::start(settings).await;
    accept(&one, 0..1).await;
    let plans = vec![plan(1, 1, vec![delivery("crm", 1)])];
    one.store().plan(&key("a"), 0, plans).await.unwrap();
    damage(&one);
    one
}

/// Finds the damage, which ends it, and starts it again; what is due then.
async fn start_again(one: &mut Replica) -> Due {
    let refused = one.store().due(&lane("crm"), at(9), 9).await;
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
    assert!(matches!(one.store().health(), Err(Error::Stopped(_))));
    one.kill_with(&["given-up"]).await;
    one.open().await.unwrap();
    one.members(1).await;
    one.store().due(&lane("crm"), at(9), 9).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_a_row_that_is_damaged_here_comes_from_the_log_again() {
    let nats = Nats::start().await;
    let mut one = damaged(&settings(&nats, "here")).await;
    let due = start_again(&mut one).await;
    assert_eq!((due.ready.len(), due.damaged), (1, 0));
}

/// A checkpoint was made of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_a_row_that_is_damaged_everywhere_is_set_aside_for_all() {
    let nats = Nats::start().await;
    let settings = Settings {
        checkpoint: (1 << 40, 100),
        ..settings(&nats, "everywhere")
    };
    let mut one = damaged(&settings).await;
    accept(&one, 1..200).await;
    checkpoint(&settings).await;
    let due = start_again(&mut one).await;
    assert_eq!((due.ready.len(), due.damaged), (0, 1));
    let other = Replica::start(&settings).await;
    level(&[&one, &other]).await;
    for replica in [&one, &other] {
        let events = replica.store().scan(0, 1).await.unwrap();
        let state = events[0].deliveries[0].state;
        assert_eq!(state, DeliveryState::Dead(DeadReason::Damaged));
    }
    assert_same(one.dir.path(), other.dir.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_another_log_and_a_log_that_lost_something_are_refused() {
    let nats = Nats::start().await;
    let settings = settings(&nats, "identity");
    let mut one = Replica::start(&settings).await;
    accept(&one, 0..5).await;
    one.close().await;
    let client = async_nats::connect(&settings.urls[0]).await.unwrap();
    let context = async_nats::jetstream::new(client);
    context.delete_stream("identity-log").await.unwrap();
    let refused = one.open().await.unwrap_err().to_string();
    assert!(
        refused.contains("it was deleted, or these are other servers"),
        "{refused}"
    );

    // Without what was kept it begins anew.
    one.wipe();
    one.open().await.unwrap();
    accept(&one, 0..5).await;
    one.close().await;
    let stream = context.get_stream("identity-log").await.unwrap();
    stream.purge().await.unwrap();
    let empty = TempDir::new().unwrap();
    let refused = Replica::start_in(&settings, empty).await.err().unwrap();
    assert!(
        refused.to_string().contains("no checkpoint reaches"),
        "{refused}"
    );
}
