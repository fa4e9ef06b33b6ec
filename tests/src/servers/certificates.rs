//! Certificates for servers on the loopback address.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Writes `server.crt` and `server.key`, for 127.0.0.1 and localhost; gives the authority's certificate.
///
/// # Panics
/// Where they can't be written.
#[must_use]
pub fn write(folder: &Path) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = || KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority");
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let server_key = key();
    let server = CertificateParams::new(names)
        .and_then(|params| params.signed_by(&server_key, &authority))
        .expect("a certificate");
    for (name, pem) in [
        ("server.crt", server.pem()),
        ("server.key", server_key.serialize_pem()),
    ] {
        fs::write(folder.join(name), pem).expect("a certificate can be written");
    }
    authority.pem()
}
