//! The addresses of the servers, whose turn it is, and how they may be told.
//!
//! A URL with a login is refused: URLs stand in logs, of ours and of the client's, and in lists of processes. Nor
//! does the client heed it. Whatever is said of servers, also to refuse one, leaves out what stands before the `@`.

use std::sync::Mutex;

use async_nats::{ReconnectToServer, Server, ServerAddr};

use crate::store::Error;
use crate::store::embedded::state::lock;

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

/// Which server is next: another one than the last, and one that could be reached where there is one, by turns. The
/// client alone would only ask which could be reached, so that it came back to one that is cut off from the others.
#[derive(Debug, Default)]
pub(super) struct Turn(Mutex<Option<ServerAddr>>);

impl Turn {
    /// The next of those that are known. The first is any, so that receivers spread over the servers.
    pub(super) fn next(&self, known: &[Server]) -> Option<ReconnectToServer> {
        let mut last = lock(&self.0);
        let is_last = |server: &Server| Some(&server.addr) == last.as_ref();
        let place = known.iter().position(is_last);
        let first = place.map_or_else(|| usize::from(rand::random::<u16>()), |place| place + 1);
        let turns = (0..known.len()).map(|turn| (first + turn) % known.len());
        let turns = turns.filter_map(|turn| known.get(turn));
        // The last one is the last to be tried again.
        let next = turns.min_by_key(|server| (is_last(server), server.failed_attempts > 0))?;
        *last = Some(next.addr.clone());
        Some(ReconnectToServer {
            addr: next.addr.clone(),
            // That of the settings.
            delay: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::jetstream::Settings;

    /// Servers, with how often each could not be reached.
    fn known(failed: [usize; 3]) -> Vec<Server> {
        let urls = ["a", "b", "c"].map(str::to_owned);
        let servers = read(&urls).unwrap().into_iter().zip(failed);
        let servers = servers.map(|(addr, failed_attempts)| Server {
            addr,
            failed_attempts,
            did_connect: true,
            is_discovered: false,
            last_error: None,
        });
        servers.collect()
    }

    fn next(turn: &Turn, known: &[Server]) -> String {
        turn.next(known).unwrap().addr.host().to_owned()
    }

    #[test]
    fn each_server_has_its_turn() {
        for failed in [[0; 3], [3, 1, 2]] {
            let (turn, known) = (Turn::default(), known(failed));
            let mut three = [(); 3].map(|()| next(&turn, &known));
            assert_eq!(next(&turn, &known), three[0], "and again from the first");
            three.sort_unstable();
            assert_eq!(three, ["a", "b", "c"]);
        }
        assert!(Turn::default().next(&[]).is_none());
    }

    #[test]
    fn who_could_be_reached_is_tried_before_the_others_and_the_last_one_after_them() {
        let turn = Turn::default();
        let known = known([1, 0, 1]);
        assert_eq!(next(&turn, &known), "b");
        assert_eq!(next(&turn, &known), "c");
        assert_eq!(next(&turn, &known), "b");
        assert_eq!(next(&turn, &known[1..2]), "b", "there is no other one");
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
