//! What TG-Staff knows of a user becomes part of a ticket, or not: an API that fails holds nothing up.

use std::time::Duration;

use hookswitch_cli::mock::stand_in::{Fault, StandIn};
use hookswitch_cli::mock::tgstaff::TgStaff;
use hookswitch_cli::mock::zendesk::Zendesk;
use serde_json::Value;

use crate::world::{Target, World, inquiry, stand_in, with};

async fn start() -> (StandIn<TgStaff>, StandIn<Zendesk>, World) {
    let profiles = stand_in(TgStaff::default()).await;
    let zendesk = stand_in(Zendesk::default()).await;
    let world = World::start(&Target {
        secrets: vec![
            ("token", zendesk.with(|it| it.token.clone())),
            ("api", format!("Bearer {}", profiles.with(|it| it.token.clone()))),
        ],
        kind: format!(
            "zendesk: {{subdomain: acme, email: bot@acme.example, tokenSecretRef: {{name: vendor, key: token}}, \
             baseUrl: \"{}\", allowPrivateNetwork: true}}",
            zendesk.url()
        ),
        rules: format!(
            "[{{name: all, types: [conversation.created], enrich: [{{name: profile, timeout: 1s, http: {{url: \
             \"{}/users/${{event.data.user_id}}\", headers: [{{name: Authorization, secretRef: {{name: vendor, key: \
             api}}}}], allowPrivateNetwork: true}}}}], deliver: [{{destination: target, body: {{ticket: {{subject: \
             \"${{event.data.username}} from ${{enriched.?profile.?country.orValue('nowhere')}}\", external_id: \
             \"${{event.subject}}\", comment: {{body: \"${{event.data.first_message}}\"}}}}}}}}]}}]",
            profiles.url()
        ),
        ..Target::default()
    })
    .await;
    (profiles, zendesk, world)
}

fn subjects(zendesk: &StandIn<Zendesk>) -> Vec<Value> {
    zendesk.with(|it| {
        let tickets = it.tickets.iter();
        tickets.map(|ticket| ticket["subject"].clone()).collect()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r50_a_ticket_has_what_the_user_profile_api_knows() {
    let (profiles, zendesk, world) = start().await;
    zendesk.fail_next([Fault::Broken]);
    world.send(&inquiry(1)).await;
    world.ended("delivered", 1).await;
    assert_eq!(subjects(&zendesk), ["alice from DE"]);
    assert_eq!(profiles.calls().len(), 1, "a retry asks nobody again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r51_an_api_that_is_absent_forbids_or_is_slow_is_gone_on_without() {
    let (profiles, zendesk, world) = start().await;
    profiles.fail_next([
        Fault::status(axum::http::StatusCode::FORBIDDEN),
        Fault::Broken,
        Fault::Unanswered,
        Fault::Limited(Duration::from_mins(1)),
    ]);
    for number in 1..=5 {
        // The last is of a user that there is not.
        let user = format!("u-{number}");
        world.send(&with(inquiry(number), "user_id", user)).await;
        world
            .ended("delivered", u64::try_from(number).expect("small"))
            .await;
    }
    let subjects = subjects(&zendesk);
    assert_eq!(subjects.len(), 5);
    assert!(
        subjects.iter().all(|it| it == "alice from nowhere"),
        "{subjects:?}"
    );
}
