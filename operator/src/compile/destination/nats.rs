//! NATS: a message on a subject (<https://docs.nats.io/nats-concepts/jetstream>).

use hookswitch_crds::condition::reason;
use hookswitch_crds::duration::Duration;
use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{self, DestinationKind, NatsAuth, Transport};
use hookswitch_crds::subject;
use url::Url;

use super::{Defaults, Kind, Request, http};
use crate::compile::context::Context;
use crate::compile::network;
use crate::compile::problems::Problems;
use crate::compile::secrets::Use;

/// NATS's own port.
const PORT: u16 = 4222;

impl Kind for spec::Nats {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            url,
            subject,
            credentials_secret_ref: _,
            nkey_secret_ref: _,
            token_secret_ref: _,
            user: _,
            jetstream,
            format,
            ca_secret_ref,
            allow_private_network,
        } = self;
        check_subject(subject, &format!("{field}.subject"), problems);
        let (tls, authority) = url.split_once("://")?;
        // Read as HTTP's, every spelling of an address is normal.
        let parsed = super::parse(
            &format!("http://{authority}"),
            &format!("{field}.url"),
            problems,
        )?;
        let allow = allow_private_network.unwrap_or(false);
        let host = parsed.host_str()?.trim_matches(['[', ']']).to_owned();
        let port = Url::parse(url).ok().and_then(|it| it.port());
        let ca = ca_secret_ref.as_ref();
        let ca = ca.map(|it| super::ca(it, field, context, problems));
        Some(Request {
            kind: DestinationKind::Nats,
            transport: Transport::Nats(Box::new(snapshot::Nats {
                host,
                port: port.unwrap_or(PORT),
                tls: tls == "tls",
                jetstream: jetstream.unwrap_or(true),
                format: format.map_or(snapshot::Format::Json, http::format),
                auth: self.auth(field, context, problems),
                ca,
                private_networks: network::resolve(&parsed, allow, field, "url", context, problems),
            })),
            address: Some(subject.clone()),
        })
    }

    /// A message whose answer was lost is known again for two minutes, unless its stream says otherwise.
    fn defaults(&self) -> Defaults {
        Defaults {
            backoff_max: Duration::from_secs(60),
            ..Defaults::default()
        }
    }

    fn templates(&self) -> Vec<(&'static str, &str)> {
        vec![("subject", self.subject.as_str())]
    }
}

trait Authenticated {
    fn auth(&self, field: &str, context: &Context<'_>, problems: &mut Problems) -> NatsAuth;
}

impl Authenticated for spec::Nats {
    fn auth(&self, field: &str, context: &Context<'_>, problems: &mut Problems) -> NatsAuth {
        let mut secret = |reference, use_as, name: &str| {
            let field = format!("{field}.{name}");
            context.secrets.resolve(reference, use_as, &field, problems)
        };
        if let Some(reference) = &self.credentials_secret_ref {
            let found = secret(reference, Use::NatsCredentials, "credentialsSecretRef");
            return NatsAuth::Credentials(found);
        }
        if let Some(reference) = &self.nkey_secret_ref {
            return NatsAuth::Nkey(secret(reference, Use::NatsSeed, "nkeySecretRef"));
        }
        if let Some(reference) = &self.token_secret_ref {
            return NatsAuth::Token(secret(reference, Use::Header, "tokenSecretRef"));
        }
        let Some(spec::NatsUser {
            username_secret_ref,
            password_secret_ref,
        }) = &self.user
        else {
            return NatsAuth::None;
        };
        NatsAuth::User {
            username: secret(username_secret_ref, Use::Header, "user.usernameSecretRef"),
            password: secret(password_secret_ref, Use::Header, "user.passwordSecretRef"),
        }
    }
}

/// What is written out of a subject is seen here, and the rest with each event.
fn check_subject(template: &str, field: &str, problems: &mut Problems) {
    let checked = match template.split_once("${") {
        Some((beginning, _)) => subject::check_beginning(beginning),
        None => subject::check(template),
    };
    if let Err(error) = checked {
        problems.refused(
            field,
            reason::UNREADABLE,
            format!("the subject {error}: write words between dots, as in support.${{event.type}}"),
        );
    }
}
