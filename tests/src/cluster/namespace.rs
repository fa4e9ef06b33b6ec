//! A namespace of a test's own.

use super::{Command, Outcome};

/// A namespace with a name that no other test has. It is deleted when its guard goes.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    command: Command,
}

impl Namespace {
    pub(super) async fn create(command: Command) -> Self {
        let name = format!("test-{}", uuid::Uuid::now_v7().simple());
        command.kubectl(&["create", "namespace", &name]).await.ok();
        Self { name, command }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs kubectl in it, as one who may do all.
    pub async fn kubectl(&self, arguments: &[&str]) -> Outcome {
        self.command
            .kubectl(&[&["-n", &self.name], arguments].concat())
            .await
    }

    /// Applies YAML in it by server-side apply, as one who may do all.
    pub async fn apply(&self, yaml: &str) -> Outcome {
        self.command.apply(&["-n", &self.name], yaml).await
    }

    /// Runs helm in it, as one who may do all.
    pub async fn helm(&self, arguments: &[&str]) -> Outcome {
        self.command
            .helm(&[&["-n", &self.name], arguments].concat())
            .await
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.command.forget_namespace(&self.name);
    }
}
