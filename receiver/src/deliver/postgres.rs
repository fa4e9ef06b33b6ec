//! Writes deliveries to a table of a PostgreSQL database, over a lane's own few connections.
//!
//! ```text
//!  BEGIN, INSERT ... INSERT ─▶ all are good ─ COMMIT ─▶ all are written
//!          (sent at once)   ─▶ one is not   ─ ROLLBACK ─▶ it is refused, or waits, and each other one
//!                                                         goes in a transaction of its own
//! ```
//!
//! - What is wrong with one row, for good or for now, is told of that row alone. What is wrong with the server is
//!   told of all.
//! - A row that hangs, as behind a lock, has half of the time, and the others what is left.
//! - What has not been asked to be committed has no effect: a connection that breaks before is no doubt. What
//!   breaks between COMMIT and its answer is.
//! - Statements have no names, and settings end with their transaction, so that poolers between us and the
//!   database do no harm. A connection whose transaction neither begins nor ends as it should is used no more.
//! - TLS is spoken by PostgreSQL's request for it
//!   (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>), and nothing is said before.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};

use futures::future::{join, join_all};
use hookswitch_crds::postgres_url::PostgresUrl;
use hookswitch_crds::snapshot;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::DbError;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Error, NoTls};

use super::excerpt::Secrets;
use super::kind::postgres::{self as kind, Row, Table};
use super::kind::{Fault, Reply, Told, reason};
use super::network::{Dialler, Network, Stream};
use super::pool::Pool;
use super::target::{Held, allowed_host, body_of, certificates, reveal};
use crate::store::StoredDelivery;

/// Asks for TLS: the length of the request, and its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A database made ready.
pub(super) struct Writer {
    table: Table,
    config: Config,
    tls: bool,
    dialler: Dialler,
    pool: Pool<Session>,
}

/// A connection: what asks, and what moves the bytes while somebody asks.
struct Session {
    client: Client,
    /// `None` once the connection is gone.
    driver: Option<Driver>,
}

type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// What is known of the deliveries of an attempt.
struct Progress {
    told: Vec<Option<Told>>,
    /// Those that are just being committed.
    committing: Vec<usize>,
}

/// Why a transaction has not been committed.
enum Failure {
    /// The server refused it. The connection works.
    Refused {
        /// The row because of which, where that is known.
        place: Option<usize>,
        told: Told,
        /// Other rows would meet the same.
        of_all: bool,
    },
    /// It has had no effect, and the connection is gone.
    Lost(Fault),
    /// Nobody knows whether it was committed.
    Doubt(Fault),
}

fn resolve(spec: &snapshot::Postgres, secrets: &mut Secrets) -> Result<PostgresUrl, Held> {
    let unusable = |error: &dyn std::fmt::Display| {
        Held::PostgresUrl(spec.url.reference.clone(), error.to_string())
    };
    let text = std::str::from_utf8(reveal(&spec.url, secrets)?);
    let text = text.map_err(|_| unusable(&"is no text"))?;
    let url = PostgresUrl::parse(text).map_err(|error| unusable(&error))?;
    if let Some(password) = &url.password {
        secrets.add(password.expose());
    }
    if !url.tls && spec.private_networks.is_empty() {
        return Err(Held::Plain);
    }
    allowed_host(&url.host, &spec.private_networks)?;
    Ok(url)
}

/// Why nothing can be written, where nothing can.
pub(super) fn held(spec: &snapshot::Postgres) -> Option<Held> {
    let resolved = resolve(spec, &mut Secrets::default()).err();
    resolved.or_else(|| certificates(spec.ca.as_ref()).err())
}

impl Writer {
    /// Makes a database ready.
    ///
    /// # Errors
    /// What must change before anything can be written.
    pub(super) fn prepare(
        spec: &snapshot::Postgres,
        network: &Network,
        secrets: &mut Secrets,
    ) -> Result<Self, Held> {
        let url = resolve(spec, secrets)?;
        let ca = certificates(spec.ca.as_ref())?;
        let mut config = Config::new();
        config
            .user(&url.user)
            .dbname(&url.database)
            .application_name(url.application_name.as_deref().unwrap_or("hookswitch"))
            // What is handed to it speaks TLS already.
            .ssl_mode(SslMode::Disable);
        if let Some(password) = &url.password {
            config.password(password.expose());
        }
        let to = (url.host.as_str(), url.port);
        Ok(Self {
            table: Table::of(spec),
            config,
            tls: url.tls,
            dialler: network.dialler(to, &spec.private_networks, ca)?,
            pool: Pool::new(),
        })
    }

