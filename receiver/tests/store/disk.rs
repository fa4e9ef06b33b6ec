//! A disk that is full, and one that fails.

use std::io::{BufReader, Write};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use hookswitch_receiver::store::Store;

use crate::child::{self, line, start};
use crate::support::try_open;

/// Reads lines until one has the beginning.
fn until(lines: &mut BufReader<ChildStdout>, beginning: &str) -> String {
    loop {
        let line = line(lines).unwrap_or_else(|| panic!("no line begins with `{beginning}`"));
        if line.starts_with(beginning) {
            return line;
        }
    }
}

/// Fails the test where a command that it needs does not work here, and says what to do.
fn need(command: &[&str], remedy: &str) {
    let works = Command::new(command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(
        works,
        "this test needs `{}`, which does not work here: {remedy}",
        command.join(" ")
    );
}

#[test]
fn a_full_disk_is_said_and_heals_by_itself() {
    let mount = "mount -t tmpfs -o size=3m tmpfs \"$1\"";
    let probe = tempfile::tempdir().unwrap();
    let probe = probe.path().to_str().unwrap().to_owned();
    need(
        &["unshare", "-m", "sh", "-c", mount, "sh", &probe],
        "run it as root with CAP_SYS_ADMIN, e.g. `sudo cargo test` or `docker run --privileged`",
    );
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    // A small disk of its own, with a ballast that is taken away when a line comes in.
    let script = format!(
        "{mount} && head -c 1000000 /dev/zero > \"$1/ballast\" || exit 1; exec 3<&0; \
         (read -r go <&3; rm \"$1/ballast\") & export HOOKSWITCH_TEST_STORE=\"$1/data\" HOOKSWITCH_TEST_RUN=0; \
         shift; exec \"$@\""
    );
    let itself = std::env::current_exe().unwrap();
    let mut child = Command::new("unshare")
        .args(["-m", "sh", "-c", &script, "sh", dir])
        .arg(itself)
        .args(child::ARGUMENTS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    until(&mut lines, "accepted");
    // Full is when nothing fits any more, whatever its size.
    let mut in_a_row = 0;
    while in_a_row < 20 {
        match line(&mut lines).expect("the child ended by itself") {
            failed if failed.starts_with("failed-accept") => {
                assert_eq!(failed, "failed-accept full");
                in_a_row += 1;
            }
            accepted if accepted.starts_with("accepted") => in_a_row = 0,
            other => assert!(
                !other.starts_with("failed") || other.ends_with("full"),
                "{other}"
            ),
        }
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    until(&mut lines, "accepted");
    until(&mut lines, "delivered");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Runs a child whose disk fails at some point: it must stop for good and say so, and what it has
/// answered before must be there after a restart.
fn fails(dir: &Path, behind: &[&str]) {
    let (mut child, mut lines) = start(dir, 0, behind);
    let mut accepted = Vec::new();
    loop {
        let line = line(&mut lines).expect("the child ended by itself");
        if let Some(id) = line.strip_prefix("accepted ") {
            accepted.push(id.to_owned());
        }
        if line.starts_with("failed-accept") {
            assert_eq!(line, "failed-accept stopped");
            break;
        }
    }
    for _ in 0..50 {
        let line = line(&mut lines).expect("the child ended by itself");
        assert!(
            line.starts_with("failed") && line.ends_with("stopped"),
            "after a failed write nothing may succeed: {line}"
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Where the child stood behind a tracer, it ends when it can't write its next line.
    drop(lines);
    assert!(!accepted.is_empty());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = loop {
            match try_open(dir) {
                Ok(store) => break store,
                Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        let kept = store.scan(0, 1_000_000).await.unwrap();
        for id in accepted {
            assert!(
                kept.iter().any(|history| history.event.event.id == id),
                "{id} is lost"
            );
        }
    });
}

#[test]
fn a_failed_write_stops_the_engine_for_good() {
    let dir = tempfile::tempdir().unwrap();
    // Files may not grow over 512 KiB: a write over it is EFBIG, which is no full disk.
    let script = "trap '' XFSZ; ulimit -f 1024; exec \"$@\"";
    fails(dir.path(), &["sh", "-c", script, "sh"]);
}

#[test]
fn a_failed_sync_stops_the_engine_for_good() {
    need(
        &["strace", "-f", "-o", "/dev/null", "true"],
        "run `make needs`, or install strace, and allow ptrace",
    );
    let dir = tempfile::tempdir().unwrap();
    fails(
        dir.path(),
        &[
            "strace",
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "trace=fdatasync,fsync",
            "-e",
            "inject=fdatasync,fsync:error=EIO:when=40",
        ],
    );
}
