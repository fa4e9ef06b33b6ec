//! HTTPS, and certificates that change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hookswitch_receiver::tls::{Error, Files, Tls};
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, Version};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATH, PATIENCE, Receiver, SIGNATURE, Setup, client_trusting, sign, tg_staff};

const EVENT: &str = r#"{"event_type": "message.received", "event_id": 1}"#;

/// A certificate for localhost and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes both as Kubernetes does: into a new directory, and a link swapped to it.
    fn mount(&self, volume: &Path, generation: &str) {
        let directory = volume.join(generation);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("tls.crt"), &self.certificate).unwrap();
        std::fs::write(directory.join("tls.key"), &self.key).unwrap();
        let link = volume.join("..data_tmp");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        std::fs::rename(link, volume.join("..data")).unwrap();
    }

    /// Whether a new connection is shown this certificate, over that version of HTTP.
    async fn is_shown_by(&self, receiver: &Receiver) -> Option<Version> {
        let trusted = Certificate::from_pem(self.certificate.as_bytes()).unwrap();
        let client = client_trusting([trusted]).build().unwrap();
        let url = format!("https://localhost:{}{PATH}", receiver.address.port());
        let request = client.post(url).header(SIGNATURE, sign(EVENT)).body(EVENT);
        let response = request.send().await.ok()?;
        assert_eq!(response.status(), 200);
        Some(response.version())
    }
}

fn files(volume: &Path) -> Files {
    Files {
        check_every: Duration::from_millis(10),
        ..Files::new(volume.join("..data/tls.crt"), volume.join("..data/tls.key"))
    }
}

async fn start(volume: &Path) -> Receiver {
    let mut setup = Setup::new(vec![tg_staff()]);
    setup.tls = Some(Tls::load(files(volume)).await.unwrap());
    setup.limits.handshake = Duration::from_millis(300);
    setup.start().await
}

#[tokio::test]
async fn r2_serves_https_with_http_2_and_1_1() {
    let volume = TempDir::new().unwrap();
    let pair = Pair::new();
    pair.mount(volume.path(), "1");
    let receiver = start(volume.path()).await;
    assert_eq!(pair.is_shown_by(&receiver).await, Some(Version::HTTP_2));
    let trusted = Certificate::from_pem(pair.certificate.as_bytes()).unwrap();
    let client = client_trusting([trusted]).http1_only().build().unwrap();
    let url = format!("https://localhost:{}{PATH}", receiver.address.port());
    let request = client.post(url).header(SIGNATURE, sign(EVENT)).body(EVENT);
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, Version::HTTP_11)
    );
    assert_eq!(receiver.store.events().len(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_shake_hands_is_cut_off() {
    let volume = TempDir::new().unwrap();
    Pair::new().mount(volume.path(), "1");
    let receiver = start(volume.path()).await;
    for first in ["", "POST / HTTP/1.1\r\n\r\n", "\x16\x03\x01"] {
        let mut stream = TcpStream::connect(receiver.address).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        drop(read.expect("the server did not close the connection"));
        assert!(!answer.starts_with(b"HTTP"));
    }
}

#[tokio::test]
async fn a_new_certificate_is_followed_and_a_bad_one_is_not() {
    let volume = TempDir::new().unwrap();
    let [first, second, third] = [(); 3].map(|()| Pair::new());
    first.mount(volume.path(), "1");
    let receiver = start(volume.path()).await;
    assert!(first.is_shown_by(&receiver).await.is_some());

    // The certificate of one and the key of another; then no certificate at all; then no file.
    let bad = Pair {
        certificate: second.certificate.clone(),
        key: third.key.clone(),
    };
    bad.mount(volume.path(), "2");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(first.is_shown_by(&receiver).await.is_some());
    let none = Pair {
        certificate: "x".into(),
        key: third.key.clone(),
    };
    none.mount(volume.path(), "3");
    std::fs::remove_file(volume.path().join("..data")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(first.is_shown_by(&receiver).await.is_some());

    third.mount(volume.path(), "4");
    let followed = async {
        while third.is_shown_by(&receiver).await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, followed).await.unwrap();
    assert!(first.is_shown_by(&receiver).await.is_none());
}

#[tokio::test]
async fn what_can_not_be_used_is_named() {
    let volume = TempDir::new().unwrap();
    let [one, other] = [(); 2].map(|()| Pair::new());
    let at = |name: &str| -> PathBuf { volume.path().join(name) };
    std::fs::write(at("one.crt"), &one.certificate).unwrap();
    std::fs::write(at("one.key"), &one.key).unwrap();
    std::fs::write(at("other.key"), &other.key).unwrap();
    let load = async |certificate: &str, key: &str| {
        let error = Tls::load(Files::new(at(certificate), at(key)))
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&volume.path().display().to_string()),
            "{error}"
        );
        error
    };
    assert!(matches!(
        load("one.crt", "absent").await,
        Error::Read { .. }
    ));
    assert!(matches!(
        load("one.key", "one.key").await,
        Error::Certificate { .. }
    ));
    assert!(matches!(
        load("one.crt", "one.crt").await,
        Error::Key { .. }
    ));
    assert!(matches!(
        load("one.crt", "other.key").await,
        Error::Pair { .. }
    ));
}
