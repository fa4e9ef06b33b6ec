//! What service accounts asked the API server for, from its own audit log: how many requests a change
//! costs, what was written, and what a role lacks or has for nothing.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

/// A request that was answered, or a watch that began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` and so on.
    pub verb: String,
    /// What it is about: `secrets`, or with a subresource `eventroutes/status`.
    pub resource: String,
    /// Its namespace; empty where it is about all of them, or about none.
    pub namespace: String,
    /// Its name; empty where it is about many.
    pub name: String,
    /// The HTTP status of the answer: 403 where no role allows it.
    pub status: u16,
}

impl Request {
    /// Whether it changes something.
    #[must_use]
    pub fn writes(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }
}

/// An entry of the log. Source: <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "auditID")]
    id: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

/// The API server's arguments. An entry is written before its request is answered.
pub(super) fn arguments(folder: &Path) -> [String; 2] {
    let policy = folder.join("audit-policy.yaml");
    let rules = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            // Kubernetes' own controllers.
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        ],
    });
    fs::write(&policy, rules.to_string())
        .unwrap_or_else(|error| panic!("{} can't be written: {error}", policy.display()));
    [
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log(folder).display()),
    ]
}

/// What a service account has asked for so far, in order.
pub(super) fn requests_of(folder: &Path, namespace: &str, account: &str) -> Vec<Request> {
    let user = format!("system:serviceaccount:{namespace}:{account}");
    let text = fs::read_to_string(log(folder)).unwrap_or_default();
    // A watch has an entry for its beginning and one for its end.
    let mut seen = HashSet::new();
    text.split_inclusive('\n')
        // The last line may still be in writing.
        .filter(|line| line.ends_with('\n'))
        .map(|line| {
            serde_json::from_str::<Entry>(line)
                .unwrap_or_else(|error| panic!("the audit log has {line}: {error}"))
        })
        .filter(|entry| entry.user.username == user && seen.insert(entry.id.clone()))
        .map(Request::from)
        .collect()
}

fn log(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

impl From<Entry> for Request {
    fn from(entry: Entry) -> Self {
        let Entry {
            id: _,
            verb,
            user: _,
            object_ref,
            response_status,
        } = entry;
        let ObjectRef {
            mut resource,
            subresource,
            namespace,
            name,
        } = object_ref;
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        Self {
            verb,
            resource,
            namespace,
            name,
            status: response_status.code,
        }
    }
}
