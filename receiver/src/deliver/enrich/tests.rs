//! Look-ups in virtual time, over a store in memory and a script in place of the network. How long answers
//! are kept is real time, so those that are kept are kept for longer than a test takes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookswitch_crds::snapshot::{JsonText, OnEnrichFailure, Pattern, Redact, WordList};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::super::kind::Reply;
use super::super::tests::bench::{AT_ONCE, Bench, Seen, answer, delivery, lane, no_answer, status};
use super::super::tests::memory::Memory;
use crate::config::Config;
use crate::plan::{DeadReason, FrozenBody, LookUp, Unrendered};
use crate::route;
use crate::route::tests::{config_of, destination, key, route_of, subscription_of};
use crate::store::DeliveryState;

const CRM: &str = "crm.example";
const API: &str = "api.example";
const OTHER: &str = "other.example";

/// A look-up of the rule, and how it differs from the plainest one.
fn look_up(name: &str, host: &str, edits: &Json) -> Json {
    let url = format!("https://{host}/users/${{event.data.user}}");
    let mut look_up = route::tests::look_up(name, &url);
    for (field, value) in edits.as_object().unwrap() {
        look_up[field] = value.clone();
    }
    look_up
}

fn config(look_ups: &Json) -> Config {
    let crm = destination("crm");
    let rules = json!([{
        "name": "rule", "types": [], "when": null, "enrich": look_ups,
        "deliver": [{"destination": "crm", "body": {"x": "${enriched}"}}],
    }]);
    let mut route = route_of("crm", &key(), &json!([crm]), &rules);
    route.word_lists = vec![WordList {
        name: "risk".to_owned(),
        words: Some("fraud\n".to_owned()),
    }];
    config_of(vec![subscription_of(&key())], vec![route])
}

/// An engine whose lane `crm` has a rule with these look-ups.
fn bench(look_ups: &Json) -> Bench {
    let bench = Bench::new(Vec::new());
    bench.config.send_replace(Some(Arc::new(config(look_ups))));
    bench
}

struct Asked<'a> {
    name: &'a str,
    host: &'a str,
    user: &'a str,
    on_failure: OnEnrichFailure,
}

fn ask<'a>(name: &'a str, host: &'a str, user: &'a str) -> Asked<'a> {
    Asked {
        name,
        host,
        user,
        on_failure: OnEnrichFailure::Continue,
    }
}

/// One that the delivery can't go on without.
fn must<'a>(on_failure: OnEnrichFailure, host: &'a str, user: &'a str) -> Asked<'a> {
    Asked {
        on_failure,
        ..ask("profile", host, user)
    }
}

/// The API is tried again.
fn retry<'a>() -> Asked<'a> {
    must(OnEnrichFailure::Retry, API, "7")
}

/// So many deliveries, each for a user of its own.
fn plan_users(bench: &Bench, users: u128) -> Vec<Uuid> {
    (0..users)
        .map(|user| {
            let user_id = user.to_string();
            plan(bench, user + 1, &[ask("profile", API, &user_id)], &name())
        })
        .collect()
}

