//! Watches: what the API server tells, into the index.
//!
//! A watch that breaks starts again by itself, with growing pauses; what was missed in between comes
//! with the new list. Until a watch has listed all, nothing that it lacks counts as deleted.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use hookswitch_crds::key::ObjectKey;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DynamicObject, PartialObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::compile::Kind;
use crate::index::{Change, Index, Shared, Source, Version, Watch};
use crate::retry::{self, Category};
use crate::status::patch::resource;

/// Of Secrets, those are left out that are many, large, and no business of anyone's routes.
const NO_RELEASES: &str = "type!=helm.sh/release.v1";
/// How many objects are listed at once. Parsed, one takes far more than what is kept of it.
const PAGE: u32 = 100;
/// How often the labels of single namespaces are looked at, where they can't be watched.
const LABELS: Duration = Duration::from_secs(30);

/// Tells that something changed.
#[derive(Debug, Clone)]
pub struct Signals {
    /// Counts changes of what is compiled.
    pub inputs: watch::Sender<u64>,
    /// Notified when a status changes.
    pub statuses: Arc<Notify>,
}

impl Signals {
    fn tell(&self, change: Change) {
        match change {
            Change::Nothing => {}
            Change::Status => self.statuses.notify_one(),
            Change::Input => self
                .inputs
                .send_modify(|count| *count = count.wrapping_add(1)),
        }
    }
}

/// What a watch feeds.
#[derive(Clone)]
pub struct Feed {
    /// The API server.
    pub client: Client,
    /// What is fed.
    pub index: Shared,
    /// Who is told.
    pub signals: Signals,
}

/// The watches that are needed for these namespaces; `None` for all.
#[must_use]
pub fn needed(namespaces: Option<&[String]>) -> Vec<Watch> {
    let everywhere = |source| Watch {
        source,
        namespace: None,
    };
    let Some(namespaces) = namespaces else {
        let sources = [
            Source::Subscriptions,
            Source::Routes,
            Source::Secrets,
            Source::ConfigMaps,
            Source::Namespaces,
        ];
        return sources.map(everywhere).to_vec();
    };
    let scoped = namespaces.iter().flat_map(|namespace| {
        let sources = [
            Source::Subscriptions,
            Source::Routes,
            Source::Secrets,
            Source::ConfigMaps,
        ];
        sources.map(|source| Watch {
            source,
            namespace: Some(namespace.clone()),
        })
    });
    scoped.chain([everywhere(Source::Namespaces)]).collect()
}

impl Feed {
    /// Follows a watch until `shutdown`. `namespaces` are those that the operator is bound to.
    pub async fn follow(
        self,
        watch: Watch,
        namespaces: Option<Vec<String>>,
        shutdown: CancellationToken,
    ) {
        let follow = async {
            match (watch.source, namespaces) {
                (Source::Subscriptions, _) => self.objects(Kind::WebhookSubscription, watch).await,
                (Source::Routes, _) => self.objects(Kind::EventRoute, watch).await,
                (Source::Secrets, _) => self.secrets(watch).await,
                (Source::ConfigMaps, _) => self.config_maps(watch).await,
                (Source::Namespaces, None) => self.namespaces(watch).await,
                (Source::Namespaces, Some(names)) => self.each_namespace(watch, names).await,
            }
        };
        // Nothing of the index is needed any more.
        let _: Option<()> = shutdown.run_until_cancelled(follow).await;
    }

    async fn objects(&self, kind: Kind, watch: Watch) {
        let resource = resource(kind);
        let client = self.client.clone();
        let api: Api<DynamicObject> = match &watch.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let stream = watcher(api, listing());
        self.feed(watch, stream, |index, change| match change {
            Told::Applied(_, object) => index.apply(kind, object),
            Told::Deleted(key) => index.delete(kind, &key),
        })
        .await;
    }

    async fn secrets(&self, watch: Watch) {
        let api: Api<PartialObjectMeta<Secret>> = match &watch.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let stream = watcher(api, listing().fields(NO_RELEASES));
        self.feed(watch, stream, |index, change| match change {
            Told::Applied(key, object) => {
                let version = object.metadata.resource_version.unwrap_or_default();
                index.apply_secret(key, Version(version))
            }
            Told::Deleted(key) => index.delete_secret(&key),
        })
        .await;
    }

