//! The way to the NATS servers, and the stream and the bucket on them.
//!
//! - The stream has one subject, and no limit of age: what a checkpoint holds is purged. It refuses what
//!   does not fit, and nobody can delete a message out of its middle: see [`streams`].
//! - Connections are made again for as long as the process lives. While there is none, nothing is begun.
//! - A server may be there and cut off from the others: who gets no answer goes to the next server.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::{self, RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context, ContextBuilder};
use async_nats::{Client, ConnectOptions, Event};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{servers, streams};
use crate::store::Error;
use crate::store::embedded::state::lock;

/// How long a start tries to reach the servers.
const REACHED: Duration = Duration::from_secs(30);
/// Between two tries to connect, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How soon a connection that has died without a word is noticed: the client gives up after two pings
/// without an answer.
const PING: Duration = Duration::from_secs(2);
/// How long the servers may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long something goes unanswered before other servers are asked: longer than they need to elect a leader.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the servers remember a batch, so that it can be sent again.
pub(super) const REMEMBERED: Duration = Duration::from_mins(2);

/// How to say who we are.
#[derive(Debug, Clone)]
pub enum Login {
    /// A file of credentials, as `nsc` makes it.
    Credentials(PathBuf),
    /// A user, and the file that holds the password.
    Password {
        /// The user.
        user: String,
        /// The file.
        file: PathBuf,
    },
    /// The file that holds the token.
    Token(PathBuf),
}

/// Where the log is.
#[derive(Clone)]
pub struct Settings {
    /// The servers: `nats://host:4222`, or `tls://` where TLS is a must; without a login.
    pub urls: Vec<String>,
    /// What the names of stream, bucket and subjects begin with: letters, digits, `-` and `_`.
    pub prefix: String,
    /// How many servers keep the log.
    pub replicas: usize,
    /// Bytes that the log may take; `None` leaves it to the servers' limits.
    pub max_bytes: Option<u64>,
    /// Who we are; `None` where the servers let everybody in.
    pub login: Option<Login>,
    /// Authorities that the servers' certificates may come from (PEM); `None` are the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key (PEM).
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// How long a receiver may be silent before others take over its work.
    pub takeover: Duration,
    /// Bytes and messages of the log, at least, before a checkpoint is worth while.
    pub checkpoint: (u64, u64),
}

impl std::fmt::Debug for Settings {
    /// Without what URLs may hold by mistake.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("urls", &servers::told(&self.urls))
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The usual ones for some servers.
    #[must_use]
    pub fn new(urls: Vec<String>) -> Self {
        Self {
            urls,
            prefix: "hookswitch".to_owned(),
            replicas: 1,
            max_bytes: None,
            login: None,
            ca: None,
            certificate: None,
            takeover: Duration::from_secs(6),
            checkpoint: (64 << 20, 100_000),
        }
    }
}