/// Plans a delivery whose body is rendered once these have ended.
fn plan(bench: &Bench, id: u128, asked: &[Asked<'_>], template: &Json) -> Uuid {
    let unrendered = Unrendered {
        body: JsonText::of(template).unwrap(),
        enveloped: false,
        look_ups: asked
            .iter()
            .map(|one| LookUp {
                name: one.name.to_owned(),
                url: Some(format!("https://{}/users/{}", one.host, one.user)),
                on_failure: one.on_failure,
            })
            .collect(),
        echo: None,
        redact: Some(Redact {
            pointers: vec!["/enriched/profile/secret".to_owned()],
            patterns: vec![Pattern::Email],
        }),
        tries: 0,
    };
    let mut planned = delivery(id, "crm", bench.clock.now());
    planned.request.body =
        FrozenBody::Unrendered(Bytes::from(serde_json::to_vec(&unrendered).unwrap()));
    let id = planned.id;
    bench.store.add(planned, None);
    bench.unrendered.add([&lane("crm")]);
    id
}

fn name() -> Json {
    json!({"name": "${enriched.?profile.?name.orValue('unknown')}"})
}

fn profile(name: &str) -> Reply {
    answer(200, &[], &json!({"name": name}).to_string())
}

fn bodies(seen: &[Seen]) -> Vec<Json> {
    seen.iter()
        .map(|seen| serde_json::from_slice(&seen.request.body).unwrap())
        .collect()
}

const DELIVERED: fn(DeliveryState) -> bool = |state| state == DeliveryState::Delivered;

fn dead(reason: DeadReason) -> impl Fn(DeliveryState) -> bool {
    move |state| state == DeliveryState::Dead(reason)
}

#[tokio::test(start_paused = true)]
async fn r50_what_an_api_knows_of_a_user_is_in_the_body() {
    let secret = json!([{"name": "Authorization", "value": {"Secret": {
        "prefix": "Bearer ", "secret": {"reference": "tg-staff/token", "value": "aHVudGVyMg=="},
    }}}]);
    let bench = bench(&json!([look_up(
        "profile",
        API,
        &json!({"headers": secret})
    )]));
    bench.script.on(API, |_| (AT_ONCE, profile("Ada")));
    let template = json!({
        "merged": "${{'user': enriched.profile, 'text': event.data.text}}",
        "name": "${enriched.profile.name}",
    });
    let id = plan(&bench, 1, &[ask("profile", API, "7")], &template);
    bench.until(id, DELIVERED).await;
    assert_eq!(
        bodies(&bench.script.seen(CRM)),
        [json!({"merged": {"user": {"name": "Ada"}, "text": "hello"}, "name": "Ada"})]
    );
    let asked = bench.script.seen(API);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].request.method, "GET");
    assert_eq!(asked[0].request.url.path(), "/users/7");
    assert!(
        asked[0]
            .header("authorization")
            .unwrap()
            .starts_with("Bearer ")
    );
    assert_eq!(asked[0].header("accept"), Some("application/json"));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn r55_what_was_found_is_redacted_and_words_are_looked_for_in_what_is_left() {
    let bench = bench(&json!([look_up("profile", API, &json!({}))]));
    let found = json!({"secret": "x", "note": "fraud, fraud@x.example"}).to_string();
    bench
        .script
        .on(API, move |_| (AT_ONCE, answer(200, &[], &found)));
    let template = json!({"user": "${enriched.profile}", "words": "${words.risk.hits(enriched)}"});
    let id = plan(&bench, 1, &[ask("profile", API, "7")], &template);
    bench.until(id, DELIVERED).await;
    assert_eq!(
        bodies(&bench.script.seen(CRM)),
        [json!({"user": {"secret": "[redacted]", "note": "fraud, [email]"}, "words": ["fraud"]})]
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn r51_an_api_that_is_absent_forbids_or_is_slow_is_gone_on_without() {
    type Answer = fn() -> (Duration, Reply);
    let failures: [(&str, Answer); 8] = [
        ("forbidden", || (AT_ONCE, status(403))),
        ("not there", || (AT_ONCE, status(404))),
        ("broken", || (AT_ONCE, status(500))),
        ("elsewhere", || (AT_ONCE, status(302))),
        ("slow", || (Duration::from_mins(10), profile("Ada"))),
        ("no answer", || (AT_ONCE, no_answer("connection_lost"))),
        ("no JSON", || (AT_ONCE, answer(200, &[], "<html>"))),
        ("empty", || (AT_ONCE, status(204))),
    ];
    for (failure, answer) in failures {
        let bench = bench(&json!([look_up("profile", API, &json!({}))]));
        bench.script.on(API, move |_| answer());
        let id = plan(&bench, 1, &[ask("profile", API, "7")], &name());
        bench.until(id, DELIVERED).await;
        let sent = bench.script.seen(CRM);
        assert_eq!(bodies(&sent), [json!({"name": "unknown"})], "{failure}");
        assert!(
            sent[0].at < Duration::from_secs(3),
            "{failure}: {:?}",
            sent[0].at
        );
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_that_keeps_failing_is_let_alone_and_holds_nobody_up() {
    let bench = bench(&json!([look_up("profile", API, &json!({}))]));
    bench
        .script
        .on(API, |_| (Duration::from_mins(10), status(200)));
    for id in plan_users(&bench, 500) {
        bench.until(id, DELIVERED).await;
    }
    let last = bench.script.seen(CRM).last().unwrap().at;
    assert!(last < Duration::from_secs(10), "{last:?}");
    assert!(bench.script.seen(API).len() < 100);
    // When it works again it is asked again.
    bench.script.on(API, |_| (AT_ONCE, profile("Ada")));
    bench.pass(Duration::from_secs(30)).await;
    let id = plan(&bench, 1000, &[ask("profile", API, "x")], &name());
    bench.until(id, DELIVERED).await;
    let sent = bodies(&bench.script.seen(CRM));
    assert_eq!(sent.last().unwrap(), &json!({"name": "Ada"}));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_without_look_ups_does_not_wait_for_one_with() {
    let mut bench = bench(&json!([look_up("profile", API, &json!({"timeout": "1h"}))]));
    bench
        .script
        .on(API, |_| (Duration::from_mins(30), profile("Ada")));
    let slow = plan(&bench, 100, &[ask("profile", API, "7")], &name());
    let plain = bench.plan("crm");
    bench.until(plain, DELIVERED).await;
    assert_eq!(bench.script.seconds(CRM), [0]);
    bench.until(slow, DELIVERED).await;
    assert_eq!(bench.script.seconds(CRM), [0, 1800]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_many_ask_at_once_is_asked_once_and_kept() {
    let bench = bench(&json!([look_up("profile", API, &json!({"cache": "1h"}))]));
    bench
        .script
        .on(API, |_| (Duration::from_secs(1), profile("Ada")));
    let ids: Vec<Uuid> = (0..50)
        .map(|n| plan(&bench, n + 1, &[ask("profile", API, "7")], &name()))
        .collect();
    for id in ids {
        bench.until(id, DELIVERED).await;
    }
    let later = plan(&bench, 99, &[ask("profile", API, "7")], &name());
    bench.until(later, DELIVERED).await;
    assert_eq!(bench.script.seen(API).len(), 1);
    // Another user is another question.
    let other = plan(&bench, 100, &[ask("profile", API, "8")], &name());
    bench.until(other, DELIVERED).await;
    assert_eq!(bench.script.seen(API).len(), 2);
    let look_ups = |outcome| {
        let labels = ["support/crm", "rule", "profile", outcome];
        bench.metrics.look_ups.with_label_values(&labels).get()
    };
    assert_eq!((look_ups("found"), look_ups("cached")), (2, 50));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_kept_as_well_so_that_nobody_asks_for_each_event() {
    let bench = bench(&json!([look_up(
        "profile",
        API,
        &json!({"cacheFailures": "1h"})
    )]));
    bench.script.on(API, |_| (AT_ONCE, status(404)));
    for n in 0..10 {
        let id = plan(&bench, n + 1, &[ask("profile", API, "7")], &name());
        bench.until(id, DELIVERED).await;
    }
    assert_eq!(bench.script.seen(API).len(), 1);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn turns_are_as_many_and_as_often_as_is_allowed() {
    let limits =
        json!({"concurrency": 2, "timeout": "1h", "rateLimit": {"perSecond": 1.0, "burst": 1}});
    let bench = bench(&json!([look_up("profile", API, &limits)]));
    bench
        .script
        .on(API, |_| (Duration::from_millis(2500), profile("Ada")));
    for id in plan_users(&bench, 4) {
        bench.until(id, DELIVERED).await;
    }
    // One a second, but the third waits until one of the first two is done.
    assert_eq!(bench.script.seconds(API), [0, 1, 2, 3]);
    let times: Vec<_> = bench.script.seen(API).iter().map(|seen| seen.at).collect();
    assert!(times[2] >= Duration::from_millis(2500), "{times:?}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn retry_waits_for_the_api_as_a_delivery_waits_for_its_destination() {
    let bench = bench(&json!([look_up(
        "profile",
        API,
        &json!({"onFailure": "Retry"})
    )]));
    bench.script.on(API, |nth| {
        (AT_ONCE, if nth < 3 { status(503) } else { profile("Ada") })
    });
    let id = plan(&bench, 1, &[retry()], &name());
    bench.until(id, DELIVERED).await;
    assert_eq!(bodies(&bench.script.seen(CRM)), [json!({"name": "Ada"})]);
    assert_eq!(bench.script.seen(API).len(), 4);
    assert_eq!(
        bench.store.row(id).delivery.attempts,
        1,
        "look-ups are no attempts"
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn retry_gives_up_with_the_delivery_and_where_the_api_refuses_for_good() {
    for (answer, reason) in [(500, DeadReason::GaveUp), (404, DeadReason::LookUpFailed)] {
        let bench = bench(&json!([look_up("profile", API, &json!({}))]));
        bench.script.on(API, move |_| (AT_ONCE, status(answer)));
        let id = plan(&bench, 1, &[retry()], &name());
        bench.until(id, dead(reason)).await;
        assert!(bench.script.seen(CRM).is_empty());
        let labels = ["support/crm", "crm", reason.label()];
        assert_eq!(bench.metrics.deliveries.with_label_values(&labels).get(), 1);
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letter_gives_up_at_once_but_not_for_want_of_a_turn() {
    let bench = bench(&json!([
        look_up(
            "profile",
            API,
            &json!({"rateLimit": {"perSecond": 0.01, "burst": 1}})
        ),
        look_up("plan", OTHER, &json!({})),
    ]));
    bench.script.on(API, |_| (AT_ONCE, profile("Ada")));
    bench.script.on(OTHER, |_| (AT_ONCE, status(500)));
    let strict = |host, user| must(OnEnrichFailure::DeadLetter, host, user);
    let first = plan(&bench, 1, &[strict(API, "1")], &name());
    let second = plan(&bench, 2, &[strict(API, "2")], &name());
    bench.until(first, DELIVERED).await;
    bench.until(second, DELIVERED).await;
    assert!(bench.script.seen(CRM)[1].at >= Duration::from_secs(100));
    let failing = Asked {
        name: "plan",
        ..strict(OTHER, "1")
    };
    let third = plan(&bench, 3, &[failing], &name());
    bench.until(third, dead(DeadReason::LookUpFailed)).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_look_up_stands_for_itself() {
    let bench = bench(&json!([
        look_up("profile", API, &json!({})),
        look_up("plan", OTHER, &json!({})),
    ]));
    bench.script.on(API, |_| (AT_ONCE, status(500)));
    bench
        .script
        .on(OTHER, |_| (AT_ONCE, answer(200, &[], "[\"gold\"]")));
    let template = json!({"profile": "${has(enriched.profile)}", "plan": "${enriched.plan[0]}"});
    let asked = [ask("profile", API, "7"), ask("plan", OTHER, "7")];
    let id = plan(&bench, 1, &asked, &template);
    bench.until(id, DELIVERED).await;
    assert_eq!(
        bodies(&bench.script.seen(CRM)),
        [json!({"profile": false, "plan": "gold"})]
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_needs_what_is_not_there_is_a_dead_letter() {
    let bench = bench(&json!([look_up("profile", API, &json!({}))]));
    bench.script.on(API, |_| (AT_ONCE, status(500)));
    let id = plan(
        &bench,
        1,
        &[ask("profile", API, "7")],
        &json!("${enriched.profile.name}"),
    );
    bench.until(id, dead(DeadReason::RuleError)).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_destination_that_is_removed_or_a_look_up_that_is() {
    let bench = bench(&json!([look_up("profile", API, &json!({"timeout": "1h"}))]));
    bench.script.on(API, |_| (AT_ONCE, status(503)));
    // Without the look-up it can only go on without, or not at all.
    bench
        .config
        .send_replace(Some(Arc::new(config(&json!([])))));
    let without = plan(&bench, 1, &[ask("profile", API, "7")], &name());
    bench.until(without, DELIVERED).await;
    let strict = plan(&bench, 2, &[retry()], &name());
    bench.until(strict, dead(DeadReason::LookUpFailed)).await;

    bench
        .config
        .send_replace(Some(Arc::new(config(&json!([look_up(
            "profile",
            API,
            &json!({})
        )])))));
    let waits = plan(&bench, 3, &[retry()], &name());
    bench.pass(Duration::from_secs(5)).await;
    assert!(matches!(
        bench.store.row(waits).state,
        DeliveryState::Unrendered { .. }
    ));
    bench.config.send_replace(Some(Arc::new(Config::default())));
    bench
        .until(waits, dead(DeadReason::DestinationRemoved))
        .await;
    bench.stop().await;
}

/// Receivers that share a store: another one planned it, by a configuration that comes later here.
#[tokio::test(start_paused = true)]
async fn r15_a_look_up_and_a_destination_of_a_newer_configuration_are_waited_for() {
    let asks = json!([look_up("profile", API, &json!({}))]);
    let routes: [fn() -> Config; 2] = [Config::default, || config(&json!([]))];
    for (before, woken) in routes.into_iter().flat_map(|it| [(it, true), (it, false)]) {
        let bench = Bench::with(Vec::new(), Memory::shared());
        bench.script.on(API, |_| (AT_ONCE, profile("Ann")));
        let before = Config {
            sequence: 0,
            ..before()
        };
        bench.config.send_replace(Some(Arc::new(before)));
        bench.pass(Duration::from_secs(1)).await;
        let asked = must(OnEnrichFailure::DeadLetter, API, "7");
        let waits = plan(&bench, 1, &[asked], &name());
        if !woken {
            // By what is loaded, the lane has no look-ups.
            bench.unrendered.take().await;
            bench.lanes.add([&lane("crm")]);
        }
        bench.pass(Duration::from_mins(10)).await;
        assert!(matches!(
            bench.store.row(waits).state,
            DeliveryState::Unrendered { .. }
        ));
        bench.config.send_replace(Some(Arc::new(config(&asks))));
        bench.until(waits, DELIVERED).await;
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_holds_what_can_not_go_on_without() {
    let header = |value: Json| {
        json!([{"name": "Authorization", "value": {"Secret": {
            "prefix": "", "secret": {"reference": "tg-staff/token", "value": value},
        }}}])
    };
    let with = |value: Json| json!([look_up("profile", API, &json!({"headers": header(value)}))]);
    let bench = bench(&with(Json::Null));
    bench.script.on(API, |_| (AT_ONCE, profile("Ada")));
    let without = plan(&bench, 1, &[ask("profile", API, "7")], &name());
    let held = plan(&bench, 2, &[retry()], &name());
    bench.until(without, DELIVERED).await;
    bench.pass(Duration::from_mins(5)).await;
    assert!(bench.script.seen(API).is_empty());
    assert!(matches!(
        bench.store.row(held).state,
        DeliveryState::Unrendered { .. }
    ));
    bench
        .config
        .send_replace(Some(Arc::new(config(&with(json!("aHVudGVyMg=="))))));
    bench.until(held, DELIVERED).await;
    assert_eq!(
        bodies(&bench.script.seen(CRM)),
        [json!({"name": "unknown"}), json!({"name": "Ada"})]
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_may_not_be_reached_is_not_asked() {
    let bench = bench(&json!([look_up("profile", API, &json!({}))]));
    let id = plan(&bench, 1, &[ask("profile", "10.0.0.1", "7")], &name());
    bench.until(id, DELIVERED).await;
    assert!(bench.script.seen("10.0.0.1").is_empty());
    let labels = ["support/crm", "rule", "profile", "address"];
    assert_eq!(bench.metrics.look_ups.with_label_values(&labels).get(), 1);
    bench.stop().await;
}
