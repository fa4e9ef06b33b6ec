//! Secrets: found in the object's own namespace, and nowhere else.
//!
//! A reference has no namespace to name, so no object can reach another namespace's Secrets. The
//! snapshot's own Secrets hold everyone's, and are out of reach in every namespace.
//!
//! What was looked up is noted: what an object resolves to holds for as long as that is the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use hookswitch_crds::condition::reason;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::postgres_url::{self, PostgresUrl};
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::secret_ref::{RotatedSecretRef, SecretRef};
use hookswitch_crds::snapshot::{ResolvedSecret, SecretEncoding};

use super::problems::Problems;

/// What the names of the snapshot's Secrets begin with.
pub(super) const SNAPSHOT_PREFIX: &str = "hookswitch-snapshot";

/// The Secrets of one namespace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secrets<'a> {
    all: &'a All,
    namespace: &'a str,
    lookups: &'a Lookups,
}

/// The data of a Secret.
pub type SecretData = BTreeMap<String, SecretBytes>;

/// Those of every namespace.
type All = BTreeMap<ObjectKey, Arc<SecretData>>;

/// The Secrets that a spec looked for, by name, each with what was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookups(RefCell<Box<[Lookup]>>);

/// A Secret's name, and what was found.
type Lookup = (Box<str>, Option<Arc<SecretData>>);

impl Lookups {
    /// Whether each of them would find the same now.
    pub(super) fn hold(&self, all: &All, namespace: &str) -> bool {
        self.0.borrow().iter().all(|(name, found)| {
            let now = all.get(&ObjectKey::new(namespace, &**name));
            match (found, now) {
                (None, None) => true,
                (Some(found), Some(now)) => Arc::ptr_eq(found, now) || found == now,
                (Some(_), None) | (None, Some(_)) => false,
            }
        })
    }

    fn note(&self, name: &str, found: Option<&Arc<SecretData>>) {
        // They are few, and kept for as long as the object is: no room is left for more.
        let mut noted = self.0.borrow_mut();
        if noted.iter().all(|(known, _)| **known != *name) {
            let mut all = std::mem::take(&mut *noted).into_vec();
            all.reserve_exact(1);
            all.push((name.into(), found.cloned()));
            *noted = all.into_boxed_slice();
        }
    }
}

impl<'a> Secrets<'a> {
    pub(super) fn of(all: &'a All, namespace: &'a str, lookups: &'a Lookups) -> Self {
        Self {
            all,
            namespace,
            lookups,
        }
    }

    /// What a reference refers to.
    pub(super) fn resolve(
        &self,
        reference: &SecretRef,
        use_as: Use,
        field: &str,
        problems: &mut Problems,
    ) -> ResolvedSecret {
        let value = self
            .find(reference)
            .map_err(|missing| missing.report(self.namespace, reference, field, problems))
            .ok();
        if let Some(value) = &value {
            use_as.check(value, reference, field, problems);
        }
        resolved(reference, value)
    }

    /// The same for one of several keys; an optional one may be missing.
    pub(super) fn resolve_rotated(
        &self,
        reference: &RotatedSecretRef,
        use_as: Use,
        field: &str,
        problems: &mut Problems,
    ) -> ResolvedSecret {
        let optional = reference.is_optional();
        let reference = reference.secret_ref();
        match self.find(&reference) {
            Err(Missing::Secret | Missing::Key | Missing::Empty) if optional => {
                resolved(&reference, None)
            }
            _ => self.resolve(&reference, use_as, field, problems),
        }
    }

    /// The data of a `ConfigMap`, where these are `ConfigMap`s.
    pub(super) fn config_map(&self, name: &str) -> Option<&'a SecretData> {
        let found = self.all.get(&ObjectKey::new(self.namespace, name));
        self.lookups.note(name, found);
        found.map(|it| &**it)
    }

    /// The namespace that they are of.
    pub(super) fn namespace(&self) -> &'a str {
        self.namespace
    }

    fn find(&self, reference: &SecretRef) -> Result<SecretBytes, Missing> {
        if reference.name.starts_with(SNAPSHOT_PREFIX) {
            return Err(Missing::Snapshot);
        }
        let key = ObjectKey::new(self.namespace, reference.name.as_str());
        let found = self.all.get(&key);
        self.lookups.note(&reference.name, found);
        let data = found.ok_or(Missing::Secret)?;
        let value = data.get(&reference.key).ok_or(Missing::Key)?;
        if value.is_empty() {
            return Err(Missing::Empty);
        }
        Ok(value.clone())
    }
}

/// What a secret's value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A list of words, checked where it is read.
    Words,
    /// The key of an HMAC, in this encoding.
    Key(SecretEncoding),
    /// A header's value, or the end of one.
    Header,
    /// The whole URL of a destination.
    Url,
    /// A segment of a URL's path, or a parameter of its query.
    UrlPart,
    /// A private key in PEM.
    PrivateKey,
    /// Certificates in PEM.
    Certificates,
    /// A connection to PostgreSQL, without TLS too where that is `plain`.
    PostgresUrl {
        /// Whether it may do without TLS.
        plain: bool,
    },
    /// A .creds file of NATS.
    NatsCredentials,
    /// The seed of a user's key of NATS.
    NatsSeed,
}

