//! Which receivers live, and what they have loaded: read from their Leases.
//!
//! A receiver lives while its Lease is renewed. Whether it was is judged by the operator's own clock,
//! from when it saw the renewal: clocks that differ kill nobody.
//!
//! Invariants:
//! - A receiver that released its Lease is waited for no more. Where it was the last one, it counts
//!   for as long as it would have lived, so that the restart of a single receiver does not make every
//!   object's status go there and back.

use std::collections::BTreeMap;
use std::time::Duration;

use hookswitch_crds::receiver_lease::{DURATION_SECONDS, Report};
use hookswitch_crds::snapshot::shard::FORMATS;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

pub mod leases;

/// How long a receiver lives after it renewed its Lease.
pub const LIFE: Duration = Duration::from_secs(DURATION_SECONDS);

/// Every receiver that was seen.
#[derive(Debug, Default)]
pub struct Receivers(BTreeMap<String, Seen>);

#[derive(Debug)]
struct Seen {
    /// Who holds the Lease; `None` once it is released.
    holder: Option<String>,
    renewed: Option<MicroTime>,
    /// When that was seen, by the operator's own clock.
    at: Instant,
    report: Report,
}

/// The receivers that live, as far as statuses depend on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// What each of them says; sorted by name.
    pub live: Vec<Report>,
    /// The greatest sequence that any receiver ever said to have loaded, living or not.
    pub greatest: u64,
}

impl Receivers {
    /// Takes a receiver's Lease in, as it is `now`. One that was never held is no receiver.
    pub fn observe(&mut self, name: &str, lease: &Lease, now: Instant) {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        let report = Report::read(&lease.metadata.annotations.clone().unwrap_or_default());
        let known = self.0.get(name);
        if known.is_none() && holder.is_none() && report.loaded.is_empty() {
            return;
        }
        let at = match known {
            // Nobody renewed it: a release, or an annotation that someone else wrote.
            Some(known) if known.renewed == spec.renew_time => known.at,
            Some(_) => now,
            None if holder.is_some() => now,
            None => now.checked_sub(LIFE).unwrap_or(now),
        };
        let seen = Seen {
            holder,
            renewed: spec.renew_time,
            at,
            report,
        };
        self.0.insert(name.to_owned(), seen);
    }

    /// Forgets a receiver whose Lease is gone.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Forgets all but these.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| keep(name));
    }

    /// The receivers that live `now`.
    #[must_use]
    pub fn fleet(&self, now: Instant) -> Fleet {
        let fresh = || self.0.values().filter(|seen| seen.expires() > now);
        let held: Vec<Report> = fresh()
            .filter(|seen| seen.holder.is_some())
            .map(|seen| seen.report.clone())
            .collect();
        let live = if held.is_empty() {
            fresh().map(|seen| seen.report.clone()).collect()
        } else {
            held
        };
        let loaded = self.0.values().flat_map(|seen| &seen.report.loaded);
        Fleet {
            live,
            greatest: loaded.copied().max().unwrap_or_default(),
        }
    }

    /// When the next one dies unless it is renewed.
    #[must_use]
    pub fn next_death(&self, now: Instant) -> Option<Instant> {
        let deaths = self.0.values().map(Seen::expires);
        deaths.filter(|death| *death > now).min()
    }
}

impl Seen {
    fn expires(&self) -> Instant {
        self.at + LIFE
    }
}

impl Fleet {
    /// Whether all that the receivers of `before` had loaded is loaded by these as well: what was programmed then
    /// is programmed now.
    #[must_use]
    pub fn went_on_from(&self, before: &Self) -> bool {
        let mut pairs = self.live.iter().zip(&before.live);
        self.live.len() == before.live.len() && pairs.all(|(now, before)| went_on(now, before))
    }

    /// The newest format that this build writes and every living receiver reads; its newest where
    /// some can't read any of them. Receivers that don't say count as reading all.
    #[must_use]
    pub fn format(&self) -> u32 {
        let mut ours = FORMATS.rev();
        ours.find(|format| self.live.iter().all(|it| reads(it, *format)))
            .unwrap_or(*FORMATS.end())
    }
}

/// Whether a receiver has loaded all that it had, and reads what it read.
fn went_on(now: &Report, before: &Report) -> bool {
    let mut pairs = now.loaded.iter().zip(&before.loaded);
    now.formats == before.formats
        && now.loaded.len() == before.loaded.len()
        && pairs.all(|(now, before)| now >= before)
}

/// Whether a receiver reads a format.
pub(crate) fn reads(report: &Report, format: u32) -> bool {
    report.formats.is_empty() || report.formats.contains(&format)
}

#[cfg(test)]
mod tests;
