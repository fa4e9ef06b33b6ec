//! Any HTTP endpoint, and TG-Staff's own API, whose paths are settings.

use hookswitch_crds::condition::reason;
use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{self, Auth, DestinationKind, ResolvedSecret, SecretEncoding};

use super::{Kind, Request, parse};
use crate::compile::context::Context;
use crate::compile::problems::Problems;
use crate::compile::secrets::{self, Use};
use crate::compile::{headers, network};

/// The headers of a Standard Webhooks signature.
const SIGNING: [&str; 3] = ["webhook-id", "webhook-signature", "webhook-timestamp"];

/// Stands in a URL for [`snapshot::Destination::address`].
const ADDRESS: &str = "{address}";

impl Kind for spec::Http {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            url,
            method,
            headers,
            format,
            sign,
            allow_private_network,
        } = self;
        let allow = allow_private_network.unwrap_or(false);
        let parsed = parse(url, &format!("{field}.url"), problems)?;
        let set = if sign.is_some() { &SIGNING[..] } else { &[] };
        Some(Request {
            kind: DestinationKind::Http,
            transport: snapshot::Http {
                url: parsed.to_string(),
                method: self::method(*method),
                headers: headers::resolve(headers, set, field, context, problems),
                format: format.map_or(snapshot::Format::Json, self::format),
                auth: Auth::None,
                signing_secrets: signing_secrets(sign.as_ref(), field, context, problems),
                private_networks: network::resolve(&parsed, allow, field, "url", context, problems),
            }
            .into(),
            address: None,
        })
    }
}

impl Kind for spec::Tgstaff {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            base_url,
            path,
            method,
            token_secret_ref,
            headers,
            allow_private_network,
        } = self;
        let allow = allow_private_network.unwrap_or(false);
        let address = expression(path);
        let path = address.map_or_else(|| path.clone(), |it| path.replacen(it, ADDRESS, 1));
        if path.contains("${") {
            problems.refused(
                format!("{field}.path"),
                reason::UNREADABLE,
                "write one expression, as a whole segment of the path: /users/${event.data.user_id}/tags",
            );
            return None;
        }
        let url = format!("{}{path}", base_url.trim_end_matches('/'));
        let parsed = parse(&url, &format!("{field}.baseUrl"), problems)?;
        let field_of_token = format!("{field}.tokenSecretRef");
        let token = super::bearer(token_secret_ref, &field_of_token, context, problems);
        let others = headers::resolve(headers, &["authorization"], field, context, problems);
        Some(Request {
            kind: DestinationKind::Tgstaff,
            transport: snapshot::Http {
                url: parsed.to_string(),
                method: self::method(*method),
                headers: std::iter::once(token).chain(others).collect(),
                format: snapshot::Format::Json,
                auth: Auth::None,
                signing_secrets: Vec::new(),
                private_networks: network::resolve(
                    &parsed, allow, field, "baseUrl", context, problems,
                ),
            }
            .into(),
            address: address.map(str::to_owned),
        })
    }

    fn writes_back(&self) -> bool {
        true
    }

    fn templates(&self) -> Vec<(&'static str, &str)> {
        let address = expression(&self.path);
        address.map(|it| ("path", it)).into_iter().collect()
    }
}

/// The segment of a path that depends on the event.
fn expression(path: &str) -> Option<&str> {
    path.split('/')
        .find(|segment| segment.starts_with("${") && segment.ends_with('}'))
}

fn signing_secrets(
    sign: Option<&spec::Sign>,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Vec<ResolvedSecret> {
    let Some(spec::Sign {
        standard_webhooks: spec::StandardWebhooks { secret_refs },
    }) = sign
    else {
        return Vec::new();
    };
    let secrets = secret_refs.iter().enumerate().map(|(index, reference)| {
        let field = format!("{field}.sign.standardWebhooks.secretRefs[{index}]");
        let use_as = Use::Key(SecretEncoding::Whsec);
        context
            .secrets
            .resolve_rotated(reference, use_as, &field, problems)
    });
    let secrets: Vec<ResolvedSecret> = secrets.collect();
    secrets::one_at_least(
        &secrets,
        &format!("{field}.sign.standardWebhooks.secretRefs"),
        "deliveries wait",
        problems,
    );
    secrets
}

pub(in crate::compile) fn method(method: Option<spec::Method>) -> String {
    match method {
        Some(spec::Method::Get) => "GET",
        Some(spec::Method::Put) => "PUT",
        Some(spec::Method::Patch) => "PATCH",
        Some(spec::Method::Delete) => "DELETE",
        Some(spec::Method::Post) | None => "POST",
    }
    .to_owned()
}

pub(super) fn format(format: spec::Format) -> snapshot::Format {
    match format {
        spec::Format::Json => snapshot::Format::Json,
        spec::Format::CloudEventsBinary => snapshot::Format::CloudEventsBinary,
        spec::Format::CloudEventsStructured => snapshot::Format::CloudEventsStructured,
    }
}
