//! Zendesk: a ticket (<https://developer.zendesk.com/api-reference/ticketing/tickets/tickets/#create-ticket>).

use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{Auth, Credential, DestinationKind};
use serde_json::{Value as Json, json};

use super::{Defaults, Kind, Request, Vendor, text};
use crate::compile::context::Context;
use crate::compile::problems::Problems;
use crate::compile::secrets::Use;

impl Kind for spec::Zendesk {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            subdomain,
            email,
            token_secret_ref,
            base_url,
            allow_private_network,
        } = self;
        let field_of_token = format!("{field}.tokenSecretRef");
        let token =
            context
                .secrets
                .resolve(token_secret_ref, Use::Header, &field_of_token, problems);
        let own = format!("https://{subdomain}.zendesk.com");
        let base = (base_url.as_deref(), own.as_str());
        let path = "/api/v2/tickets";
        let vendor = Vendor::at(base, path, *allow_private_network, field, context, problems)?;
        // https://developer.zendesk.com/api-reference/introduction/security-and-auth/
        let auth = Auth::Basic {
            username: Credential::Literal(format!("{email}/token")),
            password: Credential::Secret(token),
        };
        Some(Request {
            kind: DestinationKind::Zendesk,
            transport: vendor.call("POST", auth, Vec::new()).into(),
            address: None,
        })
    }

    /// 200 requests a minute on the smallest plan
    /// (<https://developer.zendesk.com/api-reference/introduction/rate-limits/>).
    fn defaults(&self) -> Defaults {
        Defaults::limited(3.0, 10)
    }

    fn body(&self, written: Option<&Json>) -> Result<Option<Json>, String> {
        match written {
            None => Ok(Some(json!({
                "ticket": {
                    "subject": text::TITLE,
                    "external_id": text::SUBJECT,
                    "comment": {"body": text::paragraph()},
                },
            }))),
            Some(Json::Object(body)) if !body.contains_key("ticket") => Err(
                "Zendesk wants {ticket: {subject: ..., comment: {body: ...}}}: put what is here \
                 under ticket"
                    .to_owned(),
            ),
            Some(body) => Ok(Some(body.clone())),
        }
    }
}
