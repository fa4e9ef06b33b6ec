//! Slack: a message, through an incoming webhook
//! (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>) or `chat.postMessage`
//! (<https://docs.slack.dev/reference/methods/chat.postMessage>).

use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{Auth, DestinationKind};
use serde_json::{Map, Value as Json};

use super::{Defaults, Kind, Request, Vendor, text};
use crate::compile::context::Context;
use crate::compile::problems::Problems;
use crate::compile::secrets::Use;

/// Where the Web API is.
const API: &str = "https://slack.com";
/// Where incoming webhooks are; the whole URL is a secret.
const HOOKS: &str = "https://hooks.slack.com";

impl Kind for spec::Slack {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            webhook_url_secret_ref,
            token_secret_ref,
            channel: _,
            base_url,
            allow_private_network,
        } = self;
        let (kind, http) = if let Some(secret) = webhook_url_secret_ref {
            let field_of_url = format!("{field}.webhookUrlSecretRef");
            let secret = context
                .secrets
                .resolve(secret, Use::Url, &field_of_url, problems);
            let base = (None, HOOKS);
            let vendor = Vendor::at(base, "", *allow_private_network, field, context, problems)?;
            let http = vendor.call("POST", Auth::Url(secret), Vec::new());
            (DestinationKind::SlackWebhook, http)
        } else {
            let field_of_token = format!("{field}.tokenSecretRef");
            let token = token_secret_ref.as_ref()?;
            let token = super::bearer(token, &field_of_token, context, problems);
            let base = (base_url.as_deref(), API);
            let path = "/api/chat.postMessage";
            let vendor = Vendor::at(base, path, *allow_private_network, field, context, problems)?;
            let http = vendor.call("POST", Auth::None, vec![token]);
            (DestinationKind::Slack, http)
        };
        Some(Request {
            kind,
            transport: http.into(),
            address: None,
        })
    }

    /// About one message a second for each channel, and bursts are tolerated
    /// (<https://docs.slack.dev/apis/web-api/rate-limits>).
    fn defaults(&self) -> Defaults {
        Defaults::limited(1.0, 5)
    }

    fn body(&self, written: Option<&Json>) -> Result<Option<Json>, String> {
        let mut message =
            text::message(written, |text| Map::from_iter([("text".to_owned(), text)]))?;
        match &self.channel {
            Some(channel) if !message.contains_key("channel") => {
                message.insert("channel".to_owned(), text::literal(channel));
            }
            None if self.token_secret_ref.is_some() && !message.contains_key("channel") => {
                return Err(
                    "name the channel, here or as the destination's slack.channel".to_owned(),
                );
            }
            Some(_) | None => {}
        }
        Ok(Some(Json::Object(message)))
    }
}
