//! `hookswitch`: see `hookswitch --help`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use hookswitch_cli::Cli;

/// It could not be tried: as clap has it for wrong options.
const COULD_NOT_TRY: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(cli.run()));
    match outcome {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            // Where standard error is closed, the exit code still tells.
            let _closed = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(COULD_NOT_TRY)
        }
    }
}
