//! Logs: readable on a terminal, one JSON object a line elsewhere.

use std::io::IsTerminal as _;

use hookswitch_receiver::log::Json;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `text` where standard error is a terminal, else `json`
    Auto,
    /// For people
    Text,
    /// One object a line
    Json,
}

/// What is logged where `RUST_LOG` says nothing.
const FILTER: &str = "info,hyper=warn,reqwest=warn,rustls=warn";

/// Who reads what the program says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Someone at a terminal.
    Person,
    /// A log collector.
    Machine,
}

/// Sends logs to standard error. `RUST_LOG` chooses what is logged.
pub fn init(format: Format) -> Reader {
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second call, as tests may make, changes nothing.
    let _already_set = if json {
        logs.event_format(Json).try_init()
    } else {
        logs.compact()
            .with_target(false)
            .with_ansi(terminal)
            .try_init()
    };
    if json {
        Reader::Machine
    } else {
        Reader::Person
    }
}
