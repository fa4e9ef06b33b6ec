//! PostgreSQL: a row of a table. The body's members are its columns.

use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{self, DestinationKind, OnConflict, Transport};
use serde_json::{Value as Json, json};

use super::{Kind, Request};
use crate::compile::context::Context;
use crate::compile::network;
use crate::compile::problems::Problems;
use crate::compile::secrets::Use;

/// The column of the delivery's key.
const KEY: &str = "hookswitch_id";

impl Kind for spec::Postgres {
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request> {
        let Self {
            url_secret_ref,
            table,
            key_column: _,
            conflict_columns,
            on_conflict,
            ca_secret_ref,
            allow_private_network,
        } = self;
        let allow = allow_private_network.unwrap_or(false);
        let key = key_column(self);
        let found_by = if conflict_columns.is_empty() {
            key.iter().map(|it| (*it).to_owned()).collect()
        } else {
            conflict_columns.clone()
        };
        let ca = ca_secret_ref.as_ref();
        let ca = ca.map(|it| super::ca(it, field, context, problems));
        let url_field = format!("{field}.urlSecretRef");
        let use_as = Use::PostgresUrl { plain: allow };
        Some(Request {
            kind: DestinationKind::Postgres,
            transport: Transport::Postgres(Box::new(snapshot::Postgres {
                url: context
                    .secrets
                    .resolve(url_secret_ref, use_as, &url_field, problems),
                table: table.clone(),
                key_column: key.map(str::to_owned),
                on_conflict: match on_conflict {
                    Some(spec::OnConflict::DoNothing) => OnConflict::DoNothing,
                    // By its own key a row is the same again.
                    _ if conflict_columns.is_empty() => OnConflict::DoNothing,
                    Some(spec::OnConflict::Update) | None => OnConflict::Update,
                },
                conflict_columns: found_by,
                ca,
                // The host is in a secret: a name and an address are both seen at the connection.
                private_networks: network::granted(allow, field, context, problems),
            })),
            address: None,
        })
    }

    fn body(&self, written: Option<&Json>) -> Result<Option<Json>, String> {
        let Some(written) = written else {
            return Ok(Some(json!({
                "event_id": "${event.id}",
                "event_type": "${event.type}",
                "event_time": "${event.?time.orValue(null)}",
                "subject": "${event.?subject.orValue(null)}",
                "data": "${event.?data.orValue(null)}",
            })));
        };
        match written {
            Json::Object(columns) => {
                let key = key_column(self);
                if let Some(key) = key.filter(|key| columns.contains_key(*key)) {
                    return Err(format!(
                        "{key} is set by Hookswitch, to the delivery's key: remove it here"
                    ));
                }
                let lacks = |name: &&String| !columns.contains_key(*name);
                if let Some(name) = self.conflict_columns.iter().find(lacks) {
                    return Err(format!(
                        "conflictColumns names {name}, and the row does not have it: add it"
                    ));
                }
                Ok(Some(Json::Object(columns.clone())))
            }
            Json::String(text) if text.contains("${") => Ok(Some(written.clone())),
            _ => Err("write the row's columns, as {user_id: \"${event.data.user_id}\"}".to_owned()),
        }
    }
}

/// The column of the delivery's key, where one is written.
fn key_column(postgres: &spec::Postgres) -> Option<&str> {
    let own = postgres.conflict_columns.is_empty().then_some(KEY);
    postgres.key_column.as_deref().or(own)
}
