//! `hookswitch lint`: all that is wrong with the files, found by the operator's own compiler.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use hookswitch_operator::compile::effective;
use serde_json::{Value as Json, json};

use crate::Verdict;
use crate::diagnostic::{Diagnostic, Severity};
use crate::files::find::Source;
use crate::output::say;
use crate::project::{Compiled, Project, is_missing_secret};

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  hookswitch lint -f examples/quickstart
  kustomize build . | hookswitch lint -f -
  hookswitch lint -f deploy/ --missing-secrets warn    where Secrets are kept elsewhere
  hookswitch lint -f deploy/ --effective               every default filled in, no secret shown

The exit code is 1 if there is an error, and 0 if there are only warnings.";

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A line for each problem, as compilers print them
    Text,
    /// One object
    Json,
}

/// What to make of a Secret that is not in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Missing {
    /// An error
    Error,
    /// A warning
    Warn,
}

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, or directories with all their *.yaml and *.yml; `-` for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// Print what the objects resolve to, without secrets
    #[arg(long)]
    effective: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// What to make of a Secret that is not in the files
    #[arg(long, value_enum, default_value_t = Missing::Error, value_name = "SEVERITY")]
    missing_secrets: Missing,
}

/// Checks and prints.
///
/// # Errors
/// Where standard input can't be read.
pub(crate) fn run(args: &Args) -> anyhow::Result<Verdict> {
    let sources = Source::from_args(&args.files).context("can't read standard input")?;
    let mut compiled = Project::new(sources).compile();
    if args.missing_secrets == Missing::Warn {
        for problem in &mut compiled.problems {
            if is_missing_secret(problem) {
                problem.severity = Severity::Warning;
            }
        }
    }
    match args.output {
        Output::Text => print_text(&compiled, args.effective)?,
        Output::Json => {
            let problems = &compiled.problems;
            let json = if args.effective {
                json!({"problems": problems, "effective": entries(&compiled)})
            } else {
                json!({"problems": problems})
            };
            say!("{}", serde_json::to_string_pretty(&json)?);
        }
    }
    Ok(match count(&compiled.problems, Severity::Error) {
        0 => Verdict::Yes,
        _ => Verdict::No,
    })
}

fn print_text(compiled: &Compiled, effective: bool) -> anyhow::Result<()> {
    for problem in &compiled.problems {
        say!("{problem}");
    }
    if effective {
        for (name, entry) in entries(compiled) {
            say!(
                "---\n# {name}\n{}",
                serde_saphyr::to_string(&entry)?.trim_end()
            );
        }
        return Ok(());
    }
    let found = format!(
        "{}, {}",
        plural(compiled.snapshot.subscriptions.len(), "subscription"),
        plural(compiled.snapshot.routes.len(), "route")
    );
    match (
        count(&compiled.problems, Severity::Error),
        count(&compiled.problems, Severity::Warning),
    ) {
        (0, 0) => say!("{found}: no problems"),
        (0, warnings) => say!("{found}: {}", plural(warnings, "warning")),
        (errors, 0) => say!("{found} can be served: {}", plural(errors, "error")),
        (errors, warnings) => say!(
            "{found} can be served: {}, {}",
            plural(errors, "error"),
            plural(warnings, "warning")
        ),
    }
    Ok(())
}

/// What is served of each object, by kind and name.
fn entries(compiled: &Compiled) -> BTreeMap<String, Json> {
    let subscriptions = compiled.snapshot.subscriptions.iter().map(|entry| {
        let name = format!("WebhookSubscription {}", entry.origin.key);
        (name, effective(entry))
    });
    let routes = compiled.snapshot.routes.iter().map(|entry| {
        let name = format!("EventRoute {}", entry.origin.key);
        (name, effective(entry))
    });
    subscriptions.chain(routes).collect()
}

fn count(problems: &[Diagnostic], severity: Severity) -> usize {
    problems
        .iter()
        .filter(|problem| problem.severity == severity)
        .count()
}

/// `1 route`, `2 routes`.
fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
