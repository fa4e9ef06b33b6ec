//! What the tool says to its user: on standard output, a line at a time.
//!
//! Logs go to standard error, so that the two can be told apart.

use std::fmt::Arguments;
use std::io::Write as _;

/// Prints a line to standard output. Where nobody reads any more, nothing happens.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// See [`say`].
pub(crate) fn line(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    // A reader that went away, as `head` does, is no failure of ours.
    let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Tells how far a long piece of work has come, on standard error.
pub(crate) fn progress(text: Arguments<'_>) {
    // Where nobody reads it, the work goes on.
    let _closed = writeln!(std::io::stderr(), "{text}");
}
