//! The way out: TLS, name resolution, the HTTP clients of lanes and the connections of those that speak
//! something else.
//!
//! - Trust is the platform's (`/etc/ssl/certs`, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name), read
//!   once: a company's own CA is trusted where its certificate is mounted.
//! - Each lane has a client of its own, with its own connections: a destination that hangs can't use
//!   up the streams of a connection that another one shares.
//! - Names resolve to addresses that the destination may reach, or to none; see [`address`].
//! - Proxies of the environment are not used: a proxy would resolve names beyond that check.
//! - Redirects are not followed, and nothing is attempted twice behind the engine's back.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hookswitch_crds::address;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::kind::{Fault, reason};

/// Connections that are idle longer are closed: before the other side does, which would break the
/// next request.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// The longest wait for a connection, over all addresses of the name.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An HTTP/2 connection with requests in flight is asked this often whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// And has so long to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Name lookups at once: each takes a thread of the blocking pool, which others need too.
const LOOKUPS: usize = 128;

/// Name lookups at once of one lane.
const LOOKUPS_PER_LANE: usize = 2;

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS can't be set up.
    #[error("TLS for destinations: {0}")]
    Tls(#[from] rustls::Error),
    /// A client can't be made.
    #[error("the HTTP client of a destination: {0}")]
    Client(#[from] reqwest::Error),
    /// The host is no name.
    #[error("the host is no name that a certificate could be for")]
    Host,
}

/// Resolves names, unfiltered.
pub(super) trait Lookup: Send + Sync + 'static {
    /// All addresses of the name. The permit is held as long as the lookup takes a thread, which can be
    /// longer than anyone waits for it.
    fn lookup(
        &self,
        name: String,
        permit: OwnedSemaphorePermit,
    ) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;
}

/// TLS and name resolution, shared by all lanes.
#[derive(Clone)]
pub(super) struct Network {
    tls: rustls::ClientConfig,
    lookup: Arc<dyn Lookup>,
}

/// The platform's resolver (`getaddrinfo`).
struct System {
    permits: Arc<Semaphore>,
}

/// A lane's resolver: gives only what its destination may reach.
#[derive(Clone)]
struct Guarded {
    lookup: Arc<dyn Lookup>,
    private_networks: Arc<[IpNet]>,
    permits: Arc<Semaphore>,
}

/// A name that resolves to nothing that may be reached.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} resolves to {addresses} address(es), none of them public: a private destination needs allowPrivateNetwork"
)]
pub(super) struct Forbidden {
    name: String,
    addresses: usize,
}

impl Network {
    /// The platform's trust and resolver. Reads the certificates from disk, so blocks shortly.
    ///
    /// # Errors
    /// Where TLS can't be set up.
    pub(super) fn system() -> Result<Self, Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, unusable) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            tracing::warn!(
                errors = found.errors.len(),
                "no trusted certificates found: HTTPS destinations will fail until SSL_CERT_FILE or /etc/ssl/certs has some"
            );
        } else {
            tracing::debug!(usable, unusable, "trusted certificates read");
        }
        let lookup = Arc::new(System {
            permits: Arc::new(Semaphore::new(LOOKUPS)),
        });
        Self::new(roots, lookup)
    }

    /// With these roots and this resolver.
    ///
    /// # Errors
    /// Where TLS can't be set up.
    pub(super) fn new(roots: RootCertStore, lookup: Arc<dyn Lookup>) -> Result<Self, Error> {
        let mut tls = client_config(roots)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { tls, lookup })
    }

    /// A client that reaches public addresses and these networks. With `keep_alive` false, each request
    /// has a connection of its own: a connection that the other side is just closing can't make it
    /// ambiguous.
    ///
    /// # Errors
    /// Where the client can't be made.
    pub(super) fn client(
        &self,
        private_networks: &[IpNet],
        keep_alive: bool,
    ) -> Result<reqwest::Client, Error> {
        let resolver = self.guarded(private_networks);
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(Arc::new(resolver))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(if keep_alive { usize::MAX } else { 0 })
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build()?;
        Ok(client)
    }
}

/// Bytes both ways, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The way to one server that speaks something else than HTTP: its name resolved anew and guarded at
/// each connection.
#[derive(Clone)]
pub(super) struct Dialler {
    host: String,
    port: u16,
    name: ServerName<'static>,
    guarded: Guarded,
    tls: TlsConnector,
}

