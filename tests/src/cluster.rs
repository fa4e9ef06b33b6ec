//! A Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager, as real
//! processes on free loopback ports, with RBAC, pod security and service accounts as in production.
//! There are no nodes: a pod is admitted, and stays pending.
//!
//! ```text
//!   test ── kubectl, helm, operator ──TLS──▶ kube-apiserver ──▶ etcd (no fsync: it needs to survive nothing)
//!                                                 ▲
//!                               kube-controller-manager: namespaces, service accounts, garbage, workloads
//! ```
//!
//! [`Cluster::shared`] gives one to all tests of a test binary; each takes a [`Namespace`] of its own.
//! What disturbs others (a kill, a pause) takes a `&mut Cluster`, which only [`Cluster::start`] gives.
//! The files of the control plane, its logs among them, are in one folder that goes with it.

mod audit;
mod command;
mod identity;
mod namespace;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client, StatusCode};
use tokio::sync::OnceCell;

pub use audit::Request;
pub use command::{Command, Outcome};
pub use namespace::Namespace;

use crate::servers::process::{Folder, Process};
use crate::servers::{Program, free_port};
use crate::{sender, wait};
use identity::Identity;

/// How long a control plane may take to come up: seconds on an idle machine, more on a busy one.
const UP: Duration = Duration::from_mins(3);

/// The address range of Services: nothing routes it, the API server only hands addresses out.
const SERVICES: &str = "10.96.0.0/16";

/// The controllers that run: what the API promises without nodes (namespaces and owners that go take
/// theirs along, service accounts get tokens, aggregated roles fill) and the workloads that the chart has.
const CONTROLLERS: &[&str] = &[
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "garbage-collector-controller",
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
];

/// A running control plane.
#[derive(Debug)]
pub struct Cluster {
    // Fields are dropped in this order.
    controllers: Option<Process>,
    apiserver: Option<Process>,
    etcd: Process,
    port: u16,
    etcd_port: u16,
    identity: Identity,
    kubeconfig: PathBuf,
    crds: OnceCell<()>,
    folder: Folder,
}

impl Cluster {
    /// The control plane that all tests of this binary share; the first that asks starts it.
    ///
    /// # Panics
    /// Where it can't start, with the reason.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// One for this test alone, to be disturbed. Prefer [`Cluster::shared`].
    ///
    /// # Panics
    /// Where it can't start, with the reason.
    pub async fn start() -> Self {
        let folder = Folder::new("hookswitch-cluster-");
        let identity = Identity::create(folder.path());
        let port = free_port();
        let kubeconfig = identity.kubeconfig("admin", port);
        let etcd_port = free_port();
        let etcd = start_etcd(folder.path(), etcd_port);
        let apiserver = start_apiserver(folder.path(), &identity, port, etcd_port);
        let mut this = Self {
            controllers: None,
            apiserver: Some(apiserver),
            etcd,
            port,
            etcd_port,
            identity,
            kubeconfig,
            crds: OnceCell::new(),
            folder,
        };
        this.ready().await;
        this.start_controllers();
        this
    }

    /// The API server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The kubeconfig of one who may do all.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubeconfig with a token of a service account, valid for an hour: what runs with it may do what the
    /// account may do, and no more.
    pub async fn kubeconfig_for(&self, namespace: &str, account: &str) -> PathBuf {
        let create = ["create", "token", account, "-n", namespace, "--duration=1h"];
        let token = self.kubectl(&create).await.ok();
        self.identity
            .token_kubeconfig(&format!("{namespace}.{account}"), token.trim(), self.port)
    }

    /// What a service account has asked the API server for so far, in order.
    #[must_use]
    pub fn requests_of(&self, namespace: &str, account: &str) -> Vec<Request> {
        audit::requests_of(self.folder.path(), namespace, account)
    }

    /// A namespace of a test's own.
    pub async fn namespace(&self) -> Namespace {
        Namespace::new(self.commands()).await
    }

    /// Runs kubectl as one who may do all.
    pub async fn kubectl(&self, arguments: &[&str]) -> Outcome {
        self.commands().kubectl(arguments).await
    }

    /// Applies YAML by server-side apply, as one who may do all.
    pub async fn apply(&self, yaml: &str) -> Outcome {
        self.commands()
            .kubectl_with(&["apply", "--server-side"], yaml)
            .await
    }

    /// Runs helm as one who may do all.
    pub async fn helm(&self, arguments: &[&str]) -> Outcome {
        self.commands().helm(arguments).await
    }

    /// Applies `crds/*.yaml` once, and waits until both kinds are served.
    pub async fn install_crds(&self) {
        self.crds.get_or_init(|| self.apply_crds()).await;
    }

    async fn apply_crds(&self) {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
        let crds = crds.to_str().expect("a path in UTF-8");
        self.kubectl(&["apply", "--server-side", "-f", crds])
            .await
            .ok();
        // The API server's discovery and documentation follow a moment after Established.
        let served = [
            ["get", "whsub,evroute", "--all-namespaces"].as_slice(),
            &["explain", "whsub"],
            &["explain", "evroute"],
        ];
        for command in served {
            wait::until("the kinds to be served", UP, async || {
                self.kubectl(command).await.success.then_some(())
            })
            .await;
        }
    }

