//! `HubSpot`: an object of its CRM
//! (<https://developers.hubspot.com/docs/api-reference/2026-03/crm/objects/contacts/batch/upsert-contacts>).
//!
//! The batch calls are used for one object too: they say of each input what became of it.

use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{Auth, DestinationKind};
use serde_json::{Map, Value as Json, json};

use super::{Defaults, Kind, Request, Vendor, text};
use crate::compile::context::Context;
use crate::compile::problems::Problems;

/// Where the API is.
const API: &str = "https://api.hubapi.com";
/// The API's version.
const VERSION: &str = "2026-03";

impl Kind for spec::Hubspot {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            token_secret_ref,
            object_type,
            id_property,
            id: _,
            associations: _,
            api_version,
            base_url,
            allow_private_network,
        } = self;
        let field_of_token = format!("{field}.tokenSecretRef");
        let token = super::bearer(token_secret_ref, &field_of_token, context, problems);
        let version = api_version.as_deref().unwrap_or(VERSION);
        let call = if id_property.is_some() {
            "upsert"
        } else {
            "create"
        };
        let base = (base_url.as_deref(), API);
        let path = format!("/crm/objects/{version}/{object_type}/batch/{call}");
        let vendor = Vendor::at(
            base,
            &path,
            *allow_private_network,
            field,
            context,
            problems,
        )?;
        Some(Request {
            kind: DestinationKind::Hubspot,
            transport: vendor.call("POST", Auth::None, vec![token]).into(),
            address: None,
        })
    }

    /// 100 requests in ten seconds on the smallest plan
    /// (<https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines>).
    fn defaults(&self) -> Defaults {
        Defaults::limited(9.0, 10)
    }

    /// A repetition of an upsert writes the same object once more.
    fn searchable(&self) -> bool {
        self.id_property.is_some()
    }

    fn body(&self, written: Option<&Json>) -> Result<Option<Json>, String> {
        let mut input = match written {
            Some(Json::Object(body)) if body.contains_key("properties") => body.clone(),
            Some(_) => {
                return Err(
                    "HubSpot wants {properties: {...}}: put what is here under properties"
                        .to_owned(),
                );
            }
            None => Map::from_iter([("properties".to_owned(), properties(&self.object_type)?)]),
        };
        if let (Some(property), Some(id)) = (&self.id_property, &self.id) {
            if !self.associations.is_empty() || input.contains_key("associations") {
                return Err(
                    "HubSpot ties objects when it creates them, and not in an upsert: remove \
                     associations, or idProperty and id"
                        .to_owned(),
                );
            }
            input.insert("idProperty".to_owned(), Json::from(property.as_str()));
            // HubSpot wants text, where an expression alone may be a number.
            input.insert("id".to_owned(), Json::from(format!("{id}${{''}}")));
        } else if !self.associations.is_empty() && !input.contains_key("associations") {
            let ties = self.associations.iter().map(|it| {
                json!({
                    "to": {"id": format!("{}${{''}}", it.to)},
                    "types": [{
                        "associationCategory": "HUBSPOT_DEFINED",
                        "associationTypeId": it.type_id,
                    }],
                })
            });
            input.insert("associations".to_owned(), ties.collect());
        }
        Ok(Some(Json::Object(input)))
    }

    fn templates(&self) -> Vec<(&'static str, &str)> {
        let id = self.id.as_deref().map(|id| ("id", id));
        let ties = self
            .associations
            .iter()
            .map(|it| ("associations", it.to.as_str()));
        id.into_iter().chain(ties).collect()
    }
}

/// Properties made from the event, for the types of objects that every account has.
fn properties(object_type: &str) -> Result<Json, String> {
    match object_type {
        "contacts" | "contact" | "0-1" => Ok(json!({
            "firstname": "${event.?data.?username.orValue('unknown')}",
        })),
        // The first stage of the first pipeline, as every account has it.
        "tickets" | "ticket" | "0-5" => Ok(json!({
            "subject": text::TITLE,
            "content": text::paragraph(),
            "hs_pipeline": "0",
            "hs_pipeline_stage": "1",
        })),
        other => Err(format!(
            "no properties are known for {other}: write them, as {{properties: {{...}}}}"
        )),
    }
}
