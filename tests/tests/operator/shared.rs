//! Receivers that share the work through a NATS cluster, as the chart sets them up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::destination::Destination;
use hookswitch_tests::installation::{Installation, LIMIT};
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::servers::nats::Nats;
use hookswitch_tests::wait;
use tokio::sync::RwLock;
use tokio::task::JoinSet;

use super::{KEY, SUBSCRIPTION, path};

/// A route that keeps the order of each conversation.
fn ordered(url: &str) -> String {
    format!(
        "
apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {{name: crm}}
spec:
  subscriptionRefs: [{{name: support}}]
  destinations:
  - name: crm
    http: {{url: '{url}', allowPrivateNetwork: true}}
    delivery: {{ordering: PerSubject}}
  rules:
  - name: all
    deliver: [{{destination: crm}}]
"
    )
}

/// Kubernetes takes a pod out of the Service before it ends, and puts it in once it is ready: so do these
/// addresses. Each sender has conversations of its own, and sends one event after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_r50_a_rolling_upgrade_of_receivers_answers_every_request_and_keeps_the_order() {
    let servers = Nats::cluster().await;
    let urls: Vec<String> = servers.iter().map(Nats::url).collect();
    let destination = Destination::start().await;
    let cluster = Cluster::shared().await;
    let urls = format!("store.jetstream.urls={{{}}}", urls.join(","));
    let values = ["store.kind=jetstream", &urls, "receiver.replicas=2"];
    let mut here = Installation::new(cluster, &values).await;
    let _operator = here.operator("operator-a").await;
    here.namespace.apply(SUBSCRIPTION).await.ok();
    here.namespace
        .apply(&ordered(&destination.url()))
        .await
        .ok();
    let mut receivers = HashMap::new();
    for number in 0..2 {
        let receiver = here.receiver(number);
        receiver.ready().await;
        receivers.insert(number, receiver);
    }
    here.condition("evroute/crm", "Programmed", "True", "Programmed")
        .await;
    let path = path(&here, "support");
    let service: HashMap<u32, String> = receivers
        .iter()
        .map(|(number, receiver)| (*number, receiver.url(&path)))
        .collect();
    let service = Arc::new(RwLock::new(service));

    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    for first in 0..4_usize {
        let (service, stop) = (Arc::clone(&service), Arc::clone(&stop));
        senders.spawn(async move {
            let sender = Sender::new("", KEY);
            let mut answered = Vec::new();
            for number in (first..).step_by(50) {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                // Held while a request is under way.
                let ready = service.read().await;
                let mut urls: Vec<&String> = ready.values().collect();
                urls.sort();
                let url = urls[number / 50 % urls.len()].clone();
                let answer = sender.at(url).send(&conversation_created(number)).await;
                drop(ready);
                answered.push((number, answer));
            }
            answered
        });
    }
    let effects = async |count: usize| {
        let before = destination.count();
        wait::until("deliveries", LIMIT, async || {
            (destination.count() >= before + count).then_some(())
        })
        .await;
    };
    effects(40).await;
    here.upgrade(
        cluster,
        &["receiver.drainSeconds=12", "store.jetstream.takeover=4s"],
    )
    .await;
    for number in [1, 0] {
        service.write().await.remove(&number);
        let leaving = receivers.remove(&number).expect("it runs");
        leaving.terminate().await;
        effects(20).await;
        let receiver = here.receiver(number);
        receiver.ready().await;
        service.write().await.insert(number, receiver.url(&path));
        receivers.insert(number, receiver);
        effects(20).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut sent = 0;
    for (number, answer) in senders.join_all().await.into_iter().flatten() {
        assert_eq!(answer, Some(200), "event {number}");
        sent += 1;
    }
    wait::until("every event to be delivered", LIMIT, async || {
        (destination.count() == sent).then_some(())
    })
    .await;
    let mut last: HashMap<String, u64> = HashMap::new();
    for effect in destination.effects() {
        let conversation = effect.body["conversation_id"].as_str().expect("a text");
        let number = effect.body["data"]["number"].as_u64().expect("a number");
        let before = last.insert(conversation.to_owned(), number);
        assert!(
            before.is_none_or(|before| before < number),
            "{conversation}: {number} after {before:?}"
        );
    }
    assert_eq!(here.refusals(cluster), Vec::<String>::new());
}
