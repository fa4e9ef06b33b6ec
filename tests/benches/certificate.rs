//! A certificate of our own for `localhost`, and a client that trusts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// A certificate with its key.
pub(crate) struct Certificate(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Certificate {
    /// A new one, on the P-256 curve.
    pub(crate) fn make() -> Result<Self> {
        Ok(Self(rcgen::generate_simple_self_signed([
            "localhost".to_owned()
        ])?))
    }

    /// Writes both as PEM, and says where.
    pub(crate) fn write(&self, folder: &Path) -> Result<(PathBuf, PathBuf)> {
        let certificate = folder.join("tls.crt");
        let key = folder.join("tls.key");
        fs::write(&certificate, self.0.cert.pem())?;
        fs::write(&key, self.0.signing_key.serialize_pem())?;
        Ok((certificate, key))
    }

    /// The client's side.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.cert.der().clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}
