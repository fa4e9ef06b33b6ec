//! Random operations, with restarts and crashes between them, on an engine and on the [`Model`]: from
//! outside they must look the same after each.

use hookswitch_crds::duration::Duration;
use hookswitch_crds::key::ObjectKey;
use hookswitch_receiver::event::Disposition;
use hookswitch_receiver::plan::{
    DeadReason, EchoMark, FrozenBody, Guard, Outcome, Part, Plan, Recalled, Suppression, Verdict,
    WriteBack,
};
use hookswitch_receiver::store::archive::Archive;
use hookswitch_receiver::store::{
    Answer, Claim, Error, Finish, GuardQuestion, NewEvent, Next, Purged, Retention,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::model::Model;
use crate::support::{self, PLENTY, at, key, lane, uuid};

#[path = "random/archive.rs"]
mod archive;
#[path = "random/compare.rs"]
mod compare;
#[path = "random/timers.rs"]
mod timers;

use compare::similar;
use timers::{claim_key, key_of, wait_part, wait_scope};

const SUBSCRIPTIONS: [&str; 2] = ["a", "b"];
const LANES: [&str; 2] = ["crm", "reply"];

/// One step. Numbers pick from what the model has at that moment.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Accept {
        subscription: usize,
        id: u8,
        body: u8,
        quota: u64,
    },
    Plan {
        subscription: usize,
        deliveries: Vec<Vec<Wish>>,
        stale: bool,
        consume: Option<bool>,
        quarantined: bool,
        cancel: Option<bool>,
    },
    Fire {
        pick: usize,
        stale: bool,
        fates: u8,
    },
    RemoveTimers {
        subscription: usize,
        version: u64,
    },
    Claim {
        pick: usize,
        stale: bool,
    },
    Finish {
        pick: usize,
        stale: bool,
        next: u8,
        answer: Option<bool>,
    },
    Retry {
        pick: usize,
        stale: bool,
    },
    Discard {
        pick: usize,
        stale: bool,
    },
    Replay {
        pick: usize,
        deliveries: Vec<Wish>,
        known: Option<usize>,
    },
    Purge,
    Wait(u8),
    Restart {
        crash: bool,
    },
}

/// A delivery to be planned.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    lane: usize,
    subject: Option<u8>,
    echo: Option<u8>,
    write_back: bool,
    dead: bool,
    rendered: bool,
    once: Option<u8>,
    /// It waits for a timer that is due in so many seconds.
    waits: Option<u8>,
}

fn wish() -> impl Strategy<Value = Wish> {
    (
        0..LANES.len(),
        proptest::option::of(0..2_u8),
        proptest::option::of(0..2_u8),
        any::<bool>(),
        proptest::bool::weighted(0.15),
        any::<bool>(),
        proptest::option::of(0..3_u8),
        proptest::option::weighted(0.3, 0..30_u8),
    )
        .prop_map(
            |(lane, subject, echo, write_back, dead, rendered, once, waits)| Wish {
                lane,
                subject,
                echo,
                write_back,
                dead,
                rendered,
                once,
                waits,
            },
        )
}

/// Any step.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let some = 0..SUBSCRIPTIONS.len();
    let rarely = || proptest::bool::weighted(0.1);
    prop_oneof![
        6 => (some.clone(), 0..4_u8, 0..2_u8, prop_oneof![4 => Just(PLENTY), 1 => 300..2000_u64])
            .prop_map(|(subscription, id, body, quota)| Step::Accept { subscription, id, body, quota }),
        4 => (
            some,
            prop::collection::vec(prop::collection::vec(wish(), 0..3), 1..3),
            rarely(),
            proptest::option::weighted(0.2, any::<bool>()),
            rarely(),
            proptest::option::weighted(0.3, proptest::bool::weighted(0.9)),
        )
            .prop_map(|(subscription, deliveries, stale, consume, quarantined, cancel)| Step::Plan {
                subscription, deliveries, stale, consume, quarantined, cancel,
            }),
        3 => (any::<usize>(), rarely(), any::<u8>())
            .prop_map(|(pick, stale, fates)| Step::Fire { pick, stale, fates }),
        1 => (0..SUBSCRIPTIONS.len(), 0..2_u64)
            .prop_map(|(subscription, version)| Step::RemoveTimers { subscription, version }),
        6 => (any::<usize>(), rarely()).prop_map(|(pick, stale)| Step::Claim { pick, stale }),
        6 => (any::<usize>(), rarely(), 0..4_u8, proptest::option::weighted(0.8, any::<bool>()))
            .prop_map(|(pick, stale, next, answer)| Step::Finish { pick, stale, next, answer }),
        3 => (any::<usize>(), rarely()).prop_map(|(pick, stale)| Step::Retry { pick, stale }),
        1 => (any::<usize>(), rarely()).prop_map(|(pick, stale)| Step::Discard { pick, stale }),
        2 => (
            any::<usize>(),
            prop::collection::vec(wish(), 0..3),
            proptest::option::of(any::<usize>()),
        )
            .prop_map(|(pick, deliveries, known)| Step::Replay { pick, deliveries, known }),
        2 => Just(Step::Purge),
        3 => (1..20_u8).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(|crash| Step::Restart { crash }),
    ]
}

