//! `kubectl` and `helm` against one cluster, away from the user's own settings and caches.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process;

use crate::servers::Program;

/// No command of a test takes longer.
const LIMIT: Duration = Duration::from_mins(2);

/// What runs commands as one user of one cluster.
#[derive(Debug, Clone)]
pub struct Command {
    kubeconfig: PathBuf,
    /// Where the tools keep what they cache.
    home: PathBuf,
}

impl Command {
    /// As the user whose kubeconfig this is; what the tools cache goes into `home`.
    #[must_use]
    pub fn new(kubeconfig: &Path, home: &Path) -> Self {
        Self {
            kubeconfig: kubeconfig.to_owned(),
            home: home.to_owned(),
        }
    }

    /// Runs kubectl.
    pub async fn kubectl(&self, arguments: &[&str]) -> Outcome {
        self.run(Program::KUBECTL, arguments, "").await
    }

    /// Runs helm.
    pub async fn helm(&self, arguments: &[&str]) -> Outcome {
        self.run(Program::HELM, arguments, "").await
    }

    /// Runs kubectl with a manifest to read from its standard input: `-f -`.
    pub async fn kubectl_with(&self, arguments: &[&str], manifest: &str) -> Outcome {
        self.run(
            Program::KUBECTL,
            &[arguments, &["-f", "-"]].concat(),
            manifest,
        )
        .await
    }

    async fn run(&self, program: Program, arguments: &[&str], input: &str) -> Outcome {
        let command = format!("{} {}", program.name(), arguments.join(" "));
        let mut child = self
            .prepare(program)
            .args(arguments)
            .spawn()
            .unwrap_or_else(|error| panic!("{command} doesn't start: {error}"));
        let mut stdin = child.stdin.take().expect("it is a pipe");
        let write = async move {
            // A command that fails early doesn't read it all.
            drop(stdin.write_all(input.as_bytes()).await);
        };
        let both = async { tokio::join!(write, child.wait_with_output()).1 };
        let output = tokio::time::timeout(LIMIT, both)
            .await
            .unwrap_or_else(|_| panic!("{command} takes longer than {LIMIT:?}"))
            .unwrap_or_else(|error| panic!("{command}: {error}"));
        Outcome {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command,
        }
    }

    /// The program, with its settings but without its arguments.
    fn prepare(&self, program: Program) -> process::Command {
        let mut command = process::Command::new(program.path());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Deletes a namespace without waiting for its end. Blocks; an error is of no interest, as the
    /// cluster may be gone.
    pub(super) fn forget_namespace(&self, name: &str) {
        let mut command = self.prepare(Program::KUBECTL).into_std();
        command
            .args(["delete", "namespace", name, "--wait=false"])
            .args(["--request-timeout=5s"])
            .stdin(Stdio::null());
        drop(command.output());
    }
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whether it says that it did what it was asked for.
    pub success: bool,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
    command: String,
}

#[expect(
    clippy::must_use_candidate,
    reason = "each is an assertion, whether its text is of interest or not"
)]
impl Outcome {
    /// What it printed.
    ///
    /// # Panics
    /// Where it failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.success, "{} failed: {}", self.command, self.stderr);
        self.stdout
    }

    /// What it complained of.
    ///
    /// # Panics
    /// Where it did not fail.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(!self.success, "{} succeeded: {}", self.command, self.stdout);
        self.stderr
    }
}
