//! Routing: what one event makes of one configuration. Pure: no clock, no store, no tasks.
//!
//! ```text
//! event, subscription ── Draft::new ──▶ draft ── questions ──▶ (the store answers)
//!                        rules, bodies    │                          │
//!                                         └───────── plan ◀──────────┘
//!                                          loop guard │
//!                                                     ▼
//!                                                   Plan
//! ```
//!
//! Rules:
//! - Every rule of an attached route that names the event's type, or none, gets a verdict. The others
//!   are not looked at: an event costs what the rules cost that it concerns, however many there are.
//!   A rule whose wait the event may end is looked at too, with verdict `TypeNotMatched`.
//! - The body is only parsed once a rule needs it.
//! - `when` that names a missing field is false, with verdict `MissingField`. `when` that fails in
//!   another way sends each of the rule's deliveries to the dead letters, with verdict `Error`.
//! - A body that can't be rendered, for a missing field or otherwise, sends that delivery to the dead
//!   letters; the rule's other deliveries go on. An inquiry without a name is never lost for it.
//!
//! Loop guard, for deliveries to destinations that write back, the first that finds a loop counts:
//! 1. `sender`: the event's sender is listed, compared without case.
//! 2. `echo`: the event has the text of a write-back that this route has sent. The oldest mark with
//!    that text is used up, whichever rules fire and whatever the other guards say: it belongs to
//!    the event that the write-back caused. One mark suppresses one event, in all of the
//!    route's destinations that write back.
//! 3. `hops`: the event went through `maxHops` receivers or more.
//! 4. `rate`: the subject has had its write-backs within the window.
//!
//! What `hops` and `rate` stop goes to the dead letters with its frozen request, so that a false alarm
//! loses nothing. In `Observe` mode everything is delivered, marks are left and used up, and write-backs
//! are counted as if nothing had been found; what would have been stopped is in the plan. An echo
//! expression that fails stops nothing: no mark is left or looked for, and the verdict says why.

use std::sync::Arc;

use hookswitch_crds::snapshot::Destination;
use jiff::Timestamp;

use crate::config::{self, Subscription};
use crate::event::Disposition;
use crate::plan::{
    DeadReason, EchoMark, FrozenRequest, Lane, MemoryKey, NewDelivery, Plan, Verdict,
};
use crate::store::{GuardAnswer, GuardQuestion, StoredEvent};

mod guard;
mod late;
mod once;
mod render;
mod rules;
mod stateful;
mod timer;
mod transition;
pub mod why;

#[cfg(test)]
pub(crate) mod tests;

pub use guard::Overlay;
pub use late::{Late, render_late};
pub use render::again;
pub use timer::{fire, firing_memories, firing_questions};

use once::OnceDraft;
use stateful::Stateful;

/// An event with its rules decided and its bodies rendered; the loop guard is still to be asked.
#[derive(Debug)]
pub struct Draft {
    seq: u64,
    accepted_at: Timestamp,
    subject: Option<String>,
    sender: Option<String>,
    hops: u32,
    /// Itself, where an expression over two events may want it.
    event: Option<Arc<StoredEvent>>,
    /// Why it is not routed, where that is known only now.
    set_aside: Option<Disposition>,
    verdicts: Vec<Verdict>,
    routes: Vec<RouteDraft>,
}

/// What one route makes of the event.
#[derive(Debug)]
struct RouteDraft {
    route: Arc<config::Route>,
    /// SHA-256 of the text of `echo.received`.
    echo_key: Option<[u8; 32]>,
    deliveries: Vec<DeliveryDraft>,
    /// What depends on earlier events.
    stateful: Vec<Stateful>,
    /// The lanes that the loop guard is asked about.
    asked: Vec<Lane>,
}

/// A delivery, before the loop guard.
#[derive(Debug)]
struct DeliveryDraft {
    id: uuid::Uuid,
    lane: Lane,
    rule: String,
    destination: Arc<Destination>,
    /// `None` where it could not be rendered: a dead letter.
    request: Option<FrozenRequest>,
    echo: Option<EchoMark>,
    /// What `once` remembers where it is delivered.
    once: Option<OnceDraft>,
}

