//! The snapshot's Secrets on the API server.

use std::collections::BTreeMap;

use hookswitch_crds::snapshot::shard::{self, DATA_KEY, SECRET_TYPE, Shard, secret_name};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

use super::{Plan, Stored, StoredShard, Write};
use crate::FIELD_MANAGER;
use crate::lease::Leadership;
use crate::retry::Category;

/// The sequence that a Secret was last written with, for people, and to go on from.
pub const SEQUENCE: &str = "hookswitch.dev/sequence";
/// The format that it is in.
const FORMAT: &str = "hookswitch.dev/format";
/// Which shard of how many it is: `0/1`.
const SHARD: &str = "hookswitch.dev/shard";
/// Who leads. Written when an operator takes over, so that what its predecessor read is out of date
/// and its late writes fail.
const WRITER: &str = "hookswitch.dev/writer";

/// Why the Secrets can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server says no, or nothing.
    #[error("can't {what} the Secret {name}: {source}")]
    Api {
        /// `read` or `write`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// Someone else made it.
    #[error("the Secret {name} is not of type {SECRET_TYPE}: delete it, it is made anew")]
    Foreign {
        /// Its name.
        name: String,
    },
    /// Another instance leads.
    #[error("another instance leads now")]
    NotLeader,
}

impl Error {
    /// Its kind.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::Api { source, .. } => Category::of(source),
            Self::Foreign { .. } => Category::Damaged,
            Self::NotLeader => Category::NotLeader,
        }
    }
}

/// The Secrets.
#[derive(Debug, Clone)]
pub struct Secrets {
    api: Api<Secret>,
    /// How many there should be.
    count: u32,
}

