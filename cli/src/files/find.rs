//! Finds the files that `-f` names: every `*.yaml` and `*.yml` under a directory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::diagnostic::Diagnostic;

/// How standard input is called in messages.
const STDIN: &str = "<stdin>";
/// The largest file that is read, in bytes: several times what the API server takes for one object.
const MAX_FILE: u64 = 16 << 20;

/// What `-f` says, once for each time it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, whatever its name ends in, or a directory. Followed.
    Path(PathBuf),
    /// Standard input or a pipe: read to its end at the start, as it can be read only once.
    Once {
        /// How it is called in messages.
        name: PathBuf,
        /// What it held.
        text: String,
    },
}

impl Source {
    /// What `-f` says; reads standard input and pipes.
    ///
    /// # Errors
    /// Where one of those can't be read.
    pub fn from_args(paths: &[PathBuf]) -> io::Result<Vec<Self>> {
        paths.iter().map(|path| Self::from_arg(path)).collect()
    }

    fn from_arg(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Once {
                name: STDIN.into(),
                text: read_to_end(io::stdin())?,
            });
        }
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => Ok(Self::Once {
                name: path.to_owned(),
                text: read_to_end(File::open(path)?)?,
            }),
            // What is not there is told where it is looked for.
            Ok(_) | Err(_) => Ok(Self::Path(path.to_owned())),
        }
    }
}

/// Reads text up to [`MAX_FILE`] bytes.
///
/// # Errors
/// Where it can't be read, is longer, or is not UTF-8.
pub(super) fn read_to_end(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    let length = from.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_FILE) {
        return Err(io::Error::other(format!(
            "it has more than {} MiB, which is the most",
            MAX_FILE >> 20
        )));
    }
    Ok(text)
}

/// Sizes and times of every file: equal ones mean that nothing was edited.
pub type Fingerprint = Vec<(PathBuf, Option<(u64, SystemTime)>)>;

/// The files found, and the directories to watch for others.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of their names, each once however many ways lead to it.
    pub files: BTreeSet<PathBuf>,
    /// Where a change can add or remove a file or change one, targets of symbolic links included.
    pub directories: BTreeSet<PathBuf>,
    /// What could not be looked into: what was found there before is kept.
    pub problems: Vec<Diagnostic>,
    /// The files without the links that lead to them.
    real: BTreeSet<PathBuf>,
    /// How many were come upon.
    seen: usize,
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
                found.look_into(path);
            }
        }
        found
    }

    /// A directory without any file is more likely one that is not mounted yet, or that something
    /// is just being put into, than one that is meant.
    fn look_into(&mut self, path: &Path) {
        let before = (self.seen, self.problems.len());
        self.visit(path, &mut BTreeSet::new());
        if before == (self.seen, self.problems.len()) {
            let message = "there is no *.yaml or *.yml file in this directory";
            self.problems.push(Diagnostic::error(path, None, message));
        }
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
        let metadata = fs::metadata(&real)?;
        if metadata.is_file() {
            self.watch(parent(&real));
            self.seen += 1;
            if self.real.insert(real) {
                self.files.insert(path.to_owned());
            }
            return Ok(());
        }
        if !metadata.is_dir() {
            // To read a pipe could take for ever, and a device has no end.
            return Err(io::Error::other("it is neither a file nor a directory"));
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

    #[test]
    fn a_file_counts_once_however_many_ways_lead_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("conf")).unwrap();
        fs::write(at("conf/a.yaml"), "").unwrap();
        symlink(at("conf/a.yaml"), at("conf/b.yaml")).unwrap();
        symlink(at("conf"), at("again")).unwrap();
        let found = Found::scan(&[Source::Path(at("conf")), Source::Path(at("again"))]);
        assert_eq!(found.files.len(), 1, "{found:?}");
        assert!(found.problems.is_empty(), "{found:?}");
    }

    #[test]
    fn a_directory_without_files_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("notes.txt"), "").unwrap();
        let found = Found::scan(&[Source::Path(dir.path().to_owned())]);
        assert_eq!(found.problems.len(), 1, "{found:?}");
        assert_eq!(found.problems[0].file.as_deref(), Some(dir.path()));
    }

    #[test]
    fn a_device_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/dev/zero", dir.path().join("endless.yaml")).unwrap();
        let found = Found::scan(&[Source::Path(dir.path().to_owned())]);
        assert!(found.files.is_empty(), "{found:?}");
        assert!(found.problems[0].message.contains("neither"), "{found:?}");
        let too_long = read_to_end(File::open("/dev/zero").unwrap()).unwrap_err();
        assert!(too_long.to_string().contains("16 MiB"), "{too_long}");
    }
}
