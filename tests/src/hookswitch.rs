//! The program under test, as a user starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;

use crate::{programs, wait};

/// A directory of YAML and a data directory, both gone with the test.
#[derive(Debug)]
pub struct Workspace {
    root: TempDir,
}

impl Workspace {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let root = TempDir::with_prefix("hookswitch-test-").expect("a temporary directory");
        std::fs::create_dir(root.path().join("config")).expect("a config directory");
        Self { root }
    }

    /// Writes a file of YAML, atomically, as editors do.
    pub fn write(&self, name: &str, yaml: &str) {
        let path = self.config().join(name);
        let new = self.root.path().join(format!("{name}.new"));
        std::fs::write(&new, yaml).expect("the file can be written");
        std::fs::rename(&new, &path).expect("the file can be put in place");
    }

    /// Where the YAML is.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.path().join("config")
    }

    /// Where the store is.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

/// How it is started.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Another program than the one that is built, such as an earlier version.
    pub program: Option<PathBuf>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Further variables of the environment.
    pub environment: Vec<(String, String)>,
}

/// A running `hookswitch run`.
#[derive(Debug)]
pub struct Hookswitch {
    /// Where webhooks come in.
    pub hooks: SocketAddr,
    /// Where health and metrics stand.
    pub metrics: SocketAddr,
    /// Where the admin API stands.
    pub admin: SocketAddr,
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Hookswitch {
    /// Starts it on free ports, and waits until it is ready.
    pub async fn start(config: &Path, data: &Path) -> Self {
        Self::start_with(config, data, &[]).await
    }

    /// The same with further arguments.
    pub async fn start_with(config: &Path, data: &Path, arguments: &[&str]) -> Self {
        let start = Start {
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            ..Start::default()
        };
        Self::start_as(config, data, &start).await
    }

    /// The same in a way of its own.
    pub async fn start_as(config: &Path, data: &Path, start: &Start) -> Self {
        Self::launch(&mut start.command(config, data)).await
    }

    /// Starts it, and kills it so long afterwards, ready or not.
    pub async fn start_and_kill(config: &Path, data: &Path, start: &Start, after: Duration) {
        let mut command = start.command(config, data);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let early = tokio::time::timeout(after, child.wait()).await;
        assert!(early.is_err(), "the program ended by itself: {early:?}");
        child.kill().await.expect("the process can be killed");
    }

    /// The same with all that the program and its libraries have to say at this level.
    pub async fn start_verbose(config: &Path, data: &Path, level: &str) -> Self {
        let start = Start {
            environment: vec![("RUST_LOG".to_owned(), level.to_owned())],
            ..Start::default()
        };
        Self::start_as(config, data, &start).await
    }

    async fn launch(command: &mut tokio::process::Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let output = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            tokio::spawn(collect(child.stdout.take(), Arc::clone(&output))),
            tokio::spawn(collect(child.stderr.take(), Arc::clone(&output))),
        ];
        let mut this = Self {
            hooks: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            child,
            output,
            readers,
        };
        let (hooks, metrics, admin) = wait::until(
            "the program to listen",
            Duration::from_secs(30),
            async || {
                if let Ok(Some(status)) = this.child.try_wait() {
                    panic!("the program ended with {status}:\n{}", this.output());
                }
                this.listening()
            },
        )
        .await;
        this.hooks = hooks;
        this.metrics = metrics;
        this.admin = admin;
        wait::until(
            "the program to be ready",
            Duration::from_secs(30),
            async || {
                this.get("/readyz")
                    .await
                    .filter(|(status, _)| *status == 200)
            },
        )
        .await;
        this
    }

    /// Starts it where it can't run; gives all that it printed.
    pub async fn fails_to_start(config: &Path, data: &Path) -> String {
        let run = Start::default().command(config, data).output();
        let ended = tokio::time::timeout(Duration::from_secs(30), run)
            .await
            .expect("the program ends")
            .expect("the program starts");
        assert!(
            !ended.status.success(),
            "the program started, and ended well"
        );
        String::from_utf8_lossy(&ended.stdout).into_owned()
            + &String::from_utf8_lossy(&ended.stderr)
    }

    /// The log's line that tells the addresses.
    fn listening(&self) -> Option<(SocketAddr, SocketAddr, SocketAddr)> {
        self.output().lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let fields = line.get("fields").unwrap_or(&line);
            let address = |name: &str| fields.get(name)?.as_str()?.parse().ok();
            Some((address("hooks")?, address("metrics")?, address("admin")?))
        })
    }

    /// A subscription's URL.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.hooks)
    }

    /// Status and body of a path on the metrics address; `None` where nobody answers.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        crate::sender::crypto();
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let answer = client
            .get(format!("http://{}{path}", self.metrics))
            .send()
            .await
            .ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    /// The sum of a metric's samples whose labels hold all of `labels`, such as `reason="echo"`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let (_, text) = self.get("/metrics").await.expect("metrics are served");
        text.lines()
            .filter(|line| {
                line.starts_with(name) && labels.iter().all(|label| line.contains(label))
            })
            .filter(|line| matches!(line.as_bytes().get(name.len()), Some(b'{' | b' ')))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// All that it printed so far, both streams.
    #[must_use]
    pub fn output(&self) -> String {
        self.output
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// SIGKILL: no chance to tidy up.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the process can be killed");
        self.finish().await;
    }

    /// SIGTERM, as Kubernetes does; gives the exit status's success and all output.
    pub async fn terminate(mut self) -> (bool, String) {
        let asked = Command::new("kill")
            .args(["-TERM", &self.pid().to_string()])
            .status()
            .expect("kill starts");
        assert!(asked.success(), "SIGTERM could not be sent");
        let status = tokio::time::timeout(Duration::from_mins(1), self.child.wait())
            .await
            .expect("the process ends within a minute of SIGTERM")
            .expect("the process can be waited for");
        let output = self.finish().await;
        (status.success(), output)
    }

    async fn finish(&mut self) -> String {
        for reader in self.readers.drain(..) {
            reader.await.expect("output is read to its end");
        }
        self.output()
    }
}

impl Start {
    /// `hookswitch run` on free ports.
    fn command(&self, config: &Path, data: &Path) -> tokio::process::Command {
        let built = || programs::folder().join("hookswitch");
        let program = self.program.clone().unwrap_or_else(built);
        let mut command = tokio::process::Command::new(program);
        command
            .arg("run")
            .arg("--filename")
            .arg(config)
            .arg("--data")
            .arg(data)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--metrics",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--log-format",
                "json",
            ])
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// Appends a stream's lines to `output` until it ends.
async fn collect(stream: Option<impl AsyncRead + Unpin>, output: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stream.expect("the stream is piped")).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        output.push_str(&line);
        output.push('\n');
    }
}
