//! Finds the files that `-f` names: every `*.yaml` and `*.yml` under a directory.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::diagnostic::Diagnostic;

/// What `-f` says, once for each time it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, whatever its name ends in, or a directory.
    Path(PathBuf),
    /// Standard input, read to its end at the start.
    Stdin(String),
}

impl Source {
    /// What `-f` says; reads standard input where it is asked for.
    ///
    /// # Errors
    /// Where standard input can't be read.
    pub fn from_args(paths: &[PathBuf]) -> io::Result<Vec<Self>> {
        paths
            .iter()
            .map(|path| {
                if path == Path::new("-") {
                    io::read_to_string(io::stdin()).map(Self::Stdin)
                } else {
                    Ok(Self::Path(path.clone()))
                }
            })
            .collect()
    }
}

/// Sizes and times of every file: equal ones mean that nothing was edited.
pub type Fingerprint = Vec<(PathBuf, Option<(u64, SystemTime)>)>;

/// The files found, and the directories to watch for others.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of their names.
    pub files: BTreeSet<PathBuf>,
    /// Where a change can add or remove a file or change one, targets of symbolic links included.
    pub directories: BTreeSet<PathBuf>,
    /// What could not be looked into: what was found there before is kept.
    pub problems: Vec<Diagnostic>,
}

impl Found {
    /// Sizes and times of what is there.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.files
            .iter()
            .map(|path| {
                let metadata = fs::metadata(path);
                let seen = metadata
                    .and_then(|metadata| Ok((metadata.len(), metadata.modified()?)))
                    .ok();
                (path.clone(), seen)
            })
            .collect()
    }

    /// Looks through every source.
    #[must_use]
    pub fn scan(sources: &[Source]) -> Self {
        let mut found = Self::default();
        for source in sources {
            if let Source::Path(path) = source {
                found.visit(path, &mut BTreeSet::new());
            }
        }
        found
    }

    fn visit(&mut self, path: &Path, parents: &mut BTreeSet<PathBuf>) {
        if let Err(error) = self.try_visit(path, parents) {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
                _ => format!("can't be read: {error}"),
            };
            self.problems.push(Diagnostic::error(path, None, remedy));
        }
    }

    fn try_visit(&mut self, path: &Path, parents: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        self.watch(parent(path));
        let real = fs::canonicalize(path)?;
        if !real.is_dir() {
            self.watch(parent(&real));
            self.files.insert(path.to_owned());
            return Ok(());
        }
        self.watch(path);
        self.watch(&real);
        // A symbolic link to a directory that this one is inside of would never end.
        if !parents.insert(real.clone()) {
            return Ok(());
        }
        for entry in fs::read_dir(path)? {
            let entry = entry?.path();
            if wanted(&entry) {
                self.visit(&entry, parents);
            }
        }
        parents.remove(&real);
        Ok(())
    }

    fn watch(&mut self, directory: &Path) {
        self.directories.insert(directory.to_owned());
    }
}

/// Directories and YAML files. Hidden ones are not: editors' temporary files, and the directories
/// behind a mounted `ConfigMap`, whose files are linked to from beside them.
fn wanted(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let yaml = path
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    !hidden && (yaml || path.is_dir())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn finds_yaml_files_in_any_depth_and_follows_links_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("conf/routes")).unwrap();
        fs::create_dir_all(at("conf/..data")).unwrap();
        for name in [
            "conf/b.yaml",
            "conf/routes/a.yml",
            "conf/notes.txt",
            "conf/.b.yaml.swp",
            "conf/.hidden.yaml",
            "conf/..data/mounted.yaml",
            "elsewhere.yaml",
        ] {
            fs::write(at(name), "").unwrap();
        }
        symlink(at("conf"), at("conf/routes/back")).unwrap();
        symlink(at("conf/..data/mounted.yaml"), at("conf/mounted.yaml")).unwrap();
        symlink(at("nowhere"), at("conf/broken.yaml")).unwrap();
        let found = Found::scan(&[Source::Path(at("conf")), Source::Path(at("elsewhere.yaml"))]);
        let names: Vec<_> = found
            .files
            .iter()
            .map(|path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "conf/b.yaml",
                "conf/mounted.yaml",
                "conf/routes/a.yml",
                "elsewhere.yaml"
            ]
        );
        assert!(found.directories.contains(&at("conf/..data")));
        assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
        assert_eq!(found.problems[0].file, Some(at("conf/broken.yaml")));
    }
}
