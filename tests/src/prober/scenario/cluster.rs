//! A Kubernetes whose API is away.

use std::sync::Arc;

use crate::cluster::Cluster;
use crate::destination::Destination;
use crate::installation::{Installation, LIMIT};
use crate::prober::outcome::{Outcome, spread};
use crate::prober::scenario::Settings;
use crate::prober::service::Service;
use crate::prober::stage::{BODY, QUICK};
use crate::prober::trial::Trial;
use crate::{wait, yaml};

/// The API server is killed, and by turns etcd stopped; then it is back, and an edit goes through.
pub(super) async fn api_away(settings: &Settings) -> Outcome {
    let mut cluster = Cluster::start().await;
    let here = Installation::new(&cluster, &[]).await;
    let _operator = here.operator("operator-a").await;
    let receiver = here.receiver(0);
    receiver.ready().await;
    let destination = Arc::new(Destination::start().await);
    let namespace = here.namespace.name().to_owned();
    let apply = async |yaml: &str| {
        let yaml = yaml.replace("namespace: support", &format!("namespace: {namespace}"));
        wait::until("an edit to be taken", LIMIT, async || {
            here.namespace.apply(&yaml).await.success.then_some(())
        })
        .await;
        for object in ["whsub/support", "evroute/crm"] {
            here.condition(object, "Programmed", "True", "Programmed")
                .await;
        }
    };
    let url = destination.url();
    let route = yaml::route("crm", "[conversation.created]", &url, BODY, QUICK);
    apply(&format!("{}---\n{route}", yaml::subscription(""))).await;
    let service = Service::new();
    service.add_at(0, receiver.hooks, receiver.metrics);
    let path = format!("/{namespace}/support");
    let mut trial = Trial::start_at(destination, service, &path, settings.pace);
    let mut edits = Vec::new();
    for round in 0..settings.rounds {
        trial.answered(50).await;
        trial.breaks();
        if round % 2 == 0 {
            cluster.kill_apiserver();
            trial.lasts(settings.hold).await;
            cluster.start_apiserver().await;
        } else {
            cluster.pause_etcd();
            trial.lasts(settings.hold).await;
            cluster.resume_etcd();
        }
        let back = std::time::Instant::now();
        let rule = route.replace("name: all", &format!("name: rule-{round}"));
        apply(&rule).await;
        edits.push(back.elapsed());
        trial.mended();
    }
    let verdict = trial.end().await;
    receiver.terminate().await;
    Outcome::new(verdict)
        .all_answered()
        .fact(
            "away",
            format!(
                "{} times, for {} s each",
                settings.rounds,
                settings.hold.as_secs()
            ),
        )
        .fact("from its return until an edit is in use", spread(edits))
}
