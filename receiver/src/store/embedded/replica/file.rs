//! A replica's file from outside, while no engine has it open: where it stands, its removal, its copies.

use std::path::Path;

use rusqlite::Connection;

use crate::store::Error;
use crate::store::embedded::codec::unsigned;
use crate::store::embedded::{FILE, fault, schema};

/// The file that says that the copy beside it is not to be used any more, and why.
pub(super) const GIVEN_UP: &str = "given-up";
/// The file with what was said of the copy before.
const BEFORE: &str = "given-up-before";

/// Where a copy stands in which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Position {
    /// The log, by when it was made.
    pub(in crate::store) stream: String,
    /// The last message that is in the copy.
    pub(in crate::store) applied: u64,
}

/// Where the copy in a directory stands; `None` where there is none that can be used.
///
/// # Errors
/// [`Error::Open`] where the directory holds the store of an embedded engine.
pub(in crate::store) fn position(dir: &Path) -> Result<Option<Position>, Error> {
    let path = dir.join(FILE);
    let given_up = dir.join(GIVEN_UP);
    if let Ok(why) = std::fs::read_to_string(&given_up) {
        tracing::warn!(dir = %dir.display(), why, "the copy is damaged: it is made anew");
        let before = dir.join(BEFORE);
        std::fs::write(&before, why).map_err(|error| {
            Error::Open(format!("{} can't be written: {error}", before.display()))
        })?;
        remove(dir)?;
    }
    if !path.exists() {
        return Ok(None);
    }
    match position_of(&path) {
        Ok(position) => Ok(Some(position)),
        Err(Error::Corrupt(why)) => {
            tracing::warn!(dir = %dir.display(), why, "the copy is damaged: it is made anew");
            remove(dir)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Why the copy before this one was given up; nothing where it was not.
pub(in crate::store) fn before(dir: &Path) -> String {
    std::fs::read_to_string(dir.join(BEFORE)).unwrap_or_default()
}

/// Where the copy in a file stands.
pub(in crate::store) fn position_of(path: &Path) -> Result<Position, Error> {
    let wrong = |error: rusqlite::Error| fault::at_open(path, &error);
    let connection = schema::open_reader(path)?;
    if !is_replica(&connection).map_err(wrong)? {
        return Err(Error::Open(format!(
            "{} is the store of an embedded engine, whose events no other receiver has: run with --store embedded until it is empty, or choose another data directory",
            path.display()
        )));
    }
    connection
        .query_row("SELECT stream, applied FROM log", (), |row| {
            Ok(Position {
                stream: row.get(0)?,
                applied: unsigned(row.get(1)?),
            })
        })
        .map_err(wrong)
}

/// Whether a database is one of a replica.
pub(in crate::store::embedded) fn is_replica(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'log')",
        (),
        |row| row.get(0),
    )
}

/// Removes the copy in a directory.
pub(in crate::store) fn remove(dir: &Path) -> Result<(), Error> {
    let files = [
        FILE.to_owned(),
        format!("{FILE}-wal"),
        format!("{FILE}-shm"),
        // Last: until then the rest is not used.
        GIVEN_UP.to_owned(),
    ];
    for file in files {
        match std::fs::remove_file(dir.join(&file)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::Open(format!(
                    "{} can't be removed: {error}",
                    dir.join(&file).display()
                )));
            }
        }
    }
    Ok(())
}

/// Copies a replica's file, as it is at one moment, while it is in use; says where the copy stands.
pub(in crate::store) fn copy(dir: &Path, to: &Path) -> Result<Position, Error> {
    let path = dir.join(FILE);
    let failed = |error: rusqlite::Error| {
        Error::Read(format!("{} can't be copied: {error}", path.display()))
    };
    let connection = Connection::open(&path).map_err(failed)?;
    let target = to.to_string_lossy();
    connection
        .execute("VACUUM INTO ?", [target.as_ref()])
        .map_err(failed)?;
    position_of(to)
}
