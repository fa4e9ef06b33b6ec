//! The planner in virtual time, over a store in memory.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hookswitch_crds::duration;
use hookswitch_crds::snapshot;
use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;
use crate::event::{Disposition, Event};
use crate::plan::{DeadReason, Outcome};
use crate::route::tests::{
    SEQUENCE, config_of, destination, event, key, now, route_of, rule, subscription_of, write_back,
};

mod memory;
mod timers;

use memory::{At, Memory};

struct Fixture {
    store: Arc<Memory>,
    config: watch::Sender<Option<Arc<Config>>>,
    options: Options,
}

impl Fixture {
    fn new(config: Option<Config>) -> Self {
        let store = Arc::new(Memory::default());
        let config = watch::Sender::new(config.map(Arc::new));
        let shared: Arc<dyn Store> = store.clone();
        let options = Options {
            store: shared,
            config: config.subscribe(),
            metrics: Metrics::new().unwrap(),
            clock: Clock::starting_at(now()),
            accepted: Wake::default(),
            lanes: Wake::default(),
            moved: Arc::default(),
            timer_grace: Duration::from_mins(6),
            shutdown: CancellationToken::new(),
        };
        Self {
            store,
            config,
            options,
        }
    }

    fn start(&self) -> JoinHandle<()> {
        tokio::spawn(run(self.options.clone()))
    }

    fn accept(&self, event: Event) -> u64 {
        let key = event.subscription.clone();
        let seq = self.store.add(event);
        self.options.accepted.add([&key]);
        seq
    }

    fn fail(&self, at: At, key: &ObjectKey, error: store::Error) {
        self.store
            .state()
            .failures
            .push_back((at, key.clone(), error));
    }

    /// Waits until so many events are planned.
    async fn planned(&self, count: usize) {
        let planned = async {
            while self.store.state().plans.len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), planned)
            .await
            .unwrap_or_else(|_| panic!("{:?}", self.store.state().plans.keys()));
    }

    async fn stop(&self, task: JoinHandle<()>) {
        self.options.shutdown.cancel();
        task.await.unwrap();
    }

    /// The text of the metrics that begin so.
    fn metric(&self, name: &str) -> Vec<String> {
        let text = self.options.metrics.render().unwrap();
        text.lines()
            .filter(|line| line.starts_with(name))
            .map(ToOwned::to_owned)
            .collect()
    }
}

fn other() -> ObjectKey {
    ObjectKey::new("sales", "other")
}

fn crm_route(name: &str, subscription: &ObjectKey) -> snapshot::Route {
    let rules = json!([rule(
        "created",
        &["conversation.created"],
        None,
        &json!([{"destination": "crm", "body": {"n": "${event.data.n}"}}])
    )]);
    route_of(name, subscription, &json!([destination("crm")]), &rules)
}

fn config() -> Config {
    config_of(
        vec![subscription_of(&other()), subscription_of(&key())],
        vec![crm_route("others", &other()), crm_route("r", &key())],
    )
}

fn created(subscription: &ObjectKey, n: u32) -> Event {
    Event {
        subscription: subscription.clone(),
        ..event("conversation.created", &json!({"n": n}))
    }
}

fn full() -> store::Error {
    store::Error::Full("no space".to_owned())
}

#[tokio::test(start_paused = true)]
async fn what_waits_at_the_start_and_what_comes_later_is_planned_in_accept_order() {
    let fixture = Fixture::new(Some(config()));
    for n in 0..150 {
        fixture.store.add(created(&key(), n));
    }
    let task = fixture.start();
    fixture.planned(150).await;
    for n in 150..160 {
        fixture.accept(created(&key(), n));
    }
    fixture.planned(160).await;
    fixture.stop(task).await;

    {
        let state = fixture.store.state();
        let sizes: Vec<_> = state.appends.iter().map(|(_, size)| *size).collect();
        assert_eq!(sizes.get(..2), Some(&[64, 86][..]));
        for (seq, plan) in &state.plans {
            assert_eq!((plan.seq, plan.sequence), (*seq, SEQUENCE));
            assert_eq!(plan.deliveries.len(), 1);
        }
    }
    assert_eq!(
        fixture.options.lanes.take().await,
        HashSet::from([Lane {
            route: ObjectKey::new("support", "r"),
            destination: "crm".to_owned()
        }])
    );
}

