//! `hookswitch events`: what came in, and what became of it.

use hookswitch_receiver::admin::filter::EventFilter;
use hookswitch_receiver::admin::view;
use serde::Serialize;

use crate::Verdict;
use crate::ask::{Connection, Receiver};
use crate::output::{Output, say};
use crate::table::{Table, clean, time};

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  hookswitch events
      the last twenty
  hookswitch events --type conversation.created --since 1h --verdict missing_field
      those of the last hour that a rule wants a field of that they lack
  hookswitch events --follow
      each one when it has been routed; Ctrl-C ends it
  hookswitch events --state dead -o json | jq -r .uid
      events with dead letters, an object a line
  kubectl hookswitch events -n hookswitch
      in a cluster: kubectl forwards the port

`hookswitch explain ID` tells all about one.";

/// Events in a page that is asked for.
const PAGE: usize = 100;
/// Seconds that one question of `--follow` waits.
const WAIT: u64 = 20;

/// Which events.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Which events")]
pub(crate) struct Selector {
    /// Where they came in
    #[arg(long, value_name = "NAMESPACE/NAME")]
    subscription: Option<String>,
    /// The event type
    #[arg(long)]
    r#type: Option<String>,
    /// The ordering key, such as a conversation
    #[arg(long)]
    subject: Option<String>,
    /// A route that was asked
    #[arg(long, value_name = "NAMESPACE/NAME")]
    route: Option<String>,
    /// A rule that was asked
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// What a rule decided: fired, `when_false`, `missing_field`, error, `type_not_matched`, waits,
    /// `waits_already`, `already_fired`, `cancelled_before`, `already_done`, `would_go_back`
    #[arg(long)]
    verdict: Option<String>,
    /// There is a delivery that is pending, delivered or dead
    #[arg(long)]
    state: Option<String>,
    /// Accepted then or later: a time, or how long ago (90m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Accepted before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Selector {
    pub(crate) fn filter(&self) -> EventFilter {
        let Self {
            subscription,
            r#type,
            subject,
            route,
            rule,
            verdict,
            state,
            since,
            until,
        } = self.clone();
        EventFilter {
            subscription,
            id: None,
            r#type,
            subject,
            route,
            rule,
            verdict,
            state,
            since,
            until,
        }
    }
}

/// What to list.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selector: Selector,
    /// The sender's id
    #[arg(long)]
    id: Option<String>,
    /// The last so many
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
    /// Go on with each new one
    #[arg(long)]
    follow: bool,
    /// How to print; json is an object a line
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// A question for a page.
#[derive(Debug, Default, Serialize)]
struct Question {
    #[serde(flatten)]
    filter: EventFilter,
    limit: usize,
    before: Option<u64>,
    after: Option<u64>,
    wait: Option<u64>,
}

/// Lists.
///
/// # Errors
/// Where the receiver can't be asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<Verdict> {
    let receiver = args.connection.open().await?;
    let mut filter = args.selector.filter();
    filter.id.clone_from(&args.id);
    let newest = newest(&receiver).await?;
    let events = last(&receiver, &filter, args.limit).await?;
    let none = events.is_empty();
    print(&events, args.output, true)?;
    if !args.follow {
        if none && args.output == Output::Text {
            say!("no such event is kept");
        }
        return Ok(Verdict::Yes);
    }
    let mut after = newest;
    let shown: std::collections::HashSet<u64> = events.iter().map(|event| event.seq).collect();
    loop {
        let question = Question {
            filter: filter.clone(),
            limit: PAGE,
            after: Some(after),
            wait: Some(WAIT),
            ..Question::default()
        };
        let mut page: view::Events = receiver.get(&["events"], &question).await?.found()?;
        after = page.reached;
        page.events.retain(|event| !shown.contains(&event.seq));
        print(&page.events, args.output, false)?;
    }
}

/// The place of the newest event; 0 where there is none.
pub(crate) async fn newest(receiver: &Receiver) -> anyhow::Result<u64> {
    let question = Question {
        limit: 1,
        ..Question::default()
    };
    let page: view::Events = receiver.get(&["events"], &question).await?.found()?;
    Ok(page.events.first().map_or(0, |event| event.seq))
}

/// The last so many, oldest first.
async fn last(
    receiver: &Receiver,
    filter: &EventFilter,
    limit: usize,
) -> anyhow::Result<Vec<view::Event>> {
    let mut events = Vec::new();
    let mut before = None;
    while events.len() < limit {
        let question = Question {
            filter: filter.clone(),
            limit: PAGE.min(limit - events.len()),
            before,
            ..Question::default()
        };
        let page: view::Events = receiver.get(&["events"], &question).await?.found()?;
        events.extend(page.events);
        before = Some(page.reached);
        if !page.more {
            break;
        }
    }
    events.reverse();
    Ok(events)
}

fn print(events: &[view::Event], output: Output, heading: bool) -> anyhow::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    if output == Output::Json {
        for event in events {
            say!("{}", serde_json::to_string(event)?);
        }
        return Ok(());
    }
    let mut table = Table::new(&[
        "ACCEPTED",
        "ID",
        "TYPE",
        "SUBSCRIPTION",
        "SUBJECT",
        "OUTCOME",
    ]);
    for event in events {
        table.row(vec![
            time(event.accepted_at),
            event.uid.to_string(),
            kind(event),
            clean(&event.subscription),
            event
                .subject
                .as_deref()
                .map_or_else(|| "-".to_owned(), clean),
            outcome(event),
        ]);
    }
    for line in table.lines().iter().skip(usize::from(!heading)) {
        say!("{line}");
    }
    Ok(())
}

/// An event's type, or that it has none.
pub(crate) fn kind(event: &view::Event) -> String {
    if event.r#type.is_empty() {
        "(no type)".to_owned()
    } else {
        clean(&event.r#type)
    }
}

/// What became of an event, in a few words.
pub(crate) fn outcome(event: &view::Event) -> String {
    if event.disposition != "route" {
        return format!("not routed: {}", event.disposition);
    }
    let Some(plan) = &event.plan else {
        return "not routed yet".to_owned();
    };
    let mut words = Vec::new();
    for (count, word) in [
        (event.dead, "dead"),
        (event.pending, "pending"),
        (event.delivered, "delivered"),
        (
            u64::try_from(plan.suppressed).unwrap_or(u64::MAX),
            "suppressed",
        ),
    ] {
        if count > 0 {
            words.push(format!("{count} {word}"));
        }
    }
    if !plan.failed.is_empty() {
        words.push(format!("{} failed", plan.failed.len()));
    }
    if words.is_empty() {
        words.push(match (plan.fired.len(), plan.rules) {
            (0, _) if !plan.waits.is_empty() => "wait cancelled".to_owned(),
            (0, 0) => "no rule names its type".to_owned(),
            (0, rules) => format!("no rule fired ({rules} asked)"),
            (fired, _) => format!("{fired} fired"),
        });
    }
    words.join(", ")
}
