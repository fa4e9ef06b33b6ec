//! Servers that are away, full, or hold what a later version wrote; files that are damaged.

use std::time::Duration;

use async_nats::jetstream::{object_store, stream};
use hookswitch_receiver::store::embedded::{Embedded, FILE};
use hookswitch_receiver::store::jetstream::Settings;
use hookswitch_receiver::store::{Accepted, Error, Store as _};
use hookswitch_tests::servers::nats::Nats;
use hookswitch_tests::servers::network::{Host, Network};
use hookswitch_tests::wait;
use tempfile::TempDir;

use crate::replica::{Replica, SOON, assert_same, level, settings};
use crate::support::{self, event, key};

/// How long servers may take to agree without one, and receivers to find them.
const LONG: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_while_the_servers_are_away_nothing_is_accepted_and_then_it_goes_on() {
    let mut nats = Nats::start().await;
    let settings = settings(&nats, "away");
    let one = Replica::start(&settings).await;
    let other = Replica::start(&settings).await;
    one.store()
        .accept(event("a", "1", "body", 0))
        .await
        .unwrap();
    nats.kill();
    wait::until("the store to notice", SOON, async || {
        matches!(one.store().health(), Err(Error::Unavailable(_))).then_some(())
    })
    .await;
    let refused = one.store().accept(event("a", "2", "body", 0)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    // What is known is told all the while.
    assert_eq!(one.store().scan(0, 10).await.unwrap().len(), 1);
    nats.restart().await;
    wait::until("the stores to be well", SOON, async || {
        let well = one.store().health().and_then(|()| other.store().health());
        well.ok()
    })
    .await;
    for (id, replica) in [("2", &one), ("3", &other)] {
        let accepted = wait::until("an event to be accepted", SOON, async || {
            replica.store().accept(event("a", id, "body", 0)).await.ok()
        })
        .await;
        assert!(matches!(accepted, Accepted::New { .. }), "{accepted:?}");
    }
    one.members(2).await;
    level(&[&one, &other]).await;
    assert_same(one.dir.path(), other.dir.path());
}

/// It accepts nothing: as it hears of nobody any more, it writes that they are gone, and gets no answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_an_idle_receiver_goes_on_where_its_server_is_cut_off_from_the_others() {
    let network = Network::start(3).await;
    let servers = Nats::cluster_in(&network).await;
    let lonely = Host::Number(0);
    let others = [Host::Number(1), Host::Number(2)];
    let busy = Settings {
        replicas: 3,
        ..settings(&servers[1], "lonely")
    };
    let idle = Settings {
        urls: servers.iter().map(Nats::url).collect(),
        ..busy.clone()
    };
    // So that it is connected to the one that will be cut off.
    for other in others {
        network.cut(Host::Here, other);
    }
    let idle = Replica::start(&idle).await;
    for other in others {
        network.heal(Host::Here, other);
    }
    let busy = Replica::start(&busy).await;
    busy.members(2).await;
    for other in others {
        network.cut(other, lonely);
        network.cut(lonely, other);
    }
    wait::until("an event to be accepted", LONG, async || {
        busy.store().accept(event("a", "1", "body", 0)).await.ok()
    })
    .await;
    wait::until("the idle one to know it", LONG, async || {
        let known = idle.store().scan(0, 10).await.unwrap();
        (known.len() == 1).then_some(())
    })
    .await;
    busy.members(2).await;
}

