//! Who writes: one operator at a time, and whatever another hand did is mended.

use std::path::Path;

use hookswitch_crds::snapshot::shard;
use hookswitch_crds::snapshot::{FORMAT, Snapshot};
use hookswitch_tests::cluster::Cluster;
use hookswitch_tests::installation::{Installation, LIMIT, Program};
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::servers;
use hookswitch_tests::servers::process::{Folder, Process};
use hookswitch_tests::wait;

use super::{KEY, SUBSCRIPTION, path, retain};

const OBJECT: &str = "whsub/support";

async fn leads(program: &Program) {
    wait::until("the operator to lead", LIMIT, async || {
        (program.metric("hookswitch_leading").await == Some(1.0)).then_some(())
    })
    .await;
}

/// Every version of the snapshot's Secret from now on, as `sequence holder/term`.
fn history(cluster: &Cluster, here: &Installation, folder: &Folder) -> Process {
    let arguments = [
        format!("--kubeconfig={}", cluster.kubeconfig().display()),
        format!("--namespace={}", here.namespace.name()),
        "get".to_owned(),
        "secret/hookswitch-snapshot-0".to_owned(),
        "--watch".to_owned(),
        "-o=jsonpath={.metadata.annotations.hookswitch\\.dev/sequence} \
         {.metadata.annotations.hookswitch\\.dev/writer}{\"\\n\"}"
            .to_owned(),
    ];
    let kubectl = servers::Program::KUBECTL.path();
    Process::start(
        Path::new(&kubectl),
        arguments,
        &folder.path().join("history"),
    )
}

#[tokio::test]
async fn two_operators_never_write_in_turn_though_one_slept_through_its_term() {
    let cluster = Cluster::shared().await;
    let here = Installation::new(cluster, &["operator.replicas=2"]).await;
    let mut first = here.operator("operator-a").await;
    leads(&first).await;
    let second = here.operator("operator-b").await;
    let receiver = here.receiver(0);
    here.namespace.apply(SUBSCRIPTION).await.ok();
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    let folder = Folder::new("hookswitch-history-");
    let history = history(cluster, &here, &folder);

    // The leader is stopped with edits under way, and wakes up in another's term.
    for hours in 50..55 {
        retain(&here, &format!("{hours}h")).await;
    }
    first.signal("STOP");
    retain(&here, "60h").await;
    leads(&second).await;
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    first.signal("CONT");
    wait::until("the first to know", LIMIT, async || {
        (first.metric("hookswitch_leading").await == Some(0.0)).then_some(())
    })
    .await;
    for hours in 61..66 {
        retain(&here, &format!("{hours}h")).await;
    }
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    let written = here.sequence().await.expect("it was written");
    wait::until("the whole history", LIMIT, async || {
        let last = history.log().lines().last()?.to_owned();
        last.starts_with(&format!("{written} ")).then_some(())
    })
    .await;

    let lines = history.log();
    let versions: Vec<(u64, u32)> = lines
        .lines()
        .map(|line| {
            let (sequence, writer) = line.split_once(' ').expect("two words");
            let (_, term) = writer.rsplit_once('/').expect("a term");
            (
                sequence.parse().expect("a number"),
                term.parse().expect("a number"),
            )
        })
        .collect();
    assert!(versions.len() > 2, "{lines}");
    assert!(
        versions.is_sorted_by(|(sequence, term), (next, later)| sequence <= next && term <= later),
        "{lines}"
    );
    assert!(
        lines.contains("operator-a_") && lines.contains("operator-b_"),
        "{lines}"
    );
    assert_eq!(here.refusals(cluster), Vec::<String>::new());
    receiver.terminate().await;
}

#[tokio::test]
async fn an_operator_that_is_killed_in_mid_write_leaves_nothing_half_done() {
    let cluster = Cluster::shared().await;
    let here = Installation::new(cluster, &["snapshot.shards=4"]).await;
    let receiver = here.receiver(0);
    here.namespace.apply(SUBSCRIPTION).await.ok();
    let more: Vec<String> = (0..12)
        .map(|number| SUBSCRIPTION.replace("name: support", &format!("name: s{number}")))
        .collect();
    here.namespace.apply(&more.join("---")).await.ok();
    let mut operator = here.operator("operator-0").await;
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    let sender = Sender::new(receiver.url(&path(&here, "support")), KEY);
    for round in 1..=4_u32 {
        // Every shard is to be written. The kill comes a little later each time, so that it falls before,
        // between and after the writes.
        let rotated = format!(
            "
apiVersion: v1
kind: Secret
metadata: {{name: tg-staff}}
stringData: {{signing-key: the-key-{round}, previous-signing-key: the-signing-key}}
"
        );
        here.namespace.apply(&rotated).await.ok();
        for _ in 1..round {
            here.sequence().await;
        }
        drop(operator);
        let number = usize::try_from(round).expect("a small number");
        let answer = sender.send(&conversation_created(number)).await;
        assert_eq!(answer, Some(200), "what receivers have is whole");
        operator = here.operator(&format!("operator-{round}")).await;
    }
    for object in ["whsub/support", "whsub/s0", "whsub/s11"] {
        here.condition(object, "Programmed", "True", "Programmed")
            .await;
    }
    wait::until("the last key", LIMIT, async || {
        let next = Sender::new(receiver.url(&path(&here, "s11")), "the-key-4");
        (next.send(&conversation_created(9)).await == Some(200)).then_some(())
    })
    .await;
    assert_eq!(here.refusals(cluster), Vec::<String>::new());
}

