//! Who leads: one of the operators, by a Lease.
//!
//! ```text
//! standby ─ the Lease is free, or was not renewed for DURATION by our clock ─▶ leading
//!    ▲                                                                           │ renews every RENEWAL
//!    └── renewing failed for DEADLINE, or another holds it ◀────────────────────┘
//! ```
//!
//! Invariants:
//! - A term ends by itself, by the holder's own clock, before another may take the Lease: DEADLINE is
//!   shorter than DURATION, and counts from when the renewal was *sent*.
//! - Whether a Lease was renewed is judged from when a change of it was seen, never by the times in
//!   it: clocks that differ make no two leaders.
//! - At a shutdown the Lease is given back, and the next one leads within a second.
//!
//! A term is no proof that nobody writes later: a write under way can outlive it. That is what the
//! `resourceVersion` of each write is for.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::retry::Category;
use crate::{FIELD_MANAGER, clock, labels};

/// The Lease's name.
pub const NAME: &str = "hookswitch-operator";
/// How long others wait for a holder that is silent.
const DURATION: Duration = Duration::from_secs(15);
/// How long a term lasts after a renewal was sent.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(3);
/// How often a standby looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long giving it back may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// A term of leading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Who leads.
    identity: String,
    /// How often the Lease changed hands before.
    number: i32,
    /// When it ends unless it is renewed.
    ends: Instant,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.identity, self.number)
    }
}

impl Term {
    /// Tells terms apart.
    #[must_use]
    pub fn number(&self) -> i32 {
        self.number
    }
}

/// Tells whether this instance leads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<Option<Term>>);

impl Leadership {
    /// The term, while it lasts.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        let term = self.0.borrow().clone();
        term.filter(|term| term.ends > Instant::now())
    }

    /// Waits until this instance leads. Cancelling it loses nothing.
    pub async fn lead(&mut self) -> Term {
        loop {
            if let Some(term) = self.term() {
                return term;
            }
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// An operator that wants to lead.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    term: watch::Sender<Option<Term>>,
    seen: Option<Seen>,
}

/// A Lease as it was last seen.
#[derive(Debug, Clone)]
struct Seen {
    lease: Lease,
    /// When it was first seen so.
    since: Instant,
}

/// What to do about the Lease.
#[derive(Debug, Clone, PartialEq)]
enum Move {
    /// There is none: make it.
    Create,
    /// It is ours, or free: write it.
    Write(Box<Lease>),
    /// Another holds it.
    Wait,
}

impl Candidate {
    /// One that does not lead yet. `identity` must be of this process alone.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String) -> (Self, Leadership) {
        let (term, follow) = watch::channel(None);
        let candidate = Self {
            api: Api::namespaced(client, namespace),
            identity,
            term,
            seen: None,
        };
        (candidate, Leadership(follow))
    }

    /// Leads whenever it can, until `shutdown`; then gives the Lease back.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let stand = async {
            loop {
                self.turn().await;
                let pause = if self.term.borrow().is_some() {
                    RENEWAL
                } else {
                    LOOK
                };
                sleep(pause).await;
            }
        };
        // A turn that is cut off is found out when the Lease is given back.
        let _: Option<()> = shutdown.run_until_cancelled(stand).await;
        self.release().await;
    }

    /// Renews the term, or tries for one.
    async fn turn(&mut self) {
        let sent = Instant::now();
        let ends = self.term.borrow().as_ref().map(|term| term.ends);
        let outcome = match ends {
            Some(ends) => timeout_at(ends, self.attempt()).await,
            None => timeout_at(sent + DEADLINE, self.attempt()).await,
        };
        match outcome {
            Ok(Ok(Some(number))) => self.lead(number, sent),
            Ok(Ok(None)) => self.stand_by("another instance holds the Lease"),
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = NAME, "the Lease can't be renewed or taken");
                if ends.is_none_or(|ends| ends <= Instant::now()) {
                    self.stand_by("the Lease could not be renewed in time");
                }
            }
            Err(_) => self.stand_by("the Lease could not be renewed in time"),
        }
    }

    /// Looks at the Lease and takes or renews it; gives the term's number where it is ours now.
    async fn attempt(&mut self) -> Result<Option<i32>, kube::Error> {
        let found = self.api.get_opt(NAME).await?;
        let now = Instant::now();
        self.seen = found.map(|lease| match self.seen.take() {
            Some(seen) if seen.lease == lease => seen,
            _ => Seen { lease, since: now },
        });
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = match decide(&self.identity, self.seen.as_ref(), now, clock::now()) {
            Move::Wait => return Ok(None),
            Move::Create => {
                let lease = first(&self.identity, clock::now());
                self.api.create(&params, &lease).await
            }
            Move::Write(lease) => self.api.replace(NAME, &params, &lease).await,
        };
        match written {
            Ok(lease) => {
                let number = transitions(&lease);
                self.seen = Some(Seen { lease, since: now });
                Ok(Some(number))
            }
            // Another was faster. What it wrote is looked at next time.
            Err(error) if Category::of(&error) == Category::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lead(&self, number: i32, sent: Instant) {
        let term = Term {
            identity: self.identity.clone(),
            number,
            ends: sent + DEADLINE,
        };
        if let Some(before) = self.term.send_replace(Some(term.clone()))
            && before.number == term.number
        {
            return;
        }
        tracing::info!(%term, "leading");
    }

    fn stand_by(&self, why: &str) {
        if self.term.send_replace(None).is_some() {
            tracing::warn!(why, "not leading any more");
        }
    }

    /// Gives the Lease back, where it is ours.
    async fn release(mut self) {
        self.term.send_replace(None);
        let release = async {
            let Some(mut lease) = self.api.get_opt(NAME).await? else {
                return Ok(());
            };
            let Some(spec) = lease
                .spec
                .as_mut()
                .filter(|spec| is_held_by(spec, &self.identity))
            else {
                return Ok(());
            };
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(clock::now()));
            self.api
                .replace(NAME, &PostParams::default(), &lease)
                .await?;
            Ok::<(), kube::Error>(())
        };
        match tokio::time::timeout(FAREWELL, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the Lease could not be given back"),
            Err(_) => tracing::warn!("the Lease could not be given back in time"),
        }
        self.seen = None;
    }
}

