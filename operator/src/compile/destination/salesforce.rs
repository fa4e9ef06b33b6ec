//! Salesforce: a record, found by an external id
//! (<https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_upsert.htm>).

use hookswitch_crds::duration::Duration;
use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{Auth, DestinationKind, Grant, OAuth};
use serde_json::{Value as Json, json};

use super::{Defaults, Kind, Request, Vendor, text};
use crate::compile::context::Context;
use crate::compile::problems::Problems;
use crate::compile::secrets::Use;

/// The API's version.
const VERSION: &str = "v66.0";
/// Whom a JWT is for, but in sandboxes.
const AUDIENCE: &str = "https://login.salesforce.com";

impl Kind for spec::Salesforce {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            instance_url,
            object,
            external_id_field,
            external_id,
            auth,
            api_version,
            allow_private_network,
        } = self;
        let version = api_version.as_deref().unwrap_or(VERSION);
        let base = (Some(instance_url.as_str()), "");
        let path = format!("/services/data/{version}/sobjects/{object}/{external_id_field}");
        let vendor = Vendor::at(
            base,
            &path,
            *allow_private_network,
            field,
            context,
            problems,
        )?;
        let instance = instance_url.trim_end_matches('/');
        let auth = Auth::OAuth(Box::new(OAuth {
            token_url: format!("{instance}/services/oauth2/token"),
            grant: grant(auth, &format!("{field}.auth"), context, problems)?,
        }));
        Some(Request {
            kind: DestinationKind::Salesforce,
            transport: vendor.call("PATCH", auth, Vec::new()).into(),
            address: Some(external_id.clone()),
        })
    }

    /// Salesforce limits requests a day, and not a second.
    fn defaults(&self) -> Defaults {
        Defaults {
            timeout: Duration::from_secs(30),
            ..Defaults::default()
        }
    }

    /// A repetition writes the same record once more.
    fn searchable(&self) -> bool {
        true
    }

    fn body(&self, written: Option<&Json>) -> Result<Option<Json>, String> {
        match written {
            Some(Json::Object(body)) if body.contains_key(&self.external_id_field) => Err(format!(
                "{} is in the address already, and Salesforce refuses it in the body: remove it",
                self.external_id_field
            )),
            Some(Json::Object(_)) => Ok(written.cloned()),
            Some(_) => Err("write the record's fields, as {LastName: ...}".to_owned()),
            None if self.object == "Lead" => Ok(Some(json!({
                "LastName": "${event.?data.?username.orValue('unknown')}",
                "Company": "Telegram",
                "Description": text::paragraph(),
            }))),
            None => Err(format!(
                "no fields are known for {}: write them, as {{LastName: ...}}",
                self.object
            )),
        }
    }

    fn templates(&self) -> Vec<(&'static str, &str)> {
        vec![("externalId", self.external_id.as_str())]
    }
}

fn grant(
    auth: &spec::SalesforceAuth,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<Grant> {
    let mut secret = |reference, use_as, name: &str| {
        let field = format!("{field}.{name}");
        context.secrets.resolve(reference, use_as, &field, problems)
    };
    let spec::SalesforceAuth {
        client_credentials,
        jwt_bearer,
    } = auth;
    if let Some(spec::ClientCredentials {
        client_id_secret_ref,
        client_secret_secret_ref,
    }) = client_credentials
    {
        let id = "clientCredentials.clientIdSecretRef";
        let secret_field = "clientCredentials.clientSecretSecretRef";
        return Some(Grant::ClientCredentials {
            client_id: secret(client_id_secret_ref, Use::Header, id),
            client_secret: secret(client_secret_secret_ref, Use::Header, secret_field),
        });
    }
    let spec::JwtBearer {
        client_id_secret_ref,
        username,
        private_key_secret_ref,
        audience,
    } = jwt_bearer.as_ref()?;
    Some(Grant::JwtBearer {
        client_id: secret(
            client_id_secret_ref,
            Use::Header,
            "jwtBearer.clientIdSecretRef",
        ),
        username: username.clone(),
        audience: audience.clone().unwrap_or_else(|| AUDIENCE.to_owned()),
        private_key: secret(
            private_key_secret_ref,
            Use::PrivateKey,
            "jwtBearer.privateKeySecretRef",
        ),
    })
}
