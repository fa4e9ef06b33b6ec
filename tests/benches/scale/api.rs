//! Requests to the API server without kubectl, which would be slower than what is measured.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::sender;
use reqwest::{Certificate, Client, StatusCode};
use serde_json::Value;
use tokio::task::JoinSet;

use super::objects::Object;

/// How many objects are made at once.
const AT_ONCE: usize = 8;
/// How often it is looked whether an edit is programmed: to ask costs the API server a few milliseconds.
const LOOK: Duration = Duration::from_millis(20);
/// The account's namespace and name.
const ACCOUNT: [&str; 2] = ["default", "bench"];

/// One who may do all.
#[derive(Debug, Clone)]
pub(super) struct Api {
    client: Client,
    url: String,
    token: String,
}

impl Api {
    /// At a cluster of the bench's own.
    pub(super) async fn of(cluster: &Cluster) -> Result<Self> {
        sender::crypto();
        let [namespace, account] = ACCOUNT;
        let create = ["create", "serviceaccount", account, "-n", namespace];
        cluster.kubectl(&create).await.ok();
        let subject = format!("--serviceaccount={namespace}:{account}");
        let bind = [
            "create",
            "clusterrolebinding",
            account,
            "--clusterrole=cluster-admin",
            &subject,
        ];
        cluster.kubectl(&bind).await.ok();
        let config = cluster.kubeconfig_for(namespace, account).await;
        let config: Value = serde_json::from_slice(&fs::read(config)?)?;
        let text = |pointer: &str| -> Result<String> {
            let text = config.pointer(pointer).and_then(Value::as_str);
            Ok(text.context("a kubeconfig")?.to_owned())
        };
        let ca = fs::read(text("/clusters/0/cluster/certificate-authority")?)?;
        Ok(Self {
            client: Client::builder()
                .tls_certs_only([Certificate::from_pem(&ca)?])
                .no_proxy()
                .timeout(Duration::from_mins(1))
                .build()?,
            url: cluster.url(),
            token: text("/users/0/user/token")?,
        })
    }

    /// Makes objects, some at once.
    pub(super) async fn create(&self, objects: Vec<Object>) -> Result<()> {
        let size = objects.len().div_ceil(AT_ONCE).max(1);
        let mut workers = JoinSet::new();
        for part in objects.chunks(size) {
            let (api, part) = (self.clone(), part.to_vec());
            workers.spawn(async move {
                for object in part {
                    let url = format!("{}{}", api.url, object.collection);
                    let request = api.client.post(url).bearer_auth(&api.token);
                    let answer = request.json(&object.json).send().await?;
                    let status = answer.status();
                    // Read to the end in any case: HTTP/2 counts streams that are cut off, and ends the connection.
                    let text = answer.text().await?;
                    ensure!(status == StatusCode::CREATED, "{status}: {text}");
                }
                Ok(())
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended.context("a worker")??;
        }
        Ok(())
    }

    /// Changes a route, and waits until its status says that every receiver has it.
    pub(super) async fn edit(&self, namespace: &str, name: &str, edit: &Value) -> Result<Duration> {
        let url = format!(
            "{}/apis/hookswitch.dev/v1alpha1/namespaces/{namespace}/eventroutes/{name}",
            self.url
        );
        let begin = Instant::now();
        let patch = self.client.patch(&url).bearer_auth(&self.token);
        let patch = patch.header("Content-Type", "application/merge-patch+json");
        let answer = patch.body(edit.to_string()).send().await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        let generation = answer.pointer("/metadata/generation").cloned();
        loop {
            let object = self.client.get(&url).bearer_auth(&self.token).send();
            let object: Value = object.await?.error_for_status()?.json().await?;
            if object.pointer("/status/observedGeneration").cloned() == generation
                && is_programmed(&object)
            {
                return Ok(begin.elapsed());
            }
            ensure!(
                begin.elapsed() < Duration::from_mins(1),
                "{name} is not programmed: {object}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many objects of a kind are programmed.
    pub(super) async fn programmed(&self, plural: &str) -> Result<usize> {
        let url = format!("{}/apis/hookswitch.dev/v1alpha1/{plural}", self.url);
        let list = self.client.get(url).bearer_auth(&self.token).send();
        let list: Value = list.await?.error_for_status()?.json().await?;
        let items = list.pointer("/items").and_then(Value::as_array);
        let items = items.context("a list")?.iter();
        Ok(items.filter(|it| is_programmed(it)).count())
    }
}

fn is_programmed(object: &Value) -> bool {
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|it| {
        it.get("type") == Some(&"Programmed".into()) && it.get("status") == Some(&"True".into())
    })
}
