//! What is left after the process, or the disk, ended it.

use std::collections::{BTreeMap, HashSet};

use hookswitch_receiver::event::Disposition;
use hookswitch_receiver::store::embedded::{Embedded, FILE};
use hookswitch_receiver::store::{Accepted, DeliveryState, Error, Store, StoredEvent};

use crate::child::{line, start};
use crate::random_embedded::copy;
use crate::support::{accept, at, event, key, lane, open, try_open};

/// What a child has told.
#[derive(Default)]
struct Told {
    accepted: HashSet<String>,
    planned: HashSet<u64>,
    claimed: HashSet<String>,
    delivered: HashSet<String>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("accepted", id)) => drop(self.accepted.insert(id.to_owned())),
            Some(("planned", seq)) => drop(self.planned.insert(seq.parse().unwrap())),
            Some(("claimed", id)) => drop(self.claimed.insert(id.to_owned())),
            Some(("delivered", id)) => drop(self.delivered.insert(id.to_owned())),
            Some((what, why)) if what.starts_with("failed") => panic!("{what}: {why}"),
            _ => {}
        }
    }

    /// Everything that was told is there.
    async fn check(&self, store: &Embedded) {
        let mut ids = BTreeMap::new();
        let mut last = 0;
        let mut states = BTreeMap::new();
        loop {
            let page = store.scan(last, 1000).await.unwrap();
            let Some(end) = page.last() else { break };
            last = end.event.seq;
            for history in page {
                let seq = history.event.seq;
                *ids.entry(history.event.event.id).or_insert(0) += 1;
                assert!(history.plan.is_some() || !self.planned.contains(&seq));
                for delivery in history.deliveries {
                    states.insert(delivery.id.to_string(), delivery.state);
                }
            }
        }
        assert!(ids.values().all(|times| *times == 1), "an event twice");
        for id in &self.accepted {
            assert!(ids.contains_key(id), "event {id} is lost");
        }
        for id in &self.delivered {
            assert_eq!(states[id], DeliveryState::Delivered);
        }
        let due = store.due(&lane("crm"), at(10), 100_000).await.unwrap();
        for delivery in due.ready {
            let cut_off = self.claimed.contains(&delivery.id.to_string());
            assert!(delivery.interrupted || !cut_off);
        }
        let pending = store.lanes().await.unwrap();
        let counted = states
            .values()
            .filter(|state| **state != DeliveryState::Delivered)
            .count();
        let pending: u64 = pending.iter().map(|lane| lane.pending).sum();
        assert_eq!(pending, u64::try_from(counted).unwrap());
    }
}

#[tokio::test]
async fn r17_a_process_killed_under_load_has_lost_nothing_that_it_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for run in 0..8 {
        let (mut child, mut lines) = start(dir.path(), run, &[]);
        // At another moment each time, in the middle of whatever goes on then.
        let until = told.accepted.len() + 40 + 37 * run;
        while told.accepted.len() < until {
            told.hear(&line(&mut lines).expect("the child ended by itself"));
        }
        child.kill().unwrap();
        while let Some(line) = line(&mut lines) {
            told.hear(&line);
        }
        child.wait().unwrap();
        let store = open(dir.path());
        told.check(&store).await;
        store.close().await.unwrap();
    }
    assert!(!told.delivered.is_empty());
}