impl Use {
    /// Tells where a value can't be used so. Receivers pass over white space at the ends but in a
    /// raw key, where it is a part of the key and seldom meant to be.
    fn check(
        self,
        value: &SecretBytes,
        reference: &SecretRef,
        field: &str,
        problems: &mut Problems,
    ) {
        let SecretRef { name, key } = reference;
        let bytes = value.expose().trim_ascii();
        let mut tell = |fault: &str| {
            problems.unresolved(
                field,
                reason::SECRET_INVALID,
                format!("the key {key} of the Secret {name} {fault}: correct its value"),
            );
        };
        let fault = match self {
            Self::Key(SecretEncoding::Raw) => {
                if value.expose().ends_with(b"\n") {
                    problems.warning(
                        field,
                        format!(
                            "the key {key} of the Secret {name} ends with a line break, which counts \
                             as a part of the signing key: write it without one, as printf does"
                        ),
                    );
                }
                return;
            }
            Self::Key(encoding) if value.key(encoding).is_none() => match encoding {
                SecretEncoding::Whsec => "is not whsec_ and base64",
                SecretEncoding::Base64 | SecretEncoding::Raw => "is not base64",
            },
            Self::Header if bytes.iter().any(|it| it.is_ascii_control() && *it != b'\t') => {
                "holds a line break or another character that no header may have"
            }
            Self::Url if !is_url(bytes) => "is no URL that begins with https://",
            Self::UrlPart if bytes.iter().any(|it| !it.is_ascii_graphic()) => {
                "holds a space, a line break or another character that no token has"
            }
            Self::PrivateKey if !bytes.starts_with(b"-----BEGIN ") => {
                "is no private key in PEM, which begins with -----BEGIN"
            }
            Self::Certificates if !has_line(bytes, "-----BEGIN CERTIFICATE-----") => {
                "holds no certificates in PEM, which begin with -----BEGIN CERTIFICATE-----"
            }
            Self::PostgresUrl { plain } => match postgres_fault(bytes, plain) {
                Some(fault) => return tell(&fault),
                None => return,
            },
            Self::NatsCredentials
                if !has_line(bytes, "-----BEGIN NATS USER JWT-----")
                    || !has_line(bytes, "-----BEGIN USER NKEY SEED-----") =>
            {
                "is no .creds file of NATS, with a JWT and a seed"
            }
            Self::NatsSeed if !bytes.starts_with(b"SU") => {
                "is no seed of a user's key, which begins with SU"
            }
            Self::Key(_)
            | Self::Header
            | Self::Url
            | Self::UrlPart
            | Self::PrivateKey
            | Self::Certificates
            | Self::NatsCredentials
            | Self::NatsSeed
            | Self::Words => return,
        };
        tell(fault);
    }
}

fn is_url(bytes: &[u8]) -> bool {
    let parsed = std::str::from_utf8(bytes).ok().map(url::Url::parse);
    matches!(parsed, Some(Ok(url)) if matches!(url.scheme(), "https" | "http") && url.has_host())
}

/// Whether a text has such a line.
fn has_line(bytes: &[u8], line: &str) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.lines().any(|it| it.trim() == line)
}

/// What is wrong with a URL of PostgreSQL.
fn postgres_fault(bytes: &[u8], plain: bool) -> Option<String> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Some(postgres_url::Error::NoUrl.to_string());
    };
    match PostgresUrl::parse(text) {
        Ok(url) if !url.tls && !plain => Some(
            "has sslmode=disable, which needs allowPrivateNetwork: true in the route".to_owned(),
        ),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// Why a reference has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Snapshot,
    Secret,
    Key,
    Empty,
}

impl Missing {
    fn report(self, namespace: &str, reference: &SecretRef, field: &str, problems: &mut Problems) {
        let SecretRef { name, key } = reference;
        match self {
            Self::Snapshot => problems.refused(
                field,
                reason::SECRET_NOT_FOUND,
                format!(
                    "Secrets named {SNAPSHOT_PREFIX}... are Hookswitch's own and may not be referenced: \
                     copy the value to another Secret"
                ),
            ),
            Self::Secret => problems.unresolved(
                field,
                reason::SECRET_NOT_FOUND,
                format!("there is no Secret {name} in namespace {namespace}: create it with the key {key}"),
            ),
            Self::Key => problems.unresolved(
                field,
                reason::SECRET_KEY_MISSING,
                format!("the Secret {namespace}/{name} has no key {key}: add it"),
            ),
            Self::Empty => problems.unresolved(
                field,
                reason::SECRET_KEY_MISSING,
                format!("the key {key} of the Secret {namespace}/{name} is empty: give it a value"),
            ),
        }
    }
}

/// Of several keys each may be optional, but one must be there. One that is missing and not optional
/// was told of.
pub(super) fn one_at_least(
    secrets: &[ResolvedSecret],
    field: &str,
    consequence: &str,
    problems: &mut Problems,
) {
    if secrets.iter().all(|it| it.value.is_none()) && !problems.any_under(field) {
        problems.unresolved(
            field,
            reason::SECRET_NOT_FOUND,
            format!("none of these keys is there, so {consequence}: create one of them"),
        );
    }
}

fn resolved(reference: &SecretRef, value: Option<SecretBytes>) -> ResolvedSecret {
    ResolvedSecret {
        reference: format!("{}/{}", reference.name, reference.key),
        value,
    }
}
