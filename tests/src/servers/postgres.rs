//! A `PostgreSQL` server, of the system's own package, on a free loopback port.
//!
//! It takes connections with TLS and without, and asks for a password. The first test that asks starts
//! it; each takes a [`Database`] of its own. `PostgreSQL` refuses to run as root: there it runs as
//! `nobody`.
//!
//! Its programs are looked for on `$PATH`, then in `/usr/lib/postgresql/*/bin`, where Debian's package
//! puts them.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::process::{Folder, Process};
use super::{certificates, free_port};
use crate::wait;

/// Where Debian's package puts each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// `nobody` and `nogroup`, by Debian's numbers.
const NOBODY: u32 = 65_534;
/// How long it may take to come up.
const UP: Duration = Duration::from_mins(1);
/// Asks it to end at once, but to give back its shared memory, of which a system has few pieces:
/// <https://www.postgresql.org/docs/current/server-shutdown.html>.
const IMMEDIATE_SHUTDOWN: &str = "QUIT";

/// The one who owns all.
const USER: &str = "hookswitch";
/// The password of [`USER`].
const PASSWORD: &str = "planted-postgres-password-9d3e";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    // Fields are dropped in this order.
    process: Option<Process>,
    port: u16,
    programs: PathBuf,
    authority: String,
    folder: Folder,
}

/// A database of a test's own. It stays until the server goes.
#[derive(Debug)]
pub struct Database {
    name: String,
    port: u16,
    programs: PathBuf,
}

impl Postgres {
    /// The server that all tests of this binary share.
    ///
    /// # Panics
    /// Where it can't start, with the reason.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// One for this test alone, to be disturbed. Prefer [`Postgres::shared`].
    ///
    /// # Panics
    /// Where it can't start, with the reason.
    pub async fn start() -> Self {
        let programs = programs();
        let folder = Folder::new("hookswitch-postgres-");
        hand_over(folder.path());
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).expect("a password");
        hand_over(&password);
        initialise(&programs, &folder, &password).await;
        let authority = certificates::write(folder.path());
        for name in ["server.crt", "server.key"] {
            let path = folder.path().join(name);
            private(&path);
            hand_over(&path);
        }
        let mut this = Self {
            process: None,
            port: free_port(),
            programs,
            authority,
            folder,
        };
        this.restart().await;
        this
    }

    /// Stops it. Its port stays free, and its data stay.
    pub fn stop(&mut self) {
        drop(self.process.take());
    }

    /// Starts it anew on the same port, with the same data.
    ///
    /// # Panics
    /// Where it can't start, with the reason.
    pub async fn restart(&mut self) {
        self.stop();
        let at = self.folder.path().display();
        let settings = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            "fsync=off".to_owned(),
            "max_connections=200".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={at}/server.crt"),
            format!("ssl_key_file={at}/server.key"),
        ];
        let mut arguments = vec!["-D".to_owned(), format!("{at}/data")];
        for setting in settings {
            arguments.extend(["-c".to_owned(), setting]);
        }
        let (program, arguments) = as_nobody(&self.programs.join("postgres"), &arguments);
        let log = self.folder.path().join("postgres.log");
        let mut process = Process::start_tidy(&program, arguments, &log, IMMEDIATE_SHUTDOWN);
        let maintenance = self.existing("postgres");
        wait::until("postgres", UP, async || {
            if let Some(status) = process.ended() {
                panic!("postgres ended with {status}:\n{}", process.log());
            }
            maintenance.psql("select 1").await.ok()
        })
        .await;
        self.process = Some(process);
    }

    /// A new database.
    pub async fn database(&self) -> Database {
        let name = format!("test_{}", uuid::Uuid::now_v7().simple());
        let create = format!("create database {name}");
        self.existing("postgres").execute(&create).await;
        self.existing(&name)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The certificate, in PEM, that the server's own is signed with; its own is for 127.0.0.1 and
    /// localhost.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    fn existing(&self, name: &str) -> Database {
        Database {
            name: name.to_owned(),
            port: self.port,
            programs: self.programs.clone(),
        }
    }
}

