//! `hookswitch send`: an event as a sender would send it, signed as a subscription wants it.

mod target;

use std::error::Error;
use std::io::{self, Read as _};
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hookswitch_crds::subscription::Provider;
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value as Json;
use uuid::Uuid;

use crate::output::say;
use crate::sample::{self, Wanted};
use crate::sign::Request;
use crate::{Verdict, provider};
use target::Target;

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  hookswitch send -f examples/quickstart
      URL, scheme and secret from the files: TG-Staff's conversation.created, signed
  hookswitch send -f examples/quickstart --data username=null --data user_id=42
      with other values in the event
  hookswitch send -f examples/quickstart --count 3 --repeat-id
      the same event three times, as a sender that retries: it has one effect
  hookswitch send --provider GitHub --url https://hooks.example.com/ci/github --type push \\
      --secret-file github-secret.txt
      without files
  hookswitch send -f examples/quickstart --event saved.json
      a body of your own, byte for byte

The exit code is 0 if every request was answered with 200, else 1.";

/// Longer than any sender waits.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What to send, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files or directories that hold the subscription and its Secrets; `-` for standard input
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "PATH",
        required_unless_present = "provider"
    )]
    files: Vec<PathBuf>,
    /// The subscription in them, where there are several
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "files")]
    subscription: Option<String>,
    /// Whose events to imitate; with -f, the subscription of this provider
    #[arg(long, value_parser = provider::parser(), required_unless_present = "files")]
    provider: Option<Provider>,
    /// Where to send; with -f, 127.0.0.1:8080 and the subscription's path unless given
    #[arg(long, required_unless_present = "files")]
    url: Option<reqwest::Url>,
    /// The signing secret, or the token of a provider that signs nothing; others on this machine can
    /// see it: prefer the variable or --secret-file
    #[arg(long, env = "HOOKSWITCH_SECRET", hide_env_values = true, conflicts_with_all = ["files", "secret_file"])]
    secret: Option<String>,
    /// A file that holds it; a line break at its end is left out
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    secret_file: Option<PathBuf>,

    /// Send this file's bytes as the body; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["type", "data", "without"])]
    event: Option<PathBuf>,
    /// The event's type, such as message.received [default: the provider's most usual one]
    #[arg(long)]
    r#type: Option<String>,
    /// Set a value in the event: KEY is a path such as user.name, VALUE is JSON or else text
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    data: Vec<(String, Json)>,
    /// Leave a value out of the event
    #[arg(long, value_name = "KEY")]
    without: Vec<String>,
    /// The event's id [default: a new one]
    #[arg(long)]
    id: Option<String>,

    /// How many to send
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Give all of them the same id and bytes, as a sender that retries
    #[arg(long)]
    repeat_id: bool,
    /// Leave the signature out
    #[arg(long)]
    unsigned: bool,
    /// Send a header as well
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// Accept any certificate, for a self-signed one
    #[arg(long)]
    insecure: bool,
}

fn assignment(text: &str) -> Result<(String, Json), String> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or("write KEY=VALUE, such as username=alice")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((key.to_owned(), value))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("write NAME: VALUE, such as X-Team: support")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// One request, ready to go.
struct Outgoing {
    what: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Sends.
///
/// # Errors
/// Where there is nothing to send or nowhere to send it.
pub(crate) async fn run(args: Args) -> anyhow::Result<Verdict> {
    let target = target::find(&args)?;
    let body = args.event.as_deref().map(read_event).transpose()?;
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .danger_accept_invalid_certs(args.insecure)
        .build()?;
    let mut refused = 0;
    let mut repeated: Option<(String, Timestamp)> = None;
    for _ in 0..args.count {
        let (id, at) = repeated
            .clone()
            .unwrap_or_else(|| (args.new_id(&target), Timestamp::now()));
        if args.repeat_id {
            repeated = Some((id.clone(), at));
        }
        let outgoing = args.prepare(&target, body.as_deref(), &id, at)?;
        if !send(&client, &target, outgoing).await {
            refused += 1;
        }
    }
    if args.count > 1 {
        say!(
            "{} sent, {} answered with 200",
            args.count,
            args.count - refused
        );
    }
    Ok(if refused == 0 {
        Verdict::Yes
    } else {
        Verdict::No
    })
}

impl Args {
    /// With an id of the user's, several events get numbered ones.
    fn new_id(&self, target: &Target) -> String {
        let unique = Uuid::now_v7();
        match &self.id {
            Some(id) if self.count == 1 || self.repeat_id => id.clone(),
            Some(id) => format!("{id}-{unique}"),
            None => sample::id(target.provider, unique),
        }
    }

