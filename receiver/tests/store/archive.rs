//! What a replay may make.

use std::sync::Arc;

use hookswitch_receiver::plan::{Memory, MemoryKey, Part, Remember, Scope};
use hookswitch_receiver::store::Store;
use hookswitch_receiver::store::archive::{Archive, Replay};

use crate::support::{accept, at, delivery, event, key, open, plan};

#[tokio::test]
async fn r41_a_replay_claims_what_once_remembers_and_makes_nothing_that_is_claimed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut seqs = Vec::new();
    for id in ["1", "2"] {
        seqs.push(accept(&store, event("a", id, "{}", 0)).await);
    }
    let plans = seqs.iter().map(|seq| plan(*seq, 1, Vec::new())).collect();
    store.plan(&key("a"), 0, plans).await.unwrap();
    let scope = Arc::new(Scope {
        route: key("route"),
        rule: "rule".to_owned(),
        part: Part::Once("crm".to_owned()),
    });
    let replay = |seq: u64, until: i64| Replay {
        seq,
        at: at(2),
        deliveries: vec![delivery("crm", seq), delivery("qa", seq)],
        claims: vec![Remember {
            key: MemoryKey::new(&scope, "survey of c-1"),
            memory: Memory::Claimed,
            until: at(until),
        }],
    };
    let (first, second) = (seqs[0], seqs[1]);
    let both = vec![replay(first, 60), replay(second, 60)];
    // `qa` has no `once`: both events make it.
    assert_eq!(store.replay(both.clone()).await.unwrap(), [2, 1]);
    assert_eq!(store.replay(both).await.unwrap(), [0, 0]);
    let made = store.scan(0, 10).await.unwrap();
    let made: Vec<usize> = made
        .iter()
        .map(|history| history.deliveries.len())
        .collect();
    assert_eq!(made, [2, 1]);
}
