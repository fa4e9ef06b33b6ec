//! What a change costs the API server, however many objects there are.

use std::collections::BTreeSet;

use hookswitch_tests::cluster::{Cluster, Request};
use hookswitch_tests::installation::{Installation, LIMIT};
use hookswitch_tests::wait;

use super::{SUBSCRIPTION, route};

/// Routes beside the one that changes.
const OTHERS: usize = 60;

/// What the operator wrote since it had asked for `since` things, but for its own Lease.
fn writes(cluster: &Cluster, here: &Installation, since: usize) -> Vec<Request> {
    let requests = cluster.requests_of(here.namespace.name(), "hooks-operator");
    let requests = requests.into_iter().skip(since);
    requests
        .filter(|it| it.writes() && it.resource != "leases")
        .collect()
}

#[tokio::test]
async fn a_change_costs_a_few_writes_and_touches_no_other_object() {
    let cluster = Cluster::shared().await;
    let here = Installation::new(cluster, &[]).await;
    let operator = here.operator("operator-a").await;
    let receiver = here.receiver(0);
    let routes: Vec<String> = (0..=OTHERS)
        .map(|number| route(&format!("r{number}"), "https://crm.example.com", "true"))
        .collect();
    here.namespace
        .apply(&format!("{SUBSCRIPTION}---{}", routes.join("---")))
        .await
        .ok();
    wait::until("all routes to be programmed", LIMIT, async || {
        let path = "-o=jsonpath={range .items[*]}\
                    {.status.conditions[?(@.type==\"Programmed\")].status} {end}";
        let all = here.namespace.kubectl(&["get", "evroute", path]).await.ok();
        (all.matches("True").count() == OTHERS + 1).then_some(())
    })
    .await;
    here.condition("whsub/support", "Programmed", "True", "Programmed")
        .await;

    let since = cluster
        .requests_of(here.namespace.name(), "hooks-operator")
        .len();
    let edited = route("r7", "https://crm.example.com", "event.type == 'a'");
    here.namespace.apply(&edited).await.ok();
    here.condition("evroute/r7", "Programmed", "True", "Programmed")
        .await;
    let writes = writes(cluster, &here, since);
    let touched: BTreeSet<&str> = writes
        .iter()
        .filter(|it| it.resource.ends_with("/status"))
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(touched, BTreeSet::from(["r7"]), "{writes:#?}");
    let secrets = writes.iter().filter(|it| it.resource == "secrets");
    assert_eq!(secrets.count(), 1, "{writes:#?}");
    // The Secret; the status, which is pending and then programmed; Events of the conditions that changed.
    assert!(writes.len() <= 6, "{writes:#?}");
    receiver.terminate().await;
    operator.terminate().await;
}
