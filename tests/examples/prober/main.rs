//! `make prober`: breaks things under load, and writes what became of every event that was answered 200 into
//! `docs/reliability.md`. Ends with 1 where something was lost, doubled or out of order.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures::FutureExt as _;
use hookswitch_tests::prober::dice::Dice;
use hookswitch_tests::prober::load::Pace;
use hookswitch_tests::prober::outcome::Outcome;
use hookswitch_tests::prober::scenario::{SCENARIOS, Scenario, Settings, UPGRADE};
use hookswitch_tests::report;

/// Who writes the page.
const BY: &str = "make prober";

/// Break things under load, and see what becomes of what was answered 200.
#[derive(Debug, Parser)]
struct Args {
    /// What is broken; everything where nothing is named
    scenarios: Vec<String>,
    /// List what can be broken
    #[arg(long)]
    list: bool,
    /// How often, instead of as often as each scenario has it
    #[arg(long)]
    rounds: Option<usize>,
    /// For how many seconds each time, instead of as long as each scenario has it
    #[arg(long)]
    hold: Option<u64>,
    /// Events a second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// What TG-Staff's pauses between attempts (30 s, 2 min, 5 min) are multiplied by
    #[arg(long, default_value_t = 0.1)]
    scale: f64,
    /// What chance begins with; another one each time where it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// An earlier `hookswitch`, from which `upgrade` goes: without one it is left out
    #[arg(long)]
    previous: Option<PathBuf>,
    /// Print only, and leave the page as it is
    #[arg(long)]
    dry_run: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.list {
        for scenario in SCENARIOS {
            say(&format!("{:20} {}", scenario.name, scenario.title))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut bad = Vec::new();
    for scenario in chosen(&args)? {
        if !probe(&args, scenario).await? {
            bad.push(scenario.name);
        }
    }
    if bad.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("a promise was broken: {}", bad.join(", ")))?;
    Ok(ExitCode::FAILURE)
}

/// Those that are named, or all that can be done.
fn chosen(args: &Args) -> Result<Vec<Scenario>> {
    let names = &args.scenarios;
    let misses = args.previous.is_none();
    if names.is_empty() {
        let mut all = SCENARIOS.to_vec();
        if misses {
            say(&format!(
                "{UPGRADE}: left out, as there is no --previous PROGRAM to go from"
            ))?;
            all.retain(|it| it.name != UPGRADE);
        }
        return Ok(all);
    }
    ensure!(
        !misses || names.iter().all(|name| name != UPGRADE),
        "{UPGRADE} goes from an earlier hookswitch: name it with --previous PROGRAM"
    );
    let find = |name: &String| {
        let known = SCENARIOS.map(|scenario| scenario.name).join(", ");
        Scenario::find(name).with_context(|| format!("no scenario {name}: there are {known}"))
    };
    names.iter().map(find).collect()
}

/// Runs one, writes it down, and tells whether all was well.
async fn probe(args: &Args, scenario: Scenario) -> Result<bool> {
    let (rounds, hold) = scenario.full;
    let settings = Settings {
        rounds: args.rounds.unwrap_or(rounds),
        hold: Duration::from_secs(args.hold.unwrap_or(hold)),
        takeover: Duration::from_secs(6),
        pace: Pace {
            per_second: args.rate,
            scale: args.scale,
        },
        seed: args.seed.unwrap_or_else(Dice::seed),
        previous: args.previous.clone(),
    };
    say(&format!("{}: {settings:?}", scenario.name))?;
    let begin = Instant::now();
    // A panic tells what was waited for in vain; the other scenarios run all the same.
    let run = AssertUnwindSafe((scenario.run)(&settings)).catch_unwind();
    let Ok(outcome) = run.await else {
        say(&format!("{}: it did not come to its end", scenario.name))?;
        return Ok(false);
    };
    let took = begin.elapsed();
    say(&format!("{}: {}", scenario.name, outcome.verdict))?;
    let outcome = with_conditions(outcome, args, settings.seed, took);
    // Where the data was.
    let folder = tempfile::tempdir().context("making a folder")?;
    let machine = report::machine::describe(folder.path())?;
    let section = outcome.section(scenario.title, scenario.about);
    let measured = section.render(&machine)?;
    say(&measured)?;
    if !args.dry_run {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md");
        report::write(&page, BY, scenario.name, &measured)?;
    }
    Ok(outcome.is_good())
}

/// Tells how it was run.
fn with_conditions(outcome: Outcome, args: &Args, seed: u64, took: Duration) -> Outcome {
    outcome.fact(
        "how",
        format!(
            "{} events a second for {:.0} s, TG-Staff's pauses times {}, seed {seed}",
            args.rate,
            took.as_secs_f64(),
            args.scale
        ),
    )
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
