//! Dead letters: looked at, attempted again, or removed.

use uuid::Uuid;

use super::filter::DeadFilter;
use super::{Error, Options, Parameters, events, explain, page_size, view};
use crate::store::archive::{DeadChange, DeadLetter, DeadQuery};

/// What is done to a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Attempted again, with the same bytes under the same key.
    Retry,
    /// Removed.
    Drop,
}

/// `GET /v1/dead-letters`.
pub(super) async fn list(
    options: &Options,
    mut parameters: Parameters,
) -> Result<view::DeadLetters, Error> {
    let limit = page_size(parameters.take("limit")?);
    let after = parameters.take("after")?.unwrap_or(0);
    let filter: DeadFilter = parameters.rest()?;
    let query = filter.query(&options.current(), options.clock.now())?;
    let page = options.store.dead_letters(query, after, limit).await?;
    Ok(view::DeadLetters {
        dead_letters: page.found.iter().map(told).collect(),
        reached: page.reached,
        more: page.more,
    })
}

/// `GET /v1/dead-letters/{id}`.
pub(super) async fn show(
    options: &Options,
    id: &str,
    mut parameters: Parameters,
) -> Result<view::DeadLetterShown, Error> {
    let bodies = parameters.take("bodies")?.unwrap_or(false);
    let DeadFilter { .. } = parameters.rest()?;
    let missing = || Error::NotFound(format!("there is no dead letter with the id `{id}`"));
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let query = DeadQuery {
        ids: Some(vec![id]),
        ..DeadQuery::default()
    };
    let page = options.store.dead_letters(query, 0, 1).await?;
    let letter = page.found.first().ok_or_else(missing)?;
    let history = options.store.history(letter.event.uid).await?;
    let history = history.ok_or_else(missing)?;
    let record = history.deliveries.iter().find(|record| record.id == id);
    let config = options.current();
    let delivery =
        record.map(|record| explain::delivery(options, &config, record, &history.event, bodies));
    Ok(view::DeadLetterShown {
        event: events::summary(&explain::summary(&history)),
        delivery: delivery.ok_or_else(missing)?,
    })
}

/// `POST /v1/dead-letters/retry` and `.../drop`: one page.
pub(super) async fn change(
    options: &Options,
    asked: view::ChangeDead,
    change: Change,
) -> Result<view::Changed, Error> {
    let view::ChangeDead {
        filter,
        all,
        after,
        limit,
        dry_run,
    } = asked;
    if filter == DeadFilter::default() && !all {
        return Err(Error::Question(
            "the filter matches every dead letter: say which, or that all are meant".to_owned(),
        ));
    }
    let config = options.current();
    let now = options.clock.now();
    let query = filter.query(&config, now)?;
    let limit = page_size(limit);
    let page = options.store.dead_letters(query, after, limit).await?;
    let mut skipped = Vec::new();
    let mut chosen = Vec::new();
    for letter in page.found {
        let why = match change {
            Change::Retry if !letter.rendered => {
                Some("it could not be rendered: correct the rule, then replay its event")
            }
            Change::Retry if !config.lanes.contains_key(&letter.lane) => {
                Some("its destination is gone")
            }
            Change::Retry | Change::Drop => None,
        };
        match why {
            Some(why) => skipped.push(view::Skipped {
                id: letter.id,
                why: why.to_owned(),
            }),
            None => chosen.push(letter),
        }
    }
    let changed = if dry_run || chosen.is_empty() {
        chosen
    } else {
        let changes = chosen
            .iter()
            .map(|letter| DeadChange {
                id: letter.id,
                attempts: letter.attempts,
                at: now,
            })
            .collect();
        let done = match change {
            Change::Retry => options.store.retry(changes).await?,
            Change::Drop => options.store.discard(changes).await?,
        };
        let (mut took, mut late) = (Vec::new(), Vec::new());
        for (letter, done) in chosen.into_iter().zip(done) {
            if done {
                took.push(letter);
            } else {
                late.push(letter);
            }
        }
        skipped.extend(late.into_iter().map(|letter| view::Skipped {
            id: letter.id,
            why: "somebody else was faster".to_owned(),
        }));
        if change == Change::Retry {
            options.lanes.add(took.iter().map(|letter| &letter.lane));
        }
        let count = took.len();
        match change {
            Change::Retry => tracing::info!(count, "dead letters are attempted again, as asked"),
            Change::Drop => tracing::info!(count, "dead letters are removed, as asked"),
        }
        took
    };
    Ok(view::Changed {
        changed: changed.iter().map(told).collect(),
        skipped,
        reached: page.reached,
        more: page.more,
    })
}

fn told(letter: &DeadLetter) -> view::DeadLetter {
    let DeadLetter {
        place: _,
        event,
        id,
        lane,
        rule,
        reason,
        ended_at,
        attempts,
        rendered,
        last,
    } = letter;
    view::DeadLetter {
        id: *id,
        event: event.uid,
        subscription: event.subscription.to_string(),
        r#type: event.r#type.clone(),
        route: lane.route.to_string(),
        destination: lane.destination.clone(),
        rule: rule.clone(),
        reason: reason.label().to_owned(),
        ended_at: *ended_at,
        attempts: *attempts,
        rendered: *rendered,
        status: last
            .as_ref()
            .and_then(|attempt| attempt.answer.as_ref()?.status),
    }
}
