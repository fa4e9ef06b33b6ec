//! Hookswitch in a cluster, as `helm install` leaves it, with its programs as processes.
//!
//! There are no nodes, so no pod runs. Instead each program is started here with the arguments that the
//! chart gives its pod, with addresses and folders put in the place of the pod's, and with a token of
//! the chart's own service account: a right that the chart forgets fails the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, Namespace};
use crate::servers::free_port;
use crate::servers::process::{Folder, Process};
use crate::{programs, sender, wait};

/// How long anything may take on a busy machine.
pub const LIMIT: Duration = Duration::from_mins(2);

/// The release's name, and what all names in it begin with.
const RELEASE: &str = "hooks";

/// A release of the chart in a namespace of its own.
#[derive(Debug)]
pub struct Installation {
    /// The release's namespace; its objects' too, where it serves no other.
    pub namespace: Namespace,
    /// What `helm install` and `helm upgrade` are given.
    values: Vec<String>,
    operator: Pod,
    receiver: Pod,
    folder: Folder,
}

/// How the chart starts a program.
#[derive(Debug)]
struct Pod {
    program: &'static str,
    arguments: Vec<String>,
    kubeconfig: PathBuf,
}

impl Installation {
    /// Installs the chart, with further values (`--set`), to serve the release's namespace alone.
    pub async fn new(cluster: &Cluster, values: &[&str]) -> Self {
        cluster.install_crds().await;
        let namespace = cluster.namespace().await;
        let own = [
            "crds.install=false".to_owned(),
            "aggregateRoles=false".to_owned(),
            format!("watchNamespaces={{{}}}", namespace.name()),
            format!("privateNetworks[0].namespaces={{{}}}", namespace.name()),
        ];
        Self::install(cluster, namespace, &own, values).await
    }

    /// Installs the chart as it is, definitions included, to serve the whole cluster, which has to be the
    /// test's own.
    pub async fn of_cluster(cluster: &Cluster, values: &[&str]) -> Self {
        let namespace = cluster.namespace().await;
        let own = ["privateNetworks[0].namespaces={*}".to_owned()];
        Self::install(cluster, namespace, &own, values).await
    }

    async fn install(
        cluster: &Cluster,
        namespace: Namespace,
        own: &[String],
        values: &[&str],
    ) -> Self {
        let common = [
            format!("fullnameOverride={RELEASE}"),
            "baseUrl=https://hooks.example.com".to_owned(),
            "privateNetworks[0].cidrs={127.0.0.0/8}".to_owned(),
        ];
        let values = values.iter().map(|value| (*value).to_owned());
        let values: Vec<String> = common
            .into_iter()
            .chain(own.to_vec())
            .chain(values)
            .collect();
        helm(&namespace, "install", &values).await;
        Self {
            operator: Pod::new(cluster, &namespace, "operator", "deployment").await,
            receiver: Pod::new(cluster, &namespace, "receiver", "statefulset").await,
            namespace,
            values,
            folder: Folder::new("hookswitch-installation-"),
        }
    }

    /// Upgrades the release to further values. What is started from now on runs as the chart says then.
    pub async fn upgrade(&mut self, cluster: &Cluster, values: &[&str]) {
        self.values
            .extend(values.iter().map(|value| (*value).to_owned()));
        helm(&self.namespace, "upgrade", &self.values).await;
        self.operator = Pod::new(cluster, &self.namespace, "operator", "deployment").await;
        self.receiver = Pod::new(cluster, &self.namespace, "receiver", "statefulset").await;
    }

    /// Removes the release.
    pub async fn uninstall(&self) {
        self.namespace.helm(&["uninstall", RELEASE]).await.ok();
    }

    /// Installs it again after [`Installation::uninstall`].
    pub async fn reinstall(&mut self, cluster: &Cluster) {
        helm(&self.namespace, "install", &self.values).await;
        self.operator = Pod::new(cluster, &self.namespace, "operator", "deployment").await;
        self.receiver = Pod::new(cluster, &self.namespace, "receiver", "statefulset").await;
    }

