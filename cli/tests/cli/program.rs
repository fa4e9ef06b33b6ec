//! Starts the program and listens to what it says.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// Far longer than anything takes: a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The quickstart's signing key.
pub(crate) const KEY: &str = "quickstart-signing-key";

/// `hookswitch` with these arguments.
pub(crate) fn hookswitch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookswitch"));
    command
        .args(arguments)
        .env_remove("HOOKSWITCH_SECRET")
        .env_remove("HOOKSWITCH_ADMIN")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn output(arguments: &[&str]) -> Output {
    hookswitch(arguments).output().unwrap()
}

/// Exit code and standard output.
pub(crate) fn answer(arguments: &[&str]) -> (i32, String) {
    let output = output(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text)
}

/// The same with standard input.
pub(crate) fn answer_to(arguments: &[&str], input: &str) -> (i32, String) {
    let mut child = hookswitch(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text)
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A program that runs, and what it has said so far. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    said: Arc<Said>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = hookswitch(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Said::default());
        let readers = vec![
            said.listen(child.stdout.take().unwrap()),
            said.listen(child.stderr.take().unwrap()),
        ];
        Self {
            child,
            said,
            readers,
        }
    }

    /// Waits for a line that holds `text`, in what was said after the first `from` lines.
    pub(crate) fn line(&self, from: usize, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.said.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().skip(from).find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no line with `{text}` in:\n{}",
                lines.join("\n")
            );
            lines = self.said.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// How many lines were said.
    pub(crate) fn lines(&self) -> usize {
        self.said.lines.lock().unwrap().len()
    }

    /// All that was said.
    pub(crate) fn text(&self) -> String {
        self.said.lines.lock().unwrap().join("\n")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Ends it with SIGTERM; gives its exit code and all that it said.
    pub(crate) fn terminate(self) -> (i32, String) {
        self.signal("TERM");
        self.end()
    }

    /// Waits for its end; gives its exit code and all that it said.
    pub(crate) fn end(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (code, self.text())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Said {
    fn listen(self: &Arc<Self>, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let said = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                said.lines.lock().unwrap().push(line);
                said.more.notify_all();
            }
        })
    }
}

/// A stand-in CRM on a free port.
pub(crate) struct Crm {
    pub(crate) program: Running,
    pub(crate) url: String,
    record: PathBuf,
}

impl Crm {
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Self {
        let record = dir.join("crm.jsonl");
        let mut all = vec!["mock", "crm", "--listen", "127.0.0.1:0", "--record"];
        all.push(record.to_str().unwrap());
        all.extend(arguments);
        let program = Running::start(&all);
        let line = program.line(0, "listening on");
        let url = line.rsplit(' ').next().unwrap().to_owned();
        Self {
            program,
            url,
            record,
        }
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Json> {
        let text = fs::read_to_string(&self.record).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits until `count` requests had an effect; gives their bodies.
    pub(crate) fn tickets(&self, count: usize) -> Vec<Json> {
        until(&format!("{count} tickets"), || {
            let made: Vec<Json> = self
                .requests()
                .into_iter()
                .filter(|request| request["status"] == 201)
                .map(|request| request["body"].clone())
                .collect();
            assert!(made.len() <= count, "more than {count} tickets: {made:?}");
            (made.len() == count).then_some(made)
        })
    }
}

/// The quickstart on free ports, in a directory of its own.
pub(crate) struct Quickstart {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) crm: Crm,
}

impl Quickstart {
    pub(crate) fn new() -> Self {
        Self::with_crm(&[])
    }

    pub(crate) fn with_crm(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let crm = Crm::start(dir.path(), arguments);
        fs::create_dir(dir.path().join("conf")).unwrap();
        let this = Self { dir, crm };
        for name in ["subscription.yaml", "route.yaml", "secret.yaml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../examples/quickstart")
                .join(name);
            let text = fs::read_to_string(path).unwrap();
            let text = text.replace("http://127.0.0.1:8090", &this.crm.url);
            fs::write(this.file(name), text).unwrap();
        }
        this
    }

    pub(crate) fn conf(&self) -> String {
        self.dir.path().join("conf").to_str().unwrap().to_owned()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("conf").join(name)
    }

    /// Replaces a text in a file, and returns the whole new content.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) -> String {
        let text = fs::read_to_string(self.file(name)).unwrap();
        assert!(text.contains(from), "{name} has no `{from}`");
        let text = text.replace(from, to);
        fs::write(self.file(name), &text).unwrap();
        text
    }

    /// `hookswitch run` on free ports.
    pub(crate) fn run(&self) -> Serving {
        self.run_with(&[])
    }

    pub(crate) fn run_with(&self, arguments: &[&str]) -> Serving {
        let (conf, data) = (self.conf(), self.data());
        let mut all = vec!["run", "-f", &conf, "--data", data.to_str().unwrap()];
        all.extend(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
        all.extend(["--admin", "127.0.0.1:0"]);
        all.extend(["--log-format", "text"]);
        all.extend(arguments);
        let program = Running::start(&all);
        let url = program
            .line(0, "  webhooks ")
            .rsplit(' ')
            .next()
            .unwrap()
            .to_owned();
        let admin = program.line(0, "  admin  ");
        let admin = admin.split_whitespace().nth(1).unwrap().to_owned();
        // The last line of what it says at the start.
        program.line(0, " send --provider ");
        Serving {
            program,
            url,
            admin,
            conf,
        }
    }
}

/// A quickstart that runs.
pub(crate) struct Serving {
    pub(crate) program: Running,
    pub(crate) url: String,
    pub(crate) admin: String,
    conf: String,
}

impl Serving {
    /// `hookswitch` about it, such as `events`: exit code and standard output.
    pub(crate) fn ask(&self, arguments: &[&str]) -> (i32, String) {
        answer(&[arguments, &["--admin", &self.admin]].concat())
    }

    /// The same, where it must go well and the answer is JSON, an object a line.
    pub(crate) fn objects(&self, arguments: &[&str]) -> Vec<Json> {
        let (code, text) = self.ask(&[arguments, &["-o", "json"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits for an event's counts, such as `dead`; gives its id.
    pub(crate) fn event(&self, filter: &[&str], what: &str, count: u64) -> String {
        until(&format!("{count} {what}"), || {
            let events = self.objects(&[&["events"], filter].concat());
            let event = events.last()?;
            (event[what] == count).then(|| event["uid"].as_str().unwrap().to_owned())
        })
    }

    /// `hookswitch send` to it: exit code and standard output.
    pub(crate) fn send(&self, arguments: &[&str]) -> (i32, String) {
        let url = format!("{}/support/tg-staff", self.url);
        let mut all = vec!["send", "-f", &self.conf, "--url", &url];
        all.extend(arguments);
        answer(&all)
    }
}
