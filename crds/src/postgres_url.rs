//! The URL of a connection to PostgreSQL, in the form of libpq
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>). The operator and the
//! receiver read it by one rule.
//!
//! It is a secret as a whole: no error repeats a part of it.
//!
//! TLS is spoken and the server's certificate checked, its name included, unless `sslmode=disable`
//! stands there. `prefer` and `allow` are refused: whether a password is sent in the clear must not be
//! decided by who answers.

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::secret::SecretBytes;

/// PostgreSQL's own port.
const PORT: u16 = 5432;

/// A connection.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresUrl {
    /// A name, or an address without brackets.
    pub host: String,
    /// TCP.
    pub port: u16,
    /// The role.
    pub user: String,
    /// Its password.
    pub password: Option<SecretBytes>,
    /// The database.
    pub database: String,
    /// TLS is a must; else it is not spoken.
    pub tls: bool,
    /// What the server's own views call us.
    pub application_name: Option<String>,
}

/// Why a URL can't be used: the end of a sentence that begins with what holds the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is none.
    #[error("is no URL such as postgres://user:password@host/database")]
    NoUrl,
    /// A path of a socket, several hosts, or none.
    #[error("does not name one host")]
    Host,
    /// No user.
    #[error("names no user")]
    User,
    /// No database.
    #[error("names no database")]
    Database,
    /// TLS, or not.
    #[error(
        "has an sslmode that leaves it open whether TLS is spoken: write sslmode=require or sslmode=disable"
    )]
    SslMode,
    /// Channel binding.
    #[error("asks for channel_binding, which is not served: leave it out")]
    ChannelBinding,
    /// Another parameter.
    #[error(
        "has a parameter other than sslmode, application_name, connect_timeout, target_session_attrs and channel_binding: leave it out"
    )]
    Parameter,
}

impl PostgresUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// Where it can't be used.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let url = Url::parse(text.trim()).map_err(|_| Error::NoUrl)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") || url.fragment().is_some() {
            return Err(Error::NoUrl);
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => decoded(name)?,
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(Error::Host),
        };
        if host.is_empty() || host.contains(['/', ',']) {
            return Err(Error::Host);
        }
        let user = decoded(url.username())?;
        let database = decoded(url.path().trim_start_matches('/'))?;
        let password = url.password().map(decoded).transpose()?;
        let mut this = Self {
            host,
            port: url.port().unwrap_or(PORT),
            user,
            password: password.map(|it| SecretBytes::new(it.into_bytes())),
            database,
            tls: true,
            application_name: None,
        };
        if this.user.is_empty() {
            return Err(Error::User);
        }
        if this.database.is_empty() {
            return Err(Error::Database);
        }
        for (name, value) in url.query_pairs() {
            match (name.as_ref(), value.as_ref()) {
                ("sslmode", "require" | "verify-ca" | "verify-full") => this.tls = true,
                ("sslmode", "disable") => this.tls = false,
                ("sslmode", _) => return Err(Error::SslMode),
                ("application_name", name) => this.application_name = Some(name.to_owned()),
                // An attempt has a time of its own, and a server that takes no writes is asked again.
                ("connect_timeout", _)
                | ("target_session_attrs", "any" | "read-write")
                | ("channel_binding", "prefer" | "disable") => {}
                ("channel_binding", _) => return Err(Error::ChannelBinding),
                _ => return Err(Error::Parameter),
            }
        }
        Ok(this)
    }
}

fn decoded(text: &str) -> Result<String, Error> {
    let text = percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| Error::NoUrl)?;
    // The protocol ends each text with one.
    if text.contains('\0') {
        return Err(Error::NoUrl);
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_as_libpq_does() {
        let url = "postgresql://hook%40acme:p%2Fw%3F@db.example:6432/crm?sslmode=verify-full&application_name=hooks";
        let read = PostgresUrl::parse(url).unwrap();
        assert_eq!(
            (read.host.as_str(), read.port, read.user.as_str()),
            ("db.example", 6432, "hook@acme")
        );
        assert_eq!(read.database, "crm");
        assert_eq!(read.password.unwrap().expose(), b"p/w?");
        assert_eq!(read.application_name.as_deref(), Some("hooks"));
        assert!(read.tls);
        let read = PostgresUrl::parse("postgres://u@[fd00::1]/d?sslmode=disable\n").unwrap();
        assert_eq!((read.host.as_str(), read.port), ("fd00::1", PORT));
        assert!(!read.tls && read.password.is_none());
        assert!(PostgresUrl::parse("postgres://u@h/d").unwrap().tls);
    }

    #[test]
    fn r57_what_can_not_be_used_is_told_without_a_part_of_it() {
        for (url, error) in [
            ("db.planted.example", Error::NoUrl),
            ("https://planted:planted@db.example/crm", Error::NoUrl),
            ("postgres:///planted", Error::Host),
            ("postgres://planted@%2Fvar%2Frun/crm", Error::Host),
            ("postgres://planted@one,two/crm", Error::Host),
            ("postgres://db.planted.example/crm", Error::User),
            ("postgres://planted@db.example", Error::Database),
            ("postgres://planted@db/crm?sslmode=prefer", Error::SslMode),
            ("postgres://planted@db/crm?sslmode=", Error::SslMode),
            (
                "postgres://planted@db/crm?channel_binding=require",
                Error::ChannelBinding,
            ),
            (
                "postgres://planted@db/crm?hostaddr=10.0.0.1",
                Error::Parameter,
            ),
            (
                "postgres://planted@db/crm?options=-csearch_path%3Dplanted",
                Error::Parameter,
            ),
        ] {
            let told = PostgresUrl::parse(url).unwrap_err();
            assert_eq!(told, error, "{url}");
            assert!(!told.to_string().contains("planted"), "{told}");
        }
        let url = PostgresUrl::parse("postgres://u:planted@h/d").unwrap();
        assert!(!format!("{url:?}").contains("planted"));
    }
}
