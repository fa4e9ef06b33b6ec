//! The threads that read. They have their own connections and never make the writer wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::fault::ReadFault;
use super::schema;
use super::state::lock;
use super::writer::closed_error;
use crate::store::Error;

/// Threads, each with a connection.
const THREADS: usize = 2;
/// Reads that wait at most; more wait to be queued.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The readers. Dropping it lets them end.
#[derive(Debug)]
pub(super) struct Readers {
    queue: mpsc::Sender<Option<Job>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(super) fn start(path: &Path) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut threads = Vec::with_capacity(THREADS);
        for number in 0..THREADS {
            let connection = schema::open_reader(path)?;
            let jobs = Arc::clone(&jobs);
            let thread = std::thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || run(&connection, &jobs))
                .map_err(|error| Error::Open(format!("no thread for the store: {error}")))?;
            threads.push(thread);
        }
        Ok(Self {
            queue,
            threads: Mutex::new(threads),
        })
    }

    /// Reads at one moment of the file: nothing is committed in between for it.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadFault> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = connection
                .unchecked_transaction()
                .map_err(ReadFault::from)
                .and_then(|transaction| read(&transaction));
            drop(reply.send(outcome));
        });
        self.queue
            .send(Some(job))
            .await
            .map_err(|_| closed_error())?;
        Ok(answer.await.map_err(|_| closed_error())??)
    }

    /// Lets the threads end after what is queued. Joining them is for [`Self::join`].
    pub(super) async fn close(&self) {
        for _ in 0..THREADS {
            // Where nobody takes it the threads have ended already.
            drop(self.queue.send(None).await);
        }
    }

    /// The threads, to be joined.
    pub(super) fn threads(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut lock(&self.threads))
    }
}

fn run(connection: &Connection, jobs: &Mutex<mpsc::Receiver<Option<Job>>>) {
    loop {
        let job = lock(jobs).blocking_recv();
        match job {
            Some(Some(job)) => {
                // Who asked is told, since the answer's other end is dropped; the next ones are served.
                if catch_unwind(AssertUnwindSafe(|| job(connection))).is_err() {
                    tracing::error!("a read of the store panicked");
                }
            }
            Some(None) | None => return,
        }
    }
}
