//! A case: what happens, one after the other, and what is expected of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use hookswitch_crds::duration::Duration;
use serde::Deserialize;
use serde_json::Value as Json;

use super::expect::Expected;
use super::look_up::Given;

/// A case, ready to be tried.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// How it is called.
    pub(super) name: String,
    /// `namespace/name`, or a name; needed where there are several.
    pub(super) subscription: Option<String>,
    pub(super) steps: Vec<Step>,
}

/// What happens next.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The time that passes before.
    pub(super) after: Duration,
    pub(super) headers: Vec<(String, String)>,
    /// The event; without one only time passes.
    pub(super) body: Option<Vec<u8>>,
    /// What look-ups find from now on.
    pub(super) enriched: Given,
    pub(super) expect: Option<Expected>,
}

/// A case as it is written: one event, or steps.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    subscription: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body, as YAML or JSON.
    #[serde(default)]
    event: Option<Json>,
    /// A file with the body, byte for byte; from the case's own directory.
    #[serde(default)]
    event_file: Option<PathBuf>,
    #[serde(default)]
    enriched: Given,
    #[serde(default)]
    expect: Option<Expected>,
    #[serde(default)]
    steps: Vec<WrittenStep>,
}

/// A step as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenStep {
    #[serde(default)]
    after: Option<Duration>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    event: Option<Json>,
    #[serde(default)]
    event_file: Option<PathBuf>,
    /// Instead of what was given before.
    #[serde(default)]
    enriched: Option<Given>,
    #[serde(default)]
    expect: Option<Expected>,
}

impl Step {
    /// One event, at once.
    pub(super) fn event(body: Vec<u8>) -> Self {
        Self {
            after: Duration::from_secs(0),
            headers: Vec::new(),
            body: Some(body),
            enriched: Given::new(),
            expect: None,
        }
    }
}

/// All cases of a file or a directory, in the order of their names.
pub(super) fn read_all(path: &Path) -> anyhow::Result<Vec<Case>> {
    let mut files = Vec::new();
    find(path, &mut files)?;
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn find(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let wrong = || format!("can't read {}", path.display());
    if !path.is_dir() {
        std::fs::metadata(path).with_context(wrong)?;
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).with_context(wrong)? {
        let path = entry.with_context(wrong)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if !name.starts_with('.') && (path.is_dir() || yaml) {
            find(&path, files)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Case> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    let written: Written =
        serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
    let Written {
        subscription,
        headers,
        event,
        event_file,
        enriched,
        expect,
        steps,
    } = written;
    let one = event.is_some() || event_file.is_some() || expect.is_some();
    if one != steps.is_empty() {
        bail!(
            "{}: give `event` or `eventFile`, and `expect`; or `steps`",
            path.display()
        );
    }
    let written = if one {
        vec![WrittenStep {
            after: None,
            headers: BTreeMap::new(),
            event,
            event_file,
            enriched: None,
            expect: Some(
                expect.with_context(|| format!("{}: `expect` is missing", path.display()))?,
            ),
        }]
    } else {
        steps
    };
    let mut given = enriched;
    let mut steps = Vec::new();
    for step in written {
        if let Some(enriched) = step.enriched {
            given = enriched;
        }
        let body = body(path, step.event, step.event_file)?;
        if body.is_none() && (one || step.after.is_none()) {
            bail!(
                "{}: give `event` or `eventFile`{}",
                path.display(),
                if one {
                    ""
                } else {
                    ", or say how much time passes: `after`"
                }
            );
        }
        let mut all = headers.clone();
        all.extend(step.headers);
        steps.push(Step {
            after: step.after.unwrap_or(Duration::from_secs(0)),
            headers: all.into_iter().collect(),
            body,
            enriched: given.clone(),
            expect: step.expect,
        });
    }
    Ok(Case {
        name: path.display().to_string(),
        subscription,
        steps,
    })
}

/// The body of an event, where there is one.
fn body(
    case: &Path,
    event: Option<Json>,
    event_file: Option<PathBuf>,
) -> anyhow::Result<Option<Vec<u8>>> {
    match (event, event_file) {
        (None, None) => Ok(None),
        (Some(event), None) => Ok(Some(serde_json::to_vec(&event)?)),
        (None, Some(file)) => {
            let file = case.parent().unwrap_or_else(|| Path::new(".")).join(file);
            let body = std::fs::read(&file).with_context(|| {
                format!(
                    "{}: can't read eventFile {}",
                    case.display(),
                    file.display()
                )
            })?;
            Ok(Some(body))
        }
        (Some(_), Some(_)) => bail!("{}: give `event` or `eventFile`", case.display()),
    }
}
