//! NATS servers that are killed, and cut off.

use std::time::Instant;

use crate::hookswitch::Hookswitch;
use crate::prober::dice::Dice;
use crate::prober::outcome::{Outcome, spread};
use crate::prober::scenario::Settings;
use crate::prober::service::Service;
use crate::prober::stage::{QUICK, Stage};
use crate::prober::trial::Trial;
use crate::servers::nats::Nats;
use crate::servers::network::{Host, Network};

/// How many share the work.
const RECEIVERS: usize = 2;
/// How many keep the log.
const SERVERS: usize = 3;

/// How a server is cut off, by turns.
const WAYS: [&str; 3] = [
    "from the other two",
    "so that they hear it and it does not hear them",
    "from all",
];

/// One of three servers is killed, and comes back.
pub(super) async fn killed(settings: &Settings) -> Outcome {
    let mut dice = Dice::new(settings.seed);
    let mut servers = Nats::cluster().await;
    let (stage, service, receivers) = start(settings, &servers).await;
    let mut trial = Trial::start(&stage, service, settings.pace);
    let mut gaps = Vec::new();
    for _ in 0..settings.rounds {
        trial.answered(50 + dice.index(100)).await;
        let server = servers.get_mut(dice.index(SERVERS)).expect("a server");
        trial.breaks();
        server.kill();
        let killed = Instant::now();
        trial.answered(1).await;
        gaps.push(killed.elapsed());
        trial.lasts(settings.hold).await;
        server.restart().await;
        // It is back once it has what it missed; meanwhile the other two are all that is left.
        assert!(trial.is_delivered().await, "{}", complaints(&receivers));
        trial.mended();
    }
    let verdict = trial.end().await;
    Outcome::new(verdict)
        .fact("killed", settings.rounds.to_string())
        .fact(
            "from the kill until the next event is answered 200",
            spread(gaps),
        )
}

/// One of three servers is cut off, and comes back.
pub(super) async fn partitioned(settings: &Settings) -> Outcome {
    let mut dice = Dice::new(settings.seed);
    let network = Network::start(SERVERS).await;
    let servers = Nats::cluster_in(&network).await;
    // The first is the one that all receivers are connected to: they have to find another one by themselves.
    let first = dice.index(SERVERS);
    for other in others(first) {
        network.cut(Host::Here, other);
    }
    let (stage, service, receivers) = start(settings, &servers).await;
    for other in others(first) {
        network.heal(Host::Here, other);
    }
    let mut trial = Trial::start(&stage, service, settings.pace);
    let mut gaps = [const { Vec::new() }; WAYS.len()];
    for round in 0..settings.rounds {
        trial.answered(50 + dice.index(100)).await;
        let alone = if round == 0 {
            first
        } else {
            dice.index(SERVERS)
        };
        let others = others(alone);
        let alone = Host::Number(alone);
        let way = round % WAYS.len();
        let mut cuts: Vec<(Host, Host)> = others.iter().map(|other| (*other, alone)).collect();
        match way {
            0 => cuts.extend(others.iter().map(|other| (alone, *other))),
            1 => {}
            _ => {
                cuts.extend(others.iter().map(|other| (alone, *other)));
                cuts.extend([(alone, Host::Here), (Host::Here, alone)]);
            }
        }
        trial.breaks();
        for (from, to) in &cuts {
            network.cut(*from, *to);
        }
        let cut = Instant::now();
        trial.answered(1).await;
        gaps.get_mut(way).expect("a way").push(cut.elapsed());
        trial.lasts(settings.hold).await;
        for (from, to) in &cuts {
            network.heal(*from, *to);
        }
        assert!(trial.is_delivered().await, "{}", complaints(&receivers));
        trial.mended();
    }
    let verdict = trial.end().await;
    let outcome = Outcome::new(verdict)
        .fact("cut off", settings.rounds.to_string())
        .fact(
            "for at least",
            format!("{} s each", settings.hold.as_secs()),
        );
    let ways = WAYS.into_iter().zip(gaps);
    ways.filter(|(_, gaps)| !gaps.is_empty())
        .fold(outcome, |outcome, (way, gaps)| {
            let what = format!("cut off {way}: until the next event is answered 200");
            outcome.fact(what, spread(gaps))
        })
}

/// All servers but one.
fn others(one: usize) -> Vec<Host> {
    let others = (0..SERVERS).filter(|number| *number != one);
    others.map(Host::Number).collect()
}

/// Receivers on these servers.
async fn start(settings: &Settings, servers: &[Nats]) -> (Stage, Service, Vec<Hookswitch>) {
    let stage = Stage::shared(QUICK, servers, settings.takeover).await;
    let service = Service::new();
    let mut receivers = Vec::new();
    for number in 0..RECEIVERS {
        let receiver = stage.receiver(number).await;
        service.add(number, &receiver);
        receivers.push(receiver);
    }
    (stage, service, receivers)
}

/// The last of what receivers complained about, where nothing is delivered any more.
fn complaints(receivers: &[Hookswitch]) -> String {
    let mut said = "nothing is delivered any more; the receivers said at the end:".to_owned();
    for (number, receiver) in receivers.iter().enumerate() {
        let output = receiver.output();
        let complaint = |line: &&str| line.contains("\"WARN\"") || line.contains("\"ERROR\"");
        let complaints: Vec<&str> = output.lines().filter(complaint).collect();
        let last = complaints.get(complaints.len().saturating_sub(20)..);
        for line in last.unwrap_or_default() {
            said.extend(["\n", &number.to_string(), ": ", line]);
        }
    }
    said
}
