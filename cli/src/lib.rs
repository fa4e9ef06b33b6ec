//! The user's tool, `hookswitch`: runs on one machine what Kubernetes runs in a cluster, from the same
//! YAML, and checks and tries out that YAML.
//!
//! ```text
//! files ─ project (the operator's compile) ─┬─ lint: print what is wrong
//!                                           ├─ run:  publish to the receiver, follow edits
//!                                           └─ send: sign as the subscription says ─ POST
//!
//! events, explain, dead-letters, replay ─ ask ─ a receiver's admin API, here or in a cluster
//! ```

mod ask;
mod dead_letters;
pub mod diagnostic;
mod events;
mod explain;
pub mod files;
mod generations;
mod lint;
pub mod log;
pub mod mock;
mod output;
mod project;
mod provider;
mod replay;
mod run;
pub mod sample;
mod send;
pub mod sign;
mod signals;
mod state;
mod table;
mod trial;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use output::say;

/// Where webhooks come in, unless told otherwise.
const LISTEN: &str = "127.0.0.1:8080";

/// What the program's exit code tells.
const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  the answer is no: lint found errors, a request was not answered with 200, no such event is kept
  2  it could not be tried: wrong options, files or addresses

Documentation: docs/getting-started.md";

const COMPLETIONS: &str = "\
Examples:
  source <(hookswitch completions bash)
  hookswitch completions zsh > ~/.zfunc/_hookswitch
  hookswitch completions fish > ~/.config/fish/completions/hookswitch.fish";

/// Receives webhooks, keeps them, and delivers them where your routes say.
#[derive(Debug, Parser)]
#[command(name = "hookswitch", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive, keep, route and deliver webhooks on this machine, as files say
    #[command(after_help = run::EXAMPLES)]
    Run(Box<run::Args>),
    /// Check files: everything that is wrong, with its place and remedy
    #[command(after_help = lint::EXAMPLES)]
    Lint(lint::Args),
    /// Try what the files make of an event, without a server; compare it with what is expected
    #[command(after_help = trial::EXAMPLES)]
    Test(Box<trial::Args>),
    /// Send an event as a sender would, signed as a subscription wants it
    #[command(after_help = send::EXAMPLES)]
    Send(Box<send::Args>),
    /// List events: what came in, and what became of it
    #[command(after_help = events::EXAMPLES)]
    Events(Box<events::Args>),
    /// Tell all about an event: why each rule fired or not, what was sent, what came back
    #[command(after_help = explain::EXAMPLES)]
    Explain(Box<explain::Args>),
    /// Look at deliveries that were given up; attempt them again, or remove them
    #[command(after_help = dead_letters::EXAMPLES)]
    DeadLetters {
        #[command(subcommand)]
        command: Box<dead_letters::Command>,
    },
    /// Give events the deliveries that they lack, by the rules that are in use now
    #[command(after_help = replay::EXAMPLES)]
    Replay(Box<replay::Args>),
    /// Stand in for a system that Hookswitch delivers to
    Mock {
        #[command(subcommand)]
        mock: mock::Mock,
    },
    /// Print a script that completes commands and options in a shell
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

/// How a command ended, where nothing stood in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Yes,
    /// What was asked is not so.
    No,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Yes => Self::SUCCESS,
            Verdict::No => Self::FAILURE,
        }
    }
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// Where it could not be tried.
    pub async fn run(self) -> anyhow::Result<Verdict> {
        // Where one is installed already, that one is as good.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        match self.command {
            Command::Run(args) => run::run(*args).await,
            Command::Lint(args) => lint::run(&args),
            Command::Test(args) => trial::run(&args),
            Command::Send(args) => send::run(*args).await,
            Command::Events(args) => events::run(*args).await,
            Command::Explain(args) => explain::run(*args).await,
            Command::DeadLetters { command } => dead_letters::run(*command).await,
            Command::Replay(args) => replay::run(*args).await,
            Command::Mock { mock } => mock.run().await.map(|()| Verdict::Yes),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "hookswitch", &mut script);
                say!("{}", String::from_utf8_lossy(&script));
                Ok(Verdict::Yes)
            }
            Command::Version => {
                say!("hookswitch {}", env!("CARGO_PKG_VERSION"));
                Ok(Verdict::Yes)
            }
        }
    }
}
