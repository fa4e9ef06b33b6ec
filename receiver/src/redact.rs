//! Redaction: what one destination must not see, taken out of an event before anything is rendered
//! for it.
//!
//! ```text
//! event ─▶ Redactor ─▶ event without it ─▶ default body, CloudEvents, templates ─▶ frozen request
//!   │         └──────▶ Hidden ─────────────────────────────────────────────────▶ ce- headers
//!   └─▶ rules: when, keys, the loop guard (decided here, sent nowhere)
//! ```
//!
//! - A pointer's member becomes the text [`REDACTED`], whatever it was: a template that names it still
//!   renders, and whoever reads the result sees that something was there. A step `*` stands for every
//!   element of a list.
//! - Patterns are masked in every text of the data, the names of members included: `[email]`,
//!   `[card]`, `[phone]`. A card's number is found where it is a JSON number too; a telephone number
//!   is not, since ids are numbers of the same length.
//! - An attribute that the subscription reads from a redacted member is hidden too: subject and sender
//!   read [`REDACTED`], the id is our own, the type `redacted`, and there is no time. One in which a
//!   pattern stands is hidden as a whole; there a bare run of digits counts as an id.
//!
//! - What look-ups have found is text like any other: patterns are masked in it, and a pointer that
//!   begins with `/enriched` takes out of it what it names, besides what it names of the data.
//!
//! Invariant: nothing that is rendered from a redacted event depends on what was taken out of it.

use bytes::Bytes;
use hookswitch_crds::snapshot::{FieldSource, Fields, Pattern, Redact};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::event::Event;

mod digits;
mod patterns;

#[cfg(test)]
mod tests;

use patterns::Patterns;

/// What stands where something was taken out.
pub const REDACTED: &str = "[redacted]";
/// What pointers into the answers of look-ups begin with.
const ENRICHED: &str = "enriched";
/// The type of an event whose type is hidden.
const HIDDEN_TYPE: &str = "redacted";

/// A destination's redaction, made ready.
#[derive(Debug)]
pub struct Redactor {
    pointers: Vec<Pointer>,
    patterns: Patterns,
}

/// The attributes that a destination must not see: frozen with a request, for those that are sent in
/// headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each attribute is hidden or is not"
)]
pub struct Hidden {
    /// The sender's id of the event.
    pub id: bool,
    /// The event type.
    pub r#type: bool,
    /// The event's own time.
    pub time: bool,
    /// The ordering key.
    pub subject: bool,
    /// The kind of sender.
    pub sender: bool,
}

impl Hidden {
    /// Whether there is nothing to hide.
    #[must_use]
    pub fn nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The event with its hidden attributes taken out.
    #[must_use]
    pub fn of(self, event: &Event) -> Event {
        let mut event = event.clone();
        if self.id {
            event.id = event.uid.to_string();
        }
        if self.r#type {
            HIDDEN_TYPE.clone_into(&mut event.r#type);
        }
        if self.time {
            event.time = None;
        }
        for (hidden, attribute) in [
            (self.subject, &mut event.subject),
            (self.sender, &mut event.sender),
        ] {
            if let Some(text) = attribute.as_mut().filter(|_| hidden) {
                REDACTED.clone_into(text);
            }
        }
        event
    }
}

/// A JSON pointer, in steps.
#[derive(Debug)]
struct Pointer(Vec<String>);

impl Redactor {
    /// Makes it ready.
    #[must_use]
    pub fn new(spec: &Redact) -> Self {
        let has = |pattern| spec.patterns.contains(&pattern);
        Self {
            pointers: spec.pointers.iter().map(|it| Pointer::read(it)).collect(),
            patterns: Patterns {
                phone: has(Pattern::Phone),
                email: has(Pattern::Email),
                card: has(Pattern::Card),
            },
        }
    }

    /// The event as the destination may see it, and which of its attributes are hidden. `fields` are
    /// those of its subscription. A body that is no JSON can't be told apart: nothing of it is left.
    #[must_use]
    pub fn event(&self, event: &Event, fields: &Fields) -> (Event, Hidden) {
        let hidden = self.hidden(event, fields);
        (self.seen(event, hidden), hidden)
    }

    /// The same where it is known already which attributes are hidden.
    #[must_use]
    pub fn seen(&self, event: &Event, hidden: Hidden) -> Event {
        let mut redacted = hidden.of(event);
        let body = match serde_json::from_slice(&event.body) {
            Ok(mut data) => {
                self.redact(&mut data);
                data
            }
            Err(_) => Json::from(REDACTED),
        };
        redacted.body = Bytes::from(body.to_string());
        redacted.content_type = None;
        redacted
    }