#[tokio::test]
async fn a_torn_log_keeps_what_was_synced_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..30 {
        accept(&store, event("a", &number.to_string(), "body", number)).await;
    }
    let left = tempfile::tempdir().unwrap();
    copy(dir.path(), left.path());
    drop(store);
    let log = std::fs::read(left.path().join(format!("{FILE}-wal"))).unwrap();
    let mut whole = 0;
    let mut reported = 0;
    for step in 1..=40 {
        let torn = tempfile::tempdir().unwrap();
        copy(left.path(), torn.path());
        let mut bytes = log.clone();
        if step % 2 == 0 {
            bytes.truncate(log.len() - step * 1111);
        } else {
            let at = log.len() - step * 1111;
            bytes[at] ^= 0x40;
        }
        std::fs::write(torn.path().join(format!("{FILE}-wal")), bytes).unwrap();
        match try_open(torn.path()) {
            Ok(store) => {
                let kept = store.scan(0, 1000).await.unwrap();
                for (number, history) in kept.iter().enumerate() {
                    assert_eq!(history.event.event.id, number.to_string());
                }
                // A commit here is five pages at most: what was synced before the tear is there.
                let lost = 30 - kept.len();
                assert!(lost <= 1 + step * 1111 / 4120, "step {step} lost {lost}");
                // The disk may lie about one transaction, the last: a damaged byte before it is reported.
                assert!(step % 2 == 0 || lost <= 2, "step {step} lost {lost}");
                whole += 1;
            }
            Err(Error::Corrupt(why)) => {
                assert!(why.contains("log is damaged"), "{why}");
                reported += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(whole > 0 && reported > 0);
}

#[tokio::test]
async fn what_a_killed_process_wrote_is_synced_before_anything_is_answered_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    accept(&store, event("a", "1", "body", 0)).await;
    let left = tempfile::tempdir().unwrap();
    // What is copied was never synced: as after a kill between a write and its sync.
    copy(dir.path(), left.path());
    drop(store);
    let log = left.path().join(format!("{FILE}-wal"));
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    let store = open(left.path());
    let unsynced = std::fs::metadata(&log).unwrap().len();
    assert_eq!(unsynced, 0, "what the log holds may be in memory only");
    assert_eq!(
        store.accept(event("a", "1", "body", 1)).await.unwrap(),
        Accepted::Duplicate
    );
}

#[tokio::test]
async fn damage_in_the_file_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..200 {
        let body = format!("body {number} {}", "x".repeat(400));
        accept(&store, event("a", &number.to_string(), &body, number)).await;
    }
    store.close().await.unwrap();
    let good = std::fs::read(dir.path().join(FILE)).unwrap();
    let mut reported = 0;
    let pages = good.len() / 4096;
    for page in 0..pages {
        let bad = tempfile::tempdir().unwrap();
        let mut bytes = good.clone();
        // What a lost write leaves: the start of a page is something else.
        bytes[page * 4096..page * 4096 + 512].fill(0xa5);
        std::fs::write(bad.path().join(FILE), bytes).unwrap();
        let outcome = match try_open(bad.path()) {
            Ok(store) => store.scan(0, 1000).await.map(|all| all.len()),
            Err(error) => Err(error),
        };
        match outcome {
            Err(Error::Corrupt(why)) => {
                assert!(!why.is_empty());
                reported += 1;
            }
            Ok(events) => assert_eq!(events, 200, "page {page} took events along"),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(reported * 10 > pages * 9, "{reported} of {pages}");

    // A bit of a body: the file's structure is whole, the body is not what was accepted.
    let place = good
        .windows(9)
        .position(|bytes| bytes == b"body 17 x")
        .unwrap();
    let mut bytes = good;
    bytes[place + 20] ^= 1;
    std::fs::write(dir.path().join(FILE), bytes).unwrap();
    let store = open(dir.path());
    let histories = store.scan(0, 1000).await.unwrap();
    assert_eq!(histories.len(), 200);
    for history in histories {
        let StoredEvent { seq, event } = history.event;
        if seq == 18 {
            assert_eq!(event.disposition, Disposition::Damaged, "it is noticed");
            assert!(event.body.is_empty(), "what was not accepted is not told");
        } else {
            assert_eq!(event.disposition, Disposition::Route);
            let body = format!("body {} {}", seq - 1, "x".repeat(400));
            assert_eq!(event.body, body);
        }
    }
    let (_, unplanned) = store.unplanned(&key("a"), 1000).await.unwrap();
    let damaged: Vec<_> = unplanned
        .iter()
        .filter(|one| one.event.disposition == Disposition::Damaged)
        .map(|one| one.seq)
        .collect();
    assert_eq!(damaged, [18], "and it is not routed");
    assert!(
        matches!(
            store.accept(event("a", "new", "body", 0)).await,
            Ok(Accepted::New { .. })
        ),
        "writing goes on"
    );
}