/// What to do about a Lease that was seen so.
fn decide(identity: &str, seen: Option<&Seen>, now: Instant, time: Timestamp) -> Move {
    let Some(Seen { lease, since }) = seen else {
        return Move::Create;
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let is_ours = is_held_by(&spec, identity);
    let is_free = spec.holder_identity.as_deref().is_none_or(str::is_empty);
    if !is_ours && !is_free && now.duration_since(*since) < duration(&spec) {
        return Move::Wait;
    }
    let renew_time = Some(MicroTime(time));
    let spec = if is_ours {
        LeaseSpec {
            renew_time,
            lease_duration_seconds: seconds(DURATION),
            ..spec
        }
    } else {
        LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            acquire_time: renew_time.clone(),
            renew_time,
            lease_duration_seconds: seconds(DURATION),
            lease_transitions: Some(transitions(lease).saturating_add(1)),
            ..spec
        }
    };
    Move::Write(Box::new(Lease {
        metadata: lease.metadata.clone(),
        spec: Some(spec),
    }))
}

fn first(identity: &str, time: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some(labels()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            acquire_time: Some(MicroTime(time)),
            renew_time: Some(MicroTime(time)),
            lease_duration_seconds: seconds(DURATION),
            lease_transitions: Some(1),
            ..LeaseSpec::default()
        }),
    }
}

fn is_held_by(spec: &LeaseSpec, identity: &str) -> bool {
    spec.holder_identity.as_deref() == Some(identity)
}

fn transitions(lease: &Lease) -> i32 {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.lease_transitions)
        .unwrap_or_default()
}

/// How long its holder asked others to wait.
fn duration(spec: &LeaseSpec) -> Duration {
    let seconds = spec
        .lease_duration_seconds
        .and_then(|it| u64::try_from(it).ok());
    seconds.map_or(DURATION, Duration::from_secs)
}

fn seconds(duration: Duration) -> Option<i32> {
    i32::try_from(duration.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "me";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn held(holder: &str, since: Instant) -> Seen {
        let mut lease = first(holder, at(0));
        lease.metadata.resource_version = Some("7".to_owned());
        Seen { lease, since }
    }

    fn written(next: Move) -> LeaseSpec {
        match next {
            Move::Write(lease) => {
                assert_eq!(
                    lease.metadata.resource_version.as_deref(),
                    Some("7"),
                    "no blind write"
                );
                lease.spec.unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lease_of_nobody_is_made_or_taken() {
        let now = Instant::now();
        assert_eq!(decide(ME, None, now, at(1)), Move::Create);
        for holder in ["", ME] {
            let seen = held(holder, now);
            let spec = written(decide(ME, Some(&seen), now, at(1)));
            assert!(is_held_by(&spec, ME));
            assert_eq!(spec.renew_time, Some(MicroTime(at(1))));
            let taken = holder.is_empty();
            assert_eq!(spec.lease_transitions, Some(if taken { 2 } else { 1 }));
            assert_eq!(spec.acquire_time, Some(MicroTime(at(i64::from(taken)))));
        }
    }

    #[test]
    fn anothers_lease_is_taken_once_it_was_not_renewed_by_our_clock() {
        let start = Instant::now();
        // By the times in it, it ran out decades ago.
        let seen = held("another", start);
        let later = start + DURATION - Duration::from_millis(1);
        assert_eq!(decide(ME, Some(&seen), later, at(0)), Move::Wait);
        let spec = written(decide(ME, Some(&seen), start + DURATION, at(0)));
        assert!(is_held_by(&spec, ME));
        assert_eq!(spec.lease_transitions, Some(2));
    }

    #[test]
    fn a_term_ends_before_another_may_begin() {
        assert!(DEADLINE + RENEWAL < DURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_that_is_not_renewed_ends_by_itself() {
        let (sender, follow) = watch::channel(None);
        let mut leadership = Leadership(follow);
        assert_eq!(leadership.term(), None);
        let term = Term {
            identity: ME.to_owned(),
            number: 3,
            ends: Instant::now() + DEADLINE,
        };
        sender.send_replace(Some(term.clone()));
        assert_eq!(leadership.lead().await, term);
        tokio::time::advance(DEADLINE).await;
        assert_eq!(leadership.term(), None);
        assert_eq!(term.to_string(), "me/3");
    }
}
