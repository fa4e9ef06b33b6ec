//! `hookswitch dead-letters`: what was given up, and what to do about it.

use anyhow::bail;
use hookswitch_receiver::admin::filter::DeadFilter;
use hookswitch_receiver::admin::view::{self, ChangeDead, Changed, DeadLetter, DeadLetterShown};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::Verdict;
use crate::ask::{Answer, Connection, Receiver};
use crate::events::kind;
use crate::explain::print_delivery;
use crate::output::{Output, progress, say};
use crate::table::{Table, clean, time};

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  hookswitch dead-letters list --reason gave_up
  hookswitch dead-letters show 5f0c6c1e-9f3b-8b53-8d15-0b9a0c1b2d3e --bodies
      what was sent, and what came back
  hookswitch dead-letters retry --destination tickets --since 6h --dry-run
      what would be attempted again, after an outage of the last six hours
  hookswitch dead-letters retry --destination tickets --since 6h
      attempted again: the same bytes under the same key
  hookswitch dead-letters drop --route support/old-crm
  kubectl hookswitch dead-letters list -n hookswitch

Each may be repeated: what was done once is not done twice.";

/// Dead letters in a page.
const PAGE: usize = 100;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List them, in the order in which their events came
    List(List),
    /// Tell all about one
    Show(Show),
    /// Attempt them again, with the same bytes under the same key
    Retry(Change),
    /// Remove them for good
    Drop(Change),
}