    /// Writes deliveries, each as a row of its own.
    ///
    /// Cancellation: they may have been committed; the attempt is then ambiguous.
    pub(super) async fn attempt(&self, deliveries: &[StoredDelivery], deadline: Instant) -> Reply {
        let mut progress = Progress {
            told: Vec::with_capacity(deliveries.len()),
            committing: Vec::new(),
        };
        let mut rows = Vec::with_capacity(deliveries.len());
        for (place, delivery) in deliveries.iter().enumerate() {
            let body = body_of(&delivery.request, &delivery.event.event);
            let told = match body.map(|body| self.table.row(&body, delivery.id)) {
                Ok(Ok(row)) => {
                    rows.push((place, row));
                    None
                }
                Ok(Err(why)) => Some(Told::refused(why)),
                Err(fault) => Some(Told::not_sent(&fault)),
            };
            progress.told.push(told);
        }
        let writing = self.write(&rows, &mut progress, deadline);
        let fault = match timeout_at(deadline, writing).await {
            Ok(Ok(())) => fault(reason::INTERNAL, "nothing became of it"),
            Ok(Err(fault)) => fault,
            Err(_) => fault(reason::TIMEOUT, "no answer in time"),
        };
        let Progress { told, committing } = progress;
        let each = told.into_iter().enumerate().map(|(place, told)| {
            told.unwrap_or_else(|| {
                if committing.contains(&place) {
                    Told::no_answer(&fault)
                } else {
                    Told::not_sent(&fault)
                }
            })
        });
        Reply::Each(each.collect())
    }

    /// Writes rows together, and where one of them is refused each alone.
    ///
    /// # Errors
    /// Why it is not known of some what became of them.
    async fn write(
        &self,
        rows: &[(usize, Row)],
        progress: &mut Progress,
        deadline: Instant,
    ) -> Result<(), Fault> {
        if rows.is_empty() {
            return Ok(());
        }
        let turn = self.pool.turn().await;
        let (mut session, used) = match turn.used() {
            Some((session, _)) => (session, true),
            None => (self.open().await?, false),
        };
        let until = share(deadline, rows.len() > 1);
        let mut outcome = session.transaction(rows, progress, until).await;
        if used && matches!(outcome, Err(Failure::Lost(_))) {
            // It had been closed while it was idle, and nothing was committed.
            session = self.open().await?;
            outcome = session.transaction(rows, progress, until).await;
        }
        match outcome {
            Ok(()) => {}
            Err(Failure::Lost(fault) | Failure::Doubt(fault)) => return Err(fault),
            Err(Failure::Refused {
                place,
                told,
                of_all,
            }) => {
                if of_all || rows.len() == 1 {
                    progress.tell_rest(&told);
                } else {
                    if let Some(place) = place {
                        progress.tell(place, told);
                    }
                    self.write_alone(&mut session, rows, progress, deadline)
                        .await?;
                }
            }
        }
        if !session.client.is_closed() {
            turn.keep(session);
        }
        Ok(())
    }