/// What there is of the stream.
#[derive(Debug, Clone)]
pub(super) struct Info {
    /// Which one it is: when it was made.
    pub(super) stream: String,
    /// The first message that is kept; 0 or 1 where none was ever removed.
    pub(super) first: u64,
    /// The last message.
    pub(super) last: u64,
    /// Messages that are kept.
    pub(super) messages: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl Info {
    /// What is known of a stream since it was asked for.
    pub(super) fn of(stream: &Stream) -> Self {
        let info = stream.cached_info();
        Self {
            stream: format!(
                "{}.{:09}",
                info.created.unix_timestamp(),
                info.created.nanosecond()
            ),
            first: info.state.first_sequence,
            last: info.state.last_sequence,
            messages: info.state.messages,
            bytes: info.state.bytes,
        }
    }
}

/// Why a stream is not as it should be.
enum Unprepared {
    /// It can't be.
    Refused(String),
    /// It may be soon.
    Yet(String),
}

/// The connection.
pub(super) struct Connection {
    settings: Settings,
    client: Client,
    context: Context,
    state: Arc<State>,
}

/// What is known of it.
#[derive(Debug)]
struct State {
    /// Counts connections; odd while there is one.
    turns: watch::Sender<u64>,
    /// A batch waits for its answer for too long.
    stuck: AtomicBool,
    /// The log took no more, the last time.
    full: AtomicBool,
    /// The last message that the servers have acknowledged to us.
    acknowledged: AtomicU64,
    /// Which server is next.
    turn: servers::Turn,
    /// When the last connection was made or lost.
    changed: Mutex<Instant>,
}

impl Connection {
    /// Connects, and makes the stream or brings it to these settings.
    pub(super) async fn open(settings: Settings) -> Result<Self, Error> {
        let valid = |prefix: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !prefix.is_empty() && prefix.len() <= 64 && prefix.chars().all(fits)
        };
        if !valid(&settings.prefix) {
            return Err(Error::Open(format!(
                "`{}` can't begin a stream's name: use up to 64 letters, digits, - and _",
                settings.prefix
            )));
        }
        let state = Arc::new(State {
            turns: watch::Sender::new(0),
            stuck: AtomicBool::new(false),
            full: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            turn: servers::Turn::default(),
            changed: Mutex::new(Instant::now()),
        });
        let client = connect(&settings, &state).await?;
        // Told by an event too, which may come later than the first question.
        state.connected(true);
        let context = ContextBuilder::new().timeout(ANSWER).build(client.clone());
        let this = Self {
            settings,
            client,
            context,
            state,
        };
        let began = Instant::now();
        loop {
            match this.prepare().await {
                Ok(()) => return Ok(this),
                Err(Unprepared::Refused(why)) => return Err(Error::Open(why)),
                Err(Unprepared::Yet(error)) if began.elapsed() > REACHED => {
                    return Err(Error::Open(format!(
                        "the stream {} can't be made or changed: {error}",
                        this.name()
                    )));
                }
                Err(Unprepared::Yet(error)) => {
                    tracing::info!(%error, stream = this.name(), "the stream is not there yet; will try again");
                    this.leave_server(began.elapsed(), &error).await;
                    tokio::time::sleep(LONGEST_PAUSE).await;
                }
            }
        }
    }

    /// Makes the stream, or brings what is there to the settings.
    async fn prepare(&self) -> Result<(), Unprepared> {
        let wanted = streams::log(&self.settings, self.name(), self.subject());
        // Another receiver may make it at the same moment: the same once more is not an error.
        let stream = self.context.get_or_create_stream(wanted.clone()).await;
        let stream = stream.map_err(|error| Unprepared::Yet(error.to_string()))?;
        self.bring(&stream, &wanted).await?;
        match self.context.get_stream(self.bucket_stream()).await {
            Ok(bucket) => self.bring_bucket(&bucket).await,
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(Unprepared::Yet(error.to_string())),
        }
    }

    async fn bring_bucket(&self, stream: &Stream) -> Result<(), Unprepared> {
        let wanted = streams::bucket(&self.settings, &stream.cached_info().config);
        self.bring(stream, &wanted).await
    }

    async fn bring(&self, stream: &Stream, wanted: &stream::Config) -> Result<(), Unprepared> {
        let there = &stream.cached_info().config;
        let Some(next) = streams::change(there, wanted).map_err(Unprepared::Refused)? else {
            return Ok(());
        };
        tracing::info!(
            stream = wanted.name,
            "the stream is brought to the settings"
        );
        let updated = self.context.update_stream(next).await;
        updated
            .map(drop)
            .map_err(|error| Unprepared::Yet(error.to_string()))
    }

    /// The stream's name.
    pub(super) fn name(&self) -> String {
        format!("{}-log", self.settings.prefix)
    }

    /// Its one subject.
    pub(super) fn subject(&self) -> String {
        format!("{}.log", self.settings.prefix)
    }

    /// Where members say that they live.
    pub(super) fn heartbeats(&self) -> String {
        format!("{}.members", self.settings.prefix)
    }

    /// The bucket of checkpoints.
    pub(super) fn bucket(&self) -> String {
        format!("{}-checkpoints", self.settings.prefix)
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) const fn context(&self) -> &Context {
        &self.context
    }

    /// The stream.
    pub(super) async fn stream(&self) -> Result<Stream, String> {
        let found = self.context.get_stream(self.name()).await;
        found.map_err(|error| format!("the stream {}: {error}", self.name()))
    }

