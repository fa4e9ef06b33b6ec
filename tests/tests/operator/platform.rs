//! One release for the whole cluster, as a platform team installs, upgrades and removes it.

use hookswitch_tests::cluster::{Cluster, Namespace};
use hookswitch_tests::destination::Destination;
use hookswitch_tests::installation::{Installation, LIMIT, Program, condition};
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::wait;

use super::{KEY, SUBSCRIPTION, route};

/// Who may attach: namespaces with a label.
const ALLOWED: &str = "
  allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: sales}}}}
  verification:";

/// The columns that `kubectl get whsub --all-namespaces` shows.
const COLUMNS: &str = "NAMESPACE NAME URL ROUTES ACCEPTED PROGRAMMED AGE";

/// Two teams, and what they have in common: a subscription of one, a route of the other.
struct Teams {
    support: Namespace,
    sales: Namespace,
    destination: Destination,
    subscription: String,
}

impl Teams {
    async fn new(cluster: &Cluster) -> Self {
        Self {
            support: cluster.namespace().await,
            sales: cluster.namespace().await,
            destination: Destination::start().await,
            subscription: SUBSCRIPTION.replace("\n  verification:", ALLOWED),
        }
    }

    fn path(&self) -> String {
        format!("/{}/support", self.support.name())
    }

    async fn label(&self, cluster: &Cluster, label: &str) {
        let label = [
            "label",
            "namespace",
            self.sales.name(),
            label,
            "--overwrite",
        ];
        cluster.kubectl(&label).await.ok();
    }

    async fn apply(&self) {
        self.support.apply(&self.subscription).await.ok();
        let parent = format!("[{{name: support, namespace: {}}}]", self.support.name());
        let crm = route("crm", &self.destination.url(), "true");
        let crm = crm.replace("[{name: support}]", &parent);
        self.sales.apply(&crm).await.ok();
    }

    async fn programmed(&self) {
        for (namespace, object) in [
            (&self.support, "whsub/support"),
            (&self.sales, "evroute/crm"),
        ] {
            condition(namespace, object, "Accepted", "True", "Accepted").await;
            condition(namespace, object, "ResolvedRefs", "True", "ResolvedRefs").await;
            condition(namespace, object, "Programmed", "True", "Programmed").await;
        }
    }

    async fn delivered(&self, count: usize) {
        wait::until(format!("{count} deliveries"), LIMIT, async || {
            (self.destination.count() >= count).then_some(())
        })
        .await;
    }
}

/// Sends an event until it is taken, as a sender does whose receiver is replaced.
async fn insist(sender: &Sender, number: usize) {
    wait::until("the event to be taken", LIMIT, async || {
        (sender.send(&conversation_created(number)).await == Some(200)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_release_serves_every_namespace_through_upgrade_and_uninstall() {
    let cluster = Cluster::start().await;
    let mut here = Installation::of_cluster(&cluster, &["operator.replicas=2"]).await;
    let operator = here.operator("operator-a").await;
    let receiver = here.receiver(0);
    let teams = Teams::new(&cluster).await;
    teams.label(&cluster, "team=sales").await;
    teams.apply().await;
    teams.programmed().await;
    assert_columns(&cluster, &teams).await;
    let sender = Sender::new(receiver.url(&teams.path()), KEY);
    assert_eq!(sender.send(&conversation_created(1)).await, Some(200));
    teams.delivered(1).await;

    // A namespace's labels are followed, both ways.
    teams.label(&cluster, "team=other").await;
    let crm = "evroute/crm";
    let reason = "NotAllowedBySubscription";
    condition(&teams.sales, crm, "Accepted", "False", reason).await;
    teams.label(&cluster, "team=sales").await;
    teams.programmed().await;

    // What can't be right is refused with the remedy, before anything sees it.
    let bad = teams
        .subscription
        .replace("TGStaff", "TGStaff\n  path: no-slash");
    let refusal = teams.support.apply(&bad).await.refused();
    assert!(refusal.contains("spec.path"), "{refusal}");

    let (operator, receiver) = upgrade(&cluster, &mut here, &teams, operator, receiver).await;
    assert_eq!(here.refusals(&cluster), Vec::<String>::new());
    operator.terminate().await;

    // Uninstalled: definitions, objects and the snapshot stay, and so does what a receiver that is still
    // there serves.
    here.uninstall().await;
    let sender = sender.at(receiver.url(&teams.path()));
    assert_eq!(sender.send(&conversation_created(8)).await, Some(200));
    teams.delivered(8).await;
    receiver.terminate().await;
    for kept in ["webhooksubscriptions", "eventroutes"] {
        let definition = format!("crd/{kept}.hookswitch.dev");
        cluster.kubectl(&["get", &definition]).await.ok();
    }
    teams.support.kubectl(&["get", "whsub/support"]).await.ok();
    let get = ["get", "secret", "hookswitch-snapshot-0"];
    here.namespace.kubectl(&get).await.ok();

    // Installed again, all is as it was; and what is deleted is gone.
    here.reinstall(&cluster).await;
    let operator = here.operator("operator-c").await;
    let receiver = here.receiver(0);
    teams.programmed().await;
    let sender = sender.at(receiver.url(&teams.path()));
    insist(&sender, 9).await;
    teams.delivered(9).await;
    let delete = ["delete", "namespace", teams.support.name(), "--wait=false"];
    cluster.kubectl(&delete).await.ok();
    wait::until("the path to be gone", LIMIT, async || {
        (sender.send(&conversation_created(10)).await == Some(404)).then_some(())
    })
    .await;
    condition(
        &teams.sales,
        crm,
        "Accepted",
        "False",
        "NoMatchingSubscription",
    )
    .await;
    receiver.terminate().await;
    operator.terminate().await;
}

/// What `kubectl get` shows of the subscription.
async fn assert_columns(cluster: &Cluster, teams: &Teams) {
    let table = cluster.kubectl(&["get", "whsub", "--all-namespaces"]).await;
    let table = table.ok();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = table.lines().map(words).collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert_eq!(lines.first().map(String::as_str), Some(COLUMNS));
    let namespace = teams.support.name();
    let url = format!("https://hooks.example.com{}", teams.path());
    let row = format!("{namespace} support {url} 1 True True ");
    let line = lines.last();
    assert!(line.is_some_and(|it| it.starts_with(&row)), "{table}");
}

/// The new operator stands by before the old one goes, then the receiver is replaced. Seven events in all
/// are delivered.
async fn upgrade(
    cluster: &Cluster,
    here: &mut Installation,
    teams: &Teams,
    operator: Program,
    receiver: Program,
) -> (Program, Program) {
    here.upgrade(cluster, &["snapshot.shards=2"]).await;
    let next = here.operator("operator-b").await;
    operator.terminate().await;
    let sender = Sender::new(receiver.url(&teams.path()), KEY);
    for number in 2..5 {
        assert_eq!(sender.send(&conversation_created(number)).await, Some(200));
    }
    receiver.terminate().await;
    let receiver = here.receiver(0);
    let sender = sender.at(receiver.url(&teams.path()));
    for number in 5..8 {
        insist(&sender, number).await;
    }
    teams.delivered(7).await;
    wait::until("the second shard", LIMIT, async || {
        let get = ["get", "secret", "hookswitch-snapshot-1"];
        here.namespace.kubectl(&get).await.success.then_some(())
    })
    .await;
    teams.programmed().await;
    (next, receiver)
}
