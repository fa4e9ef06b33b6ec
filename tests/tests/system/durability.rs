//! What was answered 200 is delivered, whatever happens to the process.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hookswitch_tests::destination::{Behaviour, Destination};
use hookswitch_tests::hookswitch::Hookswitch;
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::wait;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::setup::{self, System};
use crate::yaml;

const PATH: &str = "/support/support";

/// How often the process is killed.
fn kills() -> usize {
    std::env::var("HOOKSWITCH_TEST_KILLS").map_or(20, |text| {
        text.parse().expect("HOOKSWITCH_TEST_KILLS is a number")
    })
}

/// What the destination saw of each event's number.
fn effects_by_number(destination: &Destination) -> BTreeMap<usize, usize> {
    let mut effects = BTreeMap::new();
    for effect in destination.effects() {
        let number = effect
            .body
            .get("number")
            .and_then(Value::as_u64)
            .expect("each effect has its number");
        let number = usize::try_from(number).expect("the number is one of ours");
        *effects.entry(number).or_default() += 1;
    }
    effects
}

/// Senders repeat until they are answered 200; the process is killed at random moments all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_r14_r17_sigkill_under_load_loses_nothing_and_doubles_nothing() {
    let destination = Destination::start().await;
    let workspace = setup::workspace(&yaml::crm(&destination.url()));

    let (moved, at) = watch::channel(String::new());
    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicUsize::new(0));
    let acknowledged = Arc::new(Mutex::new(HashSet::new()));
    let mut senders = JoinSet::new();
    for _ in 0..8 {
        let (at, stop, next, acknowledged) = (
            at.clone(),
            Arc::clone(&stop),
            Arc::clone(&next),
            Arc::clone(&acknowledged),
        );
        senders.spawn(async move {
            let sender = Sender::new("", yaml::SIGNING_KEY);
            while !stop.load(Ordering::SeqCst) {
                let number = next.fetch_add(1, Ordering::SeqCst);
                let event = conversation_created(number);
                // A redelivery goes out even after the test stops making new events.
                loop {
                    let url = at.borrow().clone();
                    if sender.at(url).send(&event).await == Some(200) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                acknowledged.lock().await.insert(number);
            }
        });
    }

    for round in 0..kills() {
        let hookswitch = Hookswitch::start(&workspace.config(), &workspace.data()).await;
        let before = acknowledged.lock().await.len();
        moved.send_replace(hookswitch.url(PATH));
        // Some rounds die at once, others in full swing: the number of answers decides, not a clock.
        let answers = 1 + (round * 37) % 200;
        wait::until(
            "events to be answered",
            Duration::from_mins(1),
            async || (acknowledged.lock().await.len() >= before + answers).then_some(()),
        )
        .await;
        hookswitch.kill().await;
    }

    let hookswitch = Hookswitch::start(&workspace.config(), &workspace.data()).await;
    moved.send_replace(hookswitch.url(PATH));
    stop.store(true, Ordering::SeqCst);
    senders.join_all().await;
    let acknowledged = acknowledged.lock().await.clone();
    assert!(acknowledged.len() > kills(), "the test sent events");
    wait::until(
        "every answered event to be delivered",
        Duration::from_mins(2),
        async || {
            let effects = effects_by_number(&destination);
            acknowledged
                .iter()
                .all(|number| effects.contains_key(number))
                .then_some(())
        },
    )
    .await;
    let doubled: Vec<_> = effects_by_number(&destination)
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .collect();
    assert_eq!(
        doubled,
        [],
        "an event had two effects under different idempotency keys"
    );
    assert_eq!(
        destination.conflicts(),
        Vec::<String>::new(),
        "a key came with two bodies"
    );
    let (clean, _) = hookswitch.terminate().await;
    assert!(clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_redelivery_has_one_effect_even_after_a_restart_and_at_once() {
    let destination = Destination::start().await;
    let system = System::start(&yaml::crm(&destination.url())).await;
    let mut same = JoinSet::new();
    for _ in 0..20 {
        let sender = system.sender.clone();
        same.spawn(async move { sender.send(&conversation_created(1)).await });
    }
    for answer in same.join_all().await {
        assert_eq!(answer, Some(200));
    }
    wait::until("the delivery", Duration::from_secs(10), async || {
        (destination.count() == 1).then_some(())
    })
    .await;
    assert_eq!(system.requests("accepted").await, 1);
    assert_eq!(system.requests("duplicate").await, 19);

    let system = system.restart().await;
    system.send(&conversation_created(1)).await;
    // Another event through the same queue shows that nothing of the first is on its way.
    system.send(&conversation_created(2)).await;
    wait::until("the second event", Duration::from_secs(10), async || {
        (destination.count() == 2).then_some(())
    })
    .await;
    assert_eq!(
        effects_by_number(&destination),
        BTreeMap::from([(1, 1), (2, 1)])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_with_another_body_is_kept_and_not_routed() {
    let destination = Destination::start().await;
    let system = System::start(&yaml::crm(&destination.url())).await;
    system.send(&conversation_created(1)).await;
    let mut other = conversation_created(1);
    other["data"] = json!({"number": 99});
    system.send(&other).await;
    system.send(&conversation_created(2)).await;
    wait::until("both routed events", Duration::from_secs(10), async || {
        (destination.count() == 2).then_some(())
    })
    .await;
    assert_eq!(
        effects_by_number(&destination),
        BTreeMap::from([(1, 1), (2, 1)])
    );
    assert_eq!(system.requests("id_reused").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_r8_r17_a_burst_with_every_destination_down_is_answered_and_delivered_later() {
    let destination = Destination::start().await;
    destination.behave(Behaviour::Hangs);
    let system = System::start(&yaml::crm(&destination.url())).await;
    let mut burst = JoinSet::new();
    for number in 0..500 {
        let sender = system.sender.clone();
        // The sender gives up after 5 s, as TG-Staff does: an answer is an answer in time.
        burst.spawn(async move { sender.send(&conversation_created(number)).await });
    }
    for answer in burst.join_all().await {
        assert_eq!(answer, Some(200));
    }
    assert_eq!(destination.count(), 0);
    let waiting = async || {
        let name = "hookswitch_queue_depth";
        system.hookswitch.metric(name, &[]).await
    };
    wait::until("all to be planned", Duration::from_secs(30), async || {
        (waiting().await >= 500).then_some(())
    })
    .await;
    assert_eq!(destination.count(), 0);
    destination.behave(Behaviour::Works);
    wait::until(
        "the backlog to be delivered",
        Duration::from_mins(1),
        async || (destination.count() == 500).then_some(()),
    )
    .await;
    wait::until(
        "the queue to be empty",
        Duration::from_secs(10),
        async || (waiting().await == 0).then_some(()),
    )
    .await;
}

/// SIGTERM in full swing: what was answered 200 before it is there afterwards, and the exit is clean.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_shutdown_under_load_loses_nothing() {
    let destination = Destination::start().await;
    let System {
        workspace,
        hookswitch,
        sender,
    } = System::start(&yaml::crm(&destination.url())).await;
    let answered = Arc::new(Mutex::new(HashSet::new()));
    let mut load = JoinSet::new();
    for worker in 0..4_usize {
        let (sender, answered) = (sender.clone(), Arc::clone(&answered));
        load.spawn(async move {
            for number in (worker..100_000).step_by(4) {
                match sender.send(&conversation_created(number)).await {
                    Some(200) => answered.lock().await.insert(number),
                    // Refused or cut off: the sender would come again.
                    _ => return,
                };
            }
        });
    }
    wait::until(
        "the load to be under way",
        Duration::from_secs(30),
        async || (answered.lock().await.len() > 100).then_some(()),
    )
    .await;
    let (clean, output) = hookswitch.terminate().await;
    assert!(clean, "{output}");
    load.join_all().await;

    let system = System::of(workspace).await;
    let answered = answered.lock().await.clone();
    wait::until(
        "every answered event to be delivered",
        Duration::from_mins(1),
        async || {
            let effects = effects_by_number(&destination);
            answered
                .iter()
                .all(|number| effects.contains_key(number))
                .then_some(())
        },
    )
    .await;
    assert!(
        effects_by_number(&destination)
            .values()
            .all(|count| *count == 1)
    );
    system.hookswitch.kill().await;
}