#[tokio::test(start_paused = true)]
async fn r25_subscriptions_take_turns_and_a_flood_holds_no_other_up() {
    let fixture = Fixture::new(Some(config()));
    for n in 0..300 {
        fixture.store.add(created(&key(), n));
    }
    for n in 0..70 {
        fixture.store.add(created(&other(), n));
    }
    let task = fixture.start();
    fixture.planned(370).await;
    fixture.stop(task).await;
    let turns: Vec<_> = fixture.store.state().appends.clone();
    let names: Vec<_> = turns
        .iter()
        .map(|(key, size)| (key.name.as_str(), *size))
        .collect();
    assert_eq!(
        names,
        [
            ("other", 64),
            ("support", 64),
            ("other", 6),
            ("support", 64),
            // Nobody else has any.
            ("support", 172)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_in_one_subscription_stops_no_other_and_is_tried_again() {
    let fixture = Fixture::new(Some(config()));
    for _ in 0..8 {
        fixture.fail(At::Plan, &key(), full());
    }
    let task = fixture.start();
    fixture.accept(created(&key(), 1));
    fixture.accept(created(&other(), 2));
    fixture.planned(1).await;
    assert!(fixture.store.state().plans.contains_key(&2));
    // Wakes do not make it try sooner.
    let left = fixture.store.state().failures.len();
    for n in 0..20 {
        fixture.accept(created(&key(), n));
        tokio::task::yield_now().await;
    }
    assert!(left - fixture.store.state().failures.len() <= 1);
    fixture.planned(22).await;
    fixture.stop(task).await;
    assert!(fixture.store.state().failures.is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_operation_of_the_store_may_fail_for_a_while() {
    let fixture = Fixture::new(Some(loop_config()));
    let errors = [
        (
            At::UnplannedSubscriptions,
            store::Error::Read("io".to_owned()),
        ),
        (At::Unplanned, store::Error::Read("io".to_owned())),
        (At::Guard, store::Error::Read("io".to_owned())),
        (At::Plan, full()),
    ];
    for (at, error) in errors {
        fixture.fail(at, &key(), error);
    }
    fixture.store.add(message("hi"));
    let task = fixture.start();
    fixture.planned(1).await;
    fixture.stop(task).await;
    assert!(fixture.store.state().failures.is_empty());
}

#[tokio::test(start_paused = true)]
async fn r41_what_one_batch_has_claimed_the_next_finds_after_a_restart_too() {
    let deliver = json!([{
        "destination": "crm", "once": {"key": "event.subject", "window": "24h"},
    }]);
    let rules = json!([rule("lead", &[], None, &deliver)]);
    let route = route_of("r", &key(), &json!([destination("crm")]), &rules);
    let fixture = Fixture::new(Some(config_of(vec![subscription_of(&key())], vec![route])));
    fixture.fail(At::Recall, &key(), store::Error::Read("not now".to_owned()));
    let task = fixture.start();
    fixture.accept(created(&key(), 1));
    fixture.planned(1).await;
    fixture.accept(created(&key(), 2));
    fixture.planned(2).await;
    fixture.stop(task).await;
    // Another process, with the same store.
    let again = Options {
        shutdown: CancellationToken::new(),
        ..fixture.options.clone()
    };
    let shutdown = again.shutdown.clone();
    let task = tokio::spawn(run(again));
    fixture.accept(created(&key(), 3));
    fixture.planned(3).await;
    shutdown.cancel();
    task.await.unwrap();
    let state = fixture.store.state();
    let sent: Vec<usize> = state
        .plans
        .values()
        .map(|plan| plan.deliveries.len())
        .collect();
    assert_eq!(sent, [1, 0, 0]);
    assert_eq!(
        fixture.metric("hookswitch_rule_verdicts_total"),
        [
            r#"hookswitch_rule_verdicts_total{route="support/r",rule="lead",verdict="already_done"} 2"#,
            r#"hookswitch_rule_verdicts_total{route="support/r",rule="lead",verdict="fired"} 1"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_read_and_planned_again_at_once() {
    let fixture = Fixture::new(Some(config()));
    for _ in 0..CONFLICTS {
        fixture.fail(At::Plan, &key(), store::Error::Conflict);
    }
    let begin = tokio::time::Instant::now();
    fixture.store.add(created(&key(), 1));
    let task = fixture.start();
    fixture.planned(1).await;
    assert!(begin.elapsed() < Duration::from_millis(90), "no backoff");
    fixture.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn suspended_and_unknown_subscriptions_wait_for_a_configuration_that_takes_them() {
    let mut suspended = subscription_of(&key());
    suspended.suspend = true;
    let first = config_of(vec![suspended], vec![crm_route("r", &key())]);
    let fixture = Fixture::new(None);
    fixture.store.add(created(&key(), 1));
    fixture.store.add(created(&other(), 2));
    let task = fixture.start();
    let quiet = || async {
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(fixture.store.state().plans.is_empty());
    };
    quiet().await;
    fixture.config.send_replace(Some(Arc::new(first)));
    fixture.accept(created(&key(), 3));
    quiet().await;
    fixture.config.send_replace(Some(Arc::new(config())));
    fixture.planned(3).await;
    fixture.stop(task).await;
}

fn loop_config() -> Config {
    let rules = json!([rule(
        "answer",
        &["message.received"],
        None,
        &json!([{"destination": "reply", "body": {"text": "${event.data.text}"}}])
    )]);
    let mut route = route_of("r", &key(), &json!([write_back("reply")]), &rules);
    route.loop_guard.echo = Some(snapshot::Echo {
        sent: "request.text".to_owned(),
        received: "event.data.text".to_owned(),
        window: duration::Duration::from_secs(300),
    });
    route.loop_guard.per_subject = Some(snapshot::SubjectLimit {
        limit: 5,
        window: duration::Duration::from_secs(60),
    });
    config_of(vec![subscription_of(&key())], vec![route])
}

fn message(text: &str) -> Event {
    event("message.received", &json!({"text": text}))
}

#[tokio::test(start_paused = true)]
async fn r27_events_of_one_batch_see_each_others_marks_and_write_backs() {
    use sha2::Digest as _;
    let fixture = Fixture::new(Some(loop_config()));
    let lane = Lane {
        route: ObjectKey::new("support", "r"),
        destination: "reply".to_owned(),
    };
    let text_key: [u8; 32] = sha2::Sha256::digest(b"hi").into();
    for id in [100, 101] {
        let mark = (lane.clone(), text_key, Uuid::from_u128(id));
        fixture.store.state().marks.push(mark);
    }
    for _ in 0..9 {
        fixture.store.add(message("hi"));
    }
    let task = fixture.start();
    fixture.planned(9).await;
    fixture.stop(task).await;

    let state = fixture.store.state();
    assert_eq!(state.appends.len(), 1);
    assert!(state.marks.is_empty());
    let dead: Vec<_> = state
        .plans
        .values()
        .map(|plan| plan.deliveries.first().map(|delivery| delivery.dead))
        .collect();
    let (echo, sent, rate) = (None, Some(None), Some(Some(DeadReason::LoopRate)));
    assert_eq!(dead, [echo, echo, sent, sent, sent, sent, sent, rate, rate]);
    drop(state);
    assert_eq!(
        fixture.metric("hookswitch_loop_suppressed_total"),
        [
            r#"hookswitch_loop_suppressed_total{destination="reply",reason="echo",route="support/r"} 2"#,
            r#"hookswitch_loop_suppressed_total{destination="reply",reason="rate",route="support/r"} 2"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn suspects_are_planned_alone_and_quarantined_at_three() {
    let fixture = Fixture::new(Some(config()));
    for n in 0..6 {
        fixture.store.add(created(&key(), n));
    }
    fixture.store.state().suspects = vec![(3, 2), (4, 3)];
    let task = fixture.start();
    fixture.planned(6).await;
    fixture.stop(task).await;

    let state = fixture.store.state();
    let sizes: Vec<_> = state.appends.iter().map(|(_, size)| *size).collect();
    assert_eq!(sizes, [2, 1, 1, 2]);
    let set_aside: Vec<_> = state.plans.values().map(|plan| plan.set_aside).collect();
    let quarantined = Some(Disposition::Quarantined);
    assert_eq!(set_aside, [None, None, None, quarantined, None, None]);
    assert!(state.plans[&4].deliveries.is_empty() && state.plans[&4].verdicts.is_empty());
    // Marked before, and cleared after; what is quarantined is never looked at again.
    assert_eq!(
        state.breadcrumbs,
        [vec![1, 2], vec![], vec![3], vec![], vec![5, 6], vec![]]
    );
    drop(state);
    assert_eq!(
        fixture.metric("hookswitch_events_unmatched_total"),
        [
            r#"hookswitch_events_unmatched_total{reason="quarantined",subscription="support/support"} 1"#
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn events_that_fire_no_rule_are_counted_by_their_reason() {
    let fixture = Fixture::new(Some(config()));
    let with = |disposition, data: Json| Event {
        disposition,
        ..event("conversation.created", &data)
    };
    fixture.store.add(with(Disposition::Route, json!({"n": 1})));
    fixture.store.add(with(Disposition::Route, json!({})));
    fixture.store.add(with(Disposition::Ping, json!({"n": 1})));
    fixture
        .store
        .add(with(Disposition::IdReused, json!({"n": 1})));
    fixture.store.add(event("unknown", &json!({"n": 1})));
    let task = fixture.start();
    fixture.planned(5).await;
    fixture.stop(task).await;
    assert_eq!(
        fixture.metric("hookswitch_events_unmatched_total"),
        [
            r#"hookswitch_events_unmatched_total{reason="id_reused",subscription="support/support"} 1"#,
            r#"hookswitch_events_unmatched_total{reason="no_rule",subscription="support/support"} 1"#,
            r#"hookswitch_events_unmatched_total{reason="ping",subscription="support/support"} 1"#,
        ]
    );
    assert_eq!(
        fixture.metric("hookswitch_rule_verdicts_total"),
        [
            r#"hookswitch_rule_verdicts_total{route="support/r",rule="created",verdict="fired"} 1"#,
            r#"hookswitch_rule_verdicts_total{route="support/r",rule="created",verdict="missing_field"} 1"#,
        ]
    );
    let state = fixture.store.state();
    assert_eq!(state.plans[&2].verdicts[0].outcome, Outcome::MissingField);
}

#[tokio::test(start_paused = true)]
async fn what_is_dead_when_it_is_planned_is_counted_as_a_delivery_that_ended() {
    let fixture = Fixture::new(Some(config()));
    fixture.store.add(created(&key(), 1));
    // Its body names a field that is not there.
    fixture.store.add(event("conversation.created", &json!({})));
    let task = fixture.start();
    fixture.planned(2).await;
    fixture.stop(task).await;
    assert_eq!(
        fixture.metric("hookswitch_deliveries_total"),
        [
            r#"hookswitch_deliveries_total{destination="crm",outcome="rule_error",route="support/r"} 1"#
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn r55_events_of_a_removed_subscription_wait_for_it_and_are_set_aside_after_a_month() {
    let gone = ObjectKey::new("support", "gone");
    let fixture = Fixture::new(Some(config()));
    for n in 0..100 {
        fixture.store.add(created(&gone, n));
    }
    let days = |days: u64| now() - Duration::from_secs(days * 24 * 3600);
    fixture
        .store
        .state()
        .removed_since
        .insert(gone.clone(), days(29));
    let task = fixture.start();
    tokio::time::sleep(Duration::from_mins(30)).await;
    assert!(fixture.store.state().plans.is_empty(), "they wait for it");

    fixture
        .store
        .state()
        .removed_since
        .insert(gone.clone(), days(30));
    tokio::time::sleep(Duration::from_mins(15)).await;
    fixture.stop(task).await;
    let state = fixture.store.state();
    assert_eq!(state.plans.len(), 100);
    let removed = Some(Disposition::SubscriptionRemoved);
    assert!(
        state
            .plans
            .values()
            .all(|plan| plan.set_aside == removed && plan.deliveries.is_empty())
    );
    assert_eq!(
        fixture.metric("hookswitch_events_unmatched_total"),
        [
            r#"hookswitch_events_unmatched_total{reason="subscription_removed",subscription="support/gone"} 100"#
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_damaged_event_is_set_aside_and_the_ones_behind_it_are_routed() {
    let fixture = Fixture::new(Some(config()));
    fixture.store.add(Event {
        disposition: Disposition::Damaged,
        ..created(&key(), 1)
    });
    fixture.store.add(created(&key(), 2));
    let task = fixture.start();
    fixture.planned(2).await;
    fixture.stop(task).await;
    let state = fixture.store.state();
    assert_eq!(state.plans[&1].set_aside, Some(Disposition::Damaged));
    assert!(state.plans[&1].deliveries.is_empty());
    assert_eq!(state.plans[&2].deliveries.len(), 1);
    assert_eq!(
        fixture.metric("hookswitch_events_unmatched_total"),
        [r#"hookswitch_events_unmatched_total{reason="damaged",subscription="support/support"} 1"#]
    );
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_planner_that_has_nothing_to_do_and_one_that_waits() {
    let fixture = Fixture::new(Some(config()));
    fixture.stop(fixture.start()).await;

    let fixture = Fixture::new(Some(config()));
    for _ in 0..100 {
        fixture.fail(At::Plan, &key(), full());
    }
    fixture.store.add(created(&key(), 1));
    let task = fixture.start();
    while fixture.store.state().failures.len() > 98 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fixture.stop(task).await;
    assert!(fixture.store.state().plans.is_empty());
}

#[test]
fn a_batch_is_as_large_as_is_decided_fast() {
    let millis = Duration::from_millis;
    for (events, took, next) in [
        (1, Duration::ZERO, 256),
        (64, millis(1), 256),
        (100, millis(5), 100),
        (64, millis(64), 64),
        (0, millis(5), 64),
    ] {
        assert_eq!(next_batch(events, took), next, "{events} {took:?}");
    }
}
