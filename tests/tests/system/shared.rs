//! Several receivers that share one queue through NATS `JetStream`, each a process.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hookswitch_tests::destination::Destination;
use hookswitch_tests::hookswitch::{Hookswitch, Workspace};
use hookswitch_tests::sender::{Sender, conversation_created, sign};
use hookswitch_tests::servers::nats::Nats;
use hookswitch_tests::wait;
use serde_json::{Value, json};
use tokio::sync::{Mutex, RwLock};
use tokio::task::JoinSet;

use crate::yaml;

const PATH: &str = "/support/support";
const BODY: &str = "{number: \"${event.data.data.number}\", subject: \"${event.subject}\"}";
const ORDERED: &str = "{timeout: 2s, ordering: PerSubject, backoff: {initial: 50ms, max: 500ms}, circuitBreaker: {failures: 5, openFor: 200ms}}";

/// Receivers on one NATS server, each with a data directory of its own.
struct Shared {
    workspace: Workspace,
    nats: Nats,
}

impl Shared {
    async fn start(destination: &Destination) -> Self {
        let workspace = Workspace::new();
        workspace.write("subscription.yaml", &yaml::subscription(""));
        workspace.write(
            "route.yaml",
            &yaml::route(
                "crm",
                "[conversation.created]",
                &destination.url(),
                BODY,
                ORDERED,
            ),
        );
        Self {
            workspace,
            nats: Nats::start().await,
        }
    }

    fn data(&self, number: usize) -> PathBuf {
        self.workspace.data().with_extension(number.to_string())
    }

    /// So many receivers, and what sends to them by turns.
    async fn rotation(&self, count: usize) -> (Vec<Hookswitch>, Rotation) {
        let mut receivers = Vec::new();
        for number in 0..count {
            receivers.push(self.receiver(number).await);
        }
        let urls = receivers.iter().map(|receiver| receiver.url(PATH));
        let rotation = Arc::new(RwLock::new(urls.collect()));
        (receivers, rotation)
    }

    async fn receiver(&self, number: usize) -> Hookswitch {
        let url = self.nats.url();
        let arguments = [
            "--store",
            "jetstream",
            "--nats-url",
            url.as_str(),
            "--takeover",
            "2s",
        ];
        Hookswitch::start_with(&self.workspace.config(), &self.data(number), &arguments).await
    }
}

/// The numbers that had an effect, by subject, in the order of their first effect.
fn by_subject(destination: &Destination) -> BTreeMap<String, Vec<u64>> {
    let mut seen = HashSet::new();
    let mut subjects: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for effect in destination.effects() {
        let number = effect.body["number"].as_u64().expect("a number");
        let subject = effect.body["subject"].as_str().expect("a subject");
        if seen.insert(number) {
            subjects.entry(subject.to_owned()).or_default().push(number);
        }
    }
    subjects
}

fn assert_in_order(destination: &Destination) {
    for (subject, numbers) in by_subject(destination) {
        assert!(numbers.is_sorted(), "{subject}: {numbers:?}");
    }
}

async fn all_delivered(destination: &Destination, answered: &HashSet<usize>) {
    wait::until(
        "every answered event to be delivered",
        Duration::from_mins(1),
        async || {
            let effects: HashSet<_> = destination
                .effects()
                .iter()
                .filter_map(|effect| effect.body["number"].as_u64())
                .collect();
            let numbers = answered
                .iter()
                .map(|number| u64::try_from(*number).expect("small"));
            numbers
                .into_iter()
                .all(|number| effects.contains(&number))
                .then_some(())
        },
    )
    .await;
}

/// What answers come where, as load balancers do: the addresses that take part now.
type Rotation = Arc<RwLock<Vec<String>>>;

/// Answered events that wait for their delivery at most: more would measure how fast a machine is.
const BEHIND: usize = 100;

/// Senders of a subject each, which send the next event when the one before is answered.
struct Load {
    senders: JoinSet<()>,
    stop: Arc<AtomicBool>,
    answered: Arc<Mutex<HashSet<usize>>>,
    refused: Arc<Mutex<Vec<Option<u16>>>>,
}

