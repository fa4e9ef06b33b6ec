//! A watch on one Secret by its name, with the right to watch it and no other.
//!
//! Libraries list before they watch, which is one more right to give to a pod that faces the
//! internet. A watch from version 0 needs none: it begins with what there is.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-watch>

use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use tokio::time::{sleep, timeout};

use super::lease::Waits;

/// From what there is on.
const START: &str = "0";
/// How long the API server keeps a watch open.
const LIFE: u32 = 240;
/// How long nothing may come: by then the API server had ended the watch, unless the connection is
/// dead.
const SILENCE: Duration = Duration::from_mins(5);
/// How long the answer to a request may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the watch tells.
#[derive(Debug)]
pub(super) enum Told {
    /// The Secret as it is.
    Is(Box<Secret>),
    /// It was deleted.
    Deleted,
}

/// Follows a Secret for ever, whether it exists or not. A watch that ends or fails starts again, with
/// growing pauses while it fails.
///
/// The same content may be told again, and an older one too.
pub(super) fn follow(api: Api<Secret>, name: String) -> impl Stream<Item = Told> + Send {
    let watch = Watch {
        params: WatchParams::default()
            .fields(&format!("metadata.name={name}"))
            .timeout(LIFE),
        api,
        name,
        version: START.to_owned(),
        events: None,
        waits: Waits::default(),
    };
    stream::unfold(watch, |mut watch| async move {
        let told = watch.next().await;
        Some((told, watch))
    })
}

struct Watch {
    api: Api<Secret>,
    params: WatchParams,
    name: String,
    /// Where the next watch begins.
    version: String,
    events: Option<stream::BoxStream<'static, kube::Result<WatchEvent<Secret>>>>,
    waits: Waits,
}

impl Watch {
    async fn next(&mut self) -> Told {
        loop {
            match self.step().await {
                Ok(Some(told)) => {
                    self.waits = Waits::default();
                    return told;
                }
                Ok(None) => {}
                Err(why) => {
                    tracing::warn!(
                        secret = self.name,
                        why,
                        "the watch of the snapshot failed and starts again"
                    );
                    self.events = None;
                    START.clone_into(&mut self.version);
                    sleep(self.waits.next().unwrap_or(PATIENCE)).await;
                }
            }
        }
    }

    /// One event, if it tells anything.
    async fn step(&mut self) -> Result<Option<Told>, String> {
        let events = match &mut self.events {
            Some(events) => events,
            none => {
                let answer = self.api.watch(&self.params, &self.version);
                let opened = timeout(PATIENCE, answer)
                    .await
                    .map_err(|_| "the API server does not answer".to_owned())?;
                let events = opened.map_err(|error| error.to_string())?;
                none.insert(events.boxed())
            }
        };
        let event = timeout(SILENCE, events.next())
            .await
            .map_err(|_| "the connection is dead".to_owned())?;
        match event {
            Some(Ok(WatchEvent::Added(secret) | WatchEvent::Modified(secret))) => {
                if let Some(version) = &secret.metadata.resource_version {
                    self.version.clone_from(version);
                }
                Ok(Some(Told::Is(Box::new(secret))))
            }
            Some(Ok(WatchEvent::Deleted(secret))) => {
                if let Some(version) = secret.metadata.resource_version {
                    self.version = version;
                }
                Ok(Some(Told::Deleted))
            }
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                self.version = bookmark.metadata.resource_version;
                Ok(None)
            }
            // The version is too old, most likely: begin with what there is.
            Some(Ok(WatchEvent::Error(status))) => Err(status.message),
            Some(Err(error)) => Err(error.to_string()),
            // Its life is over, as that of every watch.
            None => {
                self.events = None;
                Ok(None)
            }
        }
    }
}
