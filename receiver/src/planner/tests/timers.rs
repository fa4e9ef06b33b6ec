//! Timers in virtual time: when they fire, and when not.

use super::*;
use crate::planner::timers::SETTLE;

const GRACE: jiff::SignedDuration = jiff::SignedDuration::from_mins(6);

fn alert_route(wait: &str, name: &str) -> snapshot::Route {
    let mut gone = rule(
        name,
        &["agent.status_changed"],
        Some("event.data.status == 'offline'"),
        &json!([{"destination": "crm", "body": {"agent": "${event.data.agent}"}}]),
    );
    gone["after"] = json!({
        "wait": wait, "key": "event.data.agent",
        "unless": {"types": ["agent.status_changed"], "when": "event.data.status != 'offline'"},
    });
    route_of("r", &key(), &json!([destination("crm")]), &json!([gone]))
}

fn alert_config(wait: &str) -> Config {
    config_of(
        vec![subscription_of(&key())],
        vec![alert_route(wait, "agent-gone")],
    )
}

fn seconds(seconds: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_secs(seconds)
}

impl Fixture {
    /// An agent's status, which changed so many seconds ago.
    fn status(&self, agent: &str, status: &str, ago: i64) -> u64 {
        let at = self.options.clock.now();
        self.accept(Event {
            time: Some(at - seconds(ago)),
            accepted_at: at,
            ..event(
                "agent.status_changed",
                &json!({"agent": agent, "status": status}),
            )
        })
    }

    async fn pass(&self, time: jiff::SignedDuration) {
        tokio::time::sleep(time.unsigned_abs()).await;
    }

    /// The events whose timers have fired.
    fn fired_of(&self) -> Vec<u64> {
        let state = self.store.state();
        state.fired.iter().map(|it| it.timer.seq).collect()
    }

    fn fired(&self) -> usize {
        self.store.state().fired.len()
    }
}