    /// Starts an operator; ready once it has seen all that there is.
    pub async fn operator(&self, pod: &str) -> Program {
        let program = self.start(&self.operator, pod, &[]);
        program.ready().await;
        program
    }

    /// Starts the receiver of this number, whose folder outlives the process. It need not be ready.
    #[must_use]
    pub fn receiver(&self, number: u32) -> Program {
        let pod = format!("{RELEASE}-receiver-{number}");
        let folder = self.folder.path().join(&pod);
        let hooks = free_port();
        let replaced = [
            format!("--listen=127.0.0.1:{hooks}"),
            format!("--data={}", folder.join("data").display()),
            format!("--snapshot={}", self.mounted().display()),
            format!("--snapshot-copy={}", folder.join("copy").display()),
        ];
        let mut program = self.start(&self.receiver, &pod, &replaced);
        program.hooks = SocketAddr::from(([127, 0, 0, 1], hooks));
        program
    }

    /// Where the programs' logs are, a file each.
    #[must_use]
    pub fn logs(&self) -> &Path {
        self.folder.path()
    }

    /// Where receivers look for mounted Secrets.
    #[must_use]
    pub fn mounted(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Starts a program with the arguments of its pod, but for these.
    fn start(&self, of: &Pod, pod: &str, replaced: &[String]) -> Program {
        let port = free_port();
        let metrics = format!("--metrics=127.0.0.1:{port}");
        let admin = "--admin=127.0.0.1:0".to_owned();
        let arguments = of.arguments.iter().map(|argument| {
            let flag = argument.split('=').next();
            let mut replaced = replaced.iter().chain([&metrics, &admin]);
            let replaced = replaced.find(|it| it.split('=').next() == flag);
            replaced.unwrap_or(argument).clone()
        });
        let binary = programs::folder().join(of.program);
        let environment = [
            format!("KUBECONFIG={}", of.kubeconfig.display()),
            format!("POD_NAME={pod}"),
            format!("POD_NAMESPACE={}", self.namespace.name()),
            "RUST_LOG=info".to_owned(),
            binary.to_str().expect("a path in UTF-8").to_owned(),
        ];
        let log = self.folder.path().join(format!("{pod}.log"));
        let process = Process::start(
            Path::new("env"),
            environment.into_iter().chain(arguments),
            &log,
        );
        Program {
            process,
            hooks: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    /// Waits until a condition of an object in the release's namespace has this status and reason.
    ///
    /// # Panics
    /// After [`LIMIT`], with the object.
    pub async fn condition(&self, object: &str, type_: &str, status: &str, reason: &str) {
        condition(&self.namespace, object, type_, status, reason).await;
    }

    /// The sequence that the snapshot's first Secret was last written with; `None` before that.
    pub async fn sequence(&self) -> Option<u64> {
        let path = "-o=jsonpath={.metadata.annotations.hookswitch\\.dev/sequence}";
        let get = ["get", "secret", "hookswitch-snapshot-0", path];
        self.namespace.kubectl(&get).await.stdout.parse().ok()
    }

    /// What the receiver of this number says that it has loaded of the snapshot's first Secret.
    pub async fn loaded(&self, number: u32) -> Option<u64> {
        let lease = format!("{RELEASE}-receiver-{number}");
        let path = "-o=jsonpath={.metadata.annotations.hookswitch\\.dev/loaded}";
        let loaded = self
            .namespace
            .kubectl(&["get", "lease", &lease, path])
            .await;
        loaded.stdout.split(',').next()?.parse().ok()
    }

    /// What the programs were refused for want of a right: there must be nothing.
    #[must_use]
    pub fn refusals(&self, cluster: &Cluster) -> Vec<String> {
        let accounts = ["operator", "receiver"].map(|name| format!("{RELEASE}-{name}"));
        let requests = accounts
            .iter()
            .flat_map(|account| cluster.requests_of(self.namespace.name(), account));
        requests
            .filter(|request| request.status == 403)
            .map(|request| format!("{request:?}"))
            .collect()
    }
}

/// Waits until an object's condition has this status and reason, and is about its current generation.
///
/// # Panics
/// After [`LIMIT`], with the object.
pub async fn condition(
    namespace: &Namespace,
    object: &str,
    type_: &str,
    status: &str,
    reason: &str,
) {
    let path = format!(
        "-o=jsonpath={{.metadata.generation}} {{.status.observedGeneration}} \
         {{range .status.conditions[?(@.type==\"{type_}\")]}}{{.status}} {{.reason}}{{end}}"
    );
    let what = format!("{object} to be {type_}={status} ({reason})");
    wait::until(what, LIMIT, async || {
        let found = namespace.kubectl(&["get", object, &path]).await;
        let found = found.success.then(|| found.ok())?;
        let words: Vec<&str> = found.split_whitespace().collect();
        let [generation, observed, is, why] = words.as_slice() else {
            return None;
        };
        (generation == observed && *is == status && *why == reason).then_some(())
    })
    .await;
}

/// Installs or upgrades the release.
async fn helm(namespace: &Namespace, verb: &str, values: &[String]) {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/hookswitch");
    let chart = chart.to_str().expect("a path in UTF-8");
    let mut arguments = vec![verb, RELEASE, chart];
    // The schema refuses several receivers with the embedded store. Each test receiver has a store of its
    // own, and what is tested is what they have in common.
    if values.iter().any(|it| it.starts_with("receiver.replicas=")) {
        arguments.push("--skip-schema-validation");
    }
    for value in values {
        arguments.extend(["--set", value]);
    }
    namespace.helm(&arguments).await.ok();
}

impl Pod {
    async fn new(cluster: &Cluster, namespace: &Namespace, name: &'static str, kind: &str) -> Self {
        let object = format!("{RELEASE}-{name}");
        let workload = namespace.kubectl(&["get", kind, &object, "-o=json"]).await;
        let workload: Value = serde_json::from_str(&workload.ok()).expect("JSON");
        let arguments = workload
            .pointer("/spec/template/spec/containers/0/args")
            .and_then(Value::as_array)
            .expect("arguments");
        let arguments = arguments.iter().filter_map(Value::as_str);
        Self {
            program: match name {
                "operator" => "hookswitch-operator",
                _ => "hookswitch-receiver",
            },
            arguments: arguments.map(str::to_owned).collect(),
            kubeconfig: cluster.kubeconfig_for(namespace.name(), &object).await,
        }
    }
}

/// A running program.
#[derive(Debug)]
pub struct Program {
    process: Process,
    /// Where webhooks come in, of a receiver.
    pub hooks: SocketAddr,
    /// Where its metrics and its health are.
    pub metrics: SocketAddr,
}

impl Program {
    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        wait::until("the program to be ready", LIMIT, async || {
            let (status, _) = self.get("/readyz").await?;
            (status == 200).then_some(())
        })
        .await;
    }

    /// Status and body of a path on the metrics address; `None` where nobody answers.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        sender::crypto();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .expect("a client");
        let answer = client.get(format!("http://{}{path}", self.metrics)).send();
        let answer = answer.await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    /// The sum of a metric's samples.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await?;
        let samples = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        Some(
            samples
                .filter_map(|it| it.rsplit(' ').next()?.parse::<f64>().ok())
                .sum(),
        )
    }

    /// A subscription's URL at this receiver.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.hooks)
    }

    /// SIGTERM, as Kubernetes does; waits for the end, which must be a good one.
    pub async fn terminate(mut self) {
        self.process.signal("TERM");
        let ended = wait::until("the program to end", LIMIT, async || self.process.ended()).await;
        assert!(ended.success(), "{ended}:\n{}", self.process.log());
    }

    /// The number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal by name: `STOP`, `CONT`.
    pub fn signal(&mut self, name: &str) {
        self.process.signal(name);
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}
