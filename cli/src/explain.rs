//! `hookswitch explain`: one event from its receipt to its effects.

use hookswitch_receiver::admin::view::{
    self, Attempt, Delivery, Explained, Explanation, Now, Rule, Timer,
};
use serde_json::json;

use crate::Verdict;
use crate::ask::{Answer, Connection};
use crate::events::kind;
use crate::output::{Output, say};
use crate::table::{after, clean, clean_lines, span, time};

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  hookswitch explain 019a9994-f84c-778d-8eea-cc32d0acc9e6
      our id, as `hookswitch events` lists it
  hookswitch explain evt_1NG8Du2eZvKYlo2C --bodies
      the sender's id; with what came in and what was sent
  kubectl hookswitch explain 019a9994-f84c-778d-8eea-cc32d0acc9e6 -n hookswitch

The exit code is 1 if no such event is kept.";

/// What to explain.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The event: our id, the sender's, or the key of one of its dead letters
    #[arg(value_name = "EVENT_ID")]
    id: String,
    /// Where it came in, should several senders use the id
    #[arg(long, value_name = "NAMESPACE/NAME")]
    subscription: Option<String>,
    /// Tell bodies too, 64 KiB of each: they hold what customers wrote
    #[arg(long)]
    bodies: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// Explains.
///
/// # Errors
/// Where the receiver can't be asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<Verdict> {
    let receiver = args.connection.open().await?;
    let query = json!({"bodies": args.bodies, "subscription": args.subscription});
    let explained: Explained = match receiver.get(&["events", &args.id], &query).await? {
        Answer::Found(explained) => explained,
        Answer::NotFound(why) => {
            say!("{why}");
            return Ok(Verdict::No);
        }
    };
    if args.output == Output::Json {
        say!("{}", serde_json::to_string_pretty(&explained)?);
        return Ok(Verdict::Yes);
    }
    for (number, explanation) in explained.events.iter().enumerate() {
        if number > 0 {
            say!("");
        }
        print(explanation);
    }
    if explained.more {
        say!("");
        say!(
            "There are more events with this id: hookswitch events --id {}",
            clean(&args.id)
        );
    }
    Ok(Verdict::Yes)
}

fn print(explanation: &Explanation) {
    let event = &explanation.event;
    say!(
        "{}  {}  from {}",
        event.uid,
        kind(event),
        clean(&event.subscription)
    );
    facts(explanation);
    if let Some(body) = &explanation.body {
        say!("  body");
        print_body(body, "    ");
    }
    if !explanation.rules.is_empty() {
        say!("");
        say!("Rules");
        for rule in &explanation.rules {
            print_rule(rule);
        }
    }
    if !explanation.new_rules.is_empty() {
        let rules: Vec<String> = explanation
            .new_rules
            .iter()
            .map(|rule| clean(rule))
            .collect();
        say!("  not asked, as they came later: {}", rules.join(", "));
    }
    if !explanation.deliveries.is_empty() {
        say!("");
        say!("Deliveries");
        for delivery in &explanation.deliveries {
            print_delivery(delivery, event, explanation.now);
        }
    }
    say!("");
    say!("Next: {}", next(explanation));
}

fn facts(explanation: &Explanation) {
    let event = &explanation.event;
    let attribute = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            say!("  {name:<9} {}", clean(value));
        }
    };
    attribute("id", Some(&event.id));
    attribute("subject", event.subject.as_ref());
    attribute("sender", event.sender.as_ref());
    if let Some(own) = explanation.time {
        say!("  time      {} by the sender's clock", time(own));
    }
    let content_type = explanation
        .content_type
        .as_deref()
        .unwrap_or("no Content-Type");
    say!(
        "  accepted  {}, {} bytes, {}",
        time(event.accepted_at),
        event.bytes,
        clean(content_type)
    );
    if explanation.hops > 0 {
        say!("  hops      {}", explanation.hops);
    }
    match &event.plan {
        None => say!(
            "  routed    not yet: {}",
            explanation.waits_for.as_deref().unwrap_or("it waits")
        ),
        Some(_) if event.disposition != "route" => {
            say!("  routed    no: {}", event.disposition);
        }
        Some(plan) => {
            let now = explanation.current_sequence;
            let in_use = if now == plan.sequence {
                String::new()
            } else {
                format!(" (in use now: {now})")
            };
            say!(
                "  routed    {} by configuration {}{in_use}",
                after(event.accepted_at, plan.planned_at),
                plan.sequence
            );
        }
    }
}

