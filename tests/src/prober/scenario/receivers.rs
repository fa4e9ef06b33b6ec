//! Receivers that are killed, and replaced.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::hookswitch::Hookswitch;
use crate::prober::dice::Dice;
use crate::prober::outcome::{Outcome, spread};
use crate::prober::scenario::Settings;
use crate::prober::service::Service;
use crate::prober::stage::{QUICK, Stage};
use crate::prober::trial::Trial;
use crate::servers::nats::Nats;

/// How many share the work.
const RECEIVERS: usize = 3;

/// The embedded store.
pub(super) async fn killed(settings: &Settings) -> Outcome {
    let mut dice = Dice::new(settings.seed);
    let stage = Stage::embedded(QUICK).await;
    let service = Service::new();
    let mut receiver = stage.receiver(0).await;
    service.add(0, &receiver);
    let mut trial = Trial::start(&stage, service, settings.pace);
    let (mut during_start, mut away) = (0, Vec::new());
    for _ in 0..settings.rounds {
        trial.answered(1 + dice.index(40)).await;
        trial.breaks();
        trial.service.remove(0);
        receiver.kill().await;
        if dice.below(5) == 0 {
            during_start += 1;
            let after = dice.time(Duration::from_millis(400));
            stage.receiver_dies(0, after).await;
        }
        receiver = stage.receiver(0).await;
        trial.service.add(0, &receiver);
        away.push(trial.mended());
    }
    let verdict = trial.end().await;
    Outcome::new(verdict)
        .fact("killed", (settings.rounds + during_start).to_string())
        .fact("of them during a start", during_start.to_string())
        .fact("from the kill until it is ready again", spread(away))
}

/// Three that share the work.
pub(super) async fn one_of_three_killed(settings: &Settings) -> Outcome {
    let servers = Nats::cluster().await;
    let stage = Stage::shared(QUICK, &servers, settings.takeover).await;
    three_killed(settings, &[&stage, &stage, &stage]).await
}

/// Three that share the work, each as its stage starts it, of which one after the other is killed.
pub(super) async fn three_killed(settings: &Settings, stages: &[&Stage; RECEIVERS]) -> Outcome {
    let mut dice = Dice::new(settings.seed);
    let service = Service::new();
    let mut receivers = Vec::new();
    for (number, stage) in stages.iter().enumerate() {
        let receiver = stage.receiver(number).await;
        service.add(number, &receiver);
        receivers.push((number, receiver));
    }
    let [first, ..] = stages;
    let mut trial = Trial::start(first, service, settings.pace);
    let mut taken_over = Vec::new();
    for round in 0..settings.rounds {
        trial.answered(50 + dice.index(100)).await;
        let (number, receiver) = receivers.remove(dice.index(RECEIVERS));
        let killed = Instant::now();
        trial.breaks();
        receiver.kill().await;
        // What it had in hand, and what is in its lanes.
        trial.delivered().await;
        taken_over.push(killed.elapsed());
        trial.mended();
        trial.service.remove(number);
        let stage = stages.get(number).expect("a stage for each");
        if round % 3 == 2 {
            std::fs::remove_dir_all(stage.data(number)).expect("the data can be removed");
        }
        let receiver = stage.receiver(number).await;
        trial.service.add(number, &receiver);
        receivers.push((number, receiver));
    }
    let verdict = trial.end().await;
    Outcome::new(verdict)
        .fact("killed", settings.rounds.to_string())
        .fact(
            "takes over after",
            crate::prober::outcome::time(settings.takeover),
        )
        .fact(
            "from the kill until all is delivered that was answered before it",
            spread(taken_over),
        )
}

/// Three of an earlier program that are replaced, one after the other.
pub(super) async fn upgraded(settings: &Settings) -> Outcome {
    let previous = settings.previous.as_deref();
    let previous = previous.expect("name an earlier hookswitch: --previous PROGRAM");
    replaced(settings, Some(previous)).await
}

/// Three that are replaced, one after the other; the first three are another program.
pub(super) async fn replaced(settings: &Settings, first: Option<&Path>) -> Outcome {
    let mut dice = Dice::new(settings.seed);
    let servers = Nats::cluster().await;
    let mut stage = Stage::shared(QUICK, &servers, settings.takeover).await;
    stage.start.program = first.map(Path::to_owned);
    let service = Service::new();
    let mut receivers: Vec<Hookswitch> = Vec::new();
    for number in 0..RECEIVERS {
        let receiver = stage.receiver(number).await;
        service.add(number, &receiver);
        receivers.push(receiver);
    }
    stage.start.program = None;
    let trial = Trial::start(&stage, service, settings.pace);
    let learned = settings.hold.mul_f64(0.8);
    let mut restarts = Vec::new();
    for round in 0..settings.rounds {
        // The next generation has another setting than the one before.
        let takeover = settings.takeover + Duration::from_secs(1 + u64::from(round % 2 == 0));
        stage.takeover(takeover);
        // From the last to the first, as a StatefulSet does.
        for number in (0..RECEIVERS).rev() {
            trial.answered(20).await;
            let leaving = receivers.pop().expect("there are receivers");
            let learned = dice.time(learned);
            trial.lasts(learned).await;
            trial.service.remove(number);
            trial.lasts(settings.hold.saturating_sub(learned)).await;
            let begin = Instant::now();
            let (clean, output) = leaving.terminate().await;
            assert!(clean, "{output}");
            let receiver = stage.receiver(number).await;
            restarts.push(begin.elapsed());
            trial.service.add(number, &receiver);
            receivers.insert(0, receiver);
        }
    }
    let verdict = trial.end().await;
    let from = match first {
        Some(_) => "an earlier program by this one",
        None => "this program by itself, with other settings",
    };
    Outcome::new(verdict)
        .all_answered()
        .fact("replaced", (settings.rounds * RECEIVERS).to_string())
        .fact("what is replaced by what", from)
        .fact("from SIGTERM until the next one is ready", spread(restarts))
}
