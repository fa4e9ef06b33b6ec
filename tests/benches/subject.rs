//! `hookswitch run`, as anyone would start it: the program that was built, on files and a folder for
//! data, with its defaults.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process::Process;
use crate::request::SIGNING_KEY;

/// The request path of the subscription.
pub(crate) const PATH: &str = "/bench/hooks";
/// The most destinations that a route may have.
const DESTINATIONS_OF_A_ROUTE: usize = 10;
/// The most rules that a route may have, as the resource's schema has it.
const RULES_OF_A_ROUTE: usize = 50;
/// How long a start may take: one with an empty disk fetches a million events first.
const READY: Duration = Duration::from_mins(5);

/// The configuration that is served.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// Rules whose condition is evaluated for every event and is false.
    pub(crate) silent_rules: usize,
    /// Destinations, each a lane of its own; a rule sends every event to the first of them.
    pub(crate) lanes: usize,
    /// Where they are.
    pub(crate) sink: Option<SocketAddr>,
    /// Certificate and key, for TLS.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// The subscription is suspended: what comes in is kept, and nothing is planned.
    pub(crate) suspended: bool,
    /// Only warnings are logged: no line an event.
    pub(crate) quiet: bool,
    /// NATS servers, for the shared store; none for the embedded one.
    pub(crate) nats: Vec<String>,
}

/// A running `hookswitch run`.
pub(crate) struct Hookswitch {
    /// The process; it is killed when this is dropped.
    pub(crate) process: Process,
    /// Where webhooks come in.
    pub(crate) hooks: SocketAddr,
    /// When the process was started.
    pub(crate) started: Instant,
    metrics: SocketAddr,
}

impl Setup {
    /// Writes the resources into a folder.
    fn write(&self, folder: &Path) -> Result<()> {
        let mut yaml = format!(
            "apiVersion: v1\n\
             kind: Secret\n\
             metadata: {{name: keys, namespace: bench}}\n\
             stringData: {{signing-key: {}}}\n\
             ---\n\
             apiVersion: hookswitch.dev/v1alpha1\n\
             kind: WebhookSubscription\n\
             metadata: {{name: hooks, namespace: bench}}\n\
             spec:\n  \
               provider: TGStaff\n  \
               verification: {{hmac: {{secretRefs: [{{name: keys, key: signing-key}}]}}}}\n  \
               limits: {{storedBytes: 64Gi}}\n  \
               suspend: {}\n",
            std::str::from_utf8(SIGNING_KEY)?,
            self.suspended,
        );
        for (number, rules) in chunks(self.silent_rules, RULES_OF_A_ROUTE) {
            route(&mut yaml, &format!("silent-{number}"), 1, &self.url())?;
            for rule in rules {
                write!(
                    yaml,
                    "  - name: rule-{rule}\n    types: [message.received]\n    when: event.data.data.user_id == {rule}\n    deliver: [{{destination: lane-0}}]\n",
                )?;
            }
        }
        for (number, lanes) in chunks(self.lanes, DESTINATIONS_OF_A_ROUTE) {
            route(
                &mut yaml,
                &format!("lanes-{number}"),
                lanes.len(),
                &self.url(),
            )?;
            let types = if number == 0 {
                "message.received"
            } else {
                "other"
            };
            write!(
                yaml,
                "  - name: first\n    types: [{types}]\n    deliver:\n    - destination: lane-0\n      body:\n        \
                 title: \"Telegram user ${{event.data.data.username}} new inquiry\"\n        \
                 conversation: \"${{event.subject}}\"\n        \
                 text: \"${{event.data.data.message.text}}\"\n        \
                 sent_at: \"${{event.data.sent_at}}\"\n",
            )?;
        }
        fs::write(folder.join("bench.yaml"), yaml)?;
        Ok(())
    }

    fn url(&self) -> String {
        self.sink.map_or_else(
            || "http://127.0.0.1:9/".to_owned(),
            |sink| format!("http://{sink}/"),
        )
    }
}

