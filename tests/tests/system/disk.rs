//! A disk that is full, and one that lies.

use std::time::Duration;

use hookswitch_tests::destination::Destination;
use hookswitch_tests::hookswitch::Hookswitch;
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::small_disk::SmallDisk;
use hookswitch_tests::wait;

use crate::setup::{self, System};
use crate::yaml;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_gives_503_and_heals_when_there_is_room_again() {
    let destination = Destination::start().await;
    let workspace = setup::workspace(&yaml::crm(&destination.url()));
    let disk = SmallDisk::mount(&workspace.data(), "16m");
    let hookswitch = Hookswitch::start(&workspace.config(), &workspace.data()).await;
    let sender = Sender::new(hookswitch.url("/support/support"), yaml::SIGNING_KEY);
    assert_eq!(sender.send(&conversation_created(0)).await, Some(200));

    disk.fill();
    let mut answered = 1;
    let refused = loop {
        assert!(answered < 20_000, "the full disk was never noticed");
        match sender.send(&conversation_created(answered)).await {
            Some(200) => answered += 1,
            other => break other,
        }
    };
    assert_eq!(refused, Some(503));
    let (live, _) = hookswitch.get("/livez").await.expect("health is served");
    assert_eq!(live, 200, "a restart would not help a full disk");
    let (ready, said) = hookswitch.get("/readyz").await.expect("health is served");
    assert_eq!(ready, 503, "no event would be kept: {said}");
    assert!(said.contains("disk is full"), "{said}");

    disk.make_room();
    wait::until(
        "events to be accepted again",
        Duration::from_secs(30),
        async || (sender.send(&conversation_created(answered)).await == Some(200)).then_some(()),
    )
    .await;
    wait::until("all to be delivered", Duration::from_mins(1), async || {
        (destination.count() == answered + 1).then_some(())
    })
    .await;
    wait::until("readiness", Duration::from_secs(30), async || {
        hookswitch
            .get("/readyz")
            .await
            .filter(|(status, _)| *status == 200)
    })
    .await;
    hookswitch.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_reported_and_never_served() {
    let system = System::start("").await;
    for number in 0..200 {
        system.send(&conversation_created(number)).await;
    }
    let System {
        workspace,
        hookswitch,
        ..
    } = system;
    let (clean, _) = hookswitch.terminate().await;
    assert!(clean);

    let file = std::fs::read_dir(workspace.data())
        .expect("the data directory is there")
        .filter_map(Result::ok)
        .max_by_key(|entry| entry.metadata().map_or(0, |metadata| metadata.len()))
        .expect("the store has a file")
        .path();
    let mut bytes = std::fs::read(&file).expect("the store can be read");
    bytes[..4096].fill(0x5a);
    std::fs::write(&file, bytes).expect("the store can be damaged");
    let said = Hookswitch::fails_to_start(&workspace.config(), &workspace.data()).await;
    assert!(said.contains("damaged"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_data_is_refused() {
    let System {
        workspace,
        hookswitch,
        ..
    } = System::start("").await;
    let said = Hookswitch::fails_to_start(&workspace.config(), &workspace.data()).await;
    assert!(
        said.contains(&workspace.data().display().to_string()),
        "{said}"
    );
    let (live, _) = hookswitch
        .get("/livez")
        .await
        .expect("the first one goes on");
    assert_eq!(live, 200);
}