    async fn config_maps(&self, watch: Watch) {
        let api: Api<PartialObjectMeta<ConfigMap>> = match &watch.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let stream = watcher(api, listing());
        self.feed(watch, stream, |index, change| match change {
            Told::Applied(key, object) => {
                let version = object.metadata.resource_version.unwrap_or_default();
                index.apply_config_map(key, Version(version))
            }
            Told::Deleted(key) => index.delete_config_map(&key),
        })
        .await;
    }

    async fn namespaces(&self, watch: Watch) {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let stream = watcher(api, listing());
        self.feed(watch, stream, |index, change| match change {
            Told::Applied(key, object) => {
                index.apply_namespace(&key.name, object.metadata.labels.unwrap_or_default())
            }
            Told::Deleted(key) => index.delete_namespace(&key.name),
        })
        .await;
    }

    /// Looks at single namespaces again and again: a Role allows to get its own namespace, and to
    /// watch none.
    async fn each_namespace(&self, watch: Watch, names: Vec<String>) {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        loop {
            let mut listed = BTreeSet::new();
            for name in &names {
                match api.get(name).await {
                    Ok(namespace) => {
                        let labels = namespace.metadata.labels.unwrap_or_default();
                        self.change(|index| index.apply_namespace(name, labels));
                    }
                    Err(error) if Category::of(&error) == Category::NotFound => continue,
                    // Known by its name alone; selectors by other labels don't match it.
                    Err(error) => tracing::debug!(namespace = name, %error, "no labels"),
                }
                listed.insert(ObjectKey::new("", name));
            }
            self.change(|index| index.reset(&watch, &listed));
            sleep(LABELS).await;
        }
    }

    /// Feeds one watch into the index, for ever.
    async fn feed<K>(
        &self,
        watch: Watch,
        stream: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>>,
        mut take: impl FnMut(&mut Index, Told<K>) -> Change,
    ) where
        K: Resource + Clone + std::fmt::Debug + Send + 'static,
    {
        let mut stream = pin!(stream.backoff(retry::watching()));
        let mut listed = BTreeSet::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    let key = key_of(&object);
                    listed.insert(key.clone());
                    self.change(|index| take(index, Told::Applied(key, object)));
                }
                Ok(watcher::Event::InitDone) => {
                    let all = std::mem::take(&mut listed);
                    self.change(|index| index.reset(&watch, &all));
                    tracing::debug!(source = ?watch.source, namespace = watch.namespace, objects = all.len(), "listed");
                }
                Ok(watcher::Event::Apply(object)) => {
                    let key = key_of(&object);
                    self.change(|index| take(index, Told::Applied(key, object)));
                }
                Ok(watcher::Event::Delete(object)) => {
                    let key = key_of(&object);
                    self.change(|index| take(index, Told::Deleted(key)));
                }
                Err(error) => {
                    tracing::warn!(source = ?watch.source, namespace = watch.namespace, %error, "a watch failed and starts again");
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Index) -> Change) {
        self.signals.tell(self.index.with(change));
    }
}

/// How a watch lists and follows.
fn listing() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// What a watch tells of an object.
enum Told<K> {
    Applied(ObjectKey, K),
    Deleted(ObjectKey),
}

fn key_of<K: Resource>(object: &K) -> ObjectKey {
    let metadata = object.meta();
    ObjectKey::new(
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_scope_needs_its_own_watches_and_no_others() {
        let all = needed(None);
        assert_eq!(all.len(), 5);
        assert!(all.iter().all(|watch| watch.namespace.is_none()));

        let names = ["a".to_owned(), "b".to_owned()];
        let scoped = needed(Some(&names));
        assert_eq!(scoped.len(), 9);
        let everywhere: Vec<Source> = scoped
            .iter()
            .filter(|watch| watch.namespace.is_none())
            .map(|watch| watch.source)
            .collect();
        assert_eq!(everywhere, [Source::Namespaces], "which are got one by one");
    }
}
