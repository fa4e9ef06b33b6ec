//! The servers and tools that the tests drive, and where they are found.
//!
//! Looked for in `$KUBEBUILDER_ASSETS`, on `$PATH`, and in the cache that `make servers` fills from
//! the Go modules in `tests/servers`, in that order. A program that is in none of them fails the test
//! with the command that gets it: nothing is skipped.

pub mod process;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A program, and the folder of `tests/servers` whose Go module it is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Its file's name.
    pub name: &'static str,
    /// The folder.
    pub module: &'static str,
}

impl Program {
    /// The store below Kubernetes.
    pub const ETCD: Self = Self::new("etcd", "etcd");
    /// Kubernetes' API.
    pub const KUBE_APISERVER: Self = Self::new("kube-apiserver", "kubernetes");
    /// Kubernetes' own controllers.
    pub const KUBE_CONTROLLER_MANAGER: Self = Self::new("kube-controller-manager", "kubernetes");
    /// Kubernetes' command line.
    pub const KUBECTL: Self = Self::new("kubectl", "kubernetes");
    /// The installer of charts.
    pub const HELM: Self = Self::new("helm", "helm");
    /// The checker of manifests.
    pub const KUBECONFORM: Self = Self::new("kubeconform", "kubeconform");

    const fn new(name: &'static str, module: &'static str) -> Self {
        Self { name, module }
    }

    /// Where the program is.
    ///
    /// # Panics
    /// Where it isn't, with the command that gets it.
    #[must_use]
    pub fn path(self) -> PathBuf {
        let cached = self.cached();
        let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        assets
            .into_iter()
            .chain(env::split_paths(&path))
            .map(|folder| folder.join(self.name))
            .chain([cached.clone()])
            .find(|candidate| candidate.is_file())
            .unwrap_or_else(|| {
                panic!(
                    "this test needs {}: run `make servers`. It is neither in KUBEBUILDER_ASSETS, nor on \
                     PATH, nor {}",
                    self.name,
                    cached.display()
                )
            })
    }

    /// Where `tests/servers/build` puts it.
    fn cached(self) -> PathBuf {
        let module = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("servers")
            .join(self.module);
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
            .join(format!("{}-{}", self.module, hash.get(..16).expect("hex")))
            .join(self.name)
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
        let absent = Program::new("no-such-program", "etcd");
        let panic = std::panic::catch_unwind(|| absent.path()).expect_err("it isn't there");
        let message = panic.downcast_ref::<String>().expect("a message");
        assert!(message.contains("no-such-program"), "{message}");
        assert!(message.contains("`make servers`"), "{message}");
    }
}
