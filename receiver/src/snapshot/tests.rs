use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{FORMAT, Snapshot};

use super::*;
use crate::metrics::Metrics;

/// The shards of an empty snapshot.
fn shards(sequence: u64, count: u32) -> Vec<Vec<u8>> {
    let snapshot = Snapshot {
        format: FORMAT,
        sequence,
        ..Snapshot::empty()
    };
    let views = shard::split(&snapshot, count);
    views.iter().map(|view| view.encode().unwrap()).collect()
}

fn set(shards: &[&[u8]]) -> Set {
    let mut set = Set::default();
    for shard in shards {
        set.offer(shard.to_vec()).unwrap();
    }
    set
}

/// What an offer leads to: the sequences of the whole set, or nothing.
fn offered(set: &mut Set, bytes: &[u8]) -> Option<Vec<u64>> {
    let whole = set.offer(bytes.to_vec()).unwrap();
    whole.map(|shards| shards.iter().map(|it| it.sequence).collect())
}

#[test]
fn it_never_goes_back() {
    let mut set = Set::default();
    assert_eq!(offered(&mut set, &shards(5, 1)[0]), Some(vec![5]));
    assert_eq!(offered(&mut set, &shards(4, 1)[0]), None);
    assert_eq!(offered(&mut set, &shards(5, 1)[0]), None, "once is enough");
    assert_eq!(offered(&mut set, &shards(6, 1)[0]), Some(vec![6]));
}

#[test]
fn shards_are_served_once_they_are_whole() {
    let mut set = Set::default();
    let (old, new) = (shards(5, 3), shards(6, 3));
    assert_eq!(offered(&mut set, &old[2]), None);
    assert_eq!(offered(&mut set, &old[0]), None);
    assert_eq!(offered(&mut set, &old[1]), Some(vec![5, 5, 5]));
    assert_eq!(
        offered(&mut set, &new[1]),
        Some(vec![5, 6, 5]),
        "each is written by itself"
    );
}

#[test]
fn another_number_of_shards_is_served_only_as_a_whole() {
    let mut set = set(&[&shards(5, 1)[0]]);
    let more = shards(6, 2);
    assert_eq!(
        offered(&mut set, &more[1]),
        Some(vec![5]),
        "shard 0 still stands alone"
    );
    assert_eq!(offered(&mut set, &more[0]), Some(vec![6, 6]));
    assert_eq!(
        offered(&mut set, &shards(6, 1)[0]),
        Some(vec![6]),
        "of the same snapshot"
    );
    assert_eq!(offered(&mut set, &shards(7, 3)[0]), None);
}

#[test]
fn it_starts_from_the_newest_that_is_whole() {
    let sequence = |sources: &[Set]| Set::newest(sources).sequence();
    let (old, new) = (shards(5, 2), shards(6, 2));
    assert_eq!(sequence(&[]), None);
    let mounted = set(&[&old[0], &old[1]]);
    let copy = set(&[&new[0], &new[1]]);
    assert_eq!(sequence(&[mounted.clone(), copy.clone()]), Some(6));
    assert_eq!(sequence(&[copy, mounted.clone()]), Some(6));
    // The kubelet had mounted but one of them anew.
    let half = set(&[&new[0], &old[1]]);
    let newest = Set::newest(&[half, mounted.clone()]);
    assert_eq!(newest.shards[&0].shard.sequence, 6);
    // The number of shards is about to change.
    let torn = set(&[&shards(9, 3)[0]]);
    assert_eq!(sequence(&[torn.clone(), mounted]), Some(5));
    assert_eq!(sequence(&[torn]), None);
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let mut set = set(&[&shards(5, 1)[0]]);
    assert!(set.offer(b"damaged".to_vec()).is_err());
    assert_eq!(set.sequence(), Some(5));
}

fn follower(
    copy: Option<&Path>,
) -> (
    Follower,
    config::Follow,
    tokio::sync::watch::Receiver<Vec<u64>>,
) {
    let publisher = Publisher::new(Metrics::new().unwrap());
    let config = publisher.follow();
    let (loaded, follow) = tokio::sync::watch::channel(Vec::new());
    let follower = Follower {
        set: Set::default(),
        publisher: Arc::new(publisher),
        copy: copy.map(Path::to_owned),
        loaded,
    };
    (follower, config, follow)
}

fn secret(bytes: &[u8]) -> Secret {
    Secret {
        data: Some([(DATA_KEY.to_owned(), k8s_openapi::ByteString(bytes.to_vec()))].into()),
        ..Secret::default()
    }
}

#[tokio::test]
async fn r15_it_starts_without_the_api_server_from_its_own_copy_or_the_mounted_secret() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    let (mut first, _, _) = follower(Some(&copy));
    first.offer(secret(&shards(7, 1)[0])).await;

    // A restart.
    let (mut second, config, loaded) = follower(Some(&copy));
    second.start(None, 1).await;
    assert_eq!(config.borrow().as_ref().unwrap().sequence, 7);
    assert_eq!(*loaded.borrow(), [7]);

    // A mounted Secret that the kubelet brought up to date meanwhile.
    let mounted = dir.path().join("mounted");
    std::fs::create_dir_all(&mounted).unwrap();
    std::fs::write(
        mounted.join("hookswitch-snapshot-0.json.zst"),
        &shards(9, 1)[0],
    )
    .unwrap();
    let (mut third, config, _) = follower(Some(&copy));
    third.start(Some(&mounted), 1).await;
    assert_eq!(config.borrow().as_ref().unwrap().sequence, 9);

    let (mut without, config, loaded) = follower(None);
    without.start(None, 1).await;
    assert!(
        config.borrow().is_none(),
        "nothing is at hand: it stays unready"
    );
    assert!(loaded.borrow().is_empty());
}

#[tokio::test]
async fn a_secret_without_a_snapshot_is_waited_for() {
    let (mut follower, config, _) = follower(None);
    follower.offer(Secret::default()).await;
    assert!(config.borrow().is_none());
    follower.offer(secret(&shards(1, 1)[0])).await;
    assert_eq!(config.borrow().as_ref().unwrap().sequence, 1);
}

#[test]
fn what_did_not_change_is_kept_once() {
    let mut set = Set::default();
    let subscription = |name: &str, since: u64| {
        let subscription = crate::route::tests::subscription_of(&ObjectKey::new("ns", name));
        let mut subscription = Arc::new(subscription);
        Arc::make_mut(&mut subscription).origin.since = since;
        subscription
    };
    let mut offer = |sequence, changed| {
        let snapshot = Snapshot {
            sequence,
            subscriptions: vec![subscription("changed", changed), subscription("kept", 1)],
            ..Snapshot::empty()
        };
        let views = shard::split(&snapshot, 1);
        set.offer(views[0].encode().unwrap()).unwrap().unwrap()
    };
    let before = offer(1, 1);
    let after = offer(2, 2);
    let same = |index: usize| {
        let entry = |shards: &[Shard]| Arc::clone(&shards[0].subscriptions[index]);
        Arc::ptr_eq(&entry(&before), &entry(&after))
    };
    assert_eq!([same(0), same(1)], [false, true]);
}
