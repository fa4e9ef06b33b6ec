use hookswitch_crds::snapshot::FORMAT;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use kube::api::ObjectMeta;

use super::*;

fn lease(holder: &str, renewed: i64, loaded: &[u64]) -> Lease {
    Lease {
        metadata: ObjectMeta {
            annotations: Some(Report::of(loaded.to_vec()).annotations()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }),
    }
}

fn loaded(fleet: &Fleet) -> Vec<&[u64]> {
    fleet.live.iter().map(|it| it.loaded.as_slice()).collect()
}

#[test]
fn a_receiver_lives_for_30_seconds_after_a_renewal_was_seen() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut receivers = Receivers::default();
    assert!(receivers.fleet(start).live.is_empty());
    // Its clock is decades behind.
    receivers.observe("r-0", &lease("a", 1, &[5]), start);
    assert_eq!(loaded(&receivers.fleet(after(29))), [[5]]);
    assert_eq!(receivers.next_death(start), Some(after(30)));
    // Seen again without a renewal.
    receivers.observe("r-0", &lease("a", 1, &[6]), after(20));
    assert_eq!(loaded(&receivers.fleet(after(29))), [[6]]);
    assert!(receivers.fleet(after(30)).live.is_empty());
    receivers.observe("r-0", &lease("a", 2, &[6]), after(40));
    assert_eq!(loaded(&receivers.fleet(after(69))), [[6]]);
    assert_eq!(receivers.next_death(after(70)), None);
}

#[test]
fn one_that_left_is_not_waited_for_unless_it_was_the_last() {
    let start = Instant::now();
    let mut receivers = Receivers::default();
    receivers.observe("r-0", &lease("a", 1, &[5]), start);
    receivers.observe("r-1", &lease("b", 1, &[7]), start);
    receivers.observe("r-0", &lease("", 1, &[5]), start);
    assert_eq!(loaded(&receivers.fleet(start)), [[7]]);
    receivers.observe("r-1", &lease("", 1, &[7]), start);
    assert_eq!(
        receivers.fleet(start).live.len(),
        2,
        "a restart of all is a restart"
    );
    assert!(receivers.fleet(start + LIFE).live.is_empty());
    assert_eq!(
        receivers.fleet(start + LIFE).greatest,
        7,
        "what it loaded is remembered"
    );
}

#[test]
fn a_lease_that_nobody_ever_held_is_no_receiver() {
    let start = Instant::now();
    let mut receivers = Receivers::default();
    receivers.observe("r-0", &lease("", 0, &[]), start);
    assert!(receivers.fleet(start).live.is_empty());
    // One that was left before the operator started.
    receivers.observe("r-1", &lease("", 0, &[9]), start);
    let fleet = receivers.fleet(start);
    assert!(fleet.live.is_empty());
    assert_eq!(fleet.greatest, 9);
    receivers.forget("r-1");
    assert_eq!(receivers.fleet(start).greatest, 0);
}

#[test]
fn the_format_is_the_newest_that_all_can_read() {
    let fleet = |formats: &[&[u32]]| Fleet {
        live: formats
            .iter()
            .map(|formats| Report {
                loaded: vec![],
                formats: formats.to_vec(),
            })
            .collect(),
        greatest: 0,
    };
    assert_eq!(fleet(&[]).format(), FORMAT);
    assert_eq!(fleet(&[&[]]).format(), FORMAT);
    assert_eq!(fleet(&[&[FORMAT, FORMAT + 1]]).format(), FORMAT);
    assert_eq!(
        fleet(&[&[FORMAT + 1]]).format(),
        FORMAT,
        "it can't read anything of ours"
    );
}

#[test]
fn receivers_went_on_only_where_nothing_that_was_loaded_is_missing() {
    let fleet = |loaded: &[&[u64]]| Fleet {
        live: loaded.iter().map(|it| Report::of(it.to_vec())).collect(),
        greatest: 0,
    };
    let before = fleet(&[&[5, 3], &[4, 3]]);
    for (now, went_on) in [
        (fleet(&[&[5, 3], &[4, 3]]), true),
        (fleet(&[&[5, 3], &[5, 7]]), true),
        (fleet(&[&[5, 3], &[3, 9]]), false),
        (fleet(&[&[5, 3]]), false),
        (fleet(&[&[5, 3], &[4, 3], &[9, 9]]), false),
        (fleet(&[&[5, 3], &[4, 3, 1]]), false),
    ] {
        assert_eq!(now.went_on_from(&before), went_on, "{now:?}");
    }
    let mut reads_less = before.clone();
    reads_less.live[0].formats.clear();
    assert!(!reads_less.went_on_from(&before));
}
