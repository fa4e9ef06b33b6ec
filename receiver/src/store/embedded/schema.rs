//! The database file: its tables, the settings of a connection, and what is checked at open.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, OpenFlags};

use super::{fault, wal};
use crate::store::Error;

/// `HkSw` in the file's header, so that `file` and we can tell whose database it is.
const APPLICATION_ID: i32 = 0x486b_5377;
/// The layout below. A newer one is refused, an older one is migrated here.
const VERSION: i32 = 3;
/// Up to this size the whole file is checked at open; it takes some tens of milliseconds.
const CHECKED_AT_OPEN: u64 = 32 << 20;
/// Statements kept prepared by each connection: more than there are.
const STATEMENTS: usize = 128;

/// How long to wait for somebody who looks with `sqlite3`.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// Settings of the file and of the connection that writes. Each with its reason.
const WRITER: &str = "
    PRAGMA journal_mode = WAL;           -- a commit is one append and one sync; readers never wait
    PRAGMA synchronous = FULL;           -- the log is synced at every commit: that is the promise
    PRAGMA fullfsync = ON;               -- on macOS a plain fsync does not reach the disk
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA wal_autocheckpoint = 0;       -- the writer does it, since SQLite would ignore a failed sync in it
    PRAGMA journal_size_limit = 67108864;-- after a burst the log is cut back to 64 MiB
    PRAGMA cache_size = -8192;           -- 8 MiB: the tail of every table and the inner pages of the indexes
    PRAGMA temp_store = MEMORY;          -- no files elsewhere
    PRAGMA foreign_keys = OFF;           -- there are none: what is removed together is removed by one function
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;         -- find a damaged page when it is read, not later
";

/// Settings of the connections that read.
const READER: &str = "
    PRAGMA query_only = ON;
    PRAGMA cache_size = -4096;
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;
";

/// The tables. `auto_vacuum` stays off: pages that a purge frees are used again, and the file keeps
/// the size of its fullest moment.
const TABLES: &str = "
CREATE TABLE subscription (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    planned INTEGER NOT NULL,            -- the last planned place
    bytes INTEGER NOT NULL,              -- what counts against storedBytes
    removed_since INTEGER,               -- when the configuration was first seen without it
    UNIQUE (namespace, name)
) STRICT;

CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    subscription INTEGER NOT NULL,
    uid BLOB NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    time INTEGER,
    accepted_at INTEGER NOT NULL,
    subject TEXT,
    sender TEXT,
    hops INTEGER NOT NULL,
    content_type TEXT,
    disposition INTEGER NOT NULL,
    digest BLOB NOT NULL,                -- of the body as it came; checked whenever the body is read
    remember_until INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- Unplanned events that are no longer among the recent ones in memory.
CREATE TABLE backlog (
    subscription INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (subscription, seq)
) WITHOUT ROWID, STRICT;

-- Which uids are in which stretch of events. Its end is where the recent events begin.
CREATE TABLE chapter (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    min BLOB NOT NULL,
    max BLOB NOT NULL
) STRICT;

-- The dedup entries of events that are no longer recent: see dedup.rs.
CREATE TABLE dedup (
    slot INTEGER PRIMARY KEY,            -- run << 9 | the key's first 9 bits
    entries BLOB NOT NULL
) STRICT;
CREATE TABLE dedup_run (
    run INTEGER PRIMARY KEY,
    entries INTEGER NOT NULL,
    until INTEGER NOT NULL,              -- when the last of them expires
    filter BLOB NOT NULL
) STRICT;