#[tokio::test]
async fn what_another_hand_writes_is_mended_and_never_served() {
    let cluster = Cluster::shared().await;
    let here = Installation::new(cluster, &[]).await;
    let operator = here.operator("operator-a").await;
    let receiver = here.receiver(0);
    here.namespace.apply(SUBSCRIPTION).await.ok();
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    let sender = Sender::new(receiver.url(&path(&here, "support")), KEY);
    let before = here.sequence().await.expect("it was written");

    // A status that another wrote, over and over.
    for _ in 0..3 {
        let patch = r#"{"status":{"attachedRoutes":77,"url":"https://elsewhere"}}"#;
        let patch = [
            "patch",
            OBJECT,
            "--subresource=status",
            "--type=merge",
            "-p",
            patch,
        ];
        here.namespace.kubectl(&patch).await.ok();
    }
    wait::until("the status to be true again", LIMIT, async || {
        let status = "-o=jsonpath={.status.attachedRoutes} {.status.url}";
        let status = here.namespace.kubectl(&["get", OBJECT, status]).await.ok();
        status
            .starts_with("0 https://hooks.example.com/")
            .then_some(())
    })
    .await;

    // A snapshot of a format that is not known yet, as a newer operator writes, and one that is damaged.
    let newer = Snapshot {
        format: FORMAT + 1,
        sequence: before + 100,
        ..Snapshot::empty()
    };
    let newer: Vec<Vec<u8>> = shard::split(&newer, 1)
        .iter()
        .map(|view| view.encode().expect("it can be written"))
        .collect();
    for bytes in [newer.concat(), b"damaged".to_vec()] {
        let before = here.sequence().await.expect("it was written");
        let secret = serde_json::json!({"data": {
            "snapshot.json.zst": base64(&bytes),
        }});
        let secret = secret.to_string();
        let patch = [
            "patch",
            "secret/hookswitch-snapshot-0",
            "--type=merge",
            "-p",
            &secret,
        ];
        here.namespace.kubectl(&patch).await.ok();
        let mut number = 0;
        wait::until("the operator to write it anew", LIMIT, async || {
            number += 1;
            let answer = sender.send(&conversation_created(number)).await;
            assert_eq!(answer, Some(200), "what was served goes on");
            (here.sequence().await? > before).then_some(())
        })
        .await;
        let written = here.sequence().await.expect("it was written");
        wait::until("the receiver to load it", LIMIT, async || {
            (here.loaded(0).await? >= written).then_some(())
        })
        .await;
    }

    // A Secret that is deleted comes back, with a sequence that goes on.
    let before = here.sequence().await.expect("it was written");
    let delete = ["delete", "secret", "hookswitch-snapshot-0"];
    here.namespace.kubectl(&delete).await.ok();
    retain(&here, "40h").await;
    here.condition(OBJECT, "Programmed", "True", "Programmed")
        .await;
    assert!(here.sequence().await > Some(before));
    assert_eq!(sender.send(&conversation_created(9999)).await, Some(200));
    assert_eq!(here.refusals(cluster), Vec::<String>::new());
    receiver.terminate().await;
    operator.terminate().await;
}

/// Standard base64, as the data of a Secret is written.
fn base64(bytes: &[u8]) -> String {
    use hookswitch_crds::secret::SecretBytes;
    let text = serde_json::json!(SecretBytes::new(bytes.to_vec()));
    text.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn times_of_other_clocks_count_for_nothing() {
    let cluster = Cluster::shared().await;
    for renewed in ["2001-01-01T00:00:00.000000Z", "2100-01-01T00:00:00.000000Z"] {
        let here = Installation::new(cluster, &[]).await;
        let lease = format!(
            "
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {{name: hookswitch-operator}}
spec: {{holderIdentity: a-ghost, leaseDurationSeconds: 5, leaseTransitions: 7, renewTime: '{renewed}'}}
"
        );
        here.namespace.apply(&lease).await.ok();
        here.namespace.apply(SUBSCRIPTION).await.ok();
        let operator = here.operator("operator-a").await;
        let _receiver = here.receiver(0);
        leads(&operator).await;
        let path = "-o=jsonpath={.spec.holderIdentity} {.spec.leaseTransitions}";
        let get = ["get", "lease", "hookswitch-operator", path];
        let held = here.namespace.kubectl(&get).await.ok();
        assert!(
            held.starts_with("operator-a") && held.ends_with(" 8"),
            "{held}"
        );
        here.condition(OBJECT, "Programmed", "True", "Programmed")
            .await;
    }
}
