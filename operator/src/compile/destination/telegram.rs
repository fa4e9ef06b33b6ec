//! Telegram: a bot's message (<https://core.telegram.org/bots/api#sendmessage>).

use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{Auth, DestinationKind};
use serde_json::{Map, Value as Json};

use super::{Defaults, Kind, Request, Vendor, text};
use crate::compile::context::Context;
use crate::compile::problems::Problems;
use crate::compile::secrets::Use;

/// Where the API is.
const API: &str = "https://api.telegram.org";

impl Kind for spec::Telegram {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            token_secret_ref,
            chat_id: _,
            base_url,
            allow_private_network,
        } = self;
        let field_of_token = format!("{field}.tokenSecretRef");
        let secret =
            context
                .secrets
                .resolve(token_secret_ref, Use::UrlPart, &field_of_token, problems);
        let base = (base_url.as_deref(), API);
        let vendor = Vendor::at(base, "", *allow_private_network, field, context, problems)?;
        let mut http = vendor.call("POST", Auth::Path(secret), Vec::new());
        let url = http.url.trim_end_matches('/');
        http.url = format!("{url}/bot{{secret}}/sendMessage");
        Some(Request {
            kind: DestinationKind::Telegram,
            transport: http.into(),
            address: None,
        })
    }

    /// One message a second in a chat, 20 a minute in a group, about 30 a second in all
    /// (<https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>).
    fn defaults(&self) -> Defaults {
        match self.chat_id.as_deref() {
            Some(chat) if chat.contains("${") => Defaults::limited(25.0, 25),
            // Groups and channels have negative ids, or names.
            Some(chat) if chat.starts_with(['-', '@']) => Defaults::limited(0.25, 5),
            Some(_) => Defaults::limited(1.0, 3),
            None => Defaults::limited(25.0, 25),
        }
    }

    fn body(&self, written: Option<&Json>) -> Result<Option<Json>, String> {
        let mut message =
            text::message(written, |text| Map::from_iter([("text".to_owned(), text)]))?;
        if !message.contains_key("chat_id") {
            let chat = self.chat_id.as_deref().ok_or_else(|| {
                "name the chat as chat_id, here or as the destination's telegram.chatId".to_owned()
            })?;
            message.insert("chat_id".to_owned(), Json::from(chat));
        }
        Ok(Some(Json::Object(message)))
    }

    fn templates(&self) -> Vec<(&'static str, &str)> {
        let chat = self.chat_id.as_deref();
        chat.map(|chat| ("chatId", chat)).into_iter().collect()
    }
}
