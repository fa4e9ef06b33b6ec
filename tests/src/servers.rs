//! The servers and tools that the tests drive, and where they are found.
//!
//! A Go module in `tests/servers` names programs that go together. They are looked for in
//! `$KUBEBUILDER_ASSETS`, on `$PATH`, and in the cache that `make servers` fills from the modules. The
//! first of these that has all of a module's programs gives them all: a kubectl on `$PATH` alone may be
//! years from the API server. Where none has them the test fails with the command that gets them: nothing is
//! skipped. `PostgreSQL` is the system's own: see [`postgres`].

pub mod certificates;
pub mod nats;
pub mod network;
pub mod postgres;
pub mod process;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use sha2::{Digest, Sha256};

/// A program that tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    name: &'static str,
    module: &'static Module,
}

/// Programs of one Go module, which come from one place.
#[derive(Debug, PartialEq, Eq)]
struct Module {
    /// Its folder in `tests/servers`.
    folder: &'static str,
    /// The same as in `tests/servers/build`.
    programs: &'static [&'static str],
}

const DEFINITIONS: Module = Module {
    folder: "definitions",
    programs: &["definitions.yaml"],
};
const ETCD: Module = Module {
    folder: "etcd",
    programs: &["etcd"],
};
const OLDEST: Module = Module {
    folder: "oldest",
    programs: &["kubernetes-types.yaml"],
};
const HELM: Module = Module {
    folder: "helm",
    programs: &["helm"],
};
const KUBECONFORM: Module = Module {
    folder: "kubeconform",
    programs: &["kubeconform"],
};
const KUBERNETES: Module = Module {
    folder: "kubernetes",
    programs: &["kube-apiserver", "kube-controller-manager", "kubectl"],
};
const NATS: Module = Module {
    folder: "nats",
    programs: &["nats-server"],
};
const PROMETHEUS: Module = Module {
    folder: "prometheus",
    programs: &["promtool"],
};

/// The definitions of other projects' resources that the chart makes where it is asked to: of
/// cert-manager, the Prometheus operator and Gateway API. A file for `kubectl apply -f`.
///
/// # Panics
/// Where it isn't there, with the command that gets it.
#[must_use]
pub fn definitions() -> PathBuf {
    Program::new("definitions.yaml", &DEFINITIONS).path()
}

/// The types of the oldest Kubernetes that is supported, in the form of its client's
/// `applyconfigurations/internal`: a list of types, each with its fields.
///
/// # Panics
/// Where it isn't there, with the command that gets it.
#[must_use]
pub fn oldest_kubernetes() -> PathBuf {
    Program::new("kubernetes-types.yaml", &OLDEST).path()
}

impl Program {
    /// The store below Kubernetes.
    pub const ETCD: Self = Self::new("etcd", &ETCD);
    /// Kubernetes' API.
    pub const KUBE_APISERVER: Self = Self::new("kube-apiserver", &KUBERNETES);
    /// Kubernetes' own controllers.
    pub const KUBE_CONTROLLER_MANAGER: Self = Self::new("kube-controller-manager", &KUBERNETES);
    /// Kubernetes' command line.
    pub const KUBECTL: Self = Self::new("kubectl", &KUBERNETES);
    /// The installer of charts.
    pub const HELM: Self = Self::new("helm", &HELM);
    /// The checker of manifests.
    pub const KUBECONFORM: Self = Self::new("kubeconform", &KUBECONFORM);
    /// The message queue.
    pub const NATS_SERVER: Self = Self::new("nats-server", &NATS);
    /// The checker of metrics and rules.
    pub const PROMTOOL: Self = Self::new("promtool", &PROMETHEUS);

    const fn new(name: &'static str, module: &'static Module) -> Self {
        Self { name, module }
    }

    /// Its file's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Where the program is.
    ///
    /// # Panics
    /// Where it isn't, with the command that gets it.
    #[must_use]
    pub fn path(self) -> PathBuf {
        let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let path: Vec<PathBuf> =
            env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
        let cached = self.module.cached();
        [assets.as_slice(), &path, from_ref(&cached)]
            .into_iter()
            .find_map(|place| {
                let programs = self.module.programs.iter();
                let found: Option<Vec<PathBuf>> = programs.map(|name| find(name, place)).collect();
                found?.into_iter().find(|path| path.ends_with(self.name))
            })
            .unwrap_or_else(|| {
                panic!(
                    "this test needs {}: run `make servers`. Neither KUBEBUILDER_ASSETS, nor PATH, nor {} \
                     has all of {}",
                    self.name,
                    cached.display(),
                    self.module.programs.join(", ")
                )
            })
    }
}

/// The program in the first of the folders that has it.
fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

impl Module {
    /// Where `tests/servers/build` puts them.
    fn cached(&self) -> PathBuf {
        let module = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("servers")
            .join(self.folder);
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum"] {
            let file = module.join(file);
            hash.update(fs::read(&file).unwrap_or_else(|error| {
                panic!("{} can't be read: {error}", file.display());
            }));
        }
        let hash = hex::encode(hash.finalize());
        cache()
            .join("servers")
            .join(format!("{}-{}", self.folder, hash.get(..16).expect("hex")))
    }
}

/// The cache's folder, by the same rule as in `tests/servers/build`.
fn cache() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
    set("HOOKSWITCH_CACHE").map_or_else(
        || {
            set("XDG_CACHE_HOME")
                .map_or_else(
                    || env::home_dir().expect("a home directory").join(".cache"),
                    PathBuf::from,
                )
                .join("hookswitch")
        },
        PathBuf::from,
    )
}

/// A free port on loopback that stays free while its server is down: it is below the range that
/// systems give to those who ask for any port (Linux: 32768 and up), so only who picks ports in this
/// way could take it.
#[must_use]
pub fn free_port() -> u16 {
    (0..1000)
        .map(|_| 10_000 + u16::from(random()) * 80 + u16::from(random()) % 80)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one port of a thousand is free")
}

fn random() -> u8 {
    let [.., last] = uuid::Uuid::now_v7().into_bytes();
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_fails_the_test_with_the_command_that_gets_it() {
        const ABSENT: Module = Module {
            folder: "etcd",
            programs: &["etcd", "no-such-program"],
        };
        let absent = Program::new("etcd", &ABSENT);
        let panic = std::panic::catch_unwind(|| absent.path()).expect_err("it isn't there");
        let message = panic.downcast_ref::<String>().expect("a message");
        assert!(message.contains("no-such-program"), "{message}");
        assert!(message.contains("`make servers`"), "{message}");
    }
}