impl Load {
    fn start(rotation: &Rotation, destination: &Arc<Destination>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(Mutex::new(HashSet::new()));
        let refused = Arc::new(Mutex::new(Vec::new()));
        let mut senders = JoinSet::new();
        for subject in 0..8_usize {
            let (rotation, stop) = (Arc::clone(rotation), Arc::clone(&stop));
            let (answered, refused) = (Arc::clone(&answered), Arc::clone(&refused));
            let destination = Arc::clone(destination);
            senders.spawn(async move {
                let sender = Sender::new("", yaml::SIGNING_KEY);
                let mut tries = subject;
                // 50 subjects: the number says which.
                for number in (subject..).step_by(50) {
                    while answered.lock().await.len() > destination.count() + BEHIND
                        && !stop.load(Ordering::SeqCst)
                    {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    loop {
                        // Held while the request is under way: who takes one out waits for it.
                        let receivers = rotation.read().await;
                        tries += 1;
                        let url = receivers[tries % receivers.len()].clone();
                        let answer = sender.at(url).send(&conversation_created(number)).await;
                        drop(receivers);
                        if answer == Some(200) {
                            break;
                        }
                        refused.lock().await.push(answer);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    answered.lock().await.insert(number);
                }
            });
        }
        Self {
            senders,
            stop,
            answered,
            refused,
        }
    }

    async fn more(&self, events: usize) {
        let before = self.answered.lock().await.len();
        wait::until(
            "events to be answered",
            Duration::from_mins(1),
            async || (self.answered.lock().await.len() >= before + events).then_some(()),
        )
        .await;
    }

    /// Ends it; gives what was answered, and what was not.
    async fn end(self) -> (HashSet<usize>, Vec<Option<u16>>) {
        self.stop.store(true, Ordering::SeqCst);
        self.senders.join_all().await;
        let answered = self.answered.lock().await.clone();
        let refused = self.refused.lock().await.clone();
        (answered, refused)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_r15_any_receiver_takes_what_any_delivers_and_a_duplicate_has_one_effect() {
    let destination = Destination::start().await;
    let shared = Shared::start(&destination).await;
    let (one, other) = (shared.receiver(1).await, shared.receiver(2).await);
    let sender = Sender::new(one.url(PATH), yaml::SIGNING_KEY);
    for number in 0..20 {
        let receiver = if number % 2 == 0 { &one } else { &other };
        let sender = sender.at(receiver.url(PATH));
        assert_eq!(sender.send(&conversation_created(number)).await, Some(200));
    }
    for receiver in [&one, &other] {
        let sender = sender.at(receiver.url(PATH));
        for number in 0..20 {
            assert_eq!(sender.send(&conversation_created(number)).await, Some(200));
        }
    }
    wait::until("the deliveries", Duration::from_secs(20), async || {
        (destination.count() == 20).then_some(())
    })
    .await;
    let duplicates = ["outcome=\"duplicate\""];
    let counted = one.metric("hookswitch_requests_total", &duplicates).await
        + other.metric("hookswitch_requests_total", &duplicates).await;
    assert_eq!(counted, 40);

    // Both tell of all events.
    for receiver in [&one, &other] {
        let url = format!("http://{}/v1/events?limit=50", receiver.admin);
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let text = wait::until("the events", Duration::from_secs(10), async || {
            let answer = client.get(&url).send().await.ok()?;
            let text = answer.text().await.ok()?;
            (text.matches("evt-").count() >= 20).then_some(text)
        })
        .await;
        assert!(text.contains("evt-19"), "{text}");
    }
    let (clean, output) = one.terminate().await;
    assert!(clean, "{output}");
    // The one that is left does all the work, at once.
    assert_eq!(
        sender
            .at(other.url(PATH))
            .send(&conversation_created(99))
            .await,
        Some(200)
    );
    wait::until("the last delivery", Duration::from_secs(10), async || {
        (destination.count() == 21).then_some(())
    })
    .await;
    assert_eq!(destination.conflicts(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_r17_one_of_three_killed_under_load_is_taken_over_and_order_holds() {
    let destination = Arc::new(Destination::start().await);
    let shared = Shared::start(&destination).await;
    let (mut receivers, rotation) = shared.rotation(3).await;
    let load = Load::start(&rotation, &destination);
    load.more(100).await;
    for round in 0..3 {
        let killed = receivers.remove(0);
        let url = killed.url(PATH);
        killed.kill().await;
        let (at, before) = (Instant::now(), destination.count());
        // Deliveries go on, those of its lanes too: whatever it had begun is done again by others.
        wait::until(
            "the work to be taken over",
            Duration::from_mins(1),
            async || (destination.count() >= before + 20).then_some(()),
        )
        .await;
        let taken_over = at.elapsed();
        assert!(taken_over < Duration::from_secs(15), "{taken_over:?}");
        load.more(50).await;
        rotation.write().await.retain(|other| *other != url);
        let answered = load.answered.lock().await.clone();
        all_delivered(&destination, &answered).await;
        if round == 1 {
            // With an empty disk once.
            std::fs::remove_dir_all(shared.data(round)).expect("the data can be removed");
        }
        let receiver = shared.receiver(round).await;
        rotation.write().await.push(receiver.url(PATH));
        receivers.push(receiver);
        load.more(50).await;
    }
    let (answered, _) = load.end().await;
    all_delivered(&destination, &answered).await;
    assert_in_order(&destination);
    assert_eq!(destination.conflicts(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_receivers_that_are_replaced_one_by_one_answer_every_request() {
    let destination = Arc::new(Destination::start().await);
    let shared = Shared::start(&destination).await;
    let (mut receivers, rotation) = shared.rotation(2).await;
    let load = Load::start(&rotation, &destination);
    load.more(100).await;
    for number in 0..2 {
        let leaving = receivers.remove(0);
        let url = leaving.url(PATH);
        rotation.write().await.retain(|other| *other != url);
        let (clean, output) = leaving.terminate().await;
        assert!(clean, "{output}");
        load.more(50).await;
        let receiver = shared.receiver(number).await;
        rotation.write().await.push(receiver.url(PATH));
        receivers.push(receiver);
        load.more(50).await;
    }
    let (answered, refused) = load.end().await;
    assert_eq!(refused, [], "every request was answered with 200");
    all_delivered(&destination, &answered).await;
    assert_in_order(&destination);
    assert_eq!(
        destination.count(),
        answered.len(),
        "receivers that leave in order repeat nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_without_nats_senders_are_told_when_to_come_back_and_it_heals() {
    let destination = Destination::start().await;
    let mut shared = Shared::start(&destination).await;
    let receiver = shared.receiver(0).await;
    let sender = Sender::new(receiver.url(PATH), yaml::SIGNING_KEY);
    assert_eq!(sender.send(&conversation_created(1)).await, Some(200));
    shared.nats.kill();
    wait::until("it to be unready", Duration::from_secs(20), async || {
        let (status, _) = receiver.get("/readyz").await?;
        (status == 503).then_some(())
    })
    .await;
    let (alive, _) = receiver.get("/livez").await.expect("it answers");
    assert_eq!(alive, 200, "a restart would not help");
    let event: Value = conversation_created(2);
    let body = event.to_string();
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let answer = client
        .post(receiver.url(PATH))
        .header(
            "X-TG-Staff-Signature",
            sign(yaml::SIGNING_KEY, body.as_bytes()),
        )
        .header("Content-Type", "application/json")
        .body(body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    shared.nats.restart().await;
    wait::until(
        "the event to be accepted",
        Duration::from_secs(20),
        async || (sender.send(&event).await == Some(200)).then_some(()),
    )
    .await;
    wait::until("both deliveries", Duration::from_secs(20), async || {
        (destination.count() == 2).then_some(())
    })
    .await;
    let numbers = by_subject(&destination).into_values().flatten();
    assert_eq!(json!(numbers.collect::<Vec<_>>()), json!([1, 2]));
}
