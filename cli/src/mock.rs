//! Local stand-ins for the systems that Hookswitch delivers to, for trying things out and for tests.
//!
//! They are as strict as the real ones, as far as those are documented: authentication, required
//! fields, limits, idempotency, and the ways in which each API says no. Where the real one can't be
//! known, the stand-in refuses: a route that it takes should be taken by the real one.
//!
//! ```text
//! stand_in: the frame ─ request, answer, limits, report
//!    └ an API a file: routes and rules, pure
//! ```
//!
//! Tests run them in their own process: [`stand_in::StandIn::start`].

pub mod answer;
pub mod crm;
pub mod dingtalk;
pub mod freshdesk;
pub mod hubspot;
pub mod limits;
pub mod mixpanel;
mod report;
pub mod request;
pub mod salesforce;
pub mod slack;
pub mod stand_in;
pub mod telegram;
pub mod tgstaff;
pub mod zendesk;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use axum::http::StatusCode;
use clap::Subcommand;
use hookswitch_crds::duration::Duration;
use tokio::net::TcpListener;

use crate::output::say;
use crate::signals;
use limits::Rate;
use report::Report;
use stand_in::{Api, Fault, Habits, StandIn};

/// The stand-ins there are.
#[derive(Debug, Subcommand)]
pub enum Mock {
    /// A CRM: prints what it gets, and takes each Idempotency-Key once. On 127.0.0.1:8090
    #[command(after_help = crm::EXAMPLES)]
    Crm(crm::Args),
    /// Slack: incoming webhooks and chat.postMessage. On 127.0.0.1:8091
    #[command(after_help = slack::EXAMPLES)]
    Slack(slack::Args),
    /// A DingTalk robot: signature, keywords, 20 messages a minute. On 127.0.0.1:8092
    #[command(after_help = dingtalk::EXAMPLES)]
    Dingtalk(dingtalk::Args),
    /// HubSpot's CRM objects: create, batch upsert, associations. On 127.0.0.1:8093
    #[command(after_help = hubspot::EXAMPLES)]
    Hubspot(hubspot::Args),
    /// Salesforce: OAuth tokens, and upserts by an external id. On 127.0.0.1:8094
    #[command(after_help = salesforce::EXAMPLES)]
    Salesforce(salesforce::Args),
    /// Zendesk's tickets, with its Idempotency-Key. On 127.0.0.1:8095
    #[command(after_help = zendesk::EXAMPLES)]
    Zendesk(zendesk::Args),
    /// Freshdesk's tickets. On 127.0.0.1:8096
    #[command(after_help = freshdesk::EXAMPLES)]
    Freshdesk(freshdesk::Args),
    /// Mixpanel's import of events. On 127.0.0.1:8097
    #[command(after_help = mixpanel::EXAMPLES)]
    Mixpanel(mixpanel::Args),
    /// Telegram's Bot API: sendMessage. On 127.0.0.1:8098
    #[command(after_help = telegram::EXAMPLES)]
    Telegram(telegram::Args),
    /// TG-Staff's API, which sends webhooks for what is sent through it. On 127.0.0.1:8099
    #[command(after_help = tgstaff::EXAMPLES)]
    Tgstaff(tgstaff::Args),
}

impl Mock {
    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// Where it can't listen, or can't write its record.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Crm(args) => serve(args.options, crm::PORT, crm::Crm::default()).await,
            Self::Slack(args) => serve(args.options.clone(), slack::PORT, args.api()).await,
            Self::Dingtalk(args) => serve(args.options.clone(), dingtalk::PORT, args.api()).await,
            Self::Hubspot(args) => serve(args.options.clone(), hubspot::PORT, args.api()).await,
            Self::Salesforce(args) => {
                serve(args.options.clone(), salesforce::PORT, args.api()).await
            }
            Self::Zendesk(args) => serve(args.options.clone(), zendesk::PORT, args.api()).await,
            Self::Freshdesk(args) => serve(args.options.clone(), freshdesk::PORT, args.api()).await,
            Self::Mixpanel(args) => serve(args.options.clone(), mixpanel::PORT, args.api()).await,
            Self::Telegram(args) => serve(args.options.clone(), telegram::PORT, args.api()).await,
            Self::Tgstaff(args) => serve(args.options.clone(), tgstaff::PORT, args.api()).await,
        }
    }
}

/// What every stand-in can be told.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where to listen, in place of the stand-in's own port
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The share of requests that fail as the API itself fails, from 0 to 1, spread evenly
    #[arg(long, visible_alias = "fail", default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    fail_rate: f64,
    /// The share of requests that take effect and are not answered: the connection breaks
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    lose_rate: f64,
    /// Take this many requests in a time, such as 5/10s, in place of the API's own limit
    #[arg(long, value_name = "N/TIME")]
    rate: Option<Rate>,
    /// Answer every request with this status
    #[arg(long, value_name = "CODE", value_parser = status)]
    status: Option<StatusCode>,
    /// Wait this long before every answer, such as 500ms or 20s
    #[arg(long, default_value = "0s", value_name = "DURATION")]
    delay: Duration,
    /// Append what comes to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "write a number from 0 to 1, such as 0.3".to_owned())
}

fn status(text: &str) -> Result<StatusCode, String> {
    StatusCode::from_bytes(text.as_bytes())
        .map_err(|_| "write an HTTP status from 100 to 999, such as 422".to_owned())
}

/// Serves until a signal ends it.
async fn serve(options: Options, port: u16, mut api: impl Api) -> anyhow::Result<()> {
    let address = options
        .listen
        .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}: choose another --listen"))?;
    let record = options
        .record
        .as_ref()
        .map(|path| {
            std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .with_context(|| format!("can't write to {}", path.display()))
        })
        .transpose()?;
    if let Some(rate) = options.rate {
        api.limit(rate);
    }
    let (name, hint) = (api.name(), api.hint());
    let habits = Habits {
        broken: options.fail_rate,
        lost: options.lose_rate,
        always: options.status.map(Fault::status),
        delay: options.delay.to_std(),
    };
    let stand_in = StandIn::serve(listener, api, habits, Some(Report::new(record)))?;
    say!("Stand-in {name} listening on {}", stand_in.url());
    if !hint.is_empty() {
        say!("{hint}\n");
    }
    signals::ended().await;
    Ok(())
}