impl Draft {
    /// Decides the rules of all attached routes and renders what is to be sent. An event whose
    /// disposition is not [`Disposition::Route`] has no verdicts and no deliveries.
    #[must_use]
    pub fn new(subscription: &Subscription, stored: &StoredEvent) -> Self {
        let event = &stored.event;
        let mut draft = Self {
            seq: stored.seq,
            accepted_at: event.accepted_at,
            subject: event.subject.clone(),
            sender: event.sender.clone(),
            hops: event.hops,
            event: None,
            set_aside: Some(event.disposition).filter(|it| *it == Disposition::Damaged),
            verdicts: Vec::new(),
            routes: Vec::new(),
        };
        if event.disposition == Disposition::Route {
            rules::decide(subscription, stored, &mut draft);
        }
        draft
    }

    /// What [`Self::plan`] needs to know from the store, in the order of its answers. Most events
    /// have no questions.
    #[must_use]
    pub fn questions(&self, now: Timestamp) -> Vec<GuardQuestion> {
        self.routes
            .iter()
            .flat_map(|route| {
                let since = route.since(now);
                route.asked.iter().map(move |lane| GuardQuestion {
                    lane: lane.clone(),
                    echo_key: route.echo_key,
                    at: self.accepted_at,
                    subject: self.guarded_subject().to_owned(),
                    since,
                })
            })
            .collect()
    }

    /// Decides for good. `answers` are those of [`Self::questions`]; `overlay` is what earlier events
    /// of the same append have done that the store does not know yet, and takes in this one.
    /// `sequence` is the configuration's.
    #[must_use]
    pub fn plan(
        mut self,
        answers: &[GuardAnswer],
        overlay: &mut Overlay,
        now: Timestamp,
        sequence: u64,
    ) -> Plan {
        let mut plan = Plan {
            seq: self.seq,
            sequence,
            planned_at: now,
            verdicts: Vec::new(),
            suppressions: Vec::new(),
            deliveries: Vec::new(),
            marks_consumed: Vec::new(),
            remember: Vec::new(),
            timers: Vec::new(),
            cancelled: Vec::new(),
            set_aside: self.set_aside,
        };
        let mut verdicts = std::mem::take(&mut self.verdicts);
        let mut answers = answers.iter();
        for route in &self.routes {
            let answered = route.asked.iter().zip(answers.by_ref()).collect();
            let decided = stateful::decide(&self, route, &mut verdicts, overlay, &mut plan);
            let done = guard::apply(&self, route, answered, &decided, overlay, &mut plan);
            stateful::start(&self, route, &decided, &mut verdicts, overlay, &mut plan);
            let key = &route.route.spec.origin.key;
            let verdicts = verdicts.iter_mut().filter(|verdict| verdict.route == *key);
            once::note(verdicts, route, &done);
        }
        plan.verdicts = verdicts;
        plan
    }

    /// What the rules of the event may have remembered before: [`Overlay::new`] takes the store's
    /// answers for a whole append.
    pub fn memories(&self) -> impl Iterator<Item = &MemoryKey> {
        self.routes.iter().flat_map(|route| {
            let once = route.deliveries.iter().filter_map(|it| it.once.as_ref());
            let stateful = route.stateful.iter().flat_map(Stateful::memories);
            once.map(|once| &once.key).chain(stateful)
        })
    }

    /// Whether [`Self::plan`] may evaluate expressions: CPU work.
    #[must_use]
    pub fn evaluates(&self) -> bool {
        self.event.is_some()
    }

    /// The subject that the rate guard counts: events without one share the empty one.
    fn guarded_subject(&self) -> &str {
        self.subject.as_deref().unwrap_or_default()
    }
}

impl RouteDraft {
    fn since(&self, now: Timestamp) -> Timestamp {
        let window = self
            .route
            .spec
            .loop_guard
            .per_subject
            .map(|limit| limit.window);
        window
            .and_then(|window| now.checked_sub(window.to_std()).ok())
            .unwrap_or(now)
    }
}

impl DeliveryDraft {
    /// A dead letter that no attempt can be made for.
    fn broken(&self) -> NewDelivery {
        NewDelivery {
            id: self.id,
            lane: self.lane.clone(),
            rule: self.rule.clone(),
            request: None,
            ordered_by: None,
            echo: None,
            write_back: None,
            dead: Some(DeadReason::RuleError),
            waits_until: None,
        }
    }
}

/// The plan of an event that is kept, and for that reason not routed.
#[must_use]
pub fn set_aside(seq: u64, why: Disposition, now: Timestamp, sequence: u64) -> Plan {
    Plan {
        seq,
        sequence,
        planned_at: now,
        verdicts: Vec::new(),
        suppressions: Vec::new(),
        deliveries: Vec::new(),
        marks_consumed: Vec::new(),
        remember: Vec::new(),
        timers: Vec::new(),
        cancelled: Vec::new(),
        set_aside: Some(why),
    }
}
