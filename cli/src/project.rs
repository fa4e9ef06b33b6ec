//! The configuration in a user's files, compiled by the operator's own compiler.
//!
//! ```text
//! Files ─ Loaded ─ Objects ─┐
//!                           ├─ compile ─ Compiled { snapshot, statuses, problems }
//! the snapshot before ──────┘
//! ```
//!
//! Each compile builds on the one before: the sequence and the last good specs go on from there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use hookswitch_crds::condition::reason;
use hookswitch_crds::event_route::EventRoute;
use hookswitch_crds::snapshot::Snapshot;
use hookswitch_crds::subscription::WebhookSubscription;
use hookswitch_crds::validation::{self, Resource, Violation};
use hookswitch_operator::compile::{
    self, Conditions, Effect, Objects, Problem, Settings, Unreadable, Written, compile,
};
use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Severity};
use crate::files::find::{Fingerprint, Source};
use crate::files::object::{Id, Kind, Object};
use crate::files::{Files, Loaded, secret};
use crate::generations::Generations;
use crate::state::State;

/// A user's files, and what was made of them last.
#[derive(Debug)]
pub(crate) struct Project {
    files: Files,
    snapshot: Snapshot,
    generations: Generations,
    settings: Settings,
    /// The objects that the files held when they were compiled last.
    known: BTreeSet<Id>,
}

/// What was made of the files.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// What receivers work by.
    pub(crate) snapshot: Snapshot,
    /// What became of each subscription and route.
    pub(crate) statuses: BTreeMap<Id, Status>,
    /// What is wrong, in the order of the files.
    pub(crate) problems: Vec<Diagnostic>,
    /// The directories to watch.
    pub(crate) directories: Vec<PathBuf>,
}

impl Compiled {
    /// True where something in the files can't be used as it is written.
    pub(crate) fn refuses_something(&self) -> bool {
        let unserved = self.statuses.values().any(|it| it.serving.is_none());
        unserved
            || self
                .problems
                .iter()
                .any(|problem| problem.severity == Severity::Error && problem.object.is_none())
    }
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// Its conditions.
    pub(crate) conditions: Conditions,
    /// The generation of what the file says.
    pub(crate) generation: i64,
    /// The generation that is served.
    pub(crate) serving: Option<i64>,
}

/// Objects for the compiler, and why some are not among them.
#[derive(Default)]
struct Gathered {
    objects: Objects,
    problems: Vec<Diagnostic>,
}