    /// Writes the rows of which nothing is known yet, each in a transaction of its own.
    async fn write_alone(
        &self,
        session: &mut Session,
        rows: &[(usize, Row)],
        progress: &mut Progress,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let untold = |it: &&(usize, Row)| progress.told.get(it.0).is_some_and(Option::is_none);
        let mut left: Vec<&(usize, Row)> = rows.iter().filter(untold).rev().collect();
        while let Some(row) = left.pop() {
            let until = share(deadline, !left.is_empty());
            let place = row.0;
            let row = std::slice::from_ref(row);
            match session.transaction(row, progress, until).await {
                Ok(()) => {}
                Err(Failure::Refused {
                    told, of_all: true, ..
                }) => {
                    progress.tell_rest(&told);
                    break;
                }
                Err(Failure::Refused { told, .. }) => progress.tell(place, told),
                Err(Failure::Lost(fault) | Failure::Doubt(fault)) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Connects.
    async fn open(&self) -> Result<Session, Fault> {
        let mut tcp = self.dialler.connect().await?;
        let stream: Box<dyn Stream> = if self.tls {
            let asked = async {
                tcp.write_all(&SSL_REQUEST).await?;
                tcp.read_u8().await
            };
            match asked.await {
                Ok(b'S') => Box::new(self.dialler.secure(tcp).await?),
                Ok(_) => {
                    let why = "the server speaks no TLS: turn it on there, or let the URL end with ?sslmode=disable";
                    return Err(fault(reason::TLS, why));
                }
                Err(error) => return Err(fault(reason::CONNECT, error)),
            }
        } else {
            Box::new(tcp)
        };
        let connected = self.config.connect_raw(stream, NoTls).await;
        let (client, mut connection) = connected.map_err(|error| {
            let refused = error.as_db_error().map(not_let_in);
            refused.unwrap_or_else(|| fault(reason::CONNECT, &error))
        })?;
        Ok(Session {
            client,
            // Notices are passed over, where the connection by itself would log them: whatever a trigger says
            // can stand in them.
            driver: Some(Box::pin(poll_fn(move |context| {
                loop {
                    match ready!(connection.poll_message(context)) {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Poll::Ready(Err(error)),
                        None => return Poll::Ready(Ok(())),
                    }
                }
            }))),
        })
    }
}

impl Progress {
    fn tell(&mut self, place: usize, told: Told) {
        if let Some(it) = self.told.get_mut(place) {
            *it = Some(told);
        }
    }

    /// Tells the same of all of which nothing is known yet.
    fn tell_rest(&mut self, told: &Told) {
        for it in self.told.iter_mut().filter(|it| it.is_none()) {
            *it = Some(Told::new(told.verdict, told.said.clone()));
        }
    }
}

impl Session {
    /// Writes rows in one transaction, and tells of each that it was written. A statement takes no longer than
    /// it is until then.
    ///
    /// Cancellation: the session is to be dropped.
    async fn transaction(
        &mut self,
        rows: &[(usize, Row)],
        progress: &mut Progress,
        until: Instant,
    ) -> Result<(), Failure> {
        let Self { client, driver } = self;
        let client = &*client;
        let left = until.saturating_duration_since(Instant::now());
        // The most that PostgreSQL takes, which is three weeks.
        let left = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
        let begin = format!("BEGIN; SET LOCAL statement_timeout = {left}");
        let inserting = rows.iter().map(|(_, row)| insert(client, row));
        let sent = join(client.batch_execute(&begin), join_all(inserting));
        let (opened, inserted) = drive(driver, sent).await;
        opened.map_err(|error| {
            let refused = error.as_db_error().map(not_let_in);
            Failure::Lost(refused.unwrap_or_else(|| lost(&error)))
        })?;
        let wrong = rows.iter().zip(&inserted);
        let mut wrong = wrong.filter_map(|((place, _), it)| Some((*place, it.as_ref().err()?)));
        let first = wrong
            .clone()
            .find_map(|(place, error)| Some((place, own(error)?)));
        if let Some((place, error)) = first {
            let rolled_back = drive(driver, client.batch_execute("ROLLBACK")).await;
            rolled_back
                .map_err(|_| Failure::Lost(fault(reason::CONNECTION_LOST, kind::said(error))))?;
            return Err(Failure::refused(Some(place), error));
        }
        if let Some((_, error)) = wrong.next() {
            return Err(Failure::Lost(lost(error)));
        }
        progress.committing = rows.iter().map(|(place, _)| *place).collect();
        let committed = drive(driver, client.batch_execute("COMMIT")).await;
        if let Err(error) = committed {
            let definite = error.as_db_error().filter(|error| !kind::in_doubt(error));
            let Some(error) = definite else {
                return Err(Failure::Doubt(lost(&error)));
            };
            progress.committing.clear();
            return Err(Failure::refused(None, error));
        }
        progress.committing.clear();
        for ((place, _), inserted) in rows.iter().zip(inserted) {
            progress.tell(*place, kind::written(inserted.unwrap_or_default()));
        }
        Ok(())
    }
}

/// Writes a row; how many were written.
async fn insert(client: &Client, row: &Row) -> Result<u64, Error> {
    let mut values: Vec<(&(dyn ToSql + Sync), Type)> = Vec::with_capacity(row.values.len());
    for value in &row.values {
        values.push((value, Type::TEXT));
    }
    client.execute_typed(&row.statement, &values).await
}

/// Moves bytes for as long as something is asked.
async fn drive<T>(driver: &mut Option<Driver>, asked: impl Future<Output = T>) -> T {
    let mut asked = pin!(asked);
    if let Some(moving) = driver {
        tokio::select! {
            biased;
            answer = &mut asked => return answer,
            // The connection is gone.
            _ = moving => {}
        }
    }
    // What is asked learns of it only once this is dropped.
    *driver = None;
    asked.await
}

impl Failure {
    fn refused(place: Option<usize>, error: &DbError) -> Self {
        Self::Refused {
            place,
            told: kind::judge(error),
            of_all: kind::is_of_all(error),
        }
    }
}

/// What the server says of a statement by itself, and not only because another failed before.
fn own(error: &Error) -> Option<&DbError> {
    error.as_db_error().filter(|it| !kind::had_failed(it))
}

/// Until when a transaction may take, where as much is to be left for others behind it.
fn share(deadline: Instant, others: bool) -> Instant {
    let now = Instant::now();
    let left = deadline.saturating_duration_since(now);
    now + if others { left / 2 } else { left }
}

/// Why nothing begins: whatever it is, it can change without a change here.
fn not_let_in(error: &DbError) -> Fault {
    let reason = match kind::judge(error).verdict.reason {
        reason::UNAUTHORIZED => reason::UNAUTHORIZED,
        _ => reason::CONNECT,
    };
    fault(reason, kind::said(error))
}

fn lost(error: &Error) -> Fault {
    let detail = match error.as_db_error() {
        Some(error) => kind::said(error),
        None => error.to_string(),
    };
    fault(reason::CONNECTION_LOST, detail)
}

fn fault(reason: &'static str, detail: impl std::fmt::Display) -> Fault {
    Fault {
        reason,
        detail: detail.to_string(),
    }
}
