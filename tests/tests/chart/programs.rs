//! The programs take the arguments that the chart gives them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::files::{Helm, find, root, values};

/// Where cargo puts the programs, which are built once.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let this = std::env::current_exe().expect("a test has a path");
    let profile = this.ancestors().nth(2).expect("target/<profile>/deps");
    let mut build = Command::new(cargo);
    build
        .current_dir(root())
        .args(["build", "--quiet", "--bins"]);
    build.args(["-p", "hookswitch-operator", "-p", "hookswitch-receiver"]);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo starts").success());
    profile.to_owned()
});

#[tokio::test]
async fn every_argument_is_understood() {
    let helm = Helm::new();
    for values in values() {
        let objects = helm.objects(&["-f", &values]).await;
        for (kind, name) in [
            ("Deployment", "hookswitch-operator"),
            ("StatefulSet", "hookswitch-receiver"),
        ] {
            let spec = &find(&objects, kind, name)["spec"]["template"]["spec"];
            let arguments = spec["containers"][0]["args"].as_array().expect("arguments");
            let arguments = arguments.iter().map(|it| it.as_str().expect("text"));
            // Arguments are read one by one, and the first that is not understood ends it: help is
            // only given where all of them are.
            let output = Command::new(BUILT.join(name))
                .args(arguments)
                .arg("--help")
                .output()
                .expect("the program starts");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name} with {values}: {error}");
        }
    }
}