impl Project {
    /// Files of which nothing is known yet.
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        Self::resume(sources, State::empty())
    }

    /// Objects that are in no file.
    pub(crate) fn of_text(text: String) -> Self {
        let name = PathBuf::from("<generated>");
        Self::new(vec![Source::Once { name, text }])
    }

    /// Files that go on from what they were.
    pub(crate) fn resume(sources: Vec<Source>, state: State) -> Self {
        let State {
            format: _,
            snapshot,
            files,
            generations,
        } = state;
        Self {
            files: Files::new(sources, files),
            snapshot,
            generations,
            settings: Settings::standalone(),
            known: BTreeSet::new(),
        }
    }

    /// What the next run must know to go on from here.
    pub(crate) fn state(&self) -> State {
        State::new(
            self.snapshot.clone(),
            self.files.last_good().clone(),
            self.generations.clone(),
        )
    }

    /// Sizes and times of the files, to tell whether they were edited.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.files.fingerprint()
    }

    /// True where an object is gone from the files since they were compiled last.
    pub(crate) fn misses_objects(&self) -> bool {
        let found = self.files.clone().load().objects;
        self.known.iter().any(|id| !found.contains_key(id))
    }

    /// Reads the files and compiles what they say.
    pub(crate) fn compile(&mut self) -> Compiled {
        let Loaded {
            objects,
            mut problems,
            directories,
        } = self.files.load();
        self.known = objects.keys().cloned().collect();
        let gathered = self.gather(&objects);
        problems.extend(gathered.problems);
        let compiled = compile(&gathered.objects, &self.snapshot, &self.settings);
        let reports = compiled
            .subscriptions
            .into_iter()
            .map(|(key, report)| {
                let kind = Kind::WebhookSubscription;
                let serving = report.serving.map(|serving| serving.generation);
                (
                    Id { kind, key },
                    report.conditions,
                    report.generation,
                    serving,
                    report.problems,
                )
            })
            .chain(compiled.routes.into_iter().map(|(key, report)| {
                let kind = Kind::EventRoute;
                let serving = report.serving.map(|serving| serving.generation);
                (
                    Id { kind, key },
                    report.conditions,
                    report.generation,
                    serving,
                    report.problems,
                )
            }));
        let mut statuses = BTreeMap::new();
        for (id, conditions, generation, serving, found) in reports {
            // Why an object can't be read was told with its place.
            let unreadable = gathered
                .objects
                .unreadable
                .iter()
                .any(|unreadable| unreadable.key == id.key && kind(unreadable.kind) == id.kind);
            if let Some(object) = objects.get(&id).filter(|_| !unreadable) {
                problems.extend(found.iter().map(|problem| diagnose(object, problem)));
            }
            let status = Status {
                conditions,
                generation,
                serving,
            };
            statuses.insert(id, status);
        }
        problems.sort();
        self.snapshot = compiled.snapshot.clone();
        Compiled {
            snapshot: compiled.snapshot,
            statuses,
            problems,
            directories,
        }
    }

    fn gather(&mut self, objects: &BTreeMap<Id, Object>) -> Gathered {
        let mut gathered = Gathered::default();
        for object in objects.values() {
            let key = object.id.key.clone();
            match object.id.kind {
                Kind::WebhookSubscription => {
                    let read = self.read(
                        object,
                        compile::Kind::WebhookSubscription,
                        Written::<WebhookSubscription>::of,
                        &mut gathered,
                    );
                    gathered.objects.subscriptions.extend(read);
                }
                Kind::EventRoute => {
                    let read = self.read(
                        object,
                        compile::Kind::EventRoute,
                        Written::<EventRoute>::of,
                        &mut gathered,
                    );
                    gathered.objects.routes.extend(read);
                }
                Kind::Secret => {
                    // What can't be decoded was told when the file was read.
                    let values = secret::values(object).unwrap_or_default();
                    gathered.objects.secrets.insert(key, Arc::new(values));
                }
                Kind::Namespace => {
                    gathered.objects.namespaces.insert(key.name, labels(object));
                }
                Kind::ConfigMap => {
                    let values = secret::values(object).unwrap_or_default();
                    gathered.objects.config_maps.insert(key, Arc::new(values));
                }
            }
        }
        self.generations
            .retain(|id| objects.keys().any(|known| known.to_string() == id));
        gathered
    }

    /// Reads an object as its kind.
    fn read<T: Resource>(
        &mut self,
        object: &Object,
        kind: compile::Kind,
        written: fn(&T) -> Result<Written<T>, serde_json::Error>,
        gathered: &mut Gathered,
    ) -> Option<Arc<Written<T>>> {
        let mut json = object.json();
        let generation = self
            .generations
            .of(&object.id.to_string(), json.get("spec"));
        if let Some(metadata) = json.get_mut("metadata").and_then(Json::as_object_mut) {
            metadata.insert("generation".into(), generation.into());
        }
        let read = validation::read(json).and_then(|read: T| {
            written(&read).map_err(|error| {
                vec![Violation {
                    field: "spec".to_owned(),
                    message: error.to_string(),
                }]
            })
        });
        match read {
            Ok(read) => Some(Arc::new(read)),
            Err(violations) => {
                gathered.objects.unreadable.push(Unreadable {
                    kind,
                    key: object.id.key.clone(),
                    uid: String::new(),
                    created: None,
                    generation,
                    message: listed(&violations),
                });
                gathered
                    .problems
                    .extend(violations.into_iter().map(|violation| {
                        object
                            .problem(&violation.field, violation.message)
                            .reason(reason::UNREADABLE)
                    }));
                None
            }
        }
    }
}

/// All of them in one line, for a condition.
fn listed(violations: &[Violation]) -> String {
    let all: Vec<String> = violations.iter().map(ToString::to_string).collect();
    all.join("; ")
}

fn kind(kind: compile::Kind) -> Kind {
    match kind {
        compile::Kind::WebhookSubscription => Kind::WebhookSubscription,
        compile::Kind::EventRoute => Kind::EventRoute,
    }
}

fn diagnose(object: &Object, problem: &Problem) -> Diagnostic {
    let diagnostic = object.problem(&problem.field, problem.message.clone());
    match problem.effect {
        Effect::Refused | Effect::Unresolved => diagnostic.reason(problem.reason),
        Effect::Warning => diagnostic.warning(),
    }
}

fn labels(namespace: &Object) -> BTreeMap<String, String> {
    namespace
        .json()
        .pointer("/metadata/labels")
        .and_then(|labels| serde_json::from_value(labels.clone()).ok())
        .unwrap_or_default()
}

/// True where the problem is a Secret that is not in the files.
pub(crate) fn is_missing_secret(problem: &Diagnostic) -> bool {
    problem.severity == Severity::Error
        && problem.reason.as_deref().is_some_and(|reason| {
            [reason::SECRET_NOT_FOUND, reason::SECRET_KEY_MISSING].contains(&reason)
        })
}
