//! A namespace of a test's own.

use super::{Command, Outcome};

/// A namespace with a name that no other test has. It is deleted when its guard goes.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    command: Command,
}

impl Namespace {
    pub(super) async fn new(command: Command) -> Self {
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
        let apply = ["apply", "--server-side", "-n", &self.name];
        self.command.kubectl_with(&apply, yaml).await
    }

    /// Creates what YAML says in it, as one who may do all.
    pub async fn create(&self, yaml: &str) -> Outcome {
        let create = ["create", "-n", &self.name];
        self.command.kubectl_with(&create, yaml).await
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
