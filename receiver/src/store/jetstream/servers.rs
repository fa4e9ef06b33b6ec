//! The addresses of the servers, and how they may be told.
//!
//! A URL with a login is refused: URLs stand in logs, of ours and of the client's, and in lists of processes. Nor
//! does the client heed it. Whatever is said of servers, also to refuse one, leaves out what stands before the `@`.

use async_nats::ServerAddr;

use crate::store::Error;

/// Reads URLs; `nats://` is meant where none says how.
pub(super) fn read(urls: &[String]) -> Result<Vec<ServerAddr>, Error> {
    let one = |url: &String| {
        let told = told_one(url);
        let address: ServerAddr = url.parse().map_err(|error| {
            Error::Open(format!(
                "`{told}` is no URL of a NATS server, such as nats://nats:4222: {error}"
            ))
        })?;
        if address.has_user_pass() || address.password().is_some() {
            return Err(Error::Open(format!(
                "the URL of the NATS server {told} holds a login: name it by --nats-user and --nats-password-file, --nats-token-file or --nats-credentials"
            )));
        }
        Ok(address)
    };
    urls.iter().map(one).collect()
}

/// Servers as they may be told.
pub(super) fn told(urls: &[String]) -> String {
    let told: Vec<String> = urls.iter().map(|url| told_one(url)).collect();
    told.join(", ")
}

fn told_one(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    scheme.map_or_else(|| host.to_owned(), |scheme| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::jetstream::Settings;

    #[test]
    fn addresses_are_read() {
        let urls = ["nats://a:4222", "b:4223", "tls://c"].map(str::to_owned);
        let addresses = read(&urls).unwrap();
        let told: Vec<_> = addresses.iter().map(|it| (it.host(), it.port())).collect();
        assert_eq!(told, [("a", 4222), ("b", 4223), ("c", 4222)]);
        assert!(addresses[2].tls_required());
    }

    #[test]
    fn nothing_that_is_said_of_servers_holds_a_login() {
        let urls = [
            "nats://me:planted@a:4222",
            "me:planted@b",
            "me:pl@nted@c",
            "tls://d",
        ];
        let urls = urls.map(str::to_owned);
        assert_eq!(told(&urls), "nats://a:4222, b, c, tls://d");
        let said = format!("{:?}", Settings::new(urls.to_vec()));
        assert!(!said.contains("nted"), "{said}");
        for wrong in [
            "nats://me:planted@a",
            "me:planted@a",
            "nats://planted@a",
            "nats://:planted@a",
            "nats://me:planted@a:port",
            "http://me:planted@a",
            "nats://me:planted@",
        ] {
            let refused = read(&[wrong.to_owned()]).unwrap_err().to_string();
            assert!(!refused.contains("planted"), "{refused}");
        }
        let refused = read(&["nats://planted@a".to_owned()]).unwrap_err();
        assert!(
            refused.to_string().contains("--nats-token-file"),
            "{refused}"
        );
    }
}
