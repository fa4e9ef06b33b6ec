//! Word lists: thousands of words and phrases, looked for in a text in one pass.
//!
//! ```text
//! # what stops a chat            a comment
//! refund                         a word: in `Refund!`, not in `refunded`
//! charge   back                  a phrase: white space is any white space
//! sue*                           the beginning of a word: in `sued`
//! 退款                            anywhere: its script has no spaces between words
//! [fraud]                        what follows belongs to the group `fraud`
//! \#hashtag                      a `\` before a first `#`, `[`, `*` or a last `*` takes it as it is
//! ```
//!
//! - Case does not count, nor does how a character is written: both the words and the text are
//!   folded (NFKC, full case folding), and characters that nobody sees are passed over.
//! - A word is found as a whole: where its edge is a letter or a digit of a script that has spaces
//!   between words, none may be next to it. Edges of Chinese, Japanese, Korean, Thai, Lao, Khmer,
//!   Burmese and Tibetan, of signs and of emoji need nothing beside them.
//! - The time to look for 10,000 words is that of looking for one: the Aho-Corasick automaton reads
//!   each byte once.

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};

mod fold;

#[cfg(test)]
mod tests;

pub use fold::{fold, in_word};

/// The most words of a list.
pub const MAX_WORDS: usize = 20_000;
/// The most bytes of all words of a list, each with its line's end, comments not counted.
pub const MAX_BYTES: usize = 256 << 10;
/// The longest word or phrase, and name of a group, in bytes.
pub const MAX_WORD: usize = 256;

/// A list, ready to be looked for.
#[derive(Debug)]
pub struct Words {
    automaton: AhoCorasick,
    /// The words of each of the automaton's patterns: those that are alike once folded.
    patterns: Vec<Vec<Word>>,
    /// In the order of the list; the first one has no name.
    groups: Vec<String>,
}

/// A word that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hit<'a> {
    /// As it is written in the list.
    pub word: &'a str,
    /// Its group; empty where it has none.
    pub group: &'a str,
    /// Where the group stands among the groups.
    pub group_place: usize,
}

/// Why a text is no word list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line that is neither a word nor a group.
    #[error("line {line}: {message}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        message: &'static str,
    },
    /// Too many words.
    #[error("it has more than {MAX_WORDS} words: split it, and name both lists in the expression")]
    TooMany,
    /// Too much text.
    #[error(
        "its words have more than {MAX_BYTES} bytes: split it, and name both lists in the expression"
    )]
    TooLarge,
    /// The automaton would not be built.
    #[error("it can't be made ready: {0}")]
    Automaton(String),
}

/// A word of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    /// As it is written.
    written: String,
    group: usize,
    /// A longer word may hold it: `*` at its beginning, at its end.
    open: (bool, bool),
}