    /// What there is of the stream now.
    pub(super) async fn info(&self) -> Result<Info, String> {
        Ok(Info::of(&self.stream().await?))
    }

    /// A message of the stream; `None` where it is not there.
    pub(super) async fn message(
        &self,
        stream: &Stream,
        sequence: u64,
    ) -> Result<Option<Bytes>, String> {
        let found = stream.get_raw_message(sequence).await;
        match found {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(format!("message {sequence} of {}: {error}", self.name())),
        }
    }

    /// The stream that the bucket is kept in.
    fn bucket_stream(&self) -> String {
        format!("OBJ_{}", self.bucket())
    }

    /// The bucket of checkpoints, where there is one.
    pub(super) async fn bucket_if_there(&self) -> Result<Option<ObjectStore>, String> {
        let failed =
            |error: &dyn std::fmt::Display| format!("the bucket {}: {error}", self.bucket());
        match self.context.get_stream(self.bucket_stream()).await {
            Ok(_) => {}
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        }
        let found = self.context.get_object_store(self.bucket()).await;
        found.map(Some).map_err(|error| failed(&error))
    }

    /// The bucket of checkpoints, made where it is missing.
    pub(super) async fn checkpoints(&self) -> Result<ObjectStore, String> {
        if let Some(found) = self.bucket_if_there().await? {
            return Ok(found);
        }
        let bucket = self.bucket();
        let wanted = object_store::Config {
            bucket: bucket.clone(),
            description: Some("Where Hookswitch's receivers begin to read their log".to_owned()),
            num_replicas: self.settings.replicas,
            compression: true,
            ..object_store::Config::default()
        };
        let made = self.context.create_object_store(wanted).await;
        made.map_err(|error| format!("the bucket {bucket}: {error}"))
    }

    /// The longest message that the servers take.
    pub(super) fn longest(&self) -> usize {
        // Headers are counted in.
        self.client.server_info().max_payload.saturating_sub(1024)
    }

    /// Whether there is a connection now.
    pub(super) fn is_connected(&self) -> bool {
        *self.state.turns.borrow() % 2 == 1
    }

    /// Tells when it is lost or made again.
    pub(super) fn turns(&self) -> watch::Receiver<u64> {
        self.state.turns.subscribe()
    }

    /// Goes to the next server where something went unanswered for too long: this one may be cut off from the others.
    /// Where none answers it is no worse than to stay.
    pub(super) async fn leave_server(&self, unanswered: Duration, why: &str) {
        if unanswered < PATIENCE || !self.is_connected() {
            return;
        }
        {
            // Whoever waits for an answer asks for it.
            let mut changed = lock(&self.state.changed);
            if changed.elapsed() < ANSWER {
                return;
            }
            *changed = Instant::now();
        }
        let server = self.client.server_info().server_name;
        tracing::warn!(
            server,
            why,
            "the NATS server does not answer; will connect to the next one"
        );
        if let Err(error) = self.client.force_reconnect().await {
            tracing::debug!(%error, "the client has ended");
        }
    }

    /// Notes whether a batch waits for its answer for too long.
    pub(super) fn set_stuck(&self, stuck: bool) {
        self.state.stuck.store(stuck, Ordering::Relaxed);
    }

    /// Notes whether the log took no more.
    pub(super) fn set_full(&self, full: bool) {
        if self.state.full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::warn!(stream = self.name(), "the log takes no more");
            } else {
                tracing::info!(stream = self.name(), "the log has room again");
            }
        }
    }

    /// Whether the log took no more, the last time.
    pub(super) fn is_full(&self) -> bool {
        self.state.full.load(Ordering::Relaxed)
    }

    /// Notes how far the servers have acknowledged what we wrote.
    pub(super) fn acknowledge(&self, sequence: u64) {
        self.state
            .acknowledged
            .fetch_max(sequence, Ordering::Relaxed);
    }

    /// How far they have.
    pub(super) fn acknowledged(&self) -> u64 {
        self.state.acknowledged.load(Ordering::Relaxed)
    }

    /// Whether something can be written.
    pub(super) fn reachable(&self) -> Result<(), Error> {
        let why = if !self.is_connected() {
            "there is no connection to the NATS servers"
        } else if self.state.stuck.load(Ordering::Relaxed) {
            "the NATS servers do not acknowledge what is written"
        } else {
            return Ok(());
        };
        Err(Error::Unavailable(why.to_owned()))
    }

    /// The same, and whether there is room for it.
    pub(super) fn health(&self) -> Result<(), Error> {
        self.reachable()?;
        if self.is_full() {
            return Err(Error::Full(format!(
                "the stream {} has reached a limit: give it more, or remove what is pending",
                self.name()
            )));
        }
        Ok(())
    }
}

