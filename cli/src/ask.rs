//! Asks a receiver's admin API: one on this machine, or one in a cluster through `kubectl
//! port-forward`.

mod forward;

use std::time::Duration;

use anyhow::{Context as _, bail};
use hookswitch_receiver::admin;
use hookswitch_receiver::admin::view::Failure;
use reqwest::{StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use forward::Forward;

/// Longer than anything takes that is not waited for.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Which receiver to ask.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which receiver")]
pub(crate) struct Connection {
    /// The admin address of one on this machine [default: 127.0.0.1:9091]
    #[arg(long, env = "HOOKSWITCH_ADMIN", value_name = "URL")]
    admin: Option<Url>,
    /// In a cluster: the namespace that receivers run in; kubectl forwards the port
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// In a cluster: the pod [default: the first receiver]
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// In a cluster: the context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// A receiver that can be asked.
pub(crate) struct Receiver {
    client: reqwest::Client,
    base: Url,
    /// Forwards for as long as this lives.
    _forward: Option<Forward>,
}

impl Connection {
    /// Finds the receiver.
    ///
    /// # Errors
    /// With the remedy, where it can't be reached.
    pub(crate) async fn open(&self) -> anyhow::Result<Receiver> {
        let in_cluster = self.namespace.is_some() || self.pod.is_some() || self.context.is_some();
        let forward = if in_cluster || (self.admin.is_none() && is_kubectl_plugin()) {
            Some(Forward::open(self).await?)
        } else {
            None
        };
        let base = match (&forward, &self.admin) {
            (Some(forward), _) => format!("http://{}", forward.address).parse()?,
            (None, Some(admin)) => admin.clone(),
            (None, None) => format!("http://{}", admin::LISTEN).parse()?,
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .timeout(TIMEOUT)
            .build()?;
        Ok(Receiver {
            client,
            base,
            _forward: forward,
        })
    }
}

/// Whether it was started as `kubectl hookswitch`.
fn is_kubectl_plugin() -> bool {
    std::env::args_os().next().is_some_and(|program| {
        std::path::Path::new(&program)
            .file_stem()
            .is_some_and(|name| name == "kubectl-hookswitch")
    })
}

/// An answer: what was asked for, or that there is no such thing.
pub(crate) enum Answer<T> {
    /// It.
    Found(T),
    /// In words.
    NotFound(String),
}

impl<T> Answer<T> {
    /// It, where its absence is a failure.
    pub(crate) fn found(self) -> anyhow::Result<T> {
        match self {
            Self::Found(it) => Ok(it),
            Self::NotFound(why) => bail!(why),
        }
    }
}

impl Receiver {
    /// Asks for something. Fields of `query` that are null are left out.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &impl Serialize,
    ) -> anyhow::Result<Answer<T>> {
        let mut url = self.url(path)?;
        if let Json::Object(fields) = serde_json::to_value(query)? {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in fields {
                match value {
                    Json::Null => {}
                    Json::String(text) => drop(pairs.append_pair(&name, &text)),
                    other => drop(pairs.append_pair(&name, &other.to_string())),
                }
            }
        }
        self.send(self.client.get(url)).await
    }

    /// Asks for a change.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let request = self.client.post(self.url(path)?).json(body);
        self.send(request).await?.found()
    }

    fn url(&self, path: &[&str]) -> anyhow::Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .ok()
            .context("the admin address is no URL of a server")?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        Ok(url)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<Answer<T>> {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => bail!(
                "can't connect to the admin API at {}: is `hookswitch run` running there? \
                 --admin names another address, --namespace a cluster's",
                self.base
            ),
            Err(error) => return Err(error).context("the admin API did not answer"),
        };
        let status = response.status();
        let bytes = response
            .bytes()
            .await
            .context("the admin API's answer broke off")?;
        if status == StatusCode::OK {
            let read = serde_json::from_slice(&bytes).context(
                "the admin API's answer can't be read: are the receiver and this program of one version?",
            )?;
            return Ok(Answer::Found(read));
        }
        let why = serde_json::from_slice(&bytes).map_or_else(
            |_| {
                format!(
                    "{status} from {}: is that a receiver's admin address?",
                    self.base
                )
            },
            |failure: Failure| failure.error,
        );
        if status == StatusCode::NOT_FOUND {
            return Ok(Answer::NotFound(why));
        }
        bail!(why)
    }
}