impl Secrets {
    /// Those of a namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, count: u32) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            count,
        }
    }

    /// Reads what they hold. `remembered` is the greatest sequence that receivers tell of.
    ///
    /// What can't be decoded counts as empty: the objects are there to be compiled anew.
    ///
    /// # Errors
    /// Where the API server does not answer, or a Secret is not the operator's.
    pub async fn read(&self, remembered: u64) -> Result<Stored, Error> {
        let mut found = Vec::new();
        let mut floor = remembered;
        let mut count = self.count;
        let mut index = 0;
        while index < count {
            if let Some(secret) = self.get(index).await? {
                let shard = content(&secret);
                floor = floor.max(sequence(&secret));
                count = count.max(shard.as_ref().map_or(0, |it| it.count));
                let version = secret.metadata.resource_version.unwrap_or_default();
                found.push((index, version, shard));
            }
            index += 1;
        }
        Ok(Stored::new(found, floor))
    }

    /// Whether the Secrets are still in the versions in which they were read or written.
    ///
    /// # Errors
    /// Where the API server does not answer.
    pub async fn are(&self, stored: &Stored) -> Result<bool, Error> {
        for (index, shard) in &stored.shards {
            let found = self.api.get_metadata_opt(&secret_name(*index)).await;
            let found = found.map_err(failed("read", *index))?;
            let version = found.and_then(|it| it.metadata.resource_version);
            if version.as_deref() != Some(shard.version.as_str()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes in the Secrets who leads now: a write that its predecessor had under way fails.
    ///
    /// # Errors
    /// As [`Secrets::read`]; `Conflict` where they changed since they were read.
    pub async fn take_over(
        &self,
        stored: &mut Stored,
        leadership: &Leadership,
    ) -> Result<(), Error> {
        for (index, shard) in &mut stored.shards {
            let term = leadership.term().ok_or(Error::NotLeader)?;
            let annotations = json!({ WRITER: term.to_string() });
            let patch = json!({
                "metadata": {"resourceVersion": shard.version, "annotations": annotations},
            });
            shard.version = self.patch(*index, &patch).await?;
        }
        Ok(())
    }

    /// Does what was planned. Gives what the Secrets hold then.
    ///
    /// Cancellation: what was written stays written; the next read finds it.
    ///
    /// # Errors
    /// As [`Secrets::read`]; `Conflict` where someone else wrote first.
    pub async fn write(
        &self,
        stored: &Stored,
        plan: Plan,
        leadership: &Leadership,
    ) -> Result<Stored, Error> {
        let mut shards = stored.shards.clone();
        for write in &plan.writes {
            let term = leadership.term().ok_or(Error::NotLeader)?;
            let before = shards.get(&write.index).map(|it| it.version.as_str());
            let version = self.put(write, before, &term.to_string()).await?;
            let shard = StoredShard {
                version,
                content: Some(write.content.clone()),
            };
            shards.insert(write.index, shard);
        }
        for index in plan.surplus {
            if leadership.term().is_none() {
                return Err(Error::NotLeader);
            }
            if let Some(shard) = shards.remove(&index) {
                self.delete(index, shard.version).await?;
            }
        }
        Ok(Stored {
            snapshot: plan.snapshot,
            shards,
            behind: false,
        })
    }

    async fn get(&self, index: u32) -> Result<Option<Secret>, Error> {
        let name = secret_name(index);
        let secret = self.api.get_opt(&name).await;
        let secret = secret.map_err(failed("read", index))?;
        match secret {
            Some(secret) if secret.type_.as_deref() != Some(SECRET_TYPE) => {
                Err(Error::Foreign { name })
            }
            secret => Ok(secret),
        }
    }

    /// Writes a shard over the version `before`, or makes its Secret; gives the new version.
    async fn put(&self, write: &Write, before: Option<&str>, term: &str) -> Result<String, Error> {
        let content = &write.content;
        let annotations = BTreeMap::from([
            (SEQUENCE.to_owned(), content.sequence.to_string()),
            (FORMAT.to_owned(), content.format.to_string()),
            (
                SHARD.to_owned(),
                format!("{}/{}", write.index, content.count),
            ),
            (WRITER.to_owned(), term.to_owned()),
        ]);
        let data = BTreeMap::from([(DATA_KEY.to_owned(), ByteString(write.bytes.clone()))]);
        if let Some(before) = before {
            // What others put on it, such as a chart's labels, stays.
            let patch = json!({
                "metadata": {"resourceVersion": before, "annotations": annotations},
                "data": data,
            });
            return self.patch(write.index, &patch).await;
        }
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(secret_name(write.index)),
                annotations: Some(annotations),
                labels: Some(crate::labels()),
                ..ObjectMeta::default()
            },
            type_: Some(SECRET_TYPE.to_owned()),
            data: Some(data),
            ..Secret::default()
        };
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let secret = self.api.create(&params, &secret).await;
        let secret = secret.map_err(failed("write", write.index))?;
        Ok(secret.metadata.resource_version.unwrap_or_default())
    }

    async fn patch(&self, index: u32, patch: &serde_json::Value) -> Result<String, Error> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = secret_name(index);
        // The answer to a metadata request leaves out the data, which is known.
        let patch = Patch::Merge(patch);
        let secret = self.api.patch_metadata(&name, &params, &patch).await;
        let secret = secret.map_err(failed("write", index))?;
        Ok(secret.metadata.resource_version.unwrap_or_default())
    }

    async fn delete(&self, index: u32, version: String) -> Result<(), Error> {
        let params = DeleteParams::default().preconditions(Preconditions {
            resource_version: Some(version),
            uid: None,
        });
        match self.api.delete(&secret_name(index), &params).await {
            Err(error) if Category::of(&error) != Category::NotFound => {
                Err(failed("delete", index)(error))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn failed(what: &'static str, index: u32) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Api {
        what,
        name: secret_name(index),
        source,
    }
}

/// What a Secret holds, where it can be read.
fn content(secret: &Secret) -> Option<Shard> {
    let bytes = &secret.data.as_ref()?.get(DATA_KEY)?.0;
    match Shard::decode(bytes) {
        Ok(shard) => Some(shard),
        Err(error) => {
            let name = secret.metadata.name.as_deref().unwrap_or_default();
            tracing::error!(secret = name, %error, "it is written anew, without last good specs");
            None
        }
    }
}

/// The sequence that a Secret's annotation tells of.
fn sequence(secret: &Secret) -> u64 {
    let annotations = secret.metadata.annotations.as_ref();
    let sequence = annotations.and_then(|it| it.get(SEQUENCE)?.parse().ok());
    sequence.unwrap_or_default()
}

/// Whether an error of the encoding is worth another look before something changes.
#[must_use]
pub fn category(error: &super::PlanError) -> Category {
    match error {
        super::PlanError::TooLarge { .. } => Category::Invalid,
        super::PlanError::Encode(shard::Error::Format { .. } | shard::Error::Damaged(_)) => {
            Category::Damaged
        }
        super::PlanError::Encode(shard::Error::Unwritable(_)) => Category::Internal,
    }
}