/// A line that counts.
enum Line<'a> {
    Group(&'a str),
    Word(&'a str),
}

impl Words {
    /// Reads a list, a word a line.
    ///
    /// # Errors
    /// With the line that is wrong, or the limit that is passed.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut groups = vec![String::new()];
        let mut group = 0;
        let mut folded: Vec<String> = Vec::new();
        let mut patterns: Vec<Vec<Word>> = Vec::new();
        let mut places = std::collections::HashMap::new();
        let (mut count, mut bytes) = (0_usize, 0_usize);
        for (number, line) in lines(text) {
            let line = line.map_err(|message| Error::Line {
                line: number,
                message,
            })?;
            let written = match line {
                Line::Group(name) => {
                    bytes += name.len() + 3;
                    let known = groups.iter().position(|it| it == name);
                    group = known.unwrap_or_else(|| {
                        groups.push(name.to_owned());
                        groups.len() - 1
                    });
                    continue;
                }
                Line::Word(written) => written,
            };
            count += 1;
            bytes += written.len() + 1;
            if count > MAX_WORDS {
                return Err(Error::TooMany);
            }
            if bytes > MAX_BYTES {
                return Err(Error::TooLarge);
            }
            let (sought, open) = sought(written);
            let sought = fold(&sought).into_owned();
            if sought.trim().is_empty() {
                return Err(Error::Line {
                    line: number,
                    message: "nothing is left to look for: write a word",
                });
            }
            let place = *places.entry(sought.clone()).or_insert_with(|| {
                folded.push(sought);
                patterns.push(Vec::new());
                patterns.len() - 1
            });
            let word = Word {
                written: written.to_owned(),
                group,
                open,
            };
            if let Some(alike) = patterns.get_mut(place).filter(|it| !it.contains(&word)) {
                alike.push(word);
            }
        }
        Ok(Self {
            automaton: automaton(&folded).map_err(|error| Error::Automaton(error.to_string()))?,
            patterns,
            groups,
        })
    }

    /// How many words it has, those that are alike counted once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Looks at every place of a text, folded by [`fold`], where the letters of a word stand: the
    /// words that are found there, or none where it is a part of a longer word. Each item is a step
    /// of work, whether it holds a hit or not.
    pub fn search<'w, 't>(
        &'w self,
        folded: &'t str,
    ) -> impl Iterator<Item = Vec<Hit<'w>>> + use<'w, 't> {
        self.automaton
            .find_overlapping_iter(folded)
            .map(move |found| {
                let edges = (
                    fold::parts(folded, found.start()),
                    fold::parts(folded, found.end()),
                );
                let alike = self.patterns.get(found.pattern().as_usize());
                let words = alike.into_iter().flatten();
                words
                    .filter(|word| (word.open.0 || edges.0) && (word.open.1 || edges.1))
                    .filter_map(|word| {
                        Some(Hit {
                            word: &word.written,
                            group: self.groups.get(word.group)?,
                            group_place: word.group,
                        })
                    })
                    .collect()
            })
    }
}

/// A list without its comments and blank lines, as the snapshot carries it.
///
/// # Errors
/// As [`Words::parse`].
pub fn compact(text: &str) -> Result<String, Error> {
    Words::parse(text)?;
    let mut compact = String::new();
    for (_, line) in lines(text) {
        match line {
            Ok(Line::Group(name)) => {
                compact.push('[');
                compact.push_str(name);
                compact.push(']');
            }
            Ok(Line::Word(word)) => compact.push_str(word),
            Err(_) => continue,
        }
        compact.push('\n');
    }
    Ok(compact)
}

/// The lines that count, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, Result<Line<'_>, &'static str>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim).zip(1..);
    lines
        .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, number)| {
            let read = if line.len() > MAX_WORD {
                Err("a word has 256 bytes at most")
            } else if let Some(rest) = line.strip_prefix('[') {
                let name = rest.strip_suffix(']').map(str::trim);
                name.filter(|name| !name.is_empty()).map(Line::Group).ok_or(
                    "a group is written [name], and a word that begins with [ is written \\[",
                )
            } else {
                Ok(Line::Word(line))
            };
            (number, read)
        })
}

/// What is looked for, and where a longer word may hold it.
fn sought(written: &str) -> (String, (bool, bool)) {
    let (rest, begins) = match written.strip_prefix('*') {
        Some(rest) => (rest, true),
        None => (written, false),
    };
    let escaped = rest
        .strip_prefix('\\')
        .filter(|it| it.starts_with(['#', '[', '*', '\\']));
    let rest = escaped.unwrap_or(rest);
    if let Some(rest) = rest.strip_suffix("\\*") {
        return (format!("{rest}*"), (begins, false));
    }
    match rest.strip_suffix('*') {
        Some(rest) => (rest.to_owned(), (begins, true)),
        None => (rest.to_owned(), (begins, false)),
    }
}

fn automaton(folded: &[String]) -> Result<AhoCorasick, BuildError> {
    AhoCorasick::builder()
        .match_kind(MatchKind::Standard)
        // A DFA of 10,000 words would take tens of megabytes, for little.
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(folded)
}