/// In the middle of load, each offer ends as something, and what was accepted is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_what_was_accepted_while_the_server_was_killed_is_kept_once() {
    let mut nats = Nats::start().await;
    let settings = settings(&nats, "killed");
    let one = std::sync::Arc::new(Replica::start(&settings).await);
    let mut offers = tokio::task::JoinSet::new();
    for sender in 0..16 {
        let one = std::sync::Arc::clone(&one);
        offers.spawn(async move {
            let mut accepted = 0;
            for number in 0..60 {
                let id = format!("{sender}-{number}");
                // As a sender does: again until it is told that it is there.
                loop {
                    match one.store().accept(event("a", &id, "body", 0)).await {
                        Ok(_) => break,
                        Err(Error::Unavailable(_)) => {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                accepted += 1;
            }
            accepted
        });
    }
    for _ in 0..3 {
        wait::until("some to be applied", SOON, async || {
            (one.store().applied() > 5).then_some(())
        })
        .await;
        nats.restart().await;
    }
    let mut accepted = 0;
    while let Some(one) = offers.join_next().await {
        accepted += one.unwrap();
    }
    let kept = one.store().scan(0, 10_000).await.unwrap();
    assert_eq!(kept.len(), accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r50_what_a_later_version_wrote_stops_the_receiver_and_is_not_applied() {
    let nats = Nats::start().await;
    let settings = settings(&nats, "later");
    let mut one = Replica::start(&settings).await;
    one.store()
        .accept(event("a", "1", "body", 0))
        .await
        .unwrap();
    let applied = one.store().applied();
    let client = async_nats::connect(&settings.urls[0]).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let sent = context
        .publish("later.log", vec![2, 0xa0].into())
        .await
        .unwrap();
    sent.await.unwrap();
    let why = wait::until("the store to stop", SOON, async || {
        match one.store().health() {
            Err(Error::Stopped(why)) => Some(why),
            _ => None,
        }
    })
    .await;
    assert!(why.contains("a newer one"), "{why}");
    assert_eq!(one.store().applied(), applied);
    // At the next start too: it is not passed over.
    one.kill().await;
    let refused = one.open().await.unwrap_err().to_string();
    assert!(refused.contains("a newer one"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_refuses_and_one_with_more_room_goes_on() {
    let nats = Nats::start().await;
    let small = Settings {
        max_bytes: Some(256 << 10),
        ..settings(&nats, "full")
    };
    let one = Replica::start(&small).await;
    let mut accepted = 0;
    // Random text, which does not shrink much.
    let body = |number: u64| {
        let words = (0..2000).map(|word| support::uuid(&format!("{number} {word}")).to_string());
        words.collect::<String>()
    };
    let refused = loop {
        let new = event("a", &accepted.to_string(), &body(accepted), 0);
        match one.store().accept(new).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 100, "it is never full");
    };
    assert!(matches!(refused, Error::Full(_)), "{refused}");
    assert!(matches!(one.store().health(), Err(Error::Full(_))));
    // Another one is told of more room; the first finds out though nobody sends to it.
    let larger = Settings {
        max_bytes: Some(64 << 20),
        ..small
    };
    let other = Replica::start(&larger).await;
    wait::until("the store to be well", SOON, async || {
        one.store().health().ok()
    })
    .await;
    for (id, replica) in [("more", &one), ("yet more", &other)] {
        let new = event("a", id, "body", 0);
        replica.store().accept(new).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_streams_that_would_lose_what_is_pending_are_brought_to_the_settings_or_refused() {
    let nats = Nats::start().await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = |prefix: &str| stream::Config {
        name: format!("{prefix}-log"),
        subjects: vec![format!("{prefix}.log")],
        ..stream::Config::default()
    };
    let bucket = |prefix: &str| object_store::Config {
        bucket: format!("{prefix}-checkpoints"),
        max_age: Duration::from_hours(1),
        ..object_store::Config::default()
    };
    let forgets = stream::Config {
        max_age: Duration::from_hours(1),
        max_messages: 10,
        ..stream("forgets")
    };
    context.create_stream(forgets).await.unwrap();
    context
        .create_object_store(bucket("forgets"))
        .await
        .unwrap();
    let one = Replica::start(&settings(&nats, "forgets")).await;
    for id in 0..20 {
        let new = event("a", &id.to_string(), "body", 0);
        one.store().accept(new).await.unwrap();
    }
    for name in ["forgets-log", "OBJ_forgets-checkpoints"] {
        let now = context.get_stream(name).await.unwrap();
        let now = &now.cached_info().config;
        assert_eq!(now.max_age, Duration::ZERO, "{name}");
        assert_eq!(now.max_messages, -1, "{name}");
        assert_eq!(now.discard, stream::DiscardPolicy::New, "{name}");
    }
    let there = context.get_stream("forgets-log").await.unwrap();
    assert!(there.cached_info().state.messages > 20);

    let in_memory = stream::Config {
        storage: stream::StorageType::Memory,
        ..stream("memory")
    };
    context.create_stream(in_memory).await.unwrap();
    let in_memory = object_store::Config {
        storage: stream::StorageType::Memory,
        ..bucket("bucket")
    };
    context.create_object_store(in_memory).await.unwrap();
    for (prefix, named) in [
        ("memory", "the stream memory-log is kept in memory"),
        (
            "bucket",
            "the stream OBJ_bucket-checkpoints is kept in memory",
        ),
    ] {
        let dir = TempDir::new().unwrap();
        let refused = Replica::start_in(&settings(&nats, prefix), dir).await;
        let refused = refused.err().unwrap().to_string();
        assert!(refused.contains(named), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_copy_is_made_anew_and_an_embedded_store_is_refused() {
    let nats = Nats::start().await;
    let settings = settings(&nats, "damaged");
    let mut one = Replica::start(&settings).await;
    one.store()
        .accept(event("a", "1", "body", 0))
        .await
        .unwrap();
    one.close().await;
    std::fs::write(one.dir.path().join(FILE), "this is no database, by far").unwrap();
    one.open().await.unwrap();
    let kept = one.store().scan(0, 10).await.unwrap();
    assert_eq!(kept[0].event.event.subscription, key("a"));
    one.close().await;
    let refused = support::try_open(one.dir.path()).unwrap_err().to_string();
    assert!(refused.contains("--store jetstream"), "{refused}");

    let dir = TempDir::new().unwrap();
    drop::<Embedded>(support::open(dir.path()));
    let refused = Replica::start_in(&settings, dir).await.err().unwrap();
    assert!(
        refused.to_string().contains("--store embedded"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_another_process_uses_is_left_alone() {
    let nats = Nats::start().await;
    let settings = settings(&nats, "directory");
    let one = Replica::start(&settings).await;
    let name = std::fs::read_to_string(one.dir.path().join("member")).unwrap();
    let marker = one.dir.path().join("given-up");
    std::fs::write(&marker, "another process is about to end").unwrap();
    let refused = Replica::try_open(&settings, one.dir.path()).await;
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("is in use by the process"), "{refused}");
    let after = std::fs::read_to_string(one.dir.path().join("member")).unwrap();
    assert_eq!(after, name);
    assert!(marker.exists() && one.dir.path().join(FILE).exists());
}

/// Each server of three in turn is killed and started again, under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_a_cluster_of_three_loses_a_server_and_nothing_else() {
    let mut servers = Nats::cluster().await;
    let settings = Settings {
        urls: servers.iter().map(Nats::url).collect(),
        replicas: 3,
        takeover: Duration::from_secs(5),
        ..settings(&servers[0], "cluster")
    };
    let one = Replica::start(&settings).await;
    let other = Replica::start(&settings).await;
    let mut next = 0;
    for server in &mut servers {
        server.kill();
        for replica in [&one, &other].repeat(10) {
            next += 1;
            let id = next.to_string();
            wait::until(
                "an event to be accepted",
                Duration::from_secs(40),
                async || {
                    let offer = replica.store().accept(event("a", &id, "body", 0));
                    offer.await.ok()
                },
            )
            .await;
        }
        server.restart().await;
    }
    level(&[&one, &other]).await;
    let kept = other.store().scan(0, 1000).await.unwrap();
    assert_eq!(kept.len(), next);
    assert_same(one.dir.path(), other.dir.path());
}
