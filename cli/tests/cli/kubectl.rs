//! The same in a cluster: `kubectl` finds the receiver and forwards its port. Here a script stands in
//! for it, which does as `kubectl` does and leads to a receiver on this machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::program::Quickstart;

/// Notes how it was called, and tells what `kubectl` tells.
const SCRIPT: &str = r#"#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case "$*" in
  *"get pods"*) printf 'hookswitch-receiver-0 hookswitch-receiver-1' ;;
  *port-forward*forbidden*) echo 'Error from server (Forbidden): pods "forbidden" is forbidden' >&2; exit 1 ;;
  *port-forward*) echo "Forwarding from ADDRESS -> 9091"; exec sleep 600 ;;
esac
"#;

/// Runs a program of ours with the stand-in before every other `kubectl`.
fn run(program: &Path, bin: &Path, arguments: &[&str]) -> Output {
    let path = std::env::var("PATH").unwrap();
    Command::new(program)
        .args(arguments)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env_remove("HOOKSWITCH_ADMIN")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn in_a_cluster_kubectl_forwards_the_port() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    assert_eq!(serving.send(&["--id", "evt-1"]).0, 0);
    serving.event(&[], "delivered", 1);
    let bin = quickstart.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let address = serving.admin.strip_prefix("http://").unwrap();
    fs::write(bin.join("kubectl"), SCRIPT.replace("ADDRESS", address)).unwrap();
    fs::set_permissions(bin.join("kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
    let hookswitch = Path::new(env!("CARGO_BIN_EXE_hookswitch"));
    let plugin = bin.join("kubectl-hookswitch");
    symlink(hookswitch, &plugin).unwrap();

    let listed = run(
        hookswitch,
        &bin,
        &["events", "-n", "hooks", "--context", "prod"],
    );
    assert!(
        String::from_utf8(listed.stdout)
            .unwrap()
            .contains("1 delivered")
    );
    let listed = run(&plugin, &bin, &["events", "--pod", "r-1"]);
    assert!(
        String::from_utf8(listed.stdout)
            .unwrap()
            .contains("1 delivered")
    );
    let listed = run(&plugin, &bin, &["events"]);
    assert!(
        String::from_utf8(listed.stdout)
            .unwrap()
            .contains("1 delivered")
    );
    let calls = fs::read_to_string(bin.join("calls")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    let labels = "app.kubernetes.io/part-of=hookswitch,app.kubernetes.io/component=receiver";
    assert_eq!(calls.len(), 5, "{calls:?}");
    assert!(
        calls[0].starts_with("--context=prod --namespace=hooks get pods"),
        "{calls:?}"
    );
    assert!(calls[0].contains(labels));
    let forward = "port-forward --address=127.0.0.1 pod";
    assert_eq!(
        calls[1],
        format!("--context=prod --namespace=hooks {forward}/hookswitch-receiver-0 :9091")
    );
    assert_eq!(calls[2], format!("{forward}/r-1 :9091"));
    assert_eq!(calls[4], format!("{forward}/hookswitch-receiver-0 :9091"));

    let refused = run(hookswitch, &bin, &["events", "--pod", "forbidden"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("is forbidden"), "{said}");
}