fn print_rule(rule: &Rule) {
    let mark = match rule.verdict.as_str() {
        "fired" | "waits" => "+",
        "error" | "missing_field" => "!",
        _ => "-",
    };
    say!(
        "  {mark} {}/{}: {}",
        clean(&rule.route),
        clean(&rule.rule),
        rule.verdict
    );
    if let Some(detail) = &rule.detail {
        say!("      {}", clean(detail));
    }
    for found in &rule.suppressed {
        let did = if found.enforced {
            "stopped"
        } else {
            "would have stopped"
        };
        say!(
            "      the loop guard ({}) {did} the delivery to {}",
            found.guard,
            clean(&found.destination)
        );
    }
    if let Some(timer) = &rule.timer {
        print_timer(timer);
    }
    match &rule.now {
        None => say!("      the rule is gone since"),
        Some(now) => print_now(now),
    }
}

/// The timer that the event started, and what became of it.
fn print_timer(timer: &Timer) {
    let ended = |what: &str| {
        let at = timer.ended_at.map(|at| format!(" at {}", time(at)));
        format!("{what}{}", at.unwrap_or_default())
    };
    let became = match timer.state.as_str() {
        "fired" => ended("fired"),
        "cancelled" => match timer.cancelled_by {
            Some(event) => format!("{} by event {event}", ended("cancelled")),
            None => format!(
                "{} by an event that is not kept any more",
                ended("cancelled")
            ),
        },
        "removed" => ended("cancelled, as its rule was removed or edited,"),
        _ => "waits".to_owned(),
    };
    say!(
        "      timer from {}, due {}: {became}",
        time(timer.began_at),
        time(timer.due)
    );
}

/// Why the rule decided so; or, where it was edited since, what it would decide now.
fn print_now(now: &Now) {
    if !now.unchanged {
        say!(
            "      the route was edited since; as it is now: {}",
            now.verdict
        );
    }
    if now.verdict == "type_not_matched" {
        say!("      types: {}", clean(&now.types.join(", ")));
    }
    // All parts hold: what came of it is told by the verdict.
    if now.unchanged && now.verdict == "fired" {
        return;
    }
    for part in &now.when {
        let value = match (part.value, &part.error) {
            (Some(true), _) => "true ",
            (Some(false), _) => "FALSE",
            (None, _) => "?    ",
        };
        let error = part.error.as_deref().map(|error| format!("  ({error})"));
        say!(
            "      {value} {}{}",
            clean(&part.text),
            clean(&error.unwrap_or_default())
        );
    }
}

/// A delivery with its attempts; times are those since the event was accepted.
pub(crate) fn print_delivery(delivery: &Delivery, event: &view::Event, now: jiff::Timestamp) {
    let state = match (&delivery.reason, delivery.state.as_str()) {
        (Some(reason), state) => format!("{state} ({reason})"),
        (None, state) => state.to_owned(),
    };
    say!(
        "  {}/{} by {}: {state}",
        clean(&delivery.route),
        clean(&delivery.destination),
        clean(&delivery.rule)
    );
    match &delivery.request {
        None => say!("      it could not be rendered: there is nothing to send"),
        Some(request) => {
            let address = request
                .address
                .as_deref()
                .map(|it| format!(" {}", clean(it)));
            let body = match (request.unrendered, request.is_event) {
                (true, _) => "not rendered".to_owned(),
                (false, true) => format!("{} bytes, as it came", request.bytes),
                (false, false) => format!("{} bytes", request.bytes),
            };
            say!(
                "      {}{} {}, {body}; key {}",
                request.method,
                address.unwrap_or_default(),
                clean(&request.content_type),
                delivery.id
            );
            if let Some(body) = request.body.as_ref().filter(|_| !request.is_event) {
                print_body(body, "      | ");
            }
        }
    }
    if !delivery.look_ups.is_empty() {
        let look_ups = delivery.look_ups.iter().map(|it| match &it.failed {
            None => format!("{} found", clean(&it.name)),
            Some(why) => format!("{} FAILED ({})", clean(&it.name), clean(why)),
        });
        say!(
            "      looked up: {}",
            look_ups.collect::<Vec<_>>().join(", ")
        );
    }
    let mut last = 0;
    for attempt in &delivery.attempts {
        if attempt.number > last + 1 {
            say!("      ... {} more", attempt.number - last - 1);
        }
        last = attempt.number;
        print_attempt(attempt, event);
    }
    if let Some(next) = next_of(delivery, now) {
        say!("      {next}");
    }
}