impl Network {
    /// The way to a server that may be in these private networks. `roots` are trusted in place of the
    /// platform's.
    ///
    /// # Errors
    /// Where TLS can't be set up.
    pub(super) fn dialler(
        &self,
        (host, port): (&str, u16),
        private_networks: &[IpNet],
        roots: Option<RootCertStore>,
    ) -> Result<Dialler, Error> {
        let mut tls = roots.map_or_else(|| Ok(self.tls.clone()), client_config)?;
        tls.alpn_protocols.clear();
        Ok(Dialler {
            host: host.to_owned(),
            port,
            name: ServerName::try_from(host.to_owned()).map_err(|_| Error::Host)?,
            guarded: self.guarded(private_networks),
            tls: TlsConnector::from(Arc::new(tls)),
        })
    }

    fn guarded(&self, private_networks: &[IpNet]) -> Guarded {
        Guarded {
            lookup: Arc::clone(&self.lookup),
            private_networks: private_networks.into(),
            permits: Arc::new(Semaphore::new(LOOKUPS_PER_LANE)),
        }
    }
}

impl Dialler {
    /// A connection, without TLS yet.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn connect(&self) -> Result<TcpStream, Fault> {
        match timeout(CONNECT_TIMEOUT, self.connect_any()).await {
            Ok(connected) => connected,
            Err(_) => Err(Fault {
                reason: reason::CONNECT,
                detail: format!("no connection within {CONNECT_TIMEOUT:?}"),
            }),
        }
    }

    async fn connect_any(&self) -> Result<TcpStream, Fault> {
        let fault = |reason, error: &dyn std::fmt::Display| Fault {
            reason,
            detail: error.to_string(),
        };
        let found = self.guarded.addresses(self.host.clone()).await;
        let found = found.map_err(|error| {
            let forbidden = error.is::<Forbidden>();
            fault(
                if forbidden {
                    reason::ADDRESS
                } else {
                    reason::DNS
                },
                &error,
            )
        })?;
        let mut last = fault(reason::DNS, &"the name has no address");
        for address in found {
            match TcpStream::connect((address, self.port)).await {
                Ok(stream) => {
                    // What is written is written whole: nothing is gained by waiting for more.
                    drop(stream.set_nodelay(true));
                    return Ok(stream);
                }
                Err(error) => last = fault(reason::CONNECT, &error),
            }
        }
        Err(last)
    }

    /// TLS over a connection.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn secure(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Fault> {
        let secured = self.tls.connect(self.name.clone(), stream).await;
        secured.map_err(|error| Fault {
            reason: reason::TLS,
            detail: error.to_string(),
        })
    }
}

/// TLS that trusts these.
fn client_config(roots: RootCertStore) -> Result<rustls::ClientConfig, Error> {
    Ok(
        rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// The certificates of a Secret; `None` where it holds none, or one that can't be read.
pub(super) fn certificates(pem: &[u8]) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    (!roots.is_empty()).then_some(roots)
}

impl Lookup for System {
    fn lookup(
        &self,
        name: String,
        permit: OwnedSemaphorePermit,
    ) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let permits = Arc::clone(&self.permits);
        Box::pin(async move {
            let shared = permits
                .acquire_owned()
                .await
                .map_err(std::io::Error::other)?;
            tokio::task::spawn_blocking(move || {
                let _permits = (permit, shared);
                let addresses = (name.as_str(), 0).to_socket_addrs()?;
                Ok(addresses.map(|address| address.ip()).collect())
            })
            .await?
        })
    }
}

impl Guarded {
    /// The addresses of a name that may be reached: one at least.
    async fn addresses(
        &self,
        name: String,
    ) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let permit = Arc::clone(&self.permits).acquire_owned().await?;
        let found = self.lookup.lookup(name.clone(), permit).await?;
        let reachable: Vec<IpAddr> = found
            .iter()
            .filter(|address| address::allowed(**address, &self.private_networks))
            .copied()
            .collect();
        if reachable.is_empty() {
            return Err(Forbidden {
                name,
                addresses: found.len(),
            }
            .into());
        }
        Ok(reachable)
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let guarded = self.clone();
        Box::pin(async move {
            let found = guarded.addresses(name).await?;
            let found = found.into_iter().map(|it| SocketAddr::new(it, 0));
            let addresses: Addrs = Box::new(found);
            Ok(addresses)
        })
    }
}
