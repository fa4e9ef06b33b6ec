//! Every example runs as it is: its files, but for the addresses of the stand-ins, and a wait.
//!
//! An example is a folder of `examples/`, its line in [`examples!`], and a test in `examples/run.rs`. A
//! folder that nothing runs fails [`every_example_is_run`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hookswitch_cli::mock::stand_in::{Api, Call, StandIn};
use hookswitch_cli::sample::{self, Wanted};
use hookswitch_crds::snapshot::{FieldSource, Fields};
use hookswitch_crds::subscription::Provider;
use hookswitch_tests::hookswitch::{Hookswitch, Workspace};
use hookswitch_tests::sender::Sender;
use hookswitch_tests::wait;
use jiff::Timestamp;
use serde_json::Value;

use crate::world::LIMIT;

#[path = "examples/run.rs"]
mod run;

/// Makes the list of examples, and a test of each.
///
/// A line is the folder, the stand-ins of `hookswitch mock` that its README starts, and its test.
macro_rules! examples {
    ($($folder:literal needs $needs:expr, and is run by $test:ident;)*) => {
        const EXAMPLES: &[(&str, &[&str])] = &[$(($folder, &$needs)),*];

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                run::$test($folder).await;
            }
        )*
    };
}

examples! {
    "agent-offline-alert" needs ["slack", "dingtalk"], and is run by r47_r48_agent_offline_alert;
    "crm-ticket" needs ["zendesk"], and is run by r31_r32_r33_crm_ticket;
    "hubspot-lead" needs ["hubspot"], and is run by r34_r44_r45_r46_hubspot_lead;
    "qa-risk-words" needs ["crm"], and is run by r36_r37_r38_r55_qa_risk_words;
    "quickstart" needs ["crm"], and is run by r31_r32_r33_quickstart;
    "referrer-analytics" needs ["mixpanel"], and is run by r46_referrer_analytics;
    "satisfaction-survey" needs ["tgstaff", "mixpanel"], and is run by r40_r41_r42_r43_satisfaction_survey;
    "scheduling-board" needs ["crm"], and is run by r49_scheduling_board;
    "welcome-notification" needs ["tgstaff"], and is run by r27_r35_welcome_notification;
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

#[test]
fn every_example_is_run() {
    let entries = fs::read_dir(examples()).expect("the examples are there");
    let folders: BTreeSet<String> = entries
        .map(|entry| entry.expect("it can be listed").file_name())
        .map(|name| name.into_string().expect("a name"))
        .collect();
    let others = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system"));
    let others: String = others
        .expect("the tests are there")
        .map(|entry| entry.expect("it can be listed").path())
        .map(|path| fs::read_to_string(path).expect("a test is text"))
        .collect();
    for (folder, _) in EXAMPLES {
        assert!(folders.contains(*folder), "there is no examples/{folder}");
    }
    let here = |folder: &str| EXAMPLES.iter().any(|(it, _)| *it == folder);
    // What needs a real server is run where that is: the test reads the example's own files.
    let elsewhere = |folder: &str| others.contains(&format!("../examples/{folder}\""));
    for folder in &folders {
        assert!(
            here(folder) || elsewhere(folder),
            "nothing runs examples/{folder}: give it a line and a test here, or run it in tests/tests/system"
        );
    }
}

#[test]
fn every_readme_tells_how_to_run_its_example() {
    for (folder, needs) in EXAMPLES {
        let path = examples().join(folder).join("README.md");
        let readme = fs::read_to_string(&path).expect("an example has a README.md");
        let mut lines = vec![
            format!("$ hookswitch run -f examples/{folder}"),
            format!("$ hookswitch send -f examples/{folder}"),
        ];
        lines.extend(needs.iter().map(|kind| format!("$ hookswitch mock {kind}")));
        for line in lines {
            assert!(readme.contains(&line), "{folder}/README.md lacks: {line}");
        }
    }
}

/// An example that runs.
struct Example {
    hookswitch: Hookswitch,
    sender: Sender,
    workspace: Workspace,
    folder: PathBuf,
}

impl Example {
    /// Starts `examples/FOLDER`, with other texts in place of some of its files', such as URLs.
    async fn start(folder: &str, others: &[(&str, String)]) -> Self {
        let folder = examples().join(folder);
        let workspace = Workspace::new();
        let mut replaced = vec![false; others.len()];
        let mut key = None;
        for entry in fs::read_dir(&folder).expect("the example is there") {
            let path = entry.expect("it can be listed").path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let mut text = fs::read_to_string(&path).expect("YAML is text");
            for ((from, to), replaced) in others.iter().zip(&mut replaced) {
                *replaced |= text.contains(from);
                text = text.replace(from, to);
            }
            let found = text
                .lines()
                .find_map(|line| line.split_once("signing-key: "));
            key = key.or_else(|| found.map(|(_, key)| key.to_owned()));
            let name = path.file_name().and_then(|name| name.to_str());
            workspace.write(name.expect("a name"), &text);
        }
        assert!(
            !replaced.contains(&false),
            "{} lacks one of {others:?}",
            folder.display()
        );
        let hookswitch = Hookswitch::start(&workspace.config(), &workspace.data()).await;
        let key = key.expect("a signing key");
        let sender = Sender::new(hookswitch.url("/support/tg-staff"), key.trim());
        Self {
            hookswitch,
            sender,
            workspace,
            folder,
        }
    }

    /// A file of the example, as it is.
    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).expect("a file of the example")
    }

    /// Sends what `hookswitch send --type TYPE --data ...` does.
    async fn send(&self, r#type: &str, id: &str, data: &[(&str, Value)]) {
        let pointer = |pointer: &str| Some(FieldSource::Pointer(pointer.to_owned()));
        let data: Vec<_> = data
            .iter()
            .map(|(path, value)| ((*path).to_owned(), value.clone()))
            .collect();
        let event = sample::event(&Wanted {
            provider: Provider::TGStaff,
            r#type: Some(r#type),
            id,
            now: Timestamp::now(),
            fields: &Fields {
                r#type: pointer("/event_type"),
                id: pointer("/event_id"),
                time: pointer("/timestamp"),
                subject: pointer("/conversation_id"),
                sender: pointer("/sender_type"),
            },
            data: &data,
        });
        self.send_event(&event.body).await;
    }

    /// Sends an event, which is accepted.
    async fn send_event(&self, event: &Value) {
        assert_eq!(self.sender.send(event).await, Some(200));
    }

    /// Waits until so many deliveries have arrived, and none has failed.
    async fn delivered(&self, count: u64) {
        wait::until(format!("{count} delivered"), LIMIT, async || {
            let name = "hookswitch_deliveries_total";
            let ended = self.hookswitch.metric(name, &[]).await;
            let labels = ["outcome=\"delivered\""];
            let delivered = self.hookswitch.metric(name, &labels).await;
            assert!(
                ended <= delivered && delivered <= count,
                "{ended} ended, {delivered} delivered:\n{}",
                self.hookswitch.output()
            );
            (delivered == count).then_some(())
        })
        .await;
    }

    /// Waits until a metric's samples of these labels add up to a number.
    async fn counts(&self, name: &str, labels: &[&str], count: u64) {
        wait::until(format!("{count} of {name} {labels:?}"), LIMIT, async || {
            (self.hookswitch.metric(name, labels).await == count).then_some(())
        })
        .await;
    }
}

/// The bodies that a stand-in got.
fn bodies<A: Api>(stand_in: &StandIn<A>) -> Vec<Value> {
    stand_in.calls().iter().map(Call::body).collect()
}
