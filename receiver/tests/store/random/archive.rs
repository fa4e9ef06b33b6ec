//! A person's questions and changes, on both sides.

use hookswitch_receiver::plan::{DeadReason, Outcome};
use hookswitch_receiver::store::archive::{
    DeadChange, DeadQuery, EventQuery, From, Replay, Stage, VerdictQuery,
};

use super::{Engine, LANES, Run, Wish};
use crate::support::{self, at, key};

impl<E: Engine> Run<E> {
    /// A change of a dead letter.
    pub(super) fn change(&self, pick: usize, stale: bool) -> Option<DeadChange> {
        let dead = self.model.dead();
        let (id, attempts) = *dead.get(pick.checked_rem(dead.len())?)?;
        Some(DeadChange {
            id,
            attempts: attempts + u32::from(stale),
            at: at(self.now),
        })
    }

    /// Gives an event new deliveries, and one that it may have already.
    pub(super) async fn replay(&mut self, pick: usize, wishes: &[Wish], known: Option<usize>) {
        let seqs: Vec<u64> = self.model.events.keys().copied().collect();
        let Some(seq) = pick.checked_rem(seqs.len()).map(|at| seqs[at]) else {
            return;
        };
        let mut deliveries = self.wished(seq, wishes).deliveries;
        let has = &self.model.events[&seq].deliveries;
        if let Some(same) = known.and_then(|at| has.get(at.checked_rem(has.len())?)) {
            let mut again = support::delivery(LANES[0], seq);
            again.id = same.new.id;
            deliveries.push(again);
        }
        let replay = Replay {
            seq,
            at: at(self.now),
            deliveries,
            claims: Vec::new(),
        };
        let made = self.model.replay(replay.clone());
        let outcome = self.engine.store().replay(vec![replay]).await.unwrap();
        assert_eq!(outcome, [made]);
    }

    /// Lists of events and of dead letters, whole and in pages.
    pub(super) async fn compare_lists(&self) {
        let store = self.engine.store();
        let recently = Some(at(self.now - 10));
        let queries = [
            EventQuery::default(),
            EventQuery {
                subscription: Some(key("a")),
                state: Some(Stage::Dead),
                ..EventQuery::default()
            },
            EventQuery {
                since: recently,
                state: Some(Stage::Pending),
                ..EventQuery::default()
            },
            EventQuery {
                id: Some("id-1".to_owned()),
                until: recently,
                verdict: VerdictQuery {
                    outcome: Some(Outcome::Fired),
                    ..VerdictQuery::default()
                },
                ..EventQuery::default()
            },
        ];
        for query in queries {
            let mut expected = self.model.summaries(&query);
            let (mut found, mut from) = (Vec::new(), 0);
            loop {
                let ask = store.events(query.clone(), From::After(from), 2);
                let page = ask.await.unwrap();
                found.extend(page.found);
                from = page.reached;
                if !page.more {
                    break;
                }
            }
            assert_eq!(found, expected, "{query:?}");
            expected.reverse();
            let ask = store.events(query, From::Before(u64::MAX), 1000);
            assert_eq!(ask.await.unwrap().found, expected);
        }
        let queries = [
            DeadQuery::default(),
            DeadQuery {
                ids: Some(
                    self.model
                        .dead()
                        .iter()
                        .map(|(id, _)| *id)
                        .take(3)
                        .collect(),
                ),
                subscription: Some(key("b")),
                ..DeadQuery::default()
            },
            DeadQuery {
                destination: Some(LANES[1].to_owned()),
                reason: Some(DeadReason::Refused),
                since: recently,
                ..DeadQuery::default()
            },
        ];
        for query in queries {
            let (mut found, mut after) = (Vec::new(), 0);
            loop {
                let ask = store.dead_letters(query.clone(), after, 2);
                let page = ask.await.unwrap();
                for mut letter in page.found {
                    assert!(letter.place > after || after == 0);
                    after = letter.place;
                    letter.place = 0;
                    found.push(letter);
                }
                after = page.reached;
                if !page.more {
                    break;
                }
            }
            assert_eq!(found, self.model.dead_letters(&query), "{query:?}");
        }
    }
}
