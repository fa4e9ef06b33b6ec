//! The shape of the workspace: who may depend on whom, and which code stays pure.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of this is test code: what fails ends the test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Each crate of the workspace with the names of what it depends on, dev-dependencies included.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().expect("a name").to_owned();
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let names = dependencies
                .iter()
                .map(|one| one["name"].as_str().expect("a name").to_owned());
            (name, names.collect())
        })
        .collect()
}

/// Every Rust file that makes up the module `path` (`operator/src/compile`): `path.rs` and all below `path/`.
fn module(path: &str) -> Vec<PathBuf> {
    let mut files = vec![root().join(format!("{path}.rs"))];
    let mut folders = vec![root().join(path)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn programs_do_not_import_each_other_and_nothing_imports_the_tests() {
    let dependencies = dependencies();
    let forbidden = [
        (
            "hookswitch-operator",
            vec!["hookswitch-receiver", "hookswitch-cli"],
        ),
        (
            "hookswitch-receiver",
            vec!["hookswitch-operator", "hookswitch-cli"],
        ),
        (
            "hookswitch-crds",
            vec![
                "hookswitch-operator",
                "hookswitch-receiver",
                "hookswitch-cli",
                "tokio",
                "axum",
                "reqwest",
                "hyper",
            ],
        ),
    ];
    for (package, forbidden) in forbidden {
        let has = dependencies
            .get(package)
            .unwrap_or_else(|| panic!("{package} is in the workspace"));
        for name in forbidden {
            assert!(
                !has.iter().any(|one| one == name),
                "{package} depends on {name}"
            );
        }
    }
    for (package, has) in &dependencies {
        assert!(
            !has.iter().any(|one| one == "hookswitch-tests"),
            "{package} depends on the tests"
        );
    }
}

#[test]
fn what_decides_does_no_io() {
    for path in [
        "operator/src/compile",
        "receiver/src/verify",
        "receiver/src/route",
        "receiver/src/extract",
    ] {
        let files = module(path);
        for file in &files {
            let source = std::fs::read_to_string(file)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            for io in [
                "tokio::",
                "axum::",
                "kube::Client",
                "kube::Api",
                "std::fs",
                "std::net::Tcp",
                "reqwest::",
                "Timestamp::now",
                "Instant::now",
                "rusqlite",
            ] {
                assert!(!source.contains(io), "{} uses {io}", file.display());
            }
        }
    }
}

#[test]
fn every_source_file_can_be_read_in_one_sitting() {
    for package in ["crds", "operator", "receiver", "cli", "tests"] {
        for folder in ["src", "tests", "benches"] {
            let files = module(&format!("{package}/{folder}"));
            for file in files.iter().filter(|file| file.exists()) {
                let lines = std::fs::read_to_string(file)
                    .expect("a source file is text")
                    .lines()
                    .count();
                assert!(
                    lines <= 600,
                    "{} has {lines} lines: split it by concept",
                    file.display()
                );
            }
        }
    }
}
