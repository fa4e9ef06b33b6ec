//! `kubectl port-forward` underneath: it brings its own ways to sign in, and who may not forward a
//! pod's ports gets no further.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Connection;

/// The admin port in a receiver's pod.
const PORT: &str = "9091";
/// Receivers, as the chart labels them.
const RECEIVERS: &str = "app.kubernetes.io/part-of=hookswitch,app.kubernetes.io/component=receiver";
/// How long kubectl may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A port that is forwarded for as long as this lives.
#[derive(Debug)]
pub(super) struct Forward {
    /// Where, on this machine.
    pub(super) address: String,
    _kubectl: Child,
}

impl Forward {
    pub(super) async fn open(to: &Connection) -> anyhow::Result<Self> {
        let pod = match &to.pod {
            Some(pod) => pod.clone(),
            None => first_receiver(to).await?,
        };
        let mut kubectl = kubectl(to)
            .args(["port-forward", "--address=127.0.0.1"])
            .arg(format!("pod/{pod}"))
            .arg(format!(":{PORT}"))
            .spawn()
            .context(MISSING)?;
        let stdout = kubectl.stdout.take().context("kubectl has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                // Forwarding from 127.0.0.1:40123 -> 9091
                let address = line
                    .strip_prefix("Forwarding from ")
                    .and_then(|rest| rest.split_whitespace().next());
                if let Some(address) = address {
                    return anyhow::Ok(Some(address.to_owned()));
                }
            }
            Ok(None)
        };
        let listening = timeout(LIMIT, listening)
            .await
            .context("kubectl port-forward did not begin in time")??;
        if let Some(address) = listening {
            return Ok(Self {
                address,
                _kubectl: kubectl,
            });
        }
        let mut said = String::new();
        if let Some(stderr) = &mut kubectl.stderr {
            stderr.read_to_string(&mut said).await?;
        }
        bail!(
            "kubectl can't forward the port of pod {pod}: {}",
            said.trim()
        )
    }
}

/// What is told where kubectl can't be started.
const MISSING: &str = "kubectl can't be started: it forwards the port of a receiver in a cluster";

fn kubectl(to: &Connection) -> Command {
    let mut command = Command::new("kubectl");
    if let Some(context) = &to.context {
        command.arg(format!("--context={context}"));
    }
    if let Some(namespace) = &to.namespace {
        command.arg(format!("--namespace={namespace}"));
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn first_receiver(to: &Connection) -> anyhow::Result<String> {
    let pods = kubectl(to)
        .args(["get", "pods", "--selector", RECEIVERS])
        .args([
            "--field-selector=status.phase=Running",
            "--output=jsonpath={.items[*].metadata.name}",
        ])
        .output();
    let pods = timeout(LIMIT, pods)
        .await
        .context("kubectl get pods did not end in time")?
        .context(MISSING)?;
    if !pods.status.success() {
        bail!(
            "kubectl can't list pods: {}",
            String::from_utf8_lossy(&pods.stderr).trim()
        );
    }
    let names = String::from_utf8_lossy(&pods.stdout);
    names
        .split_whitespace()
        .next()
        .map(ToOwned::to_owned)
        .with_context(|| {
            let namespace = to.namespace.as_deref().unwrap_or("kubectl's namespace");
            format!("no receiver runs in {namespace}: name the one of the release with --namespace, or the pod with --pod")
        })
}
