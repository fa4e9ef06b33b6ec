//! A relay between a client and a server, which can lose an answer: the request has its effect, and
//! whoever sent it never hears of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A relay to one server.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    to_lose: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts one. `mark` is in the requests whose answers can be lost.
    pub async fn start(server: SocketAddr, mark: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let (to_lose, lost) = (Arc::default(), Arc::default());
        let counts = (Arc::clone(&to_lose), Arc::clone(&lost));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (to_lose, lost) = (Arc::clone(&counts.0), Arc::clone(&counts.1));
                connections.spawn(async move {
                    // A server that is away closes the connection.
                    if let Ok(server) = TcpStream::connect(server).await {
                        relay(client, server, mark, &to_lose, &lost).await;
                    }
                });
            }
        });
        Self {
            address,
            to_lose,
            lost,
            task,
        }
    }

    /// Loses the answers to the next `count` requests.
    pub fn lose(&self, count: usize) {
        self.to_lose.store(count, Ordering::SeqCst);
    }

    /// How many it has lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes bytes on until a side ends. Where an answer is to be lost, the request is passed on, and the
/// connection broken once the server has answered.
async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    mark: &[u8],
    to_lose: &AtomicUsize,
    lost: &AtomicUsize,
) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut losing = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Some(bytes) = read.ok().filter(|it| *it > 0).and_then(|it| up.get(..it)) else {
                    return;
                };
                let marked = bytes.windows(mark.len()).any(|it| it == mark);
                let fewer = |count: usize| count.checked_sub(1);
                losing |= marked
                    && to_lose
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer)
                        .is_ok();
                if server.write_all(bytes).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Some(bytes) = read.ok().filter(|it| *it > 0).and_then(|it| down.get(..it)) else {
                    return;
                };
                if losing {
                    lost.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if client.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}