CREATE TABLE plan (
    seq INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL,
    planned_at INTEGER NOT NULL,
    verdicts ANY,                        -- a row of `verdicts`, or the list itself, or nothing for an empty one
    suppressions TEXT
) STRICT;
CREATE TABLE verdicts (id INTEGER PRIMARY KEY, list TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    route TEXT NOT NULL,
    destination TEXT NOT NULL,
    pending INTEGER NOT NULL,
    dead INTEGER NOT NULL,
    UNIQUE (namespace, route, destination)
) STRICT;
CREATE TABLE rule (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
-- What the frozen requests of one rule have in common.
CREATE TABLE shape (id INTEGER PRIMARY KEY, shape TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE delivery (
    key INTEGER PRIMARY KEY,             -- the event's seq << 20 | its place in the plan
    subscription INTEGER NOT NULL,
    id BLOB NOT NULL,
    lane INTEGER NOT NULL,
    rule INTEGER NOT NULL,
    shape ANY,                           -- a row of `shape`, or the shape itself, or nothing: it could not be rendered
    state INTEGER NOT NULL,              -- -1 waits for its look-ups, 0 ready, 1 blocked, 2 claimed, 3 delivered, 4 dead, 5 waits for a timer
    attempts INTEGER NOT NULL,
    interrupted INTEGER NOT NULL,
    planned_at INTEGER NOT NULL,
    due INTEGER NOT NULL,
    chain INTEGER,                       -- a hash of lane, subscription and subject, where they are ordered
    echo BLOB,
    echo_window INTEGER,
    ended_at INTEGER,
    reason INTEGER,
    tries TEXT,                          -- [[number, started, finished, status, reason, ambiguous, excerpt], ...]
    look_ups TEXT                        -- [{name, failed}, ...], as they were made last
) STRICT;
CREATE INDEX delivery_id ON delivery (id) WHERE state <> 3;
CREATE INDEX delivery_due ON delivery (lane, due) WHERE state = 0;
CREATE INDEX delivery_unrendered ON delivery (lane, due) WHERE state = -1;
CREATE INDEX delivery_pending ON delivery (lane) WHERE state <= 2;
CREATE INDEX delivery_claimed ON delivery (state) WHERE state = 2;
CREATE INDEX delivery_chain ON delivery (chain) WHERE state <= 2 AND chain IS NOT NULL;
CREATE INDEX delivery_dead ON delivery (subscription, ended_at) WHERE state = 4;
CREATE INDEX delivery_dead_place ON delivery (state) WHERE state = 4; -- by key, for lists

-- Rendered bodies stand apart: they never change, the delivery's row does.
CREATE TABLE rendered (
    key INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- Events of which nothing is pending and nothing is dead, by when that was so.
CREATE TABLE finished (
    subscription INTEGER NOT NULL,
    at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (subscription, at, seq)
) WITHOUT ROWID, STRICT;

CREATE TABLE mark (
    id BLOB PRIMARY KEY,                 -- the delivery's
    lane INTEGER NOT NULL,
    key BLOB NOT NULL,
    claimed_at INTEGER NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX mark_key ON mark (lane, key);
CREATE INDEX mark_until ON mark (until);

CREATE TABLE write_back (
    lane INTEGER NOT NULL,
    subject TEXT NOT NULL,
    at INTEGER NOT NULL,
    delivery INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (lane, subject, at, delivery)
) WITHOUT ROWID, STRICT;
CREATE INDEX write_back_until ON write_back (until);

-- What of which rule remembers, for one subscription.
CREATE TABLE scope (
    id INTEGER PRIMARY KEY,
    subscription INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    route TEXT NOT NULL,
    rule TEXT NOT NULL,
    part TEXT NOT NULL,
    timers INTEGER NOT NULL,             -- that wait
    UNIQUE (subscription, namespace, route, rule, part)
) STRICT;
CREATE TABLE memory (
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    kind INTEGER NOT NULL,               -- see memory.rs
    at INTEGER,
    value INTEGER,                       -- a rank, or an event
    since INTEGER,
    until INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID, STRICT;
CREATE INDEX memory_until ON memory (until);

CREATE TABLE timer (
    seq INTEGER NOT NULL,                -- the event that started it
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    at INTEGER NOT NULL,
    due INTEGER NOT NULL,
    state INTEGER NOT NULL,              -- 0 waits, 1 fired, 2 cancelled, 3 removed
    once TEXT,
    ended_at INTEGER,
    ended_by INTEGER,                    -- the event that cancelled it
    PRIMARY KEY (seq, scope)
) WITHOUT ROWID, STRICT;
CREATE INDEX timer_due ON timer (scope, due, at) WHERE state = 0;

-- Events that the process did not survive planning.
CREATE TABLE suspect (seq INTEGER PRIMARY KEY, times INTEGER NOT NULL) STRICT;
";

/// What makes layout 3 of layout 2.
const FROM_2: &str = "
ALTER TABLE delivery ADD COLUMN look_ups TEXT;
ALTER TABLE timer ADD COLUMN ended_by INTEGER;
UPDATE subscription SET bytes = bytes + 128 *
    (SELECT count(*) FROM scope JOIN memory ON memory.scope = scope.id WHERE scope.subscription = subscription.id);
";

/// Opens the connection that writes, and makes or checks the file.
pub(super) fn open_writer(path: &Path) -> Result<Connection, Error> {
    let wrong = |error: rusqlite::Error| fault::at_open(path, &error);
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    match wal::damage(Path::new(&log)) {
        Ok(None) => {}
        Ok(Some(what)) => return Err(fault::damaged(path, &what)),
        Err(error) => {
            return Err(Error::Open(format!(
                "the log of {} can't be read: {error}",
                path.display()
            )));
        }
    }
    create(path)?;
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(wrong)?;
    common(&connection).map_err(wrong)?;
    connection.execute_batch(WRITER).map_err(wrong)?;
    prepare_file(&connection, path)?;
    if std::fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_AT_OPEN) {
        check(&connection, path)?;
    }
    Ok(connection)
}

/// Writes a page, and changes nothing.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "user_version", VERSION)
}

/// Copies the log into the file, syncs both, and leaves the log empty. Where somebody reads with
/// `sqlite3` or the disk is full, as much of it as can be.
pub(super) fn empty_log(connection: &Connection) -> rusqlite::Result<()> {
    match connection.wal_checkpoint_v2(Some(rusqlite::MAIN_DB), CheckpointMode::TRUNCATE) {
        // What could not be copied is safe in the log.
        Err(error) if !fault::is_busy(&error) && !fault::is_full(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Makes the file for its owner alone, as it holds what customers write. SQLite gives its log the same
/// rights.
fn create(path: &Path) -> Result<(), Error> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::Open(format!(
            "{} can't be made: {error}",
            path.display()
        ))),
    }
}

/// Opens a connection that reads. The file exists and was checked.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let open = || {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        common(&connection)?;
        connection.execute_batch(READER)?;
        Ok(connection)
    };
    open().map_err(|error| fault::at_open(path, &error))
}

/// Reads every page and reports the first thing that is wrong with them.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), Error> {
    let said: String = connection
        .query_row("PRAGMA quick_check(1)", (), |row| row.get(0))
        .map_err(|error| fault::at_open(path, &error))?;
    if said == "ok" {
        Ok(())
    } else {
        Err(fault::damaged(path, &said))
    }
}

