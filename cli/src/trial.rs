//! `hookswitch test`: what the files would make of an event, without a server, a secret or a
//! destination: for a person who writes a rule, and for CI, which compares it with what is expected.
//!
//! ```text
//! files ─ project ─ Config ─┐
//!                           ├─ receiver's own Draft ─ Trial ─┬─ print
//! event ─ attributes ───────┘      │                         └─ differences from what is expected
//!                                World: memories, timers, marks, a clock that a case moves
//! ```
//!
//! It decides as a receiver does that has seen nothing before the case: no echo marks, no limits used up.

mod case;
mod expect;
mod look_up;
mod outcome;
mod print;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use hookswitch_receiver::config::Config;
use serde::de::DeserializeOwned;

use crate::Verdict;
use crate::diagnostic::Severity;
use crate::files::find::Source;
use crate::output::{progress, say};
use crate::project::{Compiled, Project, is_missing_secret};
use case::{Case, Step};
use expect::Expected;
use outcome::Trial;

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  hookswitch test -f conf/ --event conversation.json
      which rules fire and which not, with the part of the condition that is false, and what is sent
  hookswitch test -f conf/ --event conversation.json -o expect > expected.yaml
      the same, to be kept
  hookswitch test -f conf/ --event conversation.json --expect expected.yaml
      compared with that
  hookswitch test -f conf/ --cases tests/
      every *.yaml there: {event or eventFile, headers, subscription, enriched, expect}, or with `steps`
      several events one after the other, and the time between them

The exit code is 1 if anything differs from what is expected, or the files have errors.";

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    Text,
    /// An object a line, with differences where something is expected
    Json,
    /// What --expect takes
    Expect,
}

/// What to try.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, or directories with all their *.yaml and *.yml; `-` for standard input. Secrets may be
    /// missing
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// The body of an event, as the sender sends it
    #[arg(long, value_name = "FILE", required_unless_present = "cases")]
    event: Vec<PathBuf>,
    /// The subscription that it comes to, where there are several
    #[arg(long, value_name = "NAMESPACE/NAME")]
    subscription: Option<String>,
    /// A header that it comes with
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// What look-ups find, by their names: a file of YAML or JSON. Those that are not there fail
    #[arg(long, value_name = "FILE", requires = "event")]
    enriched: Option<PathBuf>,
    /// Compare with what this file holds
    #[arg(long, value_name = "FILE", requires = "event")]
    expect: Option<PathBuf>,
    /// Cases, or directories with all their *.yaml and *.yml
    #[arg(long, value_name = "PATH", conflicts_with_all = ["event", "header", "subscription", "enriched"])]
    cases: Vec<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| "write a header as in `X-GitHub-Event: push`".to_owned())?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Tries, prints and compares.
///
/// # Errors
/// Where a file can't be read, or an event has no subscription to come to.
pub(crate) fn run(args: &Args) -> anyhow::Result<Verdict> {
    let sources = Source::from_args(&args.files).context("can't read standard input")?;
    let compiled = Project::new(sources).compile();
    let refused = tell_problems(&compiled);
    let config = Config::load(compiled.snapshot, None).context("the files can't be served")?;
    let cases = cases(args)?;
    let mut failed = 0;
    let mut compared = 0;
    for case in &cases {
        let trials = Trial::all(&config, case).with_context(|| case.name.clone())?;
        let differences = tell(args.output, case, &trials)?;
        compared += usize::from(differences.is_some());
        failed += usize::from(differences.is_some_and(|it| !it.is_empty()));
    }
    if args.output == Output::Text && compared > 0 {
        say!("{compared} cases, {failed} with differences");
    }
    Ok(if failed > 0 || refused {
        Verdict::No
    } else {
        Verdict::Yes
    })
}

/// Prints what became of a case; gives all differences from what is expected, where anything is.
fn tell(output: Output, case: &Case, trials: &[Trial]) -> anyhow::Result<Option<Vec<String>>> {
    let several = trials.len() > 1;
    let mut all: Option<Vec<String>> = None;
    for ((step, trial), number) in case.steps.iter().zip(trials).zip(1..) {
        let expect = step.expect.as_ref();
        let differences = expect.map(|expect| expect.differences(trial));
        match output {
            Output::Json => {
                let object = print::object(case, number, trial, differences.as_deref());
                say!("{}", serde_json::to_string(&object)?);
            }
            Output::Expect => {
                if several {
                    say!("# step {number}");
                }
                say!(
                    "{}",
                    serde_saphyr::to_string(&Expected::of(trial))?.trim_end()
                );
            }
            Output::Text if case.steps.iter().all(|it| it.expect.is_none()) => {
                let name = if several {
                    format!("{}, step {number}", case.name)
                } else {
                    case.name.clone()
                };
                print::text(&name, trial);
            }
            Output::Text => {}
        }
        if let Some(found) = differences {
            let found = found.into_iter().map(|difference| {
                if several {
                    format!("step {number}: {difference}")
                } else {
                    difference
                }
            });
            all.get_or_insert_default().extend(found);
        }
    }
    if let (Output::Text, Some(differences)) = (output, &all) {
        print::compared(case, differences);
    }
    Ok(all)
}

/// Tells what is wrong with the files; true where something can't be used as it is written. Secrets
/// are not needed here.
fn tell_problems(compiled: &Compiled) -> bool {
    let mut refused = false;
    for problem in &compiled.problems {
        if problem.severity == Severity::Error && !is_missing_secret(problem) {
            progress(format_args!("{problem}"));
            refused = true;
        }
    }
    refused
}

fn cases(args: &Args) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    let expect = args.expect.as_deref().map(read_yaml).transpose()?;
    let enriched = args.enriched.as_deref().map(read_yaml).transpose()?;
    for path in &args.event {
        let body = std::fs::read(path)
            .with_context(|| format!("can't read the event from {}", path.display()))?;
        cases.push(Case {
            name: path.display().to_string(),
            subscription: args.subscription.clone(),
            steps: vec![Step {
                headers: args.header.clone(),
                enriched: enriched.clone().unwrap_or_default(),
                expect: expect.clone(),
                ..Step::event(body)
            }],
        });
    }
    for path in &args.cases {
        cases.extend(case::read_all(path)?);
    }
    if cases.is_empty() {
        bail!("there are no cases: a case is a file *.yaml with `event` and `expect`");
    }
    Ok(cases)
}

fn read_yaml<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
}
