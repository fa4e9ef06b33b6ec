//! A server as a child process that never outlives the test.
//!
//! A test may end in any way: well, by a panic, by Ctrl-C, by `kill -9`. In each of them the write
//! end of a pipe closes, and what reads the other end puts things in order:
//!
//! ```text
//!   test ──pipe──▶ keeper (sh): each line is a signal for the server; at the end of the pipe, KILL,
//!     │                         or first the signal that the server tidies up at, and KILL after 5 s
//!     └─ spawns ─▶ sh, which starts the keeper and becomes the server
//! ```

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use tempfile::TempDir;

/// Becomes the server, with the keeper beside it. The keeper reads file 3, as the standard input of
/// what a shell starts in the background is empty.
const START: &str = r#"
exec 3<&0
server=$$ last=$1
shift
(
  while read -r signal; do kill -s "$signal" "$server"; done
  kill -s "$last" "$server"
  [ "$last" = KILL ] && exit
  for tenth in $(seq 50); do
    sleep 0.1
    kill -s 0 "$server" || exit
  done
  kill -s KILL "$server"
) <&3 >/dev/null 2>&1 &
exec "$@" 3<&- </dev/null
"#;

/// Removes a folder once the pipe ends. What was killed a moment ago may still write to it, so it
/// tries again.
const REMOVE: &str = r#"
read -r end
for try in 1 2 3 4 5; do rm -rf "$1" && exit; sleep 1; done
"#;

/// A running server.
#[derive(Debug)]
pub struct Process {
    child: Child,
    keeper: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts it. What it prints goes to the end of `log`.
    pub fn start<S: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
        log: &Path,
    ) -> Self {
        Self::start_tidy(program, arguments, log, "KILL")
    }

    /// The same for a server that leaves something behind where it is killed: it gets the signal `last`
    /// at its end, and 5 s.
    pub fn start_tidy<S: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
        log: &Path,
        last: &str,
    ) -> Self {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|error| panic!("{} can't be written: {error}", log.display()));
        let mut child = shell(START)
            .arg(last)
            .arg(program)
            .args(arguments)
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{} doesn't start: {error}", program.display()));
        let keeper = child.stdin.take();
        Self {
            child,
            keeper,
            log: log.to_owned(),
        }
    }

    /// Sends it a signal by name: `STOP`, `CONT`, `TERM`. Returns before it has taken effect.
    pub fn signal(&mut self, name: &str) {
        let keeper = self.keeper.as_mut().expect("it runs");
        writeln!(keeper, "{name}").expect("the keeper listens while the server runs");
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(40)..);
        last.unwrap_or_default().join("\n")
    }
}

/// Ends it by its last signal, and waits until it has ended.
impl Drop for Process {
    fn drop(&mut self) {
        // The keeper first: after the wait, the process's number may be another's.
        drop(self.keeper.take());
        drop(self.child.wait());
    }
}

/// A folder that goes when its owner does, or when the test's process ends in whatever way.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    remover: Child,
}

impl Folder {
    /// An empty folder among the system's temporary ones.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let path = TempDir::with_prefix(prefix)
            .expect("a temporary directory")
            .keep();
        let remover = shell(REMOVE).arg(&path).spawn().expect("there is a shell");
        Self { path, remover }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.remover.stdin.take());
        drop(self.remover.wait());
    }
}

/// A shell that runs `script`, with a pipe from here, out of reach of the terminal's Ctrl-C.
fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script, "sh"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    shell
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wait;

    /// Whether it runs: a dead process that nobody has waited for (a zombie) doesn't.
    fn alive(pid: u32) -> bool {
        let state = Command::new("ps")
            .args(["-o", "stat=", "-p", &pid.to_string()])
            .output()
            .expect("ps is there")
            .stdout;
        state
            .trim_ascii()
            .first()
            .is_some_and(|state| *state != b'Z')
    }

    #[test]
    fn it_ends_with_its_owner_and_so_does_its_folder() {
        let folder = Folder::new("hookswitch-process-");
        let path = folder.path().to_owned();
        let server = Process::start(Path::new("sleep"), ["600"], &path.join("log"));
        let pid = server.child.id();
        assert!(alive(pid));
        drop(server);
        assert!(!alive(pid));
        drop(folder);
        assert!(!path.exists());
    }

    /// The same test program is started again as the victim.
    #[tokio::test]
    async fn it_ends_when_the_test_is_killed_and_so_does_its_folder() {
        const VICTIM: &str = "HOOKSWITCH_TEST_VICTIM";
        let limit = Duration::from_secs(30);
        if let Some(note) = std::env::var_os(VICTIM) {
            let folder = Folder::new("hookswitch-victim-");
            let server = Process::start(Path::new("sleep"), ["600"], &folder.path().join("log"));
            let text = format!("{} {}", server.child.id(), folder.path().display());
            let note = PathBuf::from(note);
            fs::write(note.with_extension("new"), text).expect("a note");
            fs::rename(note.with_extension("new"), note).expect("the note is whole");
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
        let here = Folder::new("hookswitch-process-");
        let note = here.path().join("note");
        let mut victim = Command::new(std::env::current_exe().expect("a test has a path"))
            .args([
                "--exact",
                "servers::process::tests::it_ends_when_the_test_is_killed_and_so_does_its_folder",
            ])
            .env(VICTIM, &note)
            .stdout(Stdio::null())
            .spawn()
            .expect("the test starts");
        let text = wait::until("the victim's note", limit, async || {
            fs::read_to_string(&note).ok()
        })
        .await;
        let (pid, folder) = text.split_once(' ').expect("two words");
        let pid = pid.parse().expect("a number");
        assert!(alive(pid) && Path::new(folder).exists());
        victim.kill().expect("it can be killed");
        victim.wait().expect("it has ended");
        wait::until("the server and its folder to go", limit, async || {
            (!alive(pid) && !Path::new(folder).exists()).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn it_gets_signals_by_name() {
        let limit = Duration::from_secs(30);
        let folder = Folder::new("hookswitch-process-");
        let script = "trap 'echo hup' HUP; echo ready; while :; do sleep 0.01; done";
        let log = folder.path().join("log");
        let mut server = Process::start(Path::new("sh"), ["-c", script], &log);
        wait::until("the server", limit, async || {
            server.log().contains("ready").then_some(())
        })
        .await;
        server.signal("HUP");
        wait::until("the signal", limit, async || {
            server.log().contains("hup").then_some(())
        })
        .await;
        assert_eq!(server.ended(), None);
        server.signal("TERM");
        wait::until("the end", limit, async || server.ended()).await;
    }
}