/// Which dead letters.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Which dead letters")]
struct Selector {
    /// Where their events came in
    #[arg(long, value_name = "NAMESPACE/NAME")]
    subscription: Option<String>,
    /// Those of one event, by our id
    #[arg(long, value_name = "EVENT_ID")]
    event: Option<Uuid>,
    /// The event type
    #[arg(long)]
    r#type: Option<String>,
    /// The route
    #[arg(long, value_name = "NAMESPACE/NAME")]
    route: Option<String>,
    /// The destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// The rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Why: refused, `gave_up`, ambiguous, `destination_removed`, `rule_error`, `loop_hops`, `loop_rate`
    #[arg(long)]
    reason: Option<String>,
    /// Given up then or later: a time, or how long ago (90m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Given up before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// What to list.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    selector: Selector,
    /// At most so many
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
    /// How to print; json is an object a line
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The dead letter, as `list` names it
    #[arg(value_name = "ID")]
    id: String,
    /// Tell its body too, up to 64 KiB: it holds what customers wrote
    #[arg(long)]
    bodies: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// What to change.
#[derive(Debug, clap::Args)]
pub(crate) struct Change {
    /// Dead letters, as `list` names them; else all that the options below leave
    #[arg(value_name = "ID")]
    ids: Vec<Uuid>,
    #[command(flatten)]
    selector: Selector,
    /// Every one of them: needed where nothing says which
    #[arg(long)]
    all: bool,
    /// Change nothing, and tell what would be changed
    #[arg(long)]
    dry_run: bool,
    /// How to print; json is an object a line
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

impl Selector {
    fn filter(&self) -> DeadFilter {
        let Self {
            subscription,
            event,
            r#type,
            route,
            destination,
            rule,
            reason,
            since,
            until,
        } = self.clone();
        DeadFilter {
            ids: None,
            subscription,
            event,
            r#type,
            route,
            destination,
            rule,
            reason,
            since,
            until,
        }
    }
}

/// Does it.
///
/// # Errors
/// Where the receiver can't be asked.
pub(crate) async fn run(command: Command) -> anyhow::Result<Verdict> {
    match command {
        Command::List(args) => list(args).await,
        Command::Show(args) => show(args).await,
        Command::Retry(args) => change(args, "retry").await,
        Command::Drop(args) => change(args, "drop").await,
    }
}

/// A question for a page.
#[derive(Debug, Serialize)]
struct Question {
    #[serde(flatten)]
    filter: DeadFilter,
    limit: usize,
    after: u64,
}

async fn list(args: List) -> anyhow::Result<Verdict> {
    let receiver = args.connection.open().await?;
    let filter = args.selector.filter();
    let mut letters: Vec<DeadLetter> = Vec::new();
    let mut after = 0;
    let mut more = true;
    while more && letters.len() < args.limit {
        let question = Question {
            filter: filter.clone(),
            limit: PAGE.min(args.limit - letters.len()),
            after,
        };
        let page = receiver.get(&["dead-letters"], &question).await?;
        let page: view::DeadLetters = page.found()?;
        (after, more) = (page.reached, page.more);
        letters.extend(page.dead_letters);
    }
    print(&letters, args.output)?;
    if args.output == Output::Text {
        if letters.is_empty() {
            say!("no dead letters");
        } else if more {
            say!("... and more: --limit");
        }
    }
    Ok(Verdict::Yes)
}

fn print(letters: &[DeadLetter], output: Output) -> anyhow::Result<()> {
    if letters.is_empty() {
        return Ok(());
    }
    if output == Output::Json {
        for letter in letters {
            say!("{}", serde_json::to_string(letter)?);
        }
        return Ok(());
    }
    let mut table = Table::new(&[
        "ENDED",
        "ID",
        "DESTINATION",
        "REASON",
        "ATTEMPTS",
        "STATUS",
        "TYPE",
    ]);
    for letter in letters {
        table.row(vec![
            time(letter.ended_at),
            letter.id.to_string(),
            clean(&format!("{}/{}", letter.route, letter.destination)),
            letter.reason.clone(),
            letter.attempts.to_string(),
            letter
                .status
                .map_or_else(|| "-".to_owned(), |status| status.to_string()),
            clean(&letter.r#type),
        ]);
    }
    for line in table.lines() {
        say!("{line}");
    }
    Ok(())
}

async fn show(args: Show) -> anyhow::Result<Verdict> {
    let receiver = args.connection.open().await?;
    let query = json!({"bodies": args.bodies});
    let answer = receiver.get(&["dead-letters", &args.id], &query).await?;
    let DeadLetterShown { event, delivery } = match answer {
        Answer::Found(shown) => shown,
        Answer::NotFound(why) => {
            say!("{why}");
            return Ok(Verdict::No);
        }
    };
    if args.output == Output::Json {
        let shown = DeadLetterShown { event, delivery };
        say!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(Verdict::Yes);
    }
    say!(
        "{}  {}  from {}",
        event.uid,
        kind(&event),
        clean(&event.subscription)
    );
    say!("  accepted  {}", time(event.accepted_at));
    print_delivery(&delivery, &event, event.accepted_at);
    Ok(Verdict::Yes)
}

async fn change(args: Change, what: &str) -> anyhow::Result<Verdict> {
    let filter = args.selector.filter();
    if args.ids.is_empty() && filter == DeadFilter::default() && !args.all {
        bail!("say which: ids, --destination or another option; or --all");
    }
    let receiver = args.connection.open().await?;
    let mut counts = Counts::default();
    if args.ids.is_empty() {
        pages(&receiver, &args, what, filter, &mut counts).await?;
    } else {
        for ids in args.ids.chunks(PAGE) {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let filter = DeadFilter {
                ids: Some(ids.join(",")),
                ..filter.clone()
            };
            pages(&receiver, &args, what, filter, &mut counts).await?;
        }
    }
    if args.output == Output::Text {
        let done = match (args.dry_run, what) {
            (true, "retry") => "would be attempted again",
            (true, _) => "would be removed",
            (false, "retry") => "are attempted again",
            (false, _) => "are removed",
        };
        say!(
            "{} dead letters {done}, {} passed over",
            counts.changed,
            counts.skipped
        );
    }
    let missing = args
        .ids
        .len()
        .saturating_sub(counts.changed + counts.skipped);
    if missing > 0 {
        say!("{missing} of the ids are no dead letters");
        return Ok(Verdict::No);
    }
    Ok(Verdict::Yes)
}

#[derive(Default)]
struct Counts {
    changed: usize,
    skipped: usize,
}

/// Page after page, until there is no more.
async fn pages(
    receiver: &Receiver,
    args: &Change,
    what: &str,
    filter: DeadFilter,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let mut ask = ChangeDead {
        filter,
        all: args.all,
        after: 0,
        limit: Some(PAGE),
        dry_run: args.dry_run,
    };
    loop {
        let page: Changed = receiver.post(&["dead-letters", what], &ask).await?;
        counts.changed += page.changed.len();
        counts.skipped += page.skipped.len();
        if args.output == Output::Json || args.dry_run {
            print(&page.changed, args.output)?;
        }
        for skipped in &page.skipped {
            progress(format_args!("{}: {}", skipped.id, clean(&skipped.why)));
        }
        if !page.more {
            return Ok(());
        }
        progress(format_args!("{} so far", counts.changed));
        ask.after = page.reached;
    }
}
