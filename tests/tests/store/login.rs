//! How a receiver says who it is, and how it knows the servers.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hookswitch_receiver::store::jetstream::{Login, Settings};
use hookswitch_receiver::store::{Error, Store as _};
use hookswitch_tests::servers::certificates;
use hookswitch_tests::servers::nats::Nats;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::replica::{Replica, settings};
use crate::support::event;

/// A receiver that gets in keeps an event.
async fn works(settings: &Settings) {
    let one = Replica::start(settings).await;
    one.store()
        .accept(event("a", "1", "body", 0))
        .await
        .unwrap();
}

/// Why one does not get in; nothing of it holds what is planted.
async fn refused(settings: &Settings) -> String {
    let dir = TempDir::new().unwrap();
    let error = Replica::start_in(settings, dir).await.err().unwrap();
    assert!(matches!(error, Error::Open(_)), "{error:?}");
    let said = error.to_string();
    assert!(!said.contains("planted"), "{said}");
    said
}

fn write(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_or_a_token_from_a_file_lets_the_receiver_in() {
    let dir = TempDir::new().unwrap();
    let right = write(&dir, "right", "planted-secret\n");
    let wrong = write(&dir, "wrong", "planted-wrong\n");
    let user = |file: &PathBuf| Login::Password {
        user: "hookswitch".to_owned(),
        file: file.clone(),
    };
    let with = |nats: &Nats, login: Option<Login>| Settings {
        login,
        ..settings(nats, "login")
    };
    let by_user = "authorization { user: hookswitch, password: planted-secret }";
    let by_user = Nats::start_with(by_user).await;
    let by_token = Nats::start_with("authorization { token: planted-secret }").await;
    works(&with(&by_user, Some(user(&right)))).await;
    works(&with(&by_token, Some(Login::Token(right)))).await;
    let absent = dir.path().join("absent");
    let (one, other, none, unread) = (
        with(&by_user, Some(user(&wrong))),
        with(&by_token, Some(Login::Token(wrong))),
        with(&by_user, None),
        with(&by_user, Some(user(&absent))),
    );
    let said = tokio::join!(
        refused(&one),
        refused(&other),
        refused(&none),
        refused(&unread)
    );
    for said in [said.0, said.1, said.2] {
        assert!(said.contains("authorization violation"), "{said}");
    }
    assert!(said.3.contains("absent can't be read"), "{}", said.3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_in_a_url_is_refused_and_not_told() {
    let nats = Nats::start_with("authorization { user: me, password: planted }").await;
    let settings = Settings {
        urls: vec![format!("nats://me:planted@{}", nats.address())],
        ..settings(&nats, "url")
    };
    let said = refused(&settings).await;
    assert!(said.contains("--nats-password-file"), "{said}");
}

/// What an account, or a user, may do without limits.
fn unlimited(kind: &str) -> Value {
    match kind {
        "account" => json!({
            "type": kind, "version": 2,
            "limits": {
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
                "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
            },
        }),
        // Which has none of JetStream.
        "system" => json!({"type": "account", "version": 2}),
        "user" => json!({"type": kind, "version": 2, "subs": -1, "data": -1, "payload": -1}),
        _ => json!({"type": kind, "version": 2}),
    }
}

/// A JWT of NATS: <https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt>.
fn jwt(kind: &str, subject: &KeyPair, issuer: &KeyPair) -> String {
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": "1", "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": kind, "nats": unlimited(kind),
    });
    let part = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// A file of credentials, as `nsc` writes it.
fn credentials(user: &KeyPair, account: &KeyPair) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        jwt("user", user, account),
        user.seed().unwrap()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_credentials_lets_the_receiver_in() {
    let (operator, system, account) = (
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_account(),
    );
    let nats = Nats::start_with(&format!(
        "operator: {}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{ {system}: {}, {}: {} }}",
        jwt("operator", &operator, &operator),
        jwt("system", &system, &operator),
        account.public_key(),
        jwt("account", &account, &operator),
        system = system.public_key(),
    ))
    .await;
    let dir = TempDir::new().unwrap();
    let user = KeyPair::new_user();
    let right = write(&dir, "right.creds", &credentials(&user, &account));
    // Signed by nobody that the server knows.
    let stranger = credentials(&user, &KeyPair::new_account());
    let wrong = write(&dir, "wrong.creds", &stranger);
    let with = |file: &Path| Settings {
        login: Some(Login::Credentials(file.to_owned())),
        ..settings(&nats, "credentials")
    };
    works(&with(&right)).await;
    let said = refused(&with(&wrong)).await;
    assert!(said.contains("authorization violation"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_certificate_is_checked_and_ours_is_shown() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let authority = write(&dir, "ca.crt", &certificates::write(dir.path()));
    let stranger = write(&other, "ca.crt", &certificates::write(other.path()));
    let pair = |dir: &TempDir| (dir.path().join("server.crt"), dir.path().join("server.key"));
    let (certificate, key) = pair(&dir);
    let tls = format!("cert_file: {certificate:?}, key_file: {key:?}, ca_file: {authority:?}");
    let nats = Nats::start_with(&format!("tls {{ {tls} }}")).await;
    let mutual = Nats::start_with(&format!("tls {{ {tls}, verify: true }}")).await;
    let with = |nats: &Nats, ca: Option<&PathBuf>, certificate| Settings {
        urls: vec![format!("tls://{}", nats.address())],
        ca: ca.cloned(),
        certificate,
        ..settings(nats, "tls")
    };
    works(&with(&nats, Some(&authority), None)).await;
    works(&with(&mutual, Some(&authority), Some(pair(&dir)))).await;
    // Where a CA is named TLS is a must, whatever the URL says.
    let plain = Settings {
        urls: vec![nats.url()],
        ..with(&nats, Some(&authority), None)
    };
    works(&plain).await;
    let (wrong, systems, nothing_shown, strangers) = (
        with(&nats, Some(&stranger), None),
        with(&nats, None, None),
        with(&mutual, Some(&authority), None),
        with(&mutual, Some(&authority), Some(pair(&other))),
    );
    let said = tokio::join!(
        refused(&wrong),
        refused(&systems),
        refused(&nothing_shown),
        refused(&strangers)
    );
    for said in [said.0, said.1, said.2, said.3] {
        assert!(said.contains("no NATS server of tls://127.0.0.1"), "{said}");
    }
}
