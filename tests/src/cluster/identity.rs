//! Who is who in a cluster: certificates, keys, and the kubeconfigs that hold them.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

/// The folder of a cluster's certificates and keys.
///
/// - `ca.crt`: vouches for the server and for clients;
/// - `apiserver.{crt,key}`: the server on loopback;
/// - `admin.{crt,key}`: one who may do all, by the group `system:masters`;
/// - `controllers.{crt,key}`: the controller manager, by the user that Kubernetes' own roles name;
/// - `accounts.{key,pub}`: signs service accounts' tokens, and checks them.
#[derive(Debug)]
pub(super) struct Identity {
    folder: PathBuf,
    ca: String,
}

impl Identity {
    /// Makes new ones.
    pub(super) fn create(folder: &Path) -> Self {
        let mut params = subject("hookswitch-tests", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key();
        let certificate = params
            .self_signed(&key)
            .expect("a certificate signs itself");
        let this = Self {
            folder: folder.to_owned(),
            ca: certificate.pem(),
        };
        this.write("ca.crt", &this.ca);
        let issuer = Issuer::new(params, key);

        let mut server = subject("kube-apiserver", None);
        server.subject_alt_names =
            CertificateParams::new(["127.0.0.1", "localhost"].map(str::to_owned))
                .expect("names of a server")
                .subject_alt_names;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        this.sign("apiserver", &server, &issuer);

        for (name, user, group) in [
            ("admin", "admin", Some("system:masters")),
            ("controllers", "system:kube-controller-manager", None),
        ] {
            let mut client = subject(user, group);
            client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            this.sign(name, &client, &issuer);
        }
        let accounts = self::key();
        this.write("accounts.key", &accounts.serialize_pem());
        this.write("accounts.pub", &accounts.public_key_pem());
        this
    }

    /// The certificate that vouches for all others, in PEM.
    pub(super) fn ca(&self) -> &str {
        &self.ca
    }

    /// Where one of the files is.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A kubeconfig of one who has a certificate.
    pub(super) fn kubeconfig(&self, name: &str, port: u16) -> PathBuf {
        let user = json!({
            "client-certificate": self.file(&format!("{name}.crt")),
            "client-key": self.file(&format!("{name}.key")),
        });
        self.write_kubeconfig(name, &user, port)
    }

    /// A kubeconfig of one who has a token.
    pub(super) fn token_kubeconfig(&self, name: &str, token: &str, port: u16) -> PathBuf {
        self.write_kubeconfig(name, &json!({"token": token}), port)
    }

    /// JSON is YAML.
    fn write_kubeconfig(&self, name: &str, user: &Value, port: u16) -> PathBuf {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority": self.file("ca.crt"),
            }}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        });
        self.write(&format!("{name}.kubeconfig"), &config.to_string())
    }

    fn sign(&self, name: &str, params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) {
        let key = key();
        let certificate = params.signed_by(&key, issuer).expect("the issuer signs");
        self.write(&format!("{name}.crt"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, text)
            .unwrap_or_else(|error| panic!("{} can't be written: {error}", path.display()));
        path
    }
}

fn subject(name: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}
