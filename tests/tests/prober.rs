//! The prober's scenarios in a short form: what was answered 200 has one effect, in order, whatever breaks.
//! `make prober` runs the long form.

#![expect(clippy::expect_used, reason = "what fails ends the test")]

use std::time::Duration;

use hookswitch_tests::prober::dice::Dice;
use hookswitch_tests::prober::load::Pace;
use hookswitch_tests::prober::scenario::{Scenario, Settings};

/// Runs a scenario's short form.
#[expect(clippy::print_stdout, reason = "the seed is shown where a test fails")]
async fn probe(name: &str) {
    let scenario = Scenario::find(name).expect("there is such a scenario");
    let (rounds, hold) = scenario.short;
    let settings = Settings {
        rounds,
        hold: Duration::from_secs(hold),
        takeover: Duration::from_secs(2),
        pace: Pace {
            per_second: 40,
            scale: 0.02,
        },
        seed: Dice::seed(),
        previous: None,
    };
    println!("with seed {}", settings.seed);
    let outcome = (scenario.run)(&settings).await;
    assert!(
        outcome.is_good(),
        "with seed {}: {}\n{:?}",
        settings.seed,
        outcome.verdict,
        outcome.facts
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_r17_a_receiver_killed_at_random_loses_and_doubles_nothing() {
    probe("killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_r15_one_of_three_receivers_killed_loses_and_doubles_nothing() {
    probe("one-of-three-killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_receivers_replaced_as_kubernetes_does_answer_every_request() {
    probe("rolling-restart").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_nats_servers_killed_lose_nothing() {
    probe("nats-killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_nats_servers_cut_off_lose_nothing() {
    probe("nats-partitioned").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_r17_a_destination_down_for_long_is_not_overrun_when_it_is_back() {
    probe("destination-down").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_r8_a_slow_destination_has_every_effect_once() {
    probe("destination-slow").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_edits_under_load_refuse_no_request() {
    probe("edits").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_no_request_is_refused_while_the_api_server_is_away() {
    probe("api-away").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_a_full_disk_loses_nothing_that_was_answered() {
    probe("disk-full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_a_slow_disk_loses_nothing_that_was_answered() {
    probe("disk-slow").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r17_a_clock_that_jumps_loses_and_delays_nothing() {
    probe("clock-jumps").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_receivers_whose_clocks_differ_lose_nothing() {
    probe("clocks-differ").await;
}
