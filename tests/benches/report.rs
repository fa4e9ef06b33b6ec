//! The report: `docs/benchmarks.md`, of which the part between two marks is written here and the rest
//! by hand.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What is measured comes after this line,
const BEGIN: &str = "<!-- measured: begin (written by `make bench`) -->\n";
/// and before this one.
const END: &str = "<!-- measured: end -->\n";

/// A part of the report.
pub(crate) struct Section {
    /// Its heading.
    pub(crate) title: &'static str,
    /// Markdown.
    pub(crate) text: String,
    /// What was aimed at.
    pub(crate) aims: Vec<Aim>,
}

/// An aim, and what was found.
pub(crate) struct Aim {
    /// The aim.
    pub(crate) what: &'static str,
    /// The measurement.
    pub(crate) found: String,
    /// Whether it reaches the aim.
    pub(crate) met: bool,
}

impl Section {
    /// As Markdown, with its heading.
    pub(crate) fn render(&self) -> String {
        format!("## {}\n\n{}", self.title, self.text)
    }
}

/// All of it, between the marks.
pub(crate) fn render(machine: &str, sections: &[Section]) -> Result<String> {
    let mut out = format!("{machine}\n## Aims\n\n| aim | found | |\n|---|---|---|\n");
    for aim in sections.iter().flat_map(|section| &section.aims) {
        let met = if aim.met { "met" } else { "**missed**" };
        writeln!(out, "| {} | {} | {met} |", aim.what, aim.found)?;
    }
    for section in sections {
        write!(out, "\n{}", section.render())?;
    }
    Ok(out)
}

/// Replaces what was measured before.
pub(crate) fn write(path: &Path, measured: &str) -> Result<()> {
    let page = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (before, rest) = page
        .split_once(BEGIN)
        .context("the page has no first mark")?;
    let (_, after) = rest.split_once(END).context("the page has no last mark")?;
    fs::write(path, format!("{before}{BEGIN}\n{measured}\n{END}{after}"))?;
    Ok(())
}
