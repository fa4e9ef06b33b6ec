//! TLS: a certificate and its key, followed while their files change.
//!
//! Kubernetes replaces the files of a mounted Secret by swapping a symbolic link, and other tools
//! write one file after the other, so files are read and compared every few seconds: it works on any
//! file system. A pair that does not fit together is reported once and the one before stays in use.
//!
//! TLS 1.2 and 1.3, no early data (it could be replayed), HTTP/2 preferred by ALPN.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// Where the certificate is.
#[derive(Debug, Clone)]
pub struct Files {
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key in PEM: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
    /// How often to look whether they have changed.
    pub check_every: Duration,
}

impl Files {
    /// Files that are looked at every two seconds.
    #[must_use]
    pub fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self {
            certificate,
            key,
            check_every: Duration::from_secs(2),
        }
    }
}

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("can't read {path} for TLS: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificate's file holds no certificates in PEM.
    #[error("{path}: no certificate in PEM (-----BEGIN CERTIFICATE-----) that can be read")]
    Certificate {
        /// The file.
        path: PathBuf,
    },
    /// The key's file holds no private key in PEM.
    #[error("{path}: no unencrypted private key in PEM (-----BEGIN PRIVATE KEY-----)")]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// Each can be read, and they can't be used together.
    #[error("{certificate} and {key} can't be used together: {source}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The provider does not support the protocol versions.
    #[error("TLS can't be set up: {0}")]
    Setup(rustls::Error),
}

/// A certificate that is followed.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    loaded: Digest,
    config: Arc<ServerConfig>,
}

/// The certificate in use.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Of both files' contents.
type Digest = [u8; 32];

/// Both files' contents.
struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Where they can't be read, or can't be used together.
    pub async fn load(files: Files) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let contents = Contents::read(&files).await?;
        let certified = contents.parse(&files, &provider)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(certified)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(Error::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            loaded: contents.digest(),
            files,
            provider,
            current,
            config: Arc::new(config),
        })
    }

    /// Shakes hands with the certificate in use at that moment.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Takes over each change of the files until `shutdown`. What can't be used is logged, once for
    /// each content, and the certificate before stays in use.
    ///
    /// Cancellation: may be dropped at any time.
    pub async fn follow(self, shutdown: CancellationToken) {
        let mut seen = self.loaded;
        let mut unreadable = false;
        while shutdown
            .run_until_cancelled(sleep(self.files.check_every))
            .await
            .is_some()
        {
            match Contents::read(&self.files).await {
                Ok(contents) => {
                    unreadable = false;
                    let digest = contents.digest();
                    if digest != std::mem::replace(&mut seen, digest) {
                        self.replace(&contents);
                    }
                }
                Err(error) if !std::mem::replace(&mut unreadable, true) => {
                    tracing::error!(%error, "the certificate can't be read; the one in use stays");
                }
                Err(_) => {}
            }
        }
    }

    fn replace(&self, contents: &Contents) {
        let file = self.files.certificate.display();
        match contents.parse(&self.files, &self.provider) {
            Ok(certified) => {
                self.current.0.store(Arc::new(certified));
                tracing::info!(%file, "the certificate has changed and is in use");
            }
            Err(error) => {
                tracing::error!(%error, "the new certificate can't be used; the one in use stays");
            }
        }
    }
}

impl Contents {
    async fn read(files: &Files) -> Result<Self, Error> {
        let read = async |path: &Path| {
            tokio::fs::read(path).await.map_err(|source| Error::Read {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            certificate: read(&files.certificate).await?,
            key: Zeroizing::new(read(&files.key).await?),
        })
    }

    fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        hash.update(Sha256::digest(&self.certificate));
        hash.update(Sha256::digest(&self.key));
        hash.finalize().into()
    }

    fn parse(&self, files: &Files, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .unwrap_or_default();
        if chain.is_empty() {
            return Err(Error::Certificate {
                path: files.certificate.clone(),
            });
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| Error::Key {
            path: files.key.clone(),
        })?;
        CertifiedKey::from_der(chain, key, provider).map_err(|source| Error::Pair {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            source,
        })
    }
}
