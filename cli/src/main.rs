//! `hookswitch`: see `hookswitch --help`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use hookswitch_cli::Cli;

/// It could not be tried: as clap has it for wrong options.
const COULD_NOT_TRY: u8 = 2;

/// The error and its causes, each once: many an error's text ends with that of its cause.
fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| {
        let cause = cause.to_string();
        if told.is_empty() {
            cause
        } else if told.contains(&cause) {
            told
        } else {
            format!("{told}: {cause}")
        }
    })
}

/// The images are built with musl, whose own allocator has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(cli.run());
            // What could still run, such as a name lookup that hangs, is not waited for.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            // Where standard error is closed, the exit code still tells.
            let _closed = writeln!(std::io::stderr(), "error: {}", told(&error));
            ExitCode::from(COULD_NOT_TRY)
        }
    }
}
