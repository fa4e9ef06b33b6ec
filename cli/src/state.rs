//! What a restart must know of the configuration, in one file beside the store.
//!
//! A restart with a bad file then goes on with what the file held when it was last good. The file
//! holds Secrets, so only its owner may read it, and it is replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hookswitch_crds::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

use crate::files::LastGood;
use crate::generations::Generations;

/// The file's name.
const NAME: &str = "last-good.json";
/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) format: u32,
    /// The last snapshot that was published.
    pub(crate) snapshot: Snapshot,
    /// The text of every file when it was last good.
    pub(crate) files: LastGood,
    /// The generation of every object.
    pub(crate) generations: Generations,
}

/// Why the state can't be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The disk says no.
    #[error("can't {what} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{} is damaged, or of another version: remove it to start without the last good configuration", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl State {
    /// The state before the first start.
    pub(crate) fn empty() -> Self {
        Self::new(Snapshot::empty(), LastGood::new(), Generations::default())
    }

    pub(crate) fn new(snapshot: Snapshot, files: LastGood, generations: Generations) -> Self {
        Self {
            format: FORMAT,
            snapshot,
            files,
            generations,
        }
    }

    /// Where it is kept.
    pub(crate) fn path(data: &Path) -> PathBuf {
        data.join(NAME)
    }

    /// Reads what the last run wrote; empty before the first.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub(crate) fn load(data: &Path) -> Result<Self, Error> {
        let path = Self::path(data);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::empty()),
            Err(source) => {
                return Err(Error::Io {
                    what: "read",
                    path,
                    source,
                });
            }
        };
        serde_json::from_slice(&bytes)
            .ok()
            .filter(|state: &Self| state.format == FORMAT)
            .ok_or(Error::Damaged { path })
    }

    /// Writes it: durable once this returns, and never half of it.
    ///
    /// # Errors
    /// Where it can't be written; what was there before stays.
    pub(crate) fn store(&self, data: &Path) -> Result<(), Error> {
        let path = Self::path(data);
        self.try_store(data, &path).map_err(|source| Error::Io {
            what: "write",
            path,
            source,
        })
    }

    fn try_store(&self, data: &Path, path: &Path) -> io::Result<()> {
        fs::create_dir_all(data)?;
        let temporary = path.with_extension("json.new");
        // One that was left behind may have another mode.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        #[cfg(unix)]
        File::open(data)?.sync_all()?;
        Ok(())
    }
}

/// A new file that only its owner may read.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn comes_back_as_it_was_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::load(dir.path()).unwrap(), State::empty());
        let mut generations = Generations::default();
        generations.of("EventRoute a/b", Some(&json!({"rules": []})));
        let files = LastGood::from([("/a.yaml".into(), "kind: Secret".into())]);
        let state = State::new(Snapshot::empty(), files, generations);
        for _ in 0..2 {
            state.store(dir.path()).unwrap();
            assert_eq!(State::load(dir.path()).unwrap(), state);
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(dir.path().join(NAME))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), "{").unwrap();
        let error = State::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}