fn common(connection: &Connection) -> rusqlite::Result<()> {
    // Nobody else may write here, but somebody may look with `sqlite3`.
    connection.busy_timeout(BUSY)?;
    // A checkpoint is the writer's to decide: after a failed sync there must be none, not even at close.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // A statement is planned once. Else each use of a cached one plans it anew, since the values that
    // are bound might make another plan better: four fifths of the time of a small read.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// Makes the tables in a new file; refuses a file that is not ours or is newer than we are.
fn prepare_file(connection: &Connection, path: &Path) -> Result<(), Error> {
    let number = |pragma: &str| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i32>(0))
            .map_err(|error| fault::at_open(path, &error))
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    let empty: bool = connection
        .query_row("SELECT count(*) = 0 FROM sqlite_schema", (), |row| {
            row.get(0)
        })
        .map_err(|error| fault::at_open(path, &error))?;
    if empty && application == 0 && version == 0 {
        return connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; {TABLES}
                 PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
            ))
            .map_err(|error| fault::at_open(path, &error));
    }
    if application != APPLICATION_ID {
        return Err(Error::Open(format!(
            "{} is an SQLite database, but not one of Hookswitch's (application_id {application:#x}): choose another data directory",
            path.display()
        )));
    }
    if version == 2 {
        return connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; {FROM_2} PRAGMA user_version = {VERSION}; COMMIT;"
            ))
            .map_err(|error| fault::at_open(path, &error));
    }
    if version != VERSION {
        return Err(Error::Open(format!(
            "{} has layout {version} and this program knows layout {VERSION}: run the version of Hookswitch that wrote it, or a newer one",
            path.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    /// Else every commit would write the file's times too, which takes a second write of the disk.
    #[test]
    fn sqlite_is_built_as_cargo_config_says() {
        let connection = Connection::open_in_memory().unwrap();
        let mut list = connection.prepare("PRAGMA compile_options").unwrap();
        let options: Vec<String> = list
            .query_map((), |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        // HAVE_FDATASYNC is not listed; it stands on the same line of .cargo/config.toml as these.
        for option in ["DEFAULT_MEMSTATUS=0", "OMIT_SHARED_CACHE"] {
            assert!(options.iter().any(|found| found == option), "{options:?}");
        }
    }

    #[test]
    fn a_cached_statement_is_planned_once_whatever_is_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        drop(open_writer(&path).unwrap());
        let connection = open_reader(&path).unwrap();
        for seq in [7, 8, 9] {
            let mut find = connection
                .prepare_cached(
                    "SELECT s.name FROM event e JOIN subscription s ON s.id = e.subscription WHERE e.seq = ?",
                )
                .unwrap();
            assert!(!find.exists([seq]).unwrap());
            assert_eq!(find.get_status(StatementStatus::RePrepare), 0);
        }
    }
}
