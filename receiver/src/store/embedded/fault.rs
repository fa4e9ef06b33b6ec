//! What an error of SQLite's means for the store.

use std::path::Path;

use rusqlite::{ErrorCode, ffi};

use crate::store::Error;

/// What the writer does about an error in a transaction.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Roll back, say so, go on.
    Full(String),
    /// Roll back, say so, and stop: the file is damaged.
    Corrupt(String),
    /// Stop: it can't be known what is durable.
    Fatal(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            _ if is_full(&error) => Self::Full(text),
            Some(code) if is_damage(code) => Self::Corrupt(text),
            _ => Self::Fatal(text),
        }
    }
}

/// A value in the file that can't be what was written there.
impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Corrupt(damage.0)
    }
}

impl Fault {
    /// What is answered to those whose operations were in the transaction.
    pub(super) fn error(&self) -> Error {
        match self {
            Self::Full(text) => Error::Full(text.clone()),
            Self::Corrupt(text) => Error::Corrupt(text.clone()),
            Self::Fatal(text) => Error::Stopped(text.as_str().into()),
        }
    }
}

/// A value in the file that can't be what was written there: which, and where.
#[derive(Debug, Clone)]
pub(super) struct Damage(pub(super) String);

/// An error of a read.
#[derive(Debug)]
pub(super) enum ReadFault {
    Sql(rusqlite::Error),
    Damage(Damage),
}

impl From<rusqlite::Error> for ReadFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Damage> for ReadFault {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl ReadFault {
    /// What is wrong with one row; any other fault as it is: it concerns more than that.
    pub(super) fn of_a_row(self) -> Result<String, Self> {
        use rusqlite::Error as Sql;
        match self {
            Self::Damage(Damage(text)) => Ok(text),
            Self::Sql(
                error @ (Sql::FromSqlConversionFailure(..)
                | Sql::IntegralValueOutOfRange(..)
                | Sql::InvalidColumnType(..)
                | Sql::Utf8Error(..)),
            ) => Ok(error.to_string()),
            other @ Self::Sql(_) => Err(other),
        }
    }
}

impl From<ReadFault> for Fault {
    fn from(fault: ReadFault) -> Self {
        match fault {
            ReadFault::Sql(error) => error.into(),
            ReadFault::Damage(damage) => damage.into(),
        }
    }
}

impl From<ReadFault> for Error {
    fn from(fault: ReadFault) -> Self {
        match fault {
            ReadFault::Sql(error) => match error.sqlite_error_code() {
                Some(code) if is_damage(code) => Self::Corrupt(error.to_string()),
                _ => Self::Read(error.to_string()),
            },
            ReadFault::Damage(Damage(text)) => Self::Corrupt(text),
        }
    }
}

/// An error while the file is opened.
pub(super) fn at_open(path: &Path, error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(code) if is_damage(code) => damaged(path, &error.to_string()),
        Some(ErrorCode::DiskFull) => Error::Full(format!(
            "{} can't be opened: free some space, then start again",
            path.display()
        )),
        _ => Error::Open(format!("{}: {error}", path.display())),
    }
}

/// The file is damaged, and what can be done.
pub(super) fn damaged(path: &Path, what: &str) -> Error {
    Error::Corrupt(format!(
        "{}: {what}; keep a copy of the directory, then restore a backup or save what can be read with `sqlite3 {} .recover`",
        path.display(),
        path.display()
    ))
}

/// Whether the disk has no room. That the log's index in shared memory could not grow is for want of
/// space as well.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|cause| {
        cause.code == ErrorCode::DiskFull || cause.extended_code == ffi::SQLITE_IOERR_SHMSIZE
    })
}

/// Whether another process is in the way.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

fn is_damage(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
}
