//! The addresses of the servers, and how they may be told.
//!
//! A URL with a login is refused: URLs stand in logs, of ours and of the client's, and in lists of processes. Nor
//! does the client heed it. Whatever is said of servers, also to refuse one, leaves out what stands before the `@`.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::{ReconnectToServer, Server, ServerAddr};

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

/// Which server is next. The client prefers those that it never failed to reach; a server that is cut off from the
/// others can be reached, so it would come back to that one for ever.
#[derive(Debug)]
pub(super) struct Turn(AtomicUsize);

impl Turn {
    /// Begins anywhere, so that receivers spread over the servers.
    pub(super) fn anywhere() -> Self {
        Self(AtomicUsize::new(usize::from(rand::random::<u16>())))
    }

    /// The one after the last, of those that are known.
    pub(super) fn next(&self, known: &[Server]) -> Option<ReconnectToServer> {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        let server = known.get(turn.checked_rem(known.len())?)?;
        Some(ReconnectToServer {
            addr: server.addr.clone(),
            // That of the settings.
            delay: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::jetstream::Settings;

    #[test]
    fn each_server_has_its_turn_whatever_became_of_the_last_try() {
        let urls = ["a:4222", "b:4222", "c:4222"].map(str::to_owned);
        let server = |(failed_attempts, addr)| Server {
            addr,
            failed_attempts,
            did_connect: true,
            is_discovered: false,
            last_error: None,
        };
        let known = read(&urls).unwrap().into_iter().enumerate();
        let known: Vec<Server> = known.map(server).collect();
        let turn = Turn::anywhere();
        let next = || turn.next(&known).unwrap().addr.host().to_owned();
        let mut three = [next(), next(), next()];
        assert_eq!(three[0], next(), "and again from the first");
        three.sort_unstable();
        assert_eq!(three, ["a", "b", "c"]);
        assert!(turn.next(&[]).is_none());
    }

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
