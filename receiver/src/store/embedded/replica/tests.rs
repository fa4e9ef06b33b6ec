//! Pieces of a log, and what those who wait are told of them.

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::event::{Disposition, Event};
use crate::metrics::Metrics;
use crate::plan::{FrozenBody, FrozenRequest, NewDelivery, Plan};
use crate::redact::Hidden;
use crate::store::embedded::accept::Accept;
use crate::store::embedded::lock::Lock;
use crate::store::embedded::plan::Append;
use crate::store::embedded::{Embedded, Options};
use crate::store::{NewEvent, Store as _};
use hookswitch_crds::snapshot::DestinationKind;

const ME: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const DELIVERY: Uuid = Uuid::from_u128(7);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn subscription() -> ObjectKey {
    ObjectKey::new("support", "support")
}

fn lane() -> Lane {
    Lane {
        route: ObjectKey::new("support", "route"),
        destination: "crm".to_owned(),
    }
}

fn event() -> NewEvent {
    let body = Bytes::from_static(b"{}");
    NewEvent {
        digest: digest(&body),
        event: Event {
            uid: Uuid::from_u128(3),
            subscription: subscription(),
            id: "1".to_owned(),
            r#type: "message.received".to_owned(),
            time: None,
            accepted_at: at(0),
            subject: None,
            sender: None,
            hops: 0,
            content_type: None,
            disposition: Disposition::Route,
            body,
        },
        remember_until: at(3600),
        quota: u64::MAX,
    }
}

fn plan() -> Plan {
    Plan {
        seq: 1,
        sequence: 7,
        planned_at: at(1),
        verdicts: Vec::new(),
        suppressions: Vec::new(),
        deliveries: vec![NewDelivery {
            id: DELIVERY,
            lane: lane(),
            rule: "rule".to_owned(),
            request: Some(FrozenRequest {
                kind: DestinationKind::Http,
                method: "POST".to_owned(),
                content_type: "application/json".to_owned(),
                cloud_event_headers: false,
                address: None,
                hidden: Hidden::default(),
                body: FrozenBody::Event,
            }),
            ordered_by: None,
            echo: None,
            write_back: None,
            dead: None,
            waits_until: None,
        }],
        marks_consumed: Vec::new(),
        remember: Vec::new(),
        timers: Vec::new(),
        cancelled: Vec::new(),
        set_aside: None,
    }
}

fn view(after: u64, members: &[Uuid]) -> Change {
    Change::View {
        after,
        members: members.to_vec(),
    }
}

fn claim() -> Change {
    Change::Claim(vec![Claim {
        id: DELIVERY,
        attempts: 0,
        at: at(2),
    }])
}

/// A replica that is fed by hand.
struct Fed {
    engine: Embedded,
    common: Arc<Common>,
    heard: mpsc::UnboundedReceiver<News>,
    sequence: u64,
    _dir: TempDir,
}

impl Fed {
    /// One of two members; one delivery is due.
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (news, heard) = mpsc::unbounded_channel();
        let common = Arc::new(Common::new(ME, news));
        let options = Options {
            dir: dir.path().to_owned(),
            metrics: Metrics::new().unwrap(),
        };
        let lock = Lock::take(dir.path()).unwrap();
        let opened = Embedded::open_replica(options, lock, "1.0", Arc::clone(&common));
        let (engine, _) = opened.unwrap();
        let mut this = Self {
            engine,
            common,
            heard,
            sequence: 0,
            _dir: dir,
        };
        this.apply(vec![
            (ME, view(0, &[ME, OTHER])),
            (ME, Change::Accept(Box::new(Accept::new(event())))),
            (
                ME,
                Change::Plan(Append::new(subscription(), 0, vec![plan()])),
            ),
        ])
        .await;
        this.heard.recv().await.unwrap();
        this
    }

    /// Applies changes in one piece, each a batch of its own.
    async fn apply(&mut self, changes: Vec<(Uuid, Change)>) {
        let messages = changes.into_iter().map(|(by, change)| {
            self.sequence += 1;
            let bytes = record::encode(&change).unwrap();
            let messages = record::messages(by, self.sequence, &bytes, 1 << 20).unwrap();
            Message {
                sequence: self.sequence,
                payload: messages[0].clone(),
            }
        });
        let messages = messages.collect();
        self.engine.apply(messages).await.unwrap();
    }

    /// Waits for what comes of the next change.
    fn wait_for_next(&self) -> oneshot::Receiver<Result<Done, Error>> {
        let (reply, answer) = oneshot::channel();
        self.common.waiters.add(self.sequence + 1, vec![reply]);
        answer
    }
}

#[tokio::test]
async fn r15_a_claim_is_lost_where_the_same_piece_votes_its_member_off() {
    let off = || vec![(OTHER, view(1, &[OTHER]))];
    let back = || vec![(OTHER, view(1, &[OTHER])), (ME, view(2, &[ME, OTHER]))];
    let stays = || vec![(OTHER, view(1, &[ME]))];
    for (then, won) in [
        (Vec::new(), true),
        (off(), false),
        (back(), false),
        (stays(), true),
    ] {
        let mut fed = Fed::new().await;
        let answer = fed.wait_for_next();
        let mut piece = vec![(ME, claim())];
        piece.extend(then);
        fed.apply(piece).await;
        let told = answer.await.unwrap().unwrap().each().unwrap();
        assert_eq!(told, [won]);
        let due = fed.engine.due(&lane(), at(9), 9).await.unwrap().ready;
        assert_eq!(due.len(), usize::from(!won), "others may attempt it");
        assert!(due.iter().all(|delivery| delivery.interrupted));
        assert!(fed.heard.recv().await.unwrap().unwanted.is_empty());
    }
}

#[tokio::test]
async fn what_is_won_and_nobody_waits_for_is_to_be_given_back() {
    let mut fed = Fed::new().await;
    drop(fed.wait_for_next());
    fed.apply(vec![(ME, claim())]).await;
    let unwanted = fed.heard.recv().await.unwrap().unwanted;
    assert_eq!(
        unwanted.iter().map(|it| it.id).collect::<Vec<_>>(),
        [DELIVERY]
    );

    let mut fed = Fed::new().await;
    drop(fed.wait_for_next());
    fed.apply(vec![(ME, claim()), (OTHER, view(1, &[OTHER]))])
        .await;
    let news = fed.heard.recv().await.unwrap();
    assert!(news.unwanted.is_empty(), "it is another one's already");
}
