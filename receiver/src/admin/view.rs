//! What the API says and is told, as JSON: for the program and for scripts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::filter::{DeadFilter, EventFilter};

/// Why it is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// In words.
    pub error: String,
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// What was found.
    pub events: Vec<Event>,
    /// The last place that was looked at: the next page begins there.
    pub reached: u64,
    /// There may be more.
    pub more: bool,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its place: grows in accept order.
    pub seq: u64,
    /// What we call it.
    pub uid: Uuid,
    /// `namespace/name`.
    pub subscription: String,
    /// The sender's id.
    pub id: String,
    /// The event type.
    pub r#type: String,
    /// The ordering key.
    pub subject: Option<String>,
    /// The kind of sender.
    pub sender: Option<String>,
    /// When it was received.
    pub accepted_at: Timestamp,
    /// `route`, or why it is not routed.
    pub disposition: String,
    /// Bytes of its body.
    pub bytes: u64,
    /// What was decided; nothing where it waits for that.
    pub plan: Option<Plan>,
    /// Deliveries that are neither delivered nor dead.
    pub pending: u64,
    /// Deliveries that are done.
    pub delivered: u64,
    /// Dead letters.
    pub dead: u64,
}

/// What was decided about an event, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The configuration that decided.
    pub sequence: u64,
    /// When.
    pub planned_at: Timestamp,
    /// Rules that fired, as `namespace/route/rule`.
    pub fired: Vec<String>,
    /// Rules whose deliveries waited, or wait.
    pub waits: Vec<String>,
    /// Rules that failed, or name a field that the event lacks.
    pub failed: Vec<String>,
    /// All rules that were asked: those that name its type, or none.
    pub rules: usize,
    /// Deliveries that the loop guard stopped.
    pub suppressed: usize,
}

/// Events, explained: more than one where the sender's id is not unique.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// Newest first.
    pub events: Vec<Explanation>,
    /// There are more with this id.
    pub more: bool,
}

/// All that is known of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The event.
    pub event: Event,
    /// Its own time.
    pub time: Option<Timestamp>,
    /// Receivers that it has passed through.
    pub hops: u32,
    /// The `Content-Type` that it came with.
    pub content_type: Option<String>,
    /// Its body, where it was asked for.
    pub body: Option<Body>,
    /// Now, by the receiver's clock.
    pub now: Timestamp,
    /// The configuration that is in use now.
    pub current_sequence: u64,
    /// Why it is not planned yet, where that is known.
    pub waits_for: Option<String>,
    /// Each rule that was asked, or does not name the event's type.
    pub rules: Vec<Rule>,
    /// Rules that the event was not asked of, and that are in use now: a replay would ask them.
    pub new_rules: Vec<String>,
    /// Its deliveries.
    pub deliveries: Vec<Delivery>,
}

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    /// Its beginning, as text.
    pub text: String,
    /// There is more.
    pub truncated: bool,
}

/// A rule's verdict, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// `namespace/name`.
    pub route: String,
    /// The rule.
    pub rule: String,
    /// What was decided, as in the metrics.
    pub verdict: String,
    /// What was missing, or the error.
    pub detail: Option<String>,
    /// What the rule says of the event as it is in use now; nothing where it is gone.
    pub now: Option<Now>,
    /// What the loop guard found.
    pub suppressed: Vec<Suppressed>,
    /// The timer that the event started.
    pub timer: Option<Timer>,
}

/// What became of a timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timer {
    /// When it began: the event's own time, where that can be true.
    pub began_at: Timestamp,
    /// When it was, or is, to fire.
    pub due: Timestamp,
    /// `waits`, `fired`, `cancelled` or `removed`, with its rule.
    pub state: String,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The event that cancelled it, where it is kept still.
    pub cancelled_by: Option<Uuid>,
}

/// A rule as it is in use now, asked of the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Now {
    /// Its route is the same as when the event was planned: this is why it was decided so.
    pub unchanged: bool,
    /// What it would decide.
    pub verdict: String,
    /// Its `types`.
    pub types: Vec<String>,
    /// The parts of `when`, which must all hold; none where the type is not asked for.
    pub when: Vec<Condition>,
}

/// A part of a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// As it is written.
    pub text: String,
    /// What it says of the event.
    pub value: Option<bool>,
    /// Why it says nothing.
    pub error: Option<String>,
}

