//! Mixpanel: an event (<https://developer.mixpanel.com/reference/import-events>).

use hookswitch_crds::duration::Duration;
use hookswitch_crds::event_route::{self as spec, MixpanelRegion};
use hookswitch_crds::snapshot::{Auth, Credential, DestinationKind};
use serde_json::{Value as Json, json};

use super::{Defaults, Kind, Request, Vendor};
use crate::compile::context::Context;
use crate::compile::problems::Problems;
use crate::compile::secrets::Use;

impl Kind for spec::Mixpanel {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            project_id,
            service_account,
            project_token_secret_ref,
            region,
            base_url,
            allow_private_network,
        } = self;
        let mut secret = |reference, name: &str| {
            let field = format!("{field}.{name}");
            Credential::Secret(
                context
                    .secrets
                    .resolve(reference, Use::Header, &field, problems),
            )
        };
        // Only a service account names its project.
        let (auth, query) = if let Some(spec::ServiceAccount {
            username_secret_ref,
            password_secret_ref,
        }) = service_account
        {
            let auth = Auth::Basic {
                username: secret(username_secret_ref, "serviceAccount.usernameSecretRef"),
                password: secret(password_secret_ref, "serviceAccount.passwordSecretRef"),
            };
            (auth, format!("strict=1&project_id={project_id}"))
        } else {
            let auth = Auth::Basic {
                username: secret(project_token_secret_ref.as_ref()?, "projectTokenSecretRef"),
                password: Credential::Literal(String::new()),
            };
            (auth, "strict=1".to_owned())
        };
        let own = match region {
            Some(MixpanelRegion::EU) => "https://api-eu.mixpanel.com",
            Some(MixpanelRegion::IN) => "https://api-in.mixpanel.com",
            Some(MixpanelRegion::US) | None => "https://api.mixpanel.com",
        };
        let base = (base_url.as_deref(), own);
        let path = format!("/import?{query}");
        let vendor = Vendor::at(
            base,
            &path,
            *allow_private_network,
            field,
            context,
            problems,
        )?;
        Some(Request {
            kind: DestinationKind::Mixpanel,
            transport: vendor.call("POST", auth, Vec::new()).into(),
            address: None,
        })
    }

    /// Limits are on events, far above what comes; after a 429, from 2 s to 60 s.
    fn defaults(&self) -> Defaults {
        Defaults {
            timeout: Duration::from_secs(30),
            backoff_max: Duration::from_secs(60),
            ..Defaults::default()
        }
    }

    fn body(&self, written: Option<&Json>) -> Result<Option<Json>, String> {
        match written {
            None => Ok(Some(json!({
                "event": "${event.type}",
                "properties": {
                    "distinct_id":
                        "${event.?data.?user_id.or(event.?subject).orValue('')}${''}",
                    "conversation_id": "${event.?subject.orValue(null)}",
                    "sender": "${event.?sender.orValue(null)}",
                    "status": "${event.?data.?status.orValue(null)}",
                    "referrer": "${event.?data.?referrer.orValue(null)}",
                },
            }))),
            Some(Json::Object(body))
                if body.contains_key("event")
                    && body
                        .get("properties")
                        .is_some_and(|it| it.is_object() || it.is_string()) =>
            {
                Ok(written.cloned())
            }
            Some(_) => Err("Mixpanel wants {event: ..., properties: {...}}".to_owned()),
        }
    }
}
