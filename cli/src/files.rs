//! Reads Kubernetes objects from files, and keeps the last good content of a file that can't be read.
//!
//! ```text
//! -f ─ find ─ files ─ node::parse ─ object::read ─ Loaded { objects, problems }
//!                          │ a file with any error
//!                          └─ what that file held before
//! ```
//!
//! Invariants:
//! - A file counts as a whole: while anything in it can't be read or named, all that it held before
//!   stays. A file that is gone takes its objects with it.
//! - What a spec says is not judged here: that is the compiler's part.
//! - No message holds a Secret's value.

pub mod find;
pub mod node;
pub mod object;
pub mod secret;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Severity};
use find::{Fingerprint, Found, Source, read_to_end};
use node::Position;
use object::{Id, Kind, Object};

/// The text of every file when it was last good, by absolute path.
pub type LastGood = BTreeMap<PathBuf, String>;

/// The files of `-f`, and what they held when they were last good.
#[derive(Debug, Clone)]
pub struct Files {
    sources: Vec<Source>,
    last_good: LastGood,
}

/// What the files say now.
#[derive(Debug)]
pub struct Loaded {
    /// Every object once.
    pub objects: BTreeMap<Id, Object>,
    /// What can't be read, in the order of the files.
    pub problems: Vec<Diagnostic>,
    /// The directories to watch.
    pub directories: Vec<PathBuf>,
}

/// One file's content.
#[derive(Default)]
struct Content {
    objects: Vec<Object>,
    problems: Vec<Diagnostic>,
}

impl Files {
    /// Files that were last good with these texts; none where that is not known.
    #[must_use]
    pub fn new(sources: Vec<Source>, last_good: LastGood) -> Self {
        Self { sources, last_good }
    }

    /// The text of every file when it was last good.
    #[must_use]
    pub fn last_good(&self) -> &LastGood {
        &self.last_good
    }

    /// Sizes and times of every file.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Found::scan(&self.sources).fingerprint()
    }

    /// Reads every file anew.
    #[must_use]
    pub fn load(&mut self) -> Loaded {
        let mut found = Found::scan(&self.sources);
        let mut texts: Vec<(PathBuf, io::Result<String>)> = found
            .files
            .iter()
            .map(|path| (path.clone(), read_text(path)))
            .collect();
        for source in &self.sources {
            if let Source::Once { name, text } = source {
                texts.push((name.clone(), Ok(text.clone())));
            }
        }
        let lost = self.lost(&found);
        let mut loaded = Loaded {
            objects: BTreeMap::new(),
            problems: std::mem::take(&mut found.problems),
            directories: found.directories.into_iter().collect(),
        };
        let mut kept = Vec::new();
        let mut good = LastGood::new();
        for (path, text) in texts {
            let before = self.last_good.get(&absolute(&path));
            let (content, text) = read_file(&path, text, before.is_some());
            loaded.problems.extend(content.problems);
            match (text, before) {
                (Some(text), _) => {
                    loaded.add(content.objects);
                    good.insert(absolute(&path), text);
                }
                (None, Some(before)) => {
                    loaded.problems.push(stays(&path));
                    kept.extend(outdated(&path, before));
                    good.insert(absolute(&path), before.clone());
                }
                (None, None) => loaded.add(content.objects),
            }
        }
        for (path, text) in lost {
            loaded.problems.push(stays(&path));
            kept.extend(outdated(&path, &text));
            good.insert(path, text);
        }
        // What is there now wins over what was there before: an object may have moved.
        for object in kept {
            loaded.objects.entry(object.id.clone()).or_insert(object);
        }
        self.last_good = good;
        loaded.problems.sort();
        loaded
    }

    /// Files known from before under what can't be looked into now.
    fn lost(&self, found: &Found) -> Vec<(PathBuf, String)> {
        let unreadable: Vec<PathBuf> = found
            .problems
            .iter()
            .filter_map(|problem| problem.file.as_deref().map(absolute))
            .collect();
        self.last_good
            .iter()
            .filter(|(path, _)| unreadable.iter().any(|parent| path.starts_with(parent)))
            .map(|(path, text)| (path.clone(), text.clone()))
            .collect()
    }
}

impl Loaded {
    fn add(&mut self, objects: Vec<Object>) {
        for object in objects {
            if object.id.kind == Kind::Secret {
                self.problems.extend(secret::suspicious(&object));
            }
            match self.objects.entry(object.id.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(object);
                }
                Entry::Occupied(entry) => {
                    let first = entry.get();
                    let Position { line, .. } = first.node.locate("kind");
                    self.problems.push(object.problem(
                        "metadata.name",
                        format!(
                            "this {} is also at {}:{line}, which is the one in use: remove or rename one",
                            object.id.kind,
                            first.file.display(),
                        ),
                    ));
                }
            }
        }
    }
}

/// A file's content, and its text where the whole of it is good.
fn read_file(path: &Path, text: io::Result<String>, known: bool) -> (Content, Option<String>) {
    let mut content = Content::default();
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            let problem = Diagnostic::error(path, None, format!("can't be read: {error}"));
            content.problems.push(problem);
            return (content, None);
        }
    };
    // Editors empty a file before they write it, and disks fill up.
    if known && text.trim().is_empty() {
        content.problems.push(Diagnostic::error(
            path,
            Some(Position::START),
            "the file is empty: delete it to remove its objects",
        ));
        return (content, None);
    }
    content.read(path, &text);
    let good = content
        .problems
        .iter()
        .all(|problem| problem.severity != Severity::Error);
    (content, good.then_some(text))
}

impl Content {
    fn read(&mut self, path: &Path, text: &str) {
        match node::parse(text) {
            Ok(documents) => {
                for document in documents {
                    object::read(path, document, &mut self.objects, &mut self.problems);
                }
            }
            Err(error) => {
                let problem = Diagnostic::error(path, Some(error.position), error.message);
                self.problems.push(problem);
            }
        }
        for object in &self.objects {
            if matches!(object.id.kind, Kind::Secret | Kind::ConfigMap)
                && let Err(problems) = secret::values(object)
            {
                self.problems.extend(problems);
            }
        }
    }
}

/// The note that a bad file's objects are not gone.
fn stays(path: &Path) -> Diagnostic {
    Diagnostic::error(path, None, "what this file held before stays in use").warning()
}

/// The objects of a text that is no longer in its file.
fn outdated(path: &Path, text: &str) -> Vec<Object> {
    let mut content = Content::default();
    content.read(path, text);
    for object in &mut content.objects {
        object.current = false;
    }
    content.objects
}

fn read_text(path: &Path) -> io::Result<String> {
    read_to_end(File::open(path)?)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
