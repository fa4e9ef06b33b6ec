//! One object of a file: what it is, its name, and its content.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use serde_json::Value as Json;

use crate::diagnostic::Diagnostic;
use crate::files::node::{Node, Value};

/// The namespace of an object that names none, as `kubectl` has it.
pub const DEFAULT_NAMESPACE: &str = "default";
/// The API group and version of Hookswitch's own kinds.
pub const API_VERSION: &str = "hookswitch.dev/v1alpha1";

/// The kinds that are read from files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `hookswitch.dev/v1alpha1`.
    WebhookSubscription,
    /// `hookswitch.dev/v1alpha1`.
    EventRoute,
    /// `v1`: what `secretRef`s name.
    Secret,
    /// `v1`: what `configMapRef`s name.
    ConfigMap,
    /// `v1`: its labels are what `allowedRoutes` selects by.
    Namespace,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::WebhookSubscription,
        Self::EventRoute,
        Self::Secret,
        Self::ConfigMap,
        Self::Namespace,
    ];

    /// As written in YAML.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebhookSubscription => "WebhookSubscription",
            Self::EventRoute => "EventRoute",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Namespace => "Namespace",
        }
    }

    const fn api_version(self) -> &'static str {
        match self {
            Self::WebhookSubscription | Self::EventRoute => API_VERSION,
            Self::Secret | Self::ConfigMap | Self::Namespace => "v1",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What tells objects apart: `Kind namespace/name` when written out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The kind.
    pub kind: Kind,
    /// The name; a `Namespace`'s own namespace is empty.
    pub key: ObjectKey,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.key.name)
        } else {
            write!(f, "{} {}", self.kind, self.key)
        }
    }
}

/// An object, and where it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Kind and name.
    pub id: Id,
    /// The file, as the user named it.
    pub file: PathBuf,
    /// The content, with places.
    pub node: Arc<Node>,
    /// False where the file can't be read now, and this is what it held before.
    pub current: bool,
}

impl Object {
    /// The content with its namespace filled in.
    #[must_use]
    pub fn json(&self) -> Json {
        let mut json = self.node.to_json();
        if !self.id.key.namespace.is_empty()
            && let Some(metadata) = json.get_mut("metadata").and_then(Json::as_object_mut)
        {
            metadata.insert("namespace".into(), self.id.key.namespace.clone().into());
        }
        json
    }

    /// An error in a field of this object; its place is that of the field in the file.
    #[must_use]
    pub fn problem(&self, field: &str, message: impl Into<String>) -> Diagnostic {
        let position = self.current.then(|| self.node.locate(field));
        Diagnostic::error(&self.file, position, message)
            .about(&self.id)
            .field(field)
    }
}

/// Reads the objects of a document: one, or those of a `kind: List`. Kinds of others are passed over
/// with a warning.
pub(super) fn read(
    file: &Path,
    node: Node,
    objects: &mut Vec<Object>,
    problems: &mut Vec<Diagnostic>,
) {
    match identify(file, &node) {
        Ok(Found::Object(id)) => objects.push(Object {
            id,
            file: file.to_owned(),
            node: Arc::new(node),
            current: true,
        }),
        Ok(Found::List(items)) => {
            for item in items {
                read(file, item, objects, problems);
            }
        }
        Err(problem) => problems.push(*problem),
    }
}

enum Found {
    Object(Id),
    List(Vec<Node>),
}

fn identify(file: &Path, node: &Node) -> Result<Found, Box<Diagnostic>> {
    let error = |field: &str, message: String| {
        Box::new(Diagnostic::error(file, Some(node.locate(field)), message))
    };
    let text = |field: &str| {
        field
            .split('.')
            .try_fold(node, |node, step| node.get(step))
            .and_then(Node::as_str)
            .filter(|text| !text.is_empty())
    };
    let api_version = text("apiVersion").ok_or_else(|| {
        error(
            "apiVersion",
            format!(
                "no apiVersion: every document needs `apiVersion: {API_VERSION}`, or `v1` for a Secret or a ConfigMap"
            ),
        )
    })?;
    let name = text("kind").ok_or_else(|| {
        error(
            "kind",
            "no kind: write WebhookSubscription, EventRoute or Secret".to_owned(),
        )
    })?;
    if name == "List" && api_version == "v1" {
        return match node.get("items").map(|items| &items.value) {
            Some(Value::Sequence(items)) => Ok(Found::List(items.clone())),
            _ => Err(error("items", "a List needs `items`".to_owned())),
        };
    }
    let Some(kind) = Kind::ALL
        .into_iter()
        .find(|kind| kind.name() == name && kind.api_version() == api_version)
    else {
        return Err(unknown(&error, api_version, name));
    };
    let name = text("metadata.name").ok_or_else(|| {
        error(
            "metadata.name",
            format!("this {kind} has no name: set metadata.name"),
        )
    })?;
    let namespace = match kind {
        Kind::Namespace => "",
        _ => text("metadata.namespace").unwrap_or(DEFAULT_NAMESPACE),
    };
    let named = match kind {
        Kind::Namespace => is_label(name),
        _ => is_subdomain(name),
    };
    if !named {
        return Err(error("metadata.name", no_name(name)));
    }
    if !namespace.is_empty() && !is_label(namespace) {
        return Err(error("metadata.namespace", no_name(namespace)));
    }
    Ok(Found::Object(Id {
        kind,
        key: ObjectKey::new(namespace, name),
    }))
}

fn no_name(text: &str) -> String {
    format!("`{text}` is not a name that Kubernetes takes: use a-z, 0-9 and -, as in tg-staff")
}

/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns)
}

/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names>
fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_dns(name)
}

fn is_dns(label: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

/// A kind that is not read: an error where it was meant for Hookswitch, else a warning.
fn unknown(
    error: &impl Fn(&str, String) -> Box<Diagnostic>,
    api_version: &str,
    name: &str,
) -> Box<Diagnostic> {
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) {
        return error(
            "apiVersion",
            format!(
                "{kind} has `apiVersion: {}` here, not `{api_version}`",
                kind.api_version()
            ),
        );
    }
    let known = "WebhookSubscription, EventRoute, Secret, ConfigMap and Namespace";
    let ours = API_VERSION
        .split_once('/')
        .is_some_and(|(group, _)| api_version.starts_with(group));
    if ours {
        return error(
            "kind",
            format!(
                "there is no kind `{name}` in {api_version}: the kinds that are read are {known}"
            ),
        );
    }
    Box::new(
        error(
            "kind",
            format!("{api_version} {name} is passed over: the kinds that are read are {known}"),
        )
        .warning(),
    )
}