/// What the loop guard found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suppressed {
    /// Where it would have gone.
    pub destination: String,
    /// Which guard.
    pub guard: String,
    /// False: it was delivered all the same.
    pub enforced: bool,
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Its idempotency key.
    pub id: Uuid,
    /// `namespace/name`.
    pub route: String,
    /// The destination.
    pub destination: String,
    /// The rule.
    pub rule: String,
    /// When it was planned, or replayed, or retried last.
    pub planned_at: Timestamp,
    /// `pending`, `waits`, `blocked`, `claimed`, `delivered` or `dead`.
    pub state: String,
    /// When it is attempted next.
    pub due: Option<Timestamp>,
    /// Why it is dead.
    pub reason: Option<String>,
    /// What it waits for, besides its time: `timer`, `look_ups`, `earlier` (one of its subject),
    /// `circuit`, `destination` (gone: it will be dead) or `configuration`.
    pub waits_for: Option<String>,
    /// What must change in the configuration, where it waits for that.
    pub held: Option<String>,
    /// What every attempt sends; nothing where it could not be rendered.
    pub request: Option<Request>,
    /// What came of its look-ups, the last time they were made.
    pub look_ups: Vec<LookUp>,
    /// Attempts, oldest first; the first and the last of many.
    pub attempts: Vec<Attempt>,
}

/// A look-up of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookUp {
    /// Its name in the rule.
    pub name: String,
    /// Why it failed, as in the metrics; nothing where it has found something.
    pub failed: Option<String>,
}

/// What every attempt sends, besides the destination's own headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The method.
    pub method: String,
    /// The part of the address that depends on the event.
    pub address: Option<String>,
    /// The `Content-Type`.
    pub content_type: String,
    /// Bytes of the body.
    pub bytes: u64,
    /// The body is the event's own.
    pub is_event: bool,
    /// The body is rendered once its look-ups have ended: there is none yet.
    pub unrendered: bool,
    /// The body, where it was asked for.
    pub body: Option<Body>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Counts from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; nothing where it goes on, or was cut off.
    pub finished_at: Option<Timestamp>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// What came of it, as in the metrics.
    pub reason: Option<String>,
    /// It can't be known whether it took effect.
    pub ambiguous: bool,
    /// The beginning of the answer, without secrets.
    pub answer: Option<String>,
}

/// A page of dead letters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetters {
    /// What was found, in accept order.
    pub dead_letters: Vec<DeadLetter>,
    /// The last place that was looked at: the next page begins there.
    pub reached: u64,
    /// There may be more.
    pub more: bool,
}

/// A dead letter in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Its idempotency key.
    pub id: Uuid,
    /// The event.
    pub event: Uuid,
    /// Where the event came in.
    pub subscription: String,
    /// The event type.
    pub r#type: String,
    /// `namespace/name`.
    pub route: String,
    /// The destination.
    pub destination: String,
    /// The rule.
    pub rule: String,
    /// Why it was given up.
    pub reason: String,
    /// When.
    pub ended_at: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
    /// False: it could not be rendered; a replay renders it once the rule is corrected.
    pub rendered: bool,
    /// The status of the last attempt.
    pub status: Option<u16>,
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterShown {
    /// Its event.
    pub event: Event,
    /// It.
    pub delivery: Delivery,
}

/// Asks for a change of dead letters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ChangeDead {
    /// Which.
    pub filter: DeadFilter,
    /// All of them are meant: a filter that matches everything is refused without.
    pub all: bool,
    /// Beyond this place.
    pub after: u64,
    /// At most.
    pub limit: Option<usize>,
    /// Change nothing, and tell what would be changed.
    pub dry_run: bool,
}

/// What became of a page of dead letters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// Those that were changed, or would be.
    pub changed: Vec<DeadLetter>,
    /// Those that were not, and why.
    pub skipped: Vec<Skipped>,
    /// The next page begins there.
    pub reached: u64,
    /// There may be more.
    pub more: bool,
}

/// What was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The delivery, or the event.
    pub id: Uuid,
    /// In words.
    pub why: String,
}

/// Asks for a replay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Replay {
    /// Which events.
    pub filter: EventFilter,
    /// One event, by our uid.
    pub event: Option<Uuid>,
    /// All of them are meant: a filter that matches everything is refused without.
    pub all: bool,
    /// Deliver everything again, rendered anew, under keys that this name gives: the same name twice
    /// delivers once.
    pub again: Option<Uuid>,
    /// Beyond this place.
    pub after: u64,
    /// Up to this place.
    pub up_to: Option<u64>,
    /// At most.
    pub limit: Option<usize>,
    /// Change nothing, and tell what would be.
    pub dry_run: bool,
}

/// What became of a page of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// Events that got something, or would.
    pub events: Vec<ReplayedEvent>,
    /// Events that were looked at.
    pub examined: u64,
    /// Events and deliveries that were passed over, and why.
    pub skipped: Vec<Skipped>,
    /// The next page begins there.
    pub reached: u64,
    /// There may be more.
    pub more: bool,
}

/// What an event got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayedEvent {
    /// The event.
    pub uid: Uuid,
    /// Its type.
    pub r#type: String,
    /// New deliveries, as `namespace/route/destination`.
    pub made: Vec<String>,
    /// Dead letters that are attempted again.
    pub retried: Vec<String>,
}