#[tokio::test(start_paused = true)]
async fn r47_an_agent_offline_for_half_an_hour_raises_exactly_one_alert() {
    let fixture = Fixture::new(Some(alert_config("30m")));
    let task = fixture.start();
    fixture.pass(seconds(3600)).await;
    fixture.status("a-1", "offline", 0);
    fixture.planned(1).await;
    fixture.pass(seconds(60)).await;
    fixture.status("a-1", "offline", 0);
    fixture.pass(seconds(1739)).await;
    assert_eq!(fixture.fired(), 0, "not a second early");
    fixture.pass(SETTLE + seconds(2)).await;
    assert_eq!(fixture.fired(), 1);
    assert!(!fixture.options.lanes.take().await.is_empty());
    fixture.status("a-1", "offline", 0);
    fixture.pass(seconds(3 * 3600)).await;
    assert_eq!(fixture.fired(), 1, "only a return re-arms");
    fixture.status("a-1", "online", 0);
    fixture.pass(seconds(60)).await;
    fixture.status("a-1", "offline", 0);
    fixture.pass(seconds(1810)).await;
    assert_eq!(fixture.fired(), 2);
    fixture.stop(task).await;
    assert_eq!(
        fixture.metric("hookswitch_timers_total"),
        [
            r#"hookswitch_timers_total{outcome="fired",route="support/r",rule="agent-gone"} 2"#,
            r#"hookswitch_timers_total{outcome="started",route="support/r",rule="agent-gone"} 2"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn r48_a_return_cancels_and_one_accepted_before_the_due_time_is_planned_first() {
    let fixture = Fixture::new(Some(alert_config("30m")));
    let task = fixture.start();
    fixture.pass(seconds(3600)).await;
    fixture.status("a-1", "offline", 0);
    fixture.status("a-2", "offline", 0);
    fixture.planned(2).await;
    fixture.pass(seconds(1790)).await;
    // The return is accepted in time; the store then fails for a while.
    for _ in 0..8 {
        fixture.fail(At::Plan, &key(), full());
    }
    fixture.status("a-1", "online", 0);
    fixture.pass(seconds(18)).await;
    assert_eq!(fixture.fired(), 0, "an event from before is not planned");
    fixture.planned(3).await;
    fixture.pass(seconds(60)).await;
    assert_eq!(fixture.fired_of(), [2]);
    assert!(fixture.store.state().timers.is_empty());
    fixture.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn r48_after_a_restart_the_sender_has_time_to_try_again_and_the_firing_is_late() {
    let fixture = Fixture::new(Some(alert_config("10m")));
    let task = fixture.start();
    fixture.pass(seconds(3600)).await;
    fixture.status("a-1", "offline", 0);
    fixture.status("a-2", "offline", 0);
    fixture.planned(2).await;
    fixture.stop(task).await;
    // Away for longer than the wait.
    fixture.pass(seconds(3600)).await;
    let options = Options {
        shutdown: CancellationToken::new(),
        ..fixture.options.clone()
    };
    let shutdown = options.shutdown.clone();
    let task = tokio::spawn(run(options));
    fixture.pass(seconds(280)).await;
    assert_eq!(fixture.fired(), 0);
    // One of them came back while nobody listened: the sender's last try.
    fixture.status("a-1", "online", 3600);
    fixture.pass(GRACE - seconds(290)).await;
    assert_eq!(fixture.fired(), 0);
    fixture.pass(seconds(30)).await;
    assert_eq!(fixture.fired_of(), [2], "the other one is offline still");
    // What begins after the start waits for nobody.
    fixture.status("a-3", "offline", 0);
    fixture.pass(seconds(610)).await;
    assert_eq!(fixture.fired(), 2);
    shutdown.cancel();
    task.await.unwrap();
    assert_eq!(
        fixture.metric(r#"hookswitch_timers_total{outcome="late""#),
        [r#"hookswitch_timers_total{outcome="late",route="support/r",rule="agent-gone"} 1"#]
    );
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_that_begins_after_a_start_is_not_held() {
    let fixture = Fixture::new(Some(alert_config("10s")));
    let task = fixture.start();
    fixture.pass(seconds(1)).await;
    fixture.status("a-1", "offline", 0);
    fixture.status("a-2", "offline", 300);
    fixture.pass(seconds(18)).await;
    assert_eq!(fixture.fired_of(), [1], "the other began before the start");
    fixture.pass(GRACE).await;
    assert_eq!(fixture.fired_of(), [1, 2]);
    fixture.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_removed_or_waits_for_something_else_takes_its_timers_along() {
    let served = |route| config_of(vec![subscription_of(&key())], vec![route]);
    let mut edited = alert_route("30m", "agent-gone");
    edited.rules[0].deliver[0].body = snapshot::JsonText::of(&json!({"text": "offline!"})).ok();
    for (next, kept) in [
        (served(edited), true),
        (served(alert_route("20m", "agent-gone")), false),
        (served(alert_route("30m", "renamed")), false),
        (config_of(vec![subscription_of(&key())], vec![]), false),
    ] {
        let fixture = Fixture::new(Some(alert_config("30m")));
        let task = fixture.start();
        fixture.pass(seconds(600)).await;
        for agent in ["a-1", "a-2", "a-3"] {
            fixture.status(agent, "offline", 0);
        }
        fixture.planned(3).await;
        fixture.config.send_replace(Some(Arc::new(next)));
        fixture.pass(seconds(60)).await;
        let left = fixture.store.state().timers.len();
        assert_eq!(left, if kept { 3 } else { 0 });
        fixture.pass(seconds(1800)).await;
        assert_eq!(fixture.fired(), left);
        let removed = fixture.metric(r#"hookswitch_timers_total{outcome="removed""#);
        assert_eq!(removed.len(), usize::from(!kept));
        assert!(removed.iter().all(|line| line.ends_with(" 3")));
        fixture.stop(task).await;
    }
}

/// Receivers that share a store: another one planned them, by a configuration that comes later here.
#[tokio::test(start_paused = true)]
async fn r15_timers_of_a_rule_that_is_not_here_yet_are_kept() {
    for (loaded, kept_for) in [(SEQUENCE - 1, 48 * 3600), (SEQUENCE, 60)] {
        let fixture = Fixture::new(Some(alert_config("100h")));
        fixture.store.state().shared = true;
        let task = fixture.start();
        fixture.pass(seconds(600)).await;
        fixture.status("a-1", "offline", 0);
        fixture.planned(1).await;
        let before = Config {
            sequence: loaded,
            ..config_of(vec![subscription_of(&key())], vec![])
        };
        fixture.config.send_replace(Some(Arc::new(before)));
        fixture.pass(seconds(kept_for - 10)).await;
        assert_eq!(fixture.store.state().timers.len(), 1);
        fixture.pass(seconds(90)).await;
        assert_eq!(fixture.store.state().timers.len(), 0, "it is gone");
        fixture.stop(task).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspended_subscriptions_timers_wait_until_it_is_resumed() {
    let fixture = Fixture::new(Some(alert_config("10m")));
    let task = fixture.start();
    fixture.pass(seconds(600)).await;
    fixture.status("a-1", "offline", 0);
    fixture.status("a-2", "offline", 0);
    fixture.planned(2).await;
    let mut suspended = subscription_of(&key());
    suspended.suspend = true;
    let config = config_of(vec![suspended], vec![alert_route("10m", "agent-gone")]);
    fixture.config.send_replace(Some(Arc::new(config)));
    fixture.pass(seconds(60)).await;
    fixture.status("a-1", "online", 0);
    fixture.pass(seconds(3600)).await;
    assert_eq!(fixture.fired(), 0);
    fixture
        .config
        .send_replace(Some(Arc::new(alert_config("10m"))));
    fixture.pass(seconds(60)).await;
    assert_eq!(fixture.fired_of(), [2], "the return was planned first");
    fixture.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_is_tried_again_and_fires_once() {
    let fixture = Fixture::new(Some(alert_config("10m")));
    let task = fixture.start();
    fixture.pass(seconds(600)).await;
    for agent in 0..150 {
        fixture.status(&format!("a-{agent}"), "offline", 0);
    }
    fixture.planned(150).await;
    for at in [At::TimersDue, At::Recall, At::Fire, At::Fire, At::TimersDue] {
        fixture.fail(at, &key(), full());
    }
    fixture.pass(seconds(700)).await;
    assert_eq!(fixture.fired(), 150);
    fixture.stop(task).await;
    assert!(fixture.store.state().failures.is_empty());
}