    /// Kills the API server as `kill -9` does. It stays down until [`Cluster::start_apiserver`].
    pub fn kill_apiserver(&mut self) {
        drop(self.apiserver.take());
    }

    /// Starts the API server again, on the same port, and waits until it is ready.
    pub async fn start_apiserver(&mut self) {
        self.kill_apiserver();
        // Those that were still starting would give up on an API server without roles. A kubelet would
        // start them again; here they start once it is ready.
        drop(self.controllers.take());
        self.apiserver = Some(start_apiserver(
            self.folder.path(),
            &self.identity,
            self.port,
            self.etcd_port,
        ));
        self.ready().await;
        self.start_controllers();
    }

    /// Not before the API server is ready: they give up on one that has no roles for them within ten
    /// seconds.
    fn start_controllers(&mut self) {
        let controllers = start_controllers(self.folder.path(), &self.identity, self.port);
        self.controllers = Some(controllers);
    }

    /// Makes every watch expire: the API server ends them all and forgets what was before, so that a watch
    /// that goes on from an earlier resourceVersion is refused with 410 Gone.
    pub async fn expire_watches(&mut self) {
        // A revision that no watcher has seen, so that all of them are behind.
        let name = format!("revision-{}", uuid::Uuid::now_v7().simple());
        for verb in ["create", "delete"] {
            self.kubectl(&[verb, "configmap", &name]).await.ok();
        }
        self.start_apiserver().await;
    }

    /// Stops etcd in its tracks: the API server's requests hang until [`Cluster::resume_etcd`].
    pub fn pause_etcd(&mut self) {
        self.etcd.signal("STOP");
    }

    /// Lets etcd go on.
    pub fn resume_etcd(&mut self) {
        self.etcd.signal("CONT");
    }

    /// Waits until the API server says that it is ready: its own roles and priorities are in place.
    async fn ready(&mut self) {
        sender::crypto();
        let ca = Certificate::from_pem(self.identity.ca().as_bytes()).expect("a certificate");
        let client = Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .expect("a client can be built");
        let url = self.url() + "/readyz";
        wait::until("the API server to be ready", UP, async || {
            self.assert_running();
            let answer = client.get(&url).send().await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
    }

    fn assert_running(&mut self) {
        let apiserver = self.apiserver.iter_mut().map(|it| ("kube-apiserver", it));
        let controllers = self.controllers.iter_mut();
        let controllers = controllers.map(|it| ("kube-controller-manager", it));
        let etcd = [("etcd", &mut self.etcd)];
        for (name, server) in apiserver.chain(etcd).chain(controllers) {
            if let Some(status) = server.ended() {
                panic!("{name} ended with {status}:\n{}", server.log());
            }
        }
    }

    fn commands(&self) -> Command {
        Command::new(&self.kubeconfig, self.folder.path())
    }
}

fn start_etcd(folder: &Path, port: u16) -> Process {
    let url = format!("http://127.0.0.1:{port}");
    let data = folder.join("etcd");
    let arguments = [
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        // One member, no peers.
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        "--unsafe-no-fsync".to_owned(),
    ];
    let log = folder.join("etcd.log");
    Process::start(&Program::ETCD.path(), arguments, &log)
}

fn start_apiserver(folder: &Path, identity: &Identity, port: u16, etcd_port: u16) -> Process {
    let file = |name: &str| identity.file(name).display().to_string();
    let arguments = [
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!(
            "--service-account-signing-key-file={}",
            file("accounts.key")
        ),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        format!("--service-cluster-ip-range={SERVICES}"),
        // An endpoint on loopback is refused, and nothing in the cluster would reach it.
        "--endpoint-reconciler-type=none".to_owned(),
    ];
    let log = folder.join("kube-apiserver.log");
    let arguments = arguments.into_iter().chain(audit::arguments(folder));
    Process::start(&Program::KUBE_APISERVER.path(), arguments, &log)
}

fn start_controllers(folder: &Path, identity: &Identity, port: u16) -> Process {
    let kubeconfig = identity.kubeconfig("controllers", port);
    let file = |name: &str| identity.file(name).display().to_string();
    let arguments = [
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--controllers={}", CONTROLLERS.join(",")),
        // Each controller by its own account: Kubernetes' roles are made so.
        "--use-service-account-credentials".to_owned(),
        "--leader-elect=false".to_owned(),
        // No health or metrics: a port less.
        "--secure-port=0".to_owned(),
        format!(
            "--service-account-private-key-file={}",
            file("accounts.key")
        ),
        format!("--root-ca-file={}", file("ca.crt")),
        // Tests don't wait for fairness.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
    ];
    let log = folder.join("kube-controller-manager.log");
    Process::start(&Program::KUBE_CONTROLLER_MANAGER.path(), arguments, &log)
}
