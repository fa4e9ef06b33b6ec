//! The programs under test, built once per test run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// A test of this package that is soon built. To build one makes cargo choose the features of dependencies as
/// it did for the tests, so that what they have in common is not built twice.
const ANY_TEST: &str = "architecture";

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tests = std::env::current_exe().expect("a test has a path");
    let profile = tests
        .ancestors()
        .nth(2)
        .expect("tests are in target/<profile>/deps");
    let mut build = Command::new(cargo);
    // What cargo tells a test of its package: build scripts that ask for their own would run again, and all behind them.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&name);
        }
    }
    build.args(["build", "--locked", "--workspace", "--bins"]);
    if profile.ends_with("release") {
        // They are measured as they are installed: without the features that only tests ask for. That takes long, so it is shown.
        build.arg("--release");
    } else {
        build.args(["--quiet", "--test", ANY_TEST]);
    }
    let built = build.status().expect("cargo starts");
    assert!(built.success(), "building the programs failed: {built}");
    profile.to_owned()
});

/// The folder that holds them, in the profile of the tests.
pub(crate) fn folder() -> &'static Path {
    &FOLDER
}
