//! A header that must hold a secret's value.

use hookswitch_crds::snapshot::HeaderToken;
use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Error, Unusable, single};

/// A header and what it must hold.
///
/// Digests are compared, not values: they have one length, so the time taken tells nothing about
/// the secret's.
#[derive(Debug)]
pub(super) struct Token(Result<Expected, Unusable>);

struct Expected {
    name: HeaderName,
    digest: [u8; 32],
}

impl Token {
    /// White space at the ends of the secret is left out, since a header's value never has any
    /// there: a secret that was written with `echo` works.
    pub(super) fn new(settings: &HeaderToken) -> Self {
        let Ok(name) = HeaderName::from_bytes(settings.name.as_bytes()) else {
            return Self(Err(Unusable::Field("headers[].name")));
        };
        let value = settings
            .secret
            .usable()
            .map(|value| value.expose().trim_ascii())
            .filter(|value| !value.is_empty());
        Self(match value {
            Some(value) => Ok(Expected {
                name,
                digest: Sha256::digest(value).into(),
            }),
            None => Err(Unusable::Secrets(settings.secret.reference.clone())),
        })
    }

    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let expected = self
            .0
            .as_ref()
            .map_err(|unusable| Error::Unusable(unusable.clone()))?;
        let mismatch = || Error::HeaderMismatch(expected.name.clone());
        let value = single(headers, &expected.name)
            .map_err(|_| mismatch())?
            .ok_or_else(|| Error::HeaderMissing(expected.name.clone()))?;
        let digest: [u8; 32] = Sha256::digest(value).into();
        if bool::from(digest.ct_eq(&expected.digest)) {
            Ok(())
        } else {
            Err(mismatch())
        }
    }
}

impl std::fmt::Debug for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expected")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