/// An engine that can be ended and opened again.
pub(crate) trait Engine {
    fn store(&self) -> &dyn Archive;

    /// Ends it, in order or as a crash does, and opens it on what is left.
    fn restart(&mut self, crash: bool) -> impl Future<Output = ()>;
}

/// Runs steps on both sides.
pub(crate) struct Run<E> {
    engine: E,
    model: Model,
    now: i64,
    offered: Vec<NewEvent>,
    planned: u64,
}

impl<E: Engine> Run<E> {
    /// On an engine without anything in it.
    pub(crate) fn new(engine: E) -> Self {
        Self {
            engine,
            model: Model::default(),
            now: 0,
            offered: Vec::new(),
            planned: 0,
        }
    }

    /// The engine, with all that was done to it.
    #[allow(
        dead_code,
        reason = "the tests of the embedded engine have no use for it"
    )]
    pub(crate) fn into_engine(self) -> E {
        self.engine
    }

    /// Does a step, and compares all that can be seen.
    pub(crate) async fn step(&mut self, step: Step) {
        match step {
            Step::Accept {
                subscription,
                id,
                body,
                quota,
            } => self.accept(subscription, id, body, quota).await,
            Step::Plan {
                subscription,
                deliveries,
                stale,
                consume,
                quarantined,
                cancel,
            } => {
                let subscription = key(SUBSCRIPTIONS[subscription]);
                let wishes = (deliveries.as_slice(), consume, cancel);
                self.plan(subscription, wishes, stale, quarantined).await;
            }
            Step::Fire { pick, stale, fates } => self.fire(pick, stale, fates).await,
            Step::RemoveTimers {
                subscription,
                version,
            } => {
                let subscription = key(SUBSCRIPTIONS[subscription]);
                let scope = wait_scope(version);
                let store = self.engine.store();
                let removed = store
                    .remove_timers(&subscription, &scope, at(self.now))
                    .await
                    .unwrap();
                let expected = self
                    .model
                    .remove_timers(&subscription, &scope, at(self.now));
                assert_eq!((removed.removed, removed.more), (expected, false));
            }
            Step::Claim { pick, stale } => {
                if let Some((id, attempts)) = self.pick(pick) {
                    let claim = Claim {
                        id,
                        attempts: attempts + u32::from(stale),
                        at: at(self.now),
                    };
                    let won = self.model.claim(&claim);
                    assert_eq!(self.engine.store().claim(vec![claim]).await.unwrap(), [won]);
                }
            }
            Step::Finish {
                pick,
                stale,
                next,
                answer,
            } => self.finish(pick, stale, next, answer).await,
            Step::Retry { pick, stale } => {
                if let Some(change) = self.change(pick, stale) {
                    let done = self.model.retry(&change);
                    let outcome = self.engine.store().retry(vec![change]).await.unwrap();
                    assert_eq!(outcome, [done]);
                }
            }
            Step::Discard { pick, stale } => {
                if let Some(change) = self.change(pick, stale) {
                    let done = self.model.discard(&change);
                    let outcome = self.engine.store().discard(vec![change]).await.unwrap();
                    assert_eq!(outcome, [done]);
                }
            }
            Step::Replay {
                pick,
                deliveries,
                known,
            } => self.replay(pick, &deliveries, known).await,
            Step::Purge => self.purge().await,
            Step::Wait(seconds) => self.now += i64::from(seconds),
            Step::Restart { crash } => {
                self.engine.restart(crash).await;
                self.model.restart();
            }
        }
        self.compare().await;
    }

    async fn accept(&mut self, subscription: usize, id: u8, body: u8, quota: u64) {
        let mut new = support::event(
            SUBSCRIPTIONS[subscription],
            &format!("id-{id}"),
            &format!("body {body} {}", "x".repeat(usize::from(body) * 100)),
            self.now,
        );
        new.quota = quota;
        new.remember_until = at(self.now + 30);
        let outcome = self.engine.store().accept(new.clone()).await;
        match (self.model.accept(&new), outcome) {
            (Ok(expected), Ok(accepted)) => assert_eq!(accepted, expected),
            (Err(expected), Err(Error::QuotaExceeded { used, .. })) => assert_eq!(used, expected),
            (expected, got) => panic!("{got:?} where {expected:?} was expected"),
        }
        self.offered.push(new);
    }

    async fn plan(
        &mut self,
        subscription: ObjectKey,
        (deliveries, consume, cancel): (&[Vec<Wish>], Option<bool>, Option<bool>),
        stale: bool,
        quarantined: bool,
    ) {
        let after = self.model.planned(&subscription) + u64::from(stale);
        let mut plans: Vec<Plan> = self
            .model
            .unplanned(&subscription)
            .iter()
            .zip(deliveries)
            .map(|(event, wishes)| self.wished(event.seq, wishes))
            .collect();
        if let Some(real) = cancel {
            self.cancel(&subscription, &mut plans, real);
        }
        let Some(first) = plans.first_mut() else {
            return;
        };
        first.set_aside = quarantined.then_some(Disposition::Quarantined);
        if let Some(real) = consume {
            let alive = self
                .model
                .marks
                .iter()
                .find(|mark| mark.until > at(self.now));
            let alive = alive.filter(|_| real).map(|mark| mark.id);
            first.marks_consumed.push(alive.unwrap_or(Uuid::nil()));
        }
        let outcome = self
            .engine
            .store()
            .plan(&subscription, after, plans.clone())
            .await;
        if self.model.plan(&subscription, after, plans) {
            outcome.unwrap();
        } else {
            assert!(matches!(outcome, Err(Error::Conflict)), "{outcome:?}");
        }
    }

    fn wished(&mut self, seq: u64, wishes: &[Wish]) -> Plan {
        let mut deliveries = Vec::new();
        let due = wishes.iter().find_map(|wish| wish.waits);
        let due = due.map(|due| at(self.now + i64::from(due)));
        for wish in wishes {
            self.planned += 1;
            let mut delivery = support::delivery(LANES[wish.lane], seq);
            delivery.id = uuid(&format!("delivery {}", self.planned));
            delivery.ordered_by = wish.subject.map(|subject| format!("subject {subject}"));
            delivery.echo = wish.echo.map(|key| EchoMark {
                key: [key; 32],
                window: Duration::from_secs(20),
            });
            delivery.write_back = wish.write_back.then(|| WriteBack {
                subject: "s".to_owned(),
                window: Duration::from_secs(15),
            });
            delivery.waits_until = wish.waits.and(due);
            if !wish.rendered {
                delivery.request.as_mut().unwrap().body = FrozenBody::Event;
            }
            if wish.dead {
                delivery.dead = Some(DeadReason::LoopRate);
                delivery.request = delivery.request.filter(|_| wish.rendered);
            }
            deliveries.push(delivery);
        }
        let mut plan = support::plan(seq, self.now, deliveries);
        timers::remember(&mut plan, wishes, due, self.now);
        plan.verdicts = wishes
            .iter()
            .map(|wish| Verdict {
                route: key("route"),
                rule: "rule".to_owned(),
                outcome: Outcome::Fired,
                detail: wish.dead.then(|| "why".to_owned()),
            })
            .collect();
        if wishes.len() > 1 {
            plan.suppressions.push(Suppression {
                lane: lane("reply"),
                rule: "rule".to_owned(),
                guard: Guard::Echo,
                enforced: true,
            });
        }
        plan
    }

    /// A delivery and its attempts: mostly one that waits or is claimed.
    fn pick(&self, pick: usize) -> Option<(Uuid, u32)> {
        let all: Vec<_> = self
            .model
            .events
            .values()
            .flat_map(|kept| &kept.deliveries)
            .collect();
        let pending: Vec<_> = all.iter().filter(|one| one.is_pending()).copied().collect();
        let from = if pending.is_empty() || pick.is_multiple_of(8) {
            all
        } else {
            pending
        };
        let picked = from.get(pick.checked_rem(from.len())?)?;
        Some((picked.new.id, picked.attempts))
    }

    async fn finish(&mut self, pick: usize, stale: bool, next: u8, ambiguous: Option<bool>) {
        let Some((id, attempts)) = self.pick(pick) else {
            return;
        };
        let finish = Finish {
            id,
            attempts: attempts + u32::from(stale),
            at: at(self.now),
            answer: ambiguous.map(|ambiguous| Answer {
                status: (!ambiguous).then_some(409),
                reason: "said".to_owned(),
                ambiguous,
                excerpt: Some("no".to_owned()),
            }),
            next: match next {
                0 => Next::RetryAt(at(self.now + 5)),
                1 => Next::Dead(DeadReason::Refused),
                _ => Next::Delivered,
            },
        };
        let current = self.model.finish(&finish);
        let outcome = self.engine.store().finish(vec![finish]).await.unwrap();
        assert_eq!(outcome, [current]);
    }

    async fn purge(&mut self) {
        let keep = |finished, dead_letters| Retention {
            finished: Duration::from_secs(finished),
            dead_letters: Duration::from_secs(dead_letters),
        };
        let mut total = Purged::default();
        loop {
            let purged = self
                .engine
                .store()
                .purge(at(self.now), vec![(key("a"), keep(10, 20))], keep(25, 5))
                .await
                .unwrap();
            total.events += purged.events;
            total.dead_letters += purged.dead_letters;
            if !purged.more {
                break;
            }
        }
        let expected = self.model.purge(at(self.now), |subscription| {
            if *subscription == key("a") {
                keep(10, 20)
            } else {
                keep(25, 5)
            }
        });
        assert_eq!(total, expected);
    }

    /// Everything that can be seen.
    async fn compare(&self) {
        let (store, model) = (self.engine.store(), &self.model);
        let same = |got: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
            similar(&format!("{got:#?}"), &format!("{expected:#?}"));
        };
        let histories = model.histories();
        same(&store.scan(0, 1000).await.unwrap(), &histories);
        same(&store.lanes().await.unwrap(), &model.lanes());
        same(&store.timers().await.unwrap(), &model.timer_stats());
        let mut waiting = Vec::new();
        for name in SUBSCRIPTIONS {
            let subscription = key(name);
            let unplanned = model.unplanned(&subscription);
            let got = store.unplanned(&subscription, 100).await.unwrap();
            same(&got, &(model.planned(&subscription), &unplanned));
            let keys: Vec<_> = LANES
                .iter()
                .flat_map(|lane| (0..3).map(|key| claim_key(lane, key)))
                .chain((0..2).map(|key| key_of(wait_part(Part::Transition), key)))
                .chain((0..2).map(|version| key_of(wait_scope(version), 7)))
                .collect();
            let recalled = store.recall(&subscription, keys.clone()).await.unwrap();
            for (key, recalled) in keys.iter().zip(&recalled) {
                let counts = |recalled: &&Recalled| recalled.until > at(self.now);
                let recalled = recalled.as_ref().filter(counts);
                let expected = model.recall(&subscription, key, at(self.now));
                same(&recalled, &expected.as_ref());
            }
            for since in [0, self.now - 3] {
                let due = store
                    .timers_due(&subscription, at(self.now), at(since), 100)
                    .await
                    .unwrap();
                let expected = model.timers_due(&subscription, at(self.now), at(since));
                same(&due, &expected);
            }
            if !unplanned.is_empty() {
                waiting.push(subscription);
            }
        }
        same(&store.unplanned_subscriptions().await.unwrap(), &waiting);
        for name in LANES {
            let due = store.due(&lane(name), at(self.now), 1000).await.unwrap();
            same(&due, &model.due(&lane(name), at(self.now)));
            for echo in 0..2 {
                let question = GuardQuestion {
                    lane: lane(name),
                    echo_key: Some([echo; 32]),
                    at: at(self.now),
                    subject: "s".to_owned(),
                    since: at(self.now - 14),
                };
                let expected = model.guard(&question);
                assert_eq!(store.guard(vec![question]).await.unwrap(), [expected]);
            }
        }
        for new in self.offered.iter().rev().take(6) {
            let event = &new.event;
            let seen = store
                .seen(&event.subscription, &event.id, new.digest, at(self.now))
                .await
                .unwrap();
            assert_eq!(seen, model.seen(new, at(self.now)));
            let found = store.history(event.uid).await.unwrap();
            let kept = histories
                .iter()
                .find(|history| history.event.event.uid == event.uid);
            same(&found.as_ref(), &kept);
        }
        self.compare_lists().await;
        store.health().unwrap();
    }
}
