//! Freshdesk: a ticket (<https://developers.freshdesk.com/api/#create_ticket>).

use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{Auth, Credential, DestinationKind, OnAmbiguous};
use serde_json::{Value as Json, json};

use super::{Defaults, Kind, Request, Vendor, text};
use crate::compile::context::Context;
use crate::compile::problems::Problems;
use crate::compile::secrets::Use;

impl Kind for spec::Freshdesk {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            domain,
            api_key_secret_ref,
            base_url,
            allow_private_network,
        } = self;
        let field_of_key = format!("{field}.apiKeySecretRef");
        let key = context
            .secrets
            .resolve(api_key_secret_ref, Use::Header, &field_of_key, problems);
        let own = format!("https://{domain}.freshdesk.com");
        let base = (base_url.as_deref(), own.as_str());
        let path = "/api/v2/tickets";
        let vendor = Vendor::at(base, path, *allow_private_network, field, context, problems)?;
        // https://developers.freshdesk.com/api/#authentication: the key, and any password.
        let auth = Auth::Basic {
            username: Credential::Secret(key),
            password: Credential::Literal("X".to_owned()),
        };
        Some(Request {
            kind: DestinationKind::Freshdesk,
            transport: vendor.call("POST", auth, Vec::new()).into(),
            address: None,
        })
    }

    /// 50 requests a minute in a trial, and more on every plan
    /// (<https://developers.freshdesk.com/api/#ratelimit>). It knows no idempotency key: what may have
    /// taken effect is looked for.
    fn defaults(&self) -> Defaults {
        Defaults {
            on_ambiguous: OnAmbiguous::Search,
            ..Defaults::limited(0.75, 5)
        }
    }

    fn searchable(&self) -> bool {
        true
    }

    fn body(&self, written: Option<&Json>) -> Result<Option<Json>, String> {
        match written {
            None => Ok(Some(json!({
                "unique_external_id":
                    "${event.?data.?user_id.or(event.?subject).orValue(event.id)}${''}",
                "name": "${event.?data.?username.orValue('unknown')}${''}",
                "subject": text::TITLE,
                "description": text::html(),
                "status": 2,
                "priority": 1,
            }))),
            Some(Json::Object(body)) => {
                let one = |names: &[&str]| names.iter().any(|name| body.contains_key(*name));
                let requester = [
                    "requester_id",
                    "email",
                    "phone",
                    "unique_external_id",
                    "facebook_id",
                    "twitter_id",
                ];
                if !one(&requester) {
                    return Err(format!(
                        "Freshdesk wants a requester: add one of {}",
                        requester.join(", ")
                    ));
                }
                if one(&["phone"]) && !one(&["email", "name"]) {
                    return Err("a phone without an email needs a name: add it".to_owned());
                }
                Ok(written.cloned())
            }
            Some(_) => {
                Err("write the ticket's fields, as {subject: ..., description: ...}".to_owned())
            }
        }
    }
}