/// The route and the destination of a lane, by its number.
pub(crate) fn lane_name(number: usize) -> (String, String) {
    (
        format!("lanes-{}", number / DESTINATIONS_OF_A_ROUTE),
        format!("lane-{}", number % DESTINATIONS_OF_A_ROUTE),
    )
}

/// Cuts `0..count` into pieces, each with its number.
fn chunks(count: usize, size: usize) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    (0..count)
        .step_by(size)
        .map(move |start| start..count.min(start + size))
        .enumerate()
}

/// The head of a route with its destinations, up to its rules.
fn route(yaml: &mut String, name: &str, lanes: usize, url: &str) -> Result<()> {
    write!(
        yaml,
        "---\napiVersion: hookswitch.dev/v1alpha1\nkind: EventRoute\nmetadata: {{name: {name}, namespace: bench}}\nspec:\n  subscriptionRefs: [{{name: hooks}}]\n  destinations:\n",
    )?;
    for lane in 0..lanes {
        writeln!(
            yaml,
            "  - {{name: lane-{lane}, http: {{url: \"{url}\", allowPrivateNetwork: true}}}}"
        )?;
    }
    yaml.push_str("  rules:\n");
    Ok(())
}

impl Hookswitch {
    /// Starts it on a folder, whose data may be there already, and waits until it is ready.
    pub(crate) fn start(folder: &Path, setup: &Setup) -> Result<Self> {
        let files = folder.join("files");
        fs::create_dir_all(&files)?;
        setup.write(&files)?;
        let [hooks, metrics] = free_ports()?;
        let mut command = Command::new(program()?);
        command
            .args(["run", "-f"])
            .arg(&files)
            .arg("--data")
            .arg(data(folder))
            .args(["--listen", &hooks.to_string()])
            .args(["--metrics", &metrics.to_string()])
            .args(["--admin", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // Each event is a line of the log; what a terminal would do with it is not what is measured.
        if std::env::var_os("HOOKSWITCH_BENCH_LOG").is_none() {
            command.stderr(Stdio::null());
        }
        if setup.quiet {
            command.env("RUST_LOG", "warn");
        } else {
            command.env_remove("RUST_LOG");
        }
        if !setup.nats.is_empty() {
            command
                .args(["--store", "jetstream", "--nats-url"])
                .arg(setup.nats.join(","))
                .args(["--nats-replicas", &setup.nats.len().to_string()]);
        }
        if let Some((certificate, key)) = &setup.tls {
            command
                .arg("--tls-cert")
                .arg(certificate)
                .arg("--tls-key")
                .arg(key);
        }
        let started = Instant::now();
        let hookswitch = Self {
            process: Process::start(&mut command)?,
            hooks,
            started,
            metrics,
        };
        while hookswitch.get("/readyz").is_err() {
            ensure!(
                started.elapsed() < READY,
                "hookswitch run did not become ready; HOOKSWITCH_BENCH_LOG=1 shows its log"
            );
            thread::sleep(Duration::from_millis(1));
        }
        Ok(hookswitch)
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let mut sum = 0.0;
        for line in self.get("/metrics")?.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            if series.split('{').next() == Some(name) {
                sum += value.parse::<f64>()?;
            }
        }
        Ok(sum)
    }

    /// The body of a page of the metrics address, where it is answered with 200.
    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.metrics)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 200 ") {
            bail!("{path}: {answer}");
        }
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .context("an answer without a body")?;
        Ok(body.to_owned())
    }
}

/// Where it keeps its data, within a folder.
pub(crate) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The program that `cargo build --release` made, next to this one.
fn program() -> Result<PathBuf> {
    let program = std::env::current_exe()?
        .parent()
        .and_then(Path::parent)
        .context("an unknown place of this program")?
        .join("hookswitch");
    ensure!(
        program.exists(),
        "the program is not built: cargo build --release --bin hookswitch"
    );
    Ok(program)
}

/// Addresses that nobody listens on at the moment.
fn free_ports() -> Result<[SocketAddr; 2]> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let listeners = [bind()?, bind()?];
    let [first, second] = &listeners;
    Ok([first.local_addr()?, second.local_addr()?])
}