impl Database {
    /// Its URL, with user and password.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{}",
            self.port, self.name
        )
    }

    /// Runs statements.
    ///
    /// # Panics
    /// Where they fail, with what the server says.
    pub async fn execute(&self, statements: &str) {
        if let Err(error) = self.psql(statements).await {
            panic!("{error}\n{statements}");
        }
    }

    /// The rows that a query gives, each as an object.
    ///
    /// # Panics
    /// Where it fails, with what the server says.
    pub async fn rows(&self, query: &str) -> Vec<Value> {
        let json = format!("select coalesce(json_agg(r), '[]') from ({query}) r");
        let text = self
            .psql(&json)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{query}"));
        serde_json::from_str(&text).expect("PostgreSQL writes JSON")
    }

    async fn psql(&self, statements: &str) -> Result<String, String> {
        let output = Command::new(self.programs.join("psql"))
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
            .args(["--set=ON_ERROR_STOP=1", "--command", statements])
            .arg(self.url())
            .kill_on_drop(true)
            .output()
            .await
            .expect("psql starts");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// The folder of the programs.
fn programs() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|version| {
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .collect();
    debian.sort_unstable_by(|one, other| other.cmp(one));
    env::split_paths(&path)
        .chain(debian.into_iter().map(|(_, folder)| folder))
        .find_map(|folder| complete(&folder))
        .unwrap_or_else(|| {
            panic!(
                "this test needs PostgreSQL: run `make needs`, or install Debian's package `postgresql`. Neither \
                 PATH nor {DEBIAN}/*/bin has initdb, postgres and psql"
            )
        })
}

/// The folder, where it has all programs, of one version. On `$PATH` they can be links into it.
fn complete(folder: &Path) -> Option<PathBuf> {
    let server = fs::canonicalize(folder.join("postgres")).ok()?;
    let folder = server.parent()?;
    ["initdb", "psql"]
        .iter()
        .all(|program| folder.join(program).is_file())
        .then(|| folder.to_owned())
}

async fn initialise(programs: &Path, folder: &Folder, password: &Path) {
    let data = folder.path().join("data");
    let mut arguments: Vec<OsString> = ["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8"]
        .map(Into::into)
        .into();
    arguments.extend(["--locale=C".into(), format!("--username={USER}").into()]);
    arguments.extend(["--pwfile".into(), password.into()]);
    arguments.extend(["--pgdata".into(), data.into()]);
    let (program, arguments) = as_nobody(&programs.join("initdb"), &arguments);
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .await
        .expect("initdb starts");
    assert!(
        output.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// PostgreSQL wants its key to be read by nobody else.
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("permissions");
}

/// Gives a file to who the server runs as.
fn hand_over(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give a file away");
    }
}

/// The command line that runs a program as `nobody` where this is root.
fn as_nobody<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> (PathBuf, Vec<OsString>) {
    let arguments = arguments.iter().map(|argument| argument.as_ref().into());
    if !is_root() {
        return (program.to_owned(), arguments.collect());
    }
    let user = format!("--reuid={NOBODY}");
    let group = format!("--regid={NOBODY}");
    let before = [user.into(), group.into(), "--clear-groups".into()];
    let whole = before.into_iter().chain([program.into()]).chain(arguments);
    (PathBuf::from("setpriv"), whole.collect())
}

/// Whose process this is, by who owns it in `/proc`; elsewhere, who owns the home folder.
fn is_root() -> bool {
    let of = |path: &Path| fs::metadata(path).map(|it| it.uid()).ok();
    of(Path::new("/proc/self"))
        .or_else(|| of(&env::home_dir()?))
        .is_some_and(|owner| owner == 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn each_test_has_a_database_of_its_own() {
        let server = Postgres::shared().await;
        let (one, other) = (server.database().await, server.database().await);
        for database in [&one, &other] {
            database
                .execute("create table t (id int primary key, name text)")
                .await;
        }
        one.execute("insert into t values (1, 'a')").await;
        assert_eq!(
            one.rows("select * from t").await,
            [json!({"id": 1, "name": "a"})]
        );
        assert_eq!(other.rows("select * from t").await, Vec::<Value>::new());
    }

    #[tokio::test]
    async fn it_takes_tls_and_refuses_a_wrong_password() {
        let database = Postgres::shared().await.database().await;
        let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        assert_eq!(database.rows(encrypted).await, [json!({"ssl": true})]);
        let mut wrong = Command::new(database.programs.join("psql"));
        wrong.arg(database.url().replace(PASSWORD, "wrong"));
        let output = wrong
            .args(["-c", "select 1"])
            .output()
            .await
            .expect("psql starts");
        assert!(!output.status.success());
    }

    #[tokio::test]
    async fn it_keeps_its_data_over_a_stop() {
        let mut server = Postgres::start().await;
        let database = server.database().await;
        database.execute("create table t (id int)").await;
        server.stop();
        assert!(database.psql("select 1").await.is_err());
        server.restart().await;
        assert_eq!(database.rows("select * from t").await, Vec::<Value>::new());
    }
}
