//! A destination that is down, and one that is slow.

use std::time::{Duration, Instant};

use crate::destination::Behaviour;
use crate::prober::outcome::{Outcome, count, time};
use crate::prober::scenario::Settings;
use crate::prober::service::Service;
use crate::prober::stage::{QUICK, Stage, USUAL};
use crate::prober::trial::Trial;

/// The most attempts that a receiver has under way to a destination.
const MOST: usize = 32;

/// Down for a time, then back.
pub(super) async fn down(settings: &Settings) -> Outcome {
    let stage = Stage::embedded(USUAL).await;
    let destination = &stage.destination;
    let receiver = stage.receiver(0).await;
    let service = Service::new();
    service.add(0, &receiver);
    let mut trial = Trial::start(&stage, service, settings.pace);
    trial.answered(50).await;
    trial.breaks();
    destination.behave(Behaviour::Fails(503));
    let down = destination.requests();
    trial.lasts(settings.hold).await;
    let waiting = receiver.metric("hookswitch_queue_depth", &[]).await;
    let attempts = destination.requests() - down;
    destination.watch_crowd();
    let (back, begin) = (destination.requests(), Instant::now());
    destination.behave(Behaviour::Works);
    trial.delivered().await;
    let drained = begin.elapsed();
    trial.mended();
    let crowd = destination.crowd();
    let arrivals = destination.arrivals(back);
    let verdict = trial.end().await;
    let first = arrivals.first().copied().unwrap_or(begin);
    let rates = rates(first, &arrivals);
    let in_second = |second: usize| count(rates.get(second).copied().unwrap_or_default());
    let busiest = rates.iter().copied().max().unwrap_or_default();
    assert!(
        crowd <= MOST,
        "a thundering herd: {crowd} attempts at once after an outage"
    );
    Outcome::new(verdict)
        .fact("down for", time(settings.hold))
        .fact("attempts meanwhile", count(attempts))
        .fact("deliveries that waited at its end", waiting.to_string())
        .fact(
            "from its return to the first attempt",
            time(first.saturating_duration_since(begin)),
        )
        .fact(
            "attempts in the 1st, 2nd, 3rd, 5th and 10th second from then",
            [0, 1, 2, 4, 9].map(in_second).join(", "),
        )
        .fact("most attempts in a second", count(busiest))
        .fact("most attempts under way at once", crowd.to_string())
        .fact(
            "from its return until all that waited is delivered",
            time(drained),
        )
}

/// How many came in each second.
fn rates(first: Instant, arrivals: &[Instant]) -> Vec<usize> {
    let mut rates = Vec::new();
    for arrival in arrivals {
        let second = arrival.saturating_duration_since(first).as_secs();
        let second = usize::try_from(second).expect("a short time");
        if rates.len() <= second {
            rates.resize(second + 1, 0);
        }
        if let Some(rate) = rates.get_mut(second) {
            *rate += 1;
        }
    }
    rates
}

/// Slow, then slower than the receiver waits, then fast again.
pub(super) async fn slow(settings: &Settings) -> Outcome {
    let stage = Stage::embedded(QUICK).await;
    let destination = &stage.destination;
    let receiver = stage.receiver(0).await;
    let service = Service::new();
    service.add(0, &receiver);
    let mut trial = Trial::start(&stage, service, settings.pace);
    let before = destination.requests();
    for _ in 0..settings.rounds {
        trial.answered(20).await;
        trial.breaks();
        for answers_after in [300, 2500] {
            destination.behave(Behaviour::Slow(Duration::from_millis(answers_after)));
            trial.lasts(settings.hold).await;
        }
        destination.behave(Behaviour::Works);
        trial.delivered().await;
        trial.mended();
    }
    let (effects, requests) = (destination.count(), destination.requests() - before);
    let verdict = trial.end().await;
    Outcome::new(verdict)
        .fact(
            "slow, and slower than its timeout",
            format!("{} times", settings.rounds),
        )
        .fact(
            "attempts that the key made harmless",
            count(requests.saturating_sub(effects)),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_by_second() {
        let first = Instant::now();
        let arrivals = [0, 10, 999, 1000, 3500].map(|at| first + Duration::from_millis(at));
        assert_eq!(rates(first, &arrivals), [3, 1, 0, 1]);
        assert_eq!(rates(first, &[]), [0_usize; 0]);
    }
}
