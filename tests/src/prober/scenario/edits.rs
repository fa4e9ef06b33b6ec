//! Files that are edited under load.

use std::time::{Duration, Instant};

use crate::hookswitch::Hookswitch;
use crate::prober::dice::Dice;
use crate::prober::outcome::{Outcome, spread};
use crate::prober::scenario::Settings;
use crate::prober::service::Service;
use crate::prober::stage::{QUICK, Stage};
use crate::prober::trial::Trial;
use crate::{wait, yaml};

/// How long an edit may take to be in use.
const LIMIT: Duration = Duration::from_secs(30);
/// A second route to nobody.
const OTHER: &str = "other.yaml";

/// The kinds of edits.
const KINDS: usize = 7;

/// One edit after the other.
pub(super) async fn edited(settings: &Settings) -> Outcome {
    let mut dice = Dice::new(settings.seed);
    let stage = Stage::embedded(QUICK).await;
    let receiver = stage.receiver(0).await;
    let service = Service::new();
    service.add(0, &receiver);
    let trial = Trial::start(&stage, service, settings.pace);
    let (mut taken, mut refused) = (Vec::new(), 0);
    for round in 0..settings.rounds {
        trial.answered(1 + dice.index(20)).await;
        let before = sequence(&receiver).await;
        let begin = Instant::now();
        if edit(&stage, round) {
            wait::until("an edit to be in use", LIMIT, async || {
                (sequence(&receiver).await > before).then_some(())
            })
            .await;
            taken.push(begin.elapsed());
        } else {
            // It is told, and nothing else happens.
            let told = receiver.output().len();
            wait::until("an error to be told", LIMIT, async || {
                let output = receiver.output();
                let new = output.get(told..)?;
                new.contains("\"ERROR\"").then_some(())
            })
            .await;
            refused += 1;
        }
    }
    let verdict = trial.end().await;
    Outcome::new(verdict)
        .all_answered()
        .fact("edits that are taken", taken.len().to_string())
        .fact(
            "edits that are refused, as they are wrong",
            refused.to_string(),
        )
        .fact("from an edit until it is in use", spread(taken))
}

/// What has been made of the files so far.
async fn sequence(receiver: &Hookswitch) -> u64 {
    receiver.metric("hookswitch_config_sequence", &[]).await
}

/// Edits the files; whether it is a good edit. The next one mends what is wrong.
fn edit(stage: &Stage, round: usize) -> bool {
    let number = round / KINDS;
    let workspace = &stage.workspace;
    match round % KINDS {
        // Another name of the rule, which the deliveries' keys are made of.
        0 => stage.route(&format!("rule-{number}"), QUICK),
        // Other settings of the destination.
        1 => {
            let delivery = QUICK.replace("failures: 5", &format!("failures: {}", 6 + number));
            stage.route(&format!("rule-{number}"), &delivery);
        }
        2 => {
            let retention = format!("  retention: {}h\n", 24 + number);
            workspace.write("subscription.yaml", &yaml::subscription(&retention));
        }
        // Another key beside the one that is in use.
        3 => {
            let keys = yaml::subscription("").replace(
                "{signing-key: ",
                &format!("{{next-key: the-next-key-{number}, signing-key: "),
            );
            let keys = keys.replace(
                "secretRefs: [",
                "secretRefs: [{name: tg-staff, key: next-key}, ",
            );
            workspace.write("subscription.yaml", &keys);
        }
        // A second route, whose rule no event fires.
        4 => {
            let nobody = "http://127.0.0.1:9/";
            let other = yaml::route("other", &format!("[t{number}]"), nobody, "{}", QUICK);
            workspace.write(OTHER, &other);
        }
        // It is broken: the last good one stays.
        5 => {
            workspace.write(OTHER, "kind: [EventRoute");
            return false;
        }
        _ => {
            std::fs::remove_file(workspace.config().join(OTHER)).expect("it is there");
        }
    }
    true
}
