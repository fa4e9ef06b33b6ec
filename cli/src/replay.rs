//! `hookswitch replay`: events get the deliveries that they lack.

use std::str::FromStr;

use anyhow::bail;
use hookswitch_receiver::admin::filter::EventFilter;
use hookswitch_receiver::admin::view::{Explained, Replay, Replayed};
use serde_json::json;
use uuid::Uuid;

use crate::Verdict;
use crate::ask::{Answer, Connection, Receiver};
use crate::events::{Selector, newest};
use crate::output::{Output, progress, say};
use crate::table::clean;

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  hookswitch replay 019a9994-f84c-778d-8eea-cc32d0acc9e6 --dry-run
      what the event lacks, by the rules that are in use now
  hookswitch replay --verdict missing_field --since 2h
      after a rule was corrected: what it should have delivered
  hookswitch replay --type conversation.created --since 24h
      after a route was added: its deliveries of the last day
  hookswitch replay 019a9994-f84c-778d-8eea-cc32d0acc9e6 --again
      everything once more, rendered anew, under new keys: destinations see it twice
  kubectl hookswitch replay --since 2h --verdict error -n hookswitch

What was delivered is left alone, dead letters are attempted again, and a repeated replay does nothing
the second time. No timers are started, and the loop guard stands.";

/// What to replay.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Events, by our ids or the senders'; else all that the options below leave
    #[arg(value_name = "EVENT_ID")]
    ids: Vec<String>,
    #[command(flatten)]
    selector: Selector,
    /// Every event that is kept: needed where nothing says which
    #[arg(long)]
    all: bool,
    /// Deliver everything once more, rendered anew, under new keys. A replay that was cut off goes on
    /// where its NAME is given
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    again: Option<Again>,
    /// Change nothing, and tell what would be
    #[arg(long)]
    dry_run: bool,
    /// How to print; json is an object a line
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// The name of a replay that makes everything again.
#[derive(Debug, Clone, Copy)]
struct Again(Uuid);

impl FromStr for Again {
    type Err = String;

    /// A new one where none is given.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(Uuid::now_v7()));
        }
        text.parse()
            .map(Self)
            .map_err(|_| "a replay's name is a UUID, as it was printed".to_owned())
    }
}

#[derive(Default)]
struct Counts {
    examined: u64,
    made: usize,
    retried: usize,
}

/// Replays.
///
/// # Errors
/// Where the receiver can't be asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<Verdict> {
    let filter = args.selector.filter();
    if args.ids.is_empty() && filter == EventFilter::default() && !args.all {
        bail!("say which: ids, --since or another option; or --all");
    }
    let receiver = args.connection.open().await?;
    let again = args.again.map(|Again(name)| name);
    if let Some(name) = again.filter(|_| !args.dry_run) {
        progress(format_args!(
            "if this is cut off, go on with --again={name}"
        ));
    }
    let mut ask = Replay {
        filter,
        all: args.all,
        again,
        dry_run: args.dry_run,
        ..Replay::default()
    };
    let mut counts = Counts::default();
    let mut verdict = Verdict::Yes;
    if args.ids.is_empty() {
        // What comes in meanwhile is routed by what is in use.
        ask.up_to = Some(newest(&receiver).await?);
        pages(&receiver, &args, ask, &mut counts).await?;
    } else {
        for id in &args.ids {
            let Some(uid) = uid_of(&receiver, id).await? else {
                verdict = Verdict::No;
                continue;
            };
            ask.event = Some(uid);
            pages(&receiver, &args, ask.clone(), &mut counts).await?;
        }
    }
    if args.output == Output::Text {
        let (made, retried) = if args.dry_run {
            ("would be made", "would be attempted again")
        } else {
            ("made", "attempted again")
        };
        say!(
            "{} events looked at: {} deliveries {made}, {} dead letters {retried}",
            counts.examined,
            counts.made,
            counts.retried
        );
    }
    Ok(verdict)
}

/// What we call an event.
async fn uid_of(receiver: &Receiver, id: &str) -> anyhow::Result<Option<Uuid>> {
    let explained: Explained = match receiver.get(&["events", id], &json!({})).await? {
        Answer::Found(explained) => explained,
        Answer::NotFound(why) => {
            progress(format_args!("{}", clean(&why)));
            return Ok(None);
        }
    };
    match explained.events.as_slice() {
        [one] => Ok(Some(one.event.uid)),
        several => {
            let ids: Vec<String> = several.iter().map(|it| it.event.uid.to_string()).collect();
            bail!(
                "several events have the id {}: choose of {}",
                clean(id),
                ids.join(", ")
            )
        }
    }
}

/// Page after page, until there is no more.
async fn pages(
    receiver: &Receiver,
    args: &Args,
    mut ask: Replay,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    loop {
        let page: Replayed = receiver.post(&["replay"], &ask).await?;
        counts.examined += page.examined;
        for event in &page.events {
            counts.made += event.made.len();
            counts.retried += event.retried.len();
            match args.output {
                Output::Json => say!("{}", serde_json::to_string(event)?),
                Output::Text => {
                    for (lanes, what) in [(&event.made, "new"), (&event.retried, "again")] {
                        for lane in lanes {
                            say!(
                                "{}  {}  {}  {what}",
                                event.uid,
                                clean(&event.r#type),
                                clean(lane)
                            );
                        }
                    }
                }
            }
        }
        for skipped in &page.skipped {
            progress(format_args!("{}: {}", skipped.id, clean(&skipped.why)));
        }
        if !page.more {
            return Ok(());
        }
        progress(format_args!("{} events so far", counts.examined));
        ask.after = page.reached;
    }
}
