//! A case: an event, where it comes to, and what is expected of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value as Json;

use super::expect::Expected;

/// A case, ready to be tried.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// How it is called.
    pub(super) name: String,
    /// `namespace/name`, or a name; needed where there are several.
    pub(super) subscription: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) expect: Option<Expected>,
}

/// A case as it is written.
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
    expect: Expected,
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
    let body = match (written.event, written.event_file) {
        (Some(event), None) => serde_json::to_vec(&event)?,
        (None, Some(file)) => {
            let file = path.parent().unwrap_or_else(|| Path::new(".")).join(file);
            std::fs::read(&file).with_context(|| {
                format!(
                    "{}: can't read eventFile {}",
                    path.display(),
                    file.display()
                )
            })?
        }
        _ => bail!("{}: give `event` or `eventFile`", path.display()),
    };
    Ok(Case {
        name: path.display().to_string(),
        subscription: written.subscription,
        headers: written.headers.into_iter().collect(),
        body,
        expect: Some(written.expect),
    })
}
