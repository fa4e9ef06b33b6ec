//! `make cluster`: a Kubernetes control plane on this machine with Hookswitch installed by its chart, to try
//! things by hand with kubectl.
//!
//! The operator and a receiver run as processes with the arguments and the rights that the chart gives to
//! their pods. Everything ends, and is removed, with Ctrl-C.

use std::io::Write;

use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::installation::Installation;
use hookswitch_tests::servers::Program;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let cluster = Cluster::start().await;
    let installation = Installation::of_cluster(&cluster, &[]).await;
    let operator = installation.operator("operator-0").await;
    let receiver = installation.receiver(0);
    receiver.ready().await;
    let namespace = installation.namespace.name();
    writeln!(
        std::io::stdout(),
        "\n  export KUBECONFIG={kubeconfig}\n  \
         alias kubectl={kubectl}\n\n  \
         namespace of the release   {namespace}\n  \
         webhooks                   {hooks}\n  \
         metrics                    operator {operator}, receiver {metrics}\n  \
         logs                       {logs}\n\nCtrl-C ends it.",
        kubeconfig = cluster.kubeconfig().display(),
        kubectl = Program::KUBECTL.path().display(),
        hooks = receiver.url("/"),
        operator = operator.metrics,
        metrics = receiver.metrics,
        logs = installation.logs().display(),
    )?;
    tokio::signal::ctrl_c().await?;
    receiver.terminate().await;
    operator.terminate().await;
    Ok(())
}
