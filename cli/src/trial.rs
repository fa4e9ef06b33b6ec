//! `hookswitch test`: what the files would make of an event, without a server, a secret or a
//! destination: for a person who writes a rule, and for CI, which compares it with what is expected.
//!
//! ```text
//! files ─ project ─ Config ─┐
//!                           ├─ receiver's own Draft ─ Trial ─┬─ print
//! event ─ attributes ───────┘                                └─ differences from what is expected
//! ```
//!
//! It decides as a receiver does that has seen nothing before: no echo marks, no limits used up.

mod case;
mod expect;
mod outcome;
mod print;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use hookswitch_receiver::config::Config;

use crate::Verdict;
use crate::diagnostic::Severity;
use crate::files::find::Source;
use crate::output::{progress, say};
use crate::project::{Compiled, Project, is_missing_secret};
use case::Case;
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
      every *.yaml there: {event or eventFile, headers, subscription, expect}

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
    /// Compare with what this file holds
    #[arg(long, value_name = "FILE", requires = "event")]
    expect: Option<PathBuf>,
    /// Cases, or directories with all their *.yaml and *.yml
    #[arg(long, value_name = "PATH", conflicts_with_all = ["event", "header", "subscription"])]
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
    for case in &cases {
        let trial = Trial::of(&config, case).with_context(|| case.name.clone())?;
        let differences = case
            .expect
            .as_ref()
            .map(|expect| expect.differences(&trial));
        failed += usize::from(differences.as_ref().is_some_and(|it| !it.is_empty()));
        match args.output {
            Output::Json => say!(
                "{}",
                serde_json::to_string(&print::object(case, &trial, differences.as_deref()))?
            ),
            Output::Expect => say!(
                "{}",
                serde_saphyr::to_string(&Expected::of(&trial))?.trim_end()
            ),
            Output::Text => match &differences {
                None => print::text(case, &trial),
                Some(differences) => print::compared(case, differences),
            },
        }
    }
    let compared = cases.iter().filter(|case| case.expect.is_some()).count();
    if args.output == Output::Text && compared > 0 {
        say!("{compared} cases, {failed} with differences");
    }
    Ok(if failed > 0 || refused {
        Verdict::No
    } else {
        Verdict::Yes
    })
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
    let expect = args.expect.as_deref().map(read_expected).transpose()?;
    for path in &args.event {
        let body = std::fs::read(path)
            .with_context(|| format!("can't read the event from {}", path.display()))?;
        cases.push(Case {
            name: path.display().to_string(),
            subscription: args.subscription.clone(),
            headers: args.header.clone(),
            body,
            expect: expect.clone(),
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

fn read_expected(path: &Path) -> anyhow::Result<Expected> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
}