fn print_attempt(attempt: &Attempt, event: &view::Event) {
    let started = after(event.accepted_at, attempt.started_at);
    let took = attempt.finished_at.map_or_else(
        || "no end is known".to_owned(),
        |end| {
            let millis = end.duration_since(attempt.started_at).as_millis();
            format!("in {}", span(millis.unsigned_abs()))
        },
    );
    let status = attempt.status.map(|status| format!(" {status}"));
    let ambiguous = if attempt.ambiguous {
        ", may have taken effect"
    } else {
        ""
    };
    say!(
        "      {started:>8}  attempt {}: {}{} {took}{ambiguous}",
        attempt.number,
        attempt.reason.as_deref().unwrap_or("began"),
        status.unwrap_or_default()
    );
    for line in attempt
        .answer
        .as_deref()
        .map(clean_lines)
        .unwrap_or_default()
    {
        say!("                < {line}");
    }
}

/// What comes next for a delivery.
fn next_of(delivery: &Delivery, now: jiff::Timestamp) -> Option<String> {
    let due = delivery.due.map(|due| {
        if due <= now {
            "now".to_owned()
        } else {
            format!(
                "at {} (in {})",
                time(due),
                after(now, due).trim_start_matches('+')
            )
        }
    });
    let number = delivery
        .attempts
        .last()
        .map_or(1, |attempt| attempt.number + 1);
    Some(match (delivery.waits_for.as_deref(), due) {
        (Some("timer"), Some(due)) => format!("waits for its timer, which fires {due}"),
        (Some("look_ups"), Some(due)) if delivery.look_ups.is_empty() => {
            format!("waits for its look-ups, which are made {due}")
        }
        (Some("look_ups"), Some(due)) => {
            format!("waits for its look-ups, which are made again {due}")
        }
        (Some("earlier"), _) => "waits for an earlier delivery of its subject".to_owned(),
        (Some("circuit"), _) => {
            "waits: the destination keeps failing and is left alone for a while".to_owned()
        }
        (Some("destination"), _) => "its destination is gone: it becomes a dead letter".to_owned(),
        (Some("configuration"), _) => match &delivery.held {
            Some(held) => format!(
                "waits until the configuration is corrected: {}",
                clean(held)
            ),
            None => "waits for a configuration".to_owned(),
        },
        (Some(_) | None, Some(due)) => format!("attempt {number} {due}"),
        (_, None) if delivery.state == "claimed" => "is being attempted".to_owned(),
        (_, None) if delivery.state == "dead" && delivery.request.is_none() => {
            "correct the rule, then replay the event".to_owned()
        }
        (_, None) if delivery.state == "dead" => {
            format!(
                "to try again: hookswitch dead-letters retry {}",
                delivery.id
            )
        }
        (_, None) => return None,
    })
}

/// What comes next for the event.
fn next(explanation: &Explanation) -> String {
    let event = &explanation.event;
    if event.plan.is_none() {
        return "it is routed".to_owned();
    }
    let due = explanation.deliveries.iter().filter_map(|it| it.due).min();
    match (event.pending, event.dead) {
        (0, 0) if event.delivered == 0 => "nothing; nothing was to be delivered".to_owned(),
        (0, 0) => "nothing; all is delivered".to_owned(),
        (0, dead) => format!("nothing by itself: {dead} dead letters wait for you"),
        (pending, _) => match due {
            Some(due) if due > explanation.now => {
                format!("{pending} pending, the first at {}", time(due))
            }
            _ => format!("{pending} pending"),
        },
    }
}

fn print_body(body: &view::Body, indent: &str) {
    // What is JSON is easier to read on many lines.
    let pretty = serde_json::from_str::<serde_json::Value>(&body.text)
        .ok()
        .and_then(|json| serde_json::to_string_pretty(&json).ok());
    for line in clean_lines(pretty.as_deref().unwrap_or(&body.text)) {
        say!("{indent}{line}");
    }
    if body.truncated {
        say!("{indent}... and more");
    }
}
