//! A process that uses a store until it is ended: this test program, run again.
//!
//! It writes a line for each thing that the store has promised, after the promise: `accepted ID`,
//! `planned SEQ`, `claimed DELIVERY`, `delivered DELIVERY`; and `failed CATEGORY` for each error.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use hookswitch_receiver::store::embedded::Embedded;
use hookswitch_receiver::store::{Next, Store};

use crate::support::{self, at, claim, delivery, event, finish, key, lane, plan};

/// Where the child finds its data directory.
const DIR: &str = "HOOKSWITCH_TEST_STORE";
/// Sets the ids of one run apart from those of another.
const RUN: &str = "HOOKSWITCH_TEST_RUN";

/// The arguments that make this program be the child.
pub(crate) const ARGUMENTS: [&str; 3] = ["child::the_child", "--exact", "--nocapture"];

/// Starts it on a data directory, behind another command where there is one.
pub(crate) fn start(dir: &Path, run: usize, behind: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let itself = std::env::current_exe().unwrap();
    let mut command = match behind.split_first() {
        None => Command::new(itself),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(itself);
            command
        }
    };
    let mut child = command
        .args(ARGUMENTS)
        .env(DIR, dir)
        .env(RUN, run.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// The next whole line; nothing at the end.
pub(crate) fn line(lines: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    lines.read_line(&mut line).ok()?;
    line.strip_suffix('\n').map(str::to_owned)
}

fn say(what: &str, which: &dyn std::fmt::Display) {
    // One write for each line, so that a kill leaves whole lines.
    let line = format!("{what} {which}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// Without the directory it is a test like any other, with nothing to do.
#[tokio::test]
async fn the_child() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let run = std::env::var(RUN).unwrap();
    let store = match support::try_open(Path::new(&dir)) {
        Ok(store) => Arc::new(store),
        Err(error) => return say("failed", &error.category()),
    };
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..4 {
        tasks.spawn(send(Arc::clone(&store), format!("{run}-{sender}")));
    }
    tasks.spawn(route(Arc::clone(&store)));
    tasks.spawn(deliver(Arc::clone(&store)));
    tasks.join_all().await;
}

async fn send(store: Arc<Embedded>, name: String) {
    for number in 0.. {
        let id = format!("{name}-{number}");
        let mut new = event(
            "a",
            &id,
            &format!("the body of {id} {}", "x".repeat(500)),
            0,
        );
        new.remember_until = at(1_000_000);
        match store.accept(new).await {
            Ok(_) => say("accepted", &id),
            Err(error) => pause("accept", &error).await,
        }
    }
}

async fn route(store: Arc<Embedded>) {
    loop {
        let Ok((after, events)) = store.unplanned(&key("a"), 16).await else {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            continue;
        };
        let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
        if seqs.is_empty() {
            tokio::task::yield_now().await;
            continue;
        }
        let plans = seqs
            .iter()
            .map(|seq| plan(*seq, 1, vec![delivery("crm", *seq)]))
            .collect();
        match store.plan(&key("a"), after, plans).await {
            Ok(()) => seqs.iter().for_each(|seq| say("planned", seq)),
            Err(error) => pause("plan", &error).await,
        }
    }
}

async fn deliver(store: Arc<Embedded>) {
    loop {
        let Ok(due) = store.due(&lane("crm"), at(2), 16).await else {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            continue;
        };
        for one in due.ready {
            let claims = vec![claim(one.id, one.attempts, 2)];
            if store.claim(claims).await.is_ok_and(|won| won == [true]) {
                say("claimed", &one.id);
                let done = finish(one.id, one.attempts + 1, 3, Next::Delivered);
                if store
                    .finish(vec![done])
                    .await
                    .is_ok_and(|won| won == [true])
                {
                    say("delivered", &one.id);
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn pause(what: &str, error: &hookswitch_receiver::store::Error) {
    say(&format!("failed-{what}"), &error.category());
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
}
