//! A page of measurements, such as `docs/benchmarks.md`, of which the parts between two marks are written here,
//! one for each section, and the rest by hand.

pub mod machine;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A part of the page.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// Markdown.
    pub text: String,
    /// What was aimed at.
    pub aims: Vec<Aim>,
}

/// An aim, and what was found.
#[derive(Debug, Clone)]
pub struct Aim {
    /// The aim.
    pub what: &'static str,
    /// The measurement.
    pub found: String,
    /// Whether it reaches the aim.
    pub met: bool,
}

impl Section {
    /// As Markdown, with its heading, and what it was measured on.
    ///
    /// # Errors
    /// As writing to a text has it: there is no reason for one.
    pub fn render(&self, machine: &str) -> Result<String> {
        let Self { title, text, aims } = self;
        let mut out = format!("## {title}\n\n{text}");
        if !aims.is_empty() {
            out.push_str("\n| aim | found | |\n|---|---|---|\n");
        }
        for Aim { what, found, met } in aims {
            let met = if *met { "met" } else { "**missed**" };
            writeln!(out, "| {what} | {found} | {met} |")?;
        }
        write!(out, "\n{machine}\n")?;
        Ok(out)
    }
}

/// Replaces what was measured before of the section with this name; `by` is the command that does it.
///
/// # Errors
/// Where the page can't be read or written, or has no marks for the section.
pub fn write(path: &Path, by: &str, name: &str, measured: &str) -> Result<()> {
    let page = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let begin = format!("<!-- {name}: begin, written by `{by}` -->\n");
    let end = format!("<!-- {name}: end -->\n");
    let marks = || format!("the page has no marks {begin}{end}");
    let (before, rest) = page.split_once(&begin).with_context(marks)?;
    let (_, after) = rest.split_once(&end).with_context(marks)?;
    fs::write(path, format!("{before}{begin}\n{measured}\n{end}{after}"))?;
    Ok(())
}
