//! The data directory's lock: one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use crate::store::Error;

/// The name of the locked file. It holds the id of the process that has the lock.
const FILE: &str = "lock";

/// Held as long as one of its clones is; the system releases it when the process ends.
#[derive(Debug, Clone)]
pub(in crate::store) struct Lock(#[expect(dead_code, reason = "held for its lock")] Arc<File>);

impl Lock {
    /// Takes the lock, or says who has it.
    pub(in crate::store) fn take(dir: &Path) -> Result<Self, Error> {
        let unusable = |error: std::io::Error| {
            Error::Open(format!(
                "the data directory {} can't be used: {error}",
                dir.display()
            ))
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(FILE))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let holder = match file.read_to_string(&mut holder) {
                    Ok(_) if !holder.trim().is_empty() => {
                        format!("the process {}", holder.trim())
                    }
                    _ => "another process".to_owned(),
                };
                return Err(Error::Open(format!(
                    "the data directory {} is in use by {holder}: stop that one, or choose another directory with --data",
                    dir.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let note = || -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        // The id is for people; the lock holds without it, as on a full disk.
        let mut note = note;
        if let Err(error) = note() {
            tracing::debug!(%error, "the lock file could not be written");
        }
        Ok(Self(Arc::new(file)))
    }
}
