//! Every kind of destination against its stand-in, and every example, through the real program.
//!
//! The stand-ins are those of `hookswitch mock`, in this process: a test tells them to go wrong, and
//! looks at what they hold afterwards.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of this is test code: what fails ends the test"
)]

#[path = "destinations/dingtalk.rs"]
mod dingtalk;
#[path = "destinations/enrich.rs"]
mod enrich;
#[path = "destinations/examples.rs"]
mod examples;
#[path = "destinations/freshdesk.rs"]
mod freshdesk;
#[path = "destinations/hubspot.rs"]
mod hubspot;
#[path = "destinations/mixpanel.rs"]
mod mixpanel;
#[path = "destinations/salesforce.rs"]
mod salesforce;
#[path = "destinations/slack.rs"]
mod slack;
#[path = "destinations/telegram.rs"]
mod telegram;
#[path = "destinations/tgstaff.rs"]
mod tgstaff;
#[path = "destinations/world.rs"]
mod world;
#[path = "destinations/zendesk.rs"]
mod zendesk;
