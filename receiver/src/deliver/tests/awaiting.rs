//! Receivers that share a store, each with a configuration of its own: what another one planned waits for the
//! configuration that planned it.

use std::time::Duration;

use hookswitch_crds::snapshot::{Destination, DestinationKind};
use uuid::Uuid;

use super::bench::{Bench, delivery, destination};
use super::memory::Memory;
use super::settings;
use crate::plan::{DeadReason, FrozenRequest};
use crate::store::{DeliveryState, StoredDelivery};

const DELIVERED: fn(DeliveryState) -> bool = |state| state == DeliveryState::Delivered;
const PENDING: fn(DeliveryState) -> bool = |state| matches!(state, DeliveryState::Pending { .. });
const REMOVED: fn(DeliveryState) -> bool =
    |state| state == DeliveryState::Dead(DeadReason::DestinationRemoved);

fn bench() -> Bench {
    Bench::with(Vec::new(), Memory::shared())
}

fn crm() -> Vec<Destination> {
    vec![destination("crm.example", settings())]
}

/// Plans a delivery by a configuration, as another receiver does.
fn plan(bench: &Bench, id: u128, sequence: u64, kind: DestinationKind) -> Uuid {
    let planned = delivery(id, "crm.example", bench.clock.now());
    let request = FrozenRequest {
        kind,
        ..planned.request.clone()
    };
    let id = planned.id;
    let lane = planned.lane.clone();
    bench.store.add(
        StoredDelivery {
            request,
            sequence,
            ..planned
        },
        None,
    );
    bench.lanes.add([&lane]);
    id
}

#[tokio::test(start_paused = true)]
async fn r15_a_destination_of_a_newer_configuration_is_waited_for() {
    let bench = bench();
    bench.configure_as(4, Vec::new());
    let early = plan(&bench, 1, 5, DestinationKind::Http);
    bench.pass(Duration::from_hours(3)).await;
    assert!(PENDING(bench.store.row(early).state));
    // An edit that is not the one.
    bench.configure_as(4, vec![destination("qa.example", settings())]);
    bench.pass(Duration::from_secs(1)).await;
    assert!(PENDING(bench.store.row(early).state));
    bench.configure_as(5, crm());
    bench.pass(Duration::from_millis(1)).await;
    assert!(DELIVERED(bench.store.row(early).state));
    assert_eq!(bench.store.row(early).delivery.attempts, 1);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_given_up_and_a_sequence_that_went_back_holds_nothing_for_ever() {
    let bench = bench();
    bench.configure_as(5, Vec::new());
    let just_planned = plan(&bench, 1, 5, DestinationKind::Http);
    let of_before = plan(&bench, 2, 700, DestinationKind::Http);
    bench.pass(Duration::from_secs(30)).await;
    assert!(PENDING(bench.store.row(just_planned).state));
    bench.pass(Duration::from_secs(31)).await;
    assert!(REMOVED(bench.store.row(just_planned).state));
    bench.pass(Duration::from_hours(47)).await;
    assert!(PENDING(bench.store.row(of_before).state));
    bench.pass(Duration::from_hours(1)).await;
    assert!(REMOVED(bench.store.row(of_before).state));
    // What the configuration has goes out, whatever planned it.
    bench.configure_as(6, crm());
    let served = plan(&bench, 3, 700, DestinationKind::Http);
    bench.pass(Duration::from_millis(1)).await;
    assert!(DELIVERED(bench.store.row(served).state));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_another_kind_holds_nothing_back_that_is_behind_it() {
    let bench = bench();
    bench.configure_as(4, crm());
    let newer: Vec<_> = (1..=200)
        .map(|id| plan(&bench, id, 5, DestinationKind::Slack))
        .collect();
    let behind = plan(&bench, 999, 4, DestinationKind::Http);
    bench.pass(Duration::from_secs(1)).await;
    assert!(DELIVERED(bench.store.row(behind).state));
    for id in newer {
        assert!(PENDING(bench.store.row(id).state));
    }
    bench.pass(Duration::from_hours(48)).await;
    assert_eq!(bench.store.count(REMOVED), 200);
    bench.stop().await;
}
