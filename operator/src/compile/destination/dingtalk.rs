//! `DingTalk`: a robot in a group
//! (<https://help.dingtalk.io/open/development/custom-robots-send-group-messages>).

use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{Auth, DestinationKind};
use serde_json::{Map, Value as Json, json};

use super::{Defaults, Kind, Request, Vendor, text};
use crate::compile::context::Context;
use crate::compile::problems::Problems;
use crate::compile::secrets::Use;

/// Where the API is for accounts in mainland China; others have <https://oapi.dingtalk.io>.
const API: &str = "https://oapi.dingtalk.com";

impl Kind for spec::Dingtalk {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            access_token_secret_ref,
            signing_secret_ref,
            base_url,
            allow_private_network,
        } = self;
        let token = context.secrets.resolve(
            access_token_secret_ref,
            Use::UrlPart,
            &format!("{field}.accessTokenSecretRef"),
            problems,
        );
        let signing_secret = signing_secret_ref.as_ref().map(|reference| {
            let field = format!("{field}.signingSecretRef");
            context
                .secrets
                .resolve(reference, Use::UrlPart, &field, problems)
        });
        let base = (base_url.as_deref(), API);
        let path = "/robot/send";
        let vendor = Vendor::at(base, path, *allow_private_network, field, context, problems)?;
        let auth = Auth::SignedQuery {
            token,
            signing_secret,
        };
        Some(Request {
            kind: DestinationKind::Dingtalk,
            transport: vendor.call("POST", auth, Vec::new()).into(),
            address: None,
        })
    }

    /// 20 messages a minute; more block the robot for ten minutes. A burst and a minute of the rate
    /// are 20 together.
    fn defaults(&self) -> Defaults {
        Defaults::limited(0.25, 5)
    }

    fn body(&self, written: Option<&Json>) -> Result<Option<Json>, String> {
        let message = text::message(written, |content| {
            Map::from_iter([
                ("msgtype".to_owned(), Json::from("text")),
                ("text".to_owned(), json!({"content": content})),
            ])
        })?;
        if !message.contains_key("msgtype") {
            return Err(
                "DingTalk wants a msgtype, as {msgtype: text, text: {content: ...}}; the message's \
                 text alone is enough too"
                    .to_owned(),
            );
        }
        Ok(Some(Json::Object(message)))
    }
}