    /// What look-ups have found as the destination may see it: an object with a member for each. Those
    /// keep their names.
    #[must_use]
    pub fn enriched(&self, enriched: &Json) -> Json {
        let mut seen = enriched.clone();
        for (name, answer) in seen.as_object_mut().into_iter().flatten() {
            for steps in self.pointers.iter().filter_map(Pointer::behind_enriched) {
                match steps.split_first() {
                    None => take_out(answer, &[]),
                    Some((look_up, rest)) if look_up == name => take_out(answer, rest),
                    Some(_) => {}
                }
            }
            self.mask_any(answer);
        }
        seen
    }

    /// Takes out of an event's data what may not be seen.
    fn redact(&self, value: &mut Json) {
        for Pointer(steps) in &self.pointers {
            take_out(value, steps);
        }
        self.mask_any(value);
    }

    fn mask_any(&self, value: &mut Json) {
        if self.patterns.any() {
            self.mask(value);
        }
    }

    fn mask(&self, value: &mut Json) {
        match value {
            Json::Null | Json::Bool(_) => {}
            Json::String(text) => {
                if let Some(masked) = self.patterns.mask(text) {
                    *text = masked;
                }
            }
            Json::Number(number) => {
                if let Some(masked) = self.patterns.mask_number(&number.to_string()) {
                    *value = Json::from(masked);
                }
            }
            Json::Array(elements) => elements.iter_mut().for_each(|it| self.mask(it)),
            Json::Object(members) => {
                members.values_mut().for_each(|it| self.mask(it));
                if members
                    .keys()
                    .any(|name| self.patterns.mask(name).is_some())
                {
                    *members = self.mask_names(std::mem::take(members));
                }
            }
        }
    }

    /// Masks the names of members. Those that are alike then are told apart by a number.
    fn mask_names(&self, members: Map<String, Json>) -> Map<String, Json> {
        let mut masked = Map::with_capacity(members.len());
        for (name, value) in members {
            let name = self.patterns.mask(&name).unwrap_or(name);
            let mut unique = name.clone();
            let mut count = 1;
            while masked.contains_key(&unique) {
                count += 1;
                unique = format!("{name} {count}");
            }
            masked.insert(unique, value);
        }
        masked
    }

    fn hidden(&self, event: &Event, fields: &Fields) -> Hidden {
        let pointed = |source: &Option<FieldSource>| match source {
            Some(FieldSource::Pointer(field)) => {
                let field = Pointer::read(field);
                self.pointers.iter().any(|it| it.covers(&field))
            }
            Some(FieldSource::Header(_)) | None => false,
        };
        let marked = |text: Option<&str>| text.is_some_and(|text| self.patterns.marks(text));
        Hidden {
            id: pointed(&fields.id) || marked(Some(&event.id)),
            r#type: pointed(&fields.r#type),
            time: pointed(&fields.time),
            subject: pointed(&fields.subject) || marked(event.subject.as_deref()),
            sender: pointed(&fields.sender) || marked(event.sender.as_deref()),
        }
    }
}

impl Pointer {
    fn read(pointer: &str) -> Self {
        let steps = pointer.split('/').skip(1);
        Self(
            steps
                .map(|step| step.replace("~1", "/").replace("~0", "~"))
                .collect(),
        )
    }

    /// The steps behind `/enriched`, where it begins so.
    fn behind_enriched(&self) -> Option<&[String]> {
        let (first, rest) = self.0.split_first()?;
        (first == ENRICHED).then_some(rest)
    }

    /// Whether what it points to holds what the other one does.
    fn covers(&self, other: &Self) -> bool {
        let is_index = |step: &str| step.parse::<usize>().is_ok();
        self.0.len() <= other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|(own, step)| own == step || (own == "*" && is_index(step)))
    }
}

fn take_out(value: &mut Json, steps: &[String]) {
    let Some((step, rest)) = steps.split_first() else {
        *value = Json::from(REDACTED);
        return;
    };
    match value {
        Json::Object(members) => {
            if let Some(member) = members.get_mut(step) {
                take_out(member, rest);
            }
        }
        Json::Array(elements) if step == "*" => {
            for element in elements {
                take_out(element, rest);
            }
        }
        Json::Array(elements) => {
            let index = step.parse::<usize>().ok();
            if let Some(element) = index.and_then(|index| elements.get_mut(index)) {
                take_out(element, rest);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}