impl State {
    fn connected(&self, connected: bool) {
        *lock(&self.changed) = Instant::now();
        self.turns.send_if_modified(|turns| {
            let changes = (*turns % 2 == 1) != connected;
            *turns += u64::from(changes);
            changes
        });
    }
}

async fn connect(settings: &Settings, state: &Arc<State>) -> Result<Client, Error> {
    let servers = servers::read(&settings.urls)?;
    let until = tokio::time::Instant::now() + REACHED;
    loop {
        // The options can be used once.
        let options = options(settings, state).await?;
        match options.connect(servers.as_slice()).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > until => {
                return Err(Error::Open(format!(
                    "no NATS server of {} could be reached: {error}",
                    servers::told(&settings.urls)
                )));
            }
            Err(error) => {
                tracing::info!(%error, servers = servers::told(&settings.urls), "no NATS server could be reached; will try again");
                tokio::time::sleep(LONGEST_PAUSE).await;
            }
        }
    }
}

async fn options(settings: &Settings, state: &Arc<State>) -> Result<ConnectOptions, Error> {
    let events = Arc::clone(state);
    let order = Arc::clone(state);
    let mut options = ConnectOptions::new()
        .name("hookswitch-receiver")
        .max_reconnects(None)
        .ping_interval(PING)
        .connection_timeout(ANSWER)
        .reconnect_delay_callback(|tries| {
            let tries = u32::try_from(tries).unwrap_or(u32::MAX);
            (Duration::from_millis(50) * tries.min(20)).min(LONGEST_PAUSE)
        })
        .reconnect_to_server_callback(move |known, _| {
            let next = order.turn.next(&known);
            async move { next }
        })
        .event_callback(move |event| {
            let state = Arc::clone(&events);
            async move {
                match &event {
                    Event::Connected => state.connected(true),
                    Event::Disconnected | Event::Closed => state.connected(false),
                    _ => {}
                }
                tracing::info!(%event, "the connection to the NATS servers");
            }
        });
    options = match &settings.login {
        None => options,
        Some(Login::Credentials(file)) => options
            .credentials_file(file)
            .await
            .map_err(|error| unreadable(file, &error))?,
        Some(Login::Password { user, file }) => {
            options.user_and_password(user.clone(), secret(file).await?)
        }
        Some(Login::Token(file)) => options.token(secret(file).await?),
    };
    if let Some(ca) = &settings.ca {
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &settings.certificate {
        options = options
            .add_client_certificate(certificate.clone(), key.clone())
            .require_tls(true);
    }
    Ok(options)
}

async fn secret(file: &Path) -> Result<String, Error> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|error| unreadable(file, &error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn unreadable(file: &Path, error: &std::io::Error) -> Error {
    Error::Open(format!("{} can't be read: {error}", file.display()))
}

/// Whether there is no such stream.
fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(said) if said.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}

/// What an error of a publish means.
pub(super) fn is_full(error: &jetstream::context::PublishError) -> bool {
    use jetstream::ErrorCode as Code;
    let source = std::error::Error::source(error);
    let said = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
    said.is_some_and(|said| {
        [
            Code::STREAM_STORE_FAILED,
            Code::INSUFFICIENT_RESOURCES,
            Code::ACCOUNT_RESOURCES_EXCEEDED,
            Code::STORAGE_RESOURCES_EXCEEDED,
        ]
        .contains(&said.error_code())
    })
}