    fn prepare(
        &self,
        target: &Target,
        body: Option<&[u8]>,
        id: &str,
        at: Timestamp,
    ) -> anyhow::Result<Outgoing> {
        let subscription = &target.subscription;
        let mut event = sample::event(&Wanted {
            provider: target.provider,
            r#type: self.r#type.as_deref(),
            id,
            now: at,
            fields: &subscription.fields,
            data: &self.data,
        });
        for key in &self.without {
            event.remove(key);
        }
        let (what, body) = match body {
            Some(body) => ("your event".to_owned(), body.to_vec()),
            None => (
                format!("{} {id}", event.r#type),
                serde_json::to_vec(&event.body)?,
            ),
        };
        let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        headers.append(&mut event.headers);
        headers.extend(target.tokens()?);
        if !self.unsigned {
            headers.extend(target.sign(&Request {
                method: "POST",
                url: &target.signed_url(),
                body: &body,
                id,
                // A retry is signed anew, at its own time.
                now: Timestamp::now(),
            })?);
        }
        headers.extend(self.header.iter().cloned());
        let headers = header_map(headers)?;
        Ok(Outgoing {
            what,
            headers,
            body,
        })
    }
}

/// Of two headers with one name the later counts: an id that is signed is also an attribute.
fn header_map(headers: Vec<(String, String)>) -> anyhow::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let wrong = || format!("the header {name} can't be sent: its name or value is not allowed");
        map.insert(
            HeaderName::try_from(&name).with_context(wrong)?,
            HeaderValue::try_from(&value).with_context(wrong)?,
        );
    }
    Ok(map)
}

/// Posts it and tells the answer. True where that is 200, which is all that senders take for success.
async fn send(client: &reqwest::Client, target: &Target, outgoing: Outgoing) -> bool {
    let request = client
        .post(target.url.clone())
        .headers(outgoing.headers)
        .body(outgoing.body);
    let start = Instant::now();
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            say!(
                "no answer to {}: {}",
                outgoing.what,
                describe(&error, target)
            );
            return false;
        }
    };
    let status = response.status();
    let answer = response.text().await.unwrap_or_default();
    let millis = start.elapsed().as_millis();
    say!("{status} in {millis} ms: {}", outgoing.what);
    for line in answer.trim().lines() {
        say!("  {line}");
    }
    status == StatusCode::OK
}

fn describe(error: &reqwest::Error, target: &Target) -> String {
    let origin = target.url.origin().ascii_serialization();
    if let Some(tls) = causes(error).find_map(<dyn Error>::downcast_ref::<rustls::Error>) {
        format!("no TLS session with {origin}: {tls}; --insecure accepts a self-signed certificate")
    } else if error.is_connect() {
        format!("can't connect to {origin}: is `hookswitch run` running, and is --url right?")
    } else if error.is_timeout() {
        format!("{origin} said nothing for {} s", TIMEOUT.as_secs())
    } else {
        let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
        texts.join(": ")
    }
}

/// The error and all that lies behind it, in an `io::Error` too.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    successors(Some(first), |error| behind(*error))
}

fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().map(io::Error::get_ref) {
        Some(Some(inner)) => Some(inner),
        Some(None) | None => error.source(),
    }
}

fn read_event(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .context("can't read the event from standard input")?;
        return Ok(bytes);
    }
    std::fs::read(path).with_context(|| format!("can't read the event from {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_or_else_text() {
        assert_eq!(assignment("a=1"), Ok(("a".into(), Json::from(1))));
        assert_eq!(assignment("a.b=null"), Ok(("a.b".into(), Json::Null)));
        assert_eq!(assignment("a=x=y"), Ok(("a".into(), Json::from("x=y"))));
        assert!(assignment("=x").is_err());
        assert!(assignment("x").is_err());
    }
}
