//! Lists of events, and finding one by what a person knows of it.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::filter::{EventFilter, subscription_key};
use super::{Error, Options, Parameters, explain, page_size, view};
use crate::plan::{Outcome, Verdict};
use crate::store::History;
use crate::store::archive::{DeadQuery, EventHead, EventQuery, EventSummary, From, Page};

/// How often the store is looked at for somebody who waits.
const LOOK: Duration = Duration::from_millis(250);
/// How long somebody is kept waiting at most.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// An event that somebody waits for is told with what was decided, where that takes no longer.
const PLANNED_WITHIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);
/// Events of one id that are explained at once.
const SAME_ID: usize = 5;

/// `GET /v1/events`.
pub(super) async fn list(
    options: &Options,
    mut parameters: Parameters,
) -> Result<view::Events, Error> {
    let limit = page_size(parameters.take("limit")?);
    let wait: Option<u64> = parameters.take("wait")?;
    let (after, before) = (parameters.take("after")?, parameters.take("before")?);
    let from = match (after, before) {
        (None, before) => From::Before(before.unwrap_or(u64::MAX)),
        (Some(after), None) => From::After(after),
        (Some(_), Some(_)) => {
            return Err(Error::Question("give `after` or `before`".to_owned()));
        }
    };
    if wait.is_some() && after.is_none() {
        return Err(Error::Question("`wait` goes with `after`".to_owned()));
    }
    let filter: EventFilter = parameters.rest()?;
    let query = filter.query(&options.current(), options.clock.now())?;
    let Some(wait) = wait else {
        let page = options.store.events(query, from, limit).await?;
        return Ok(told(&page));
    };
    let deadline = Instant::now() + Duration::from_secs(wait).min(LONGEST_WAIT);
    follow(options, query, from, limit, deadline).await
}

/// Waits for the first page with something on it, until then.
async fn follow(
    options: &Options,
    query: EventQuery,
    from: From,
    limit: usize,
    deadline: Instant,
) -> Result<view::Events, Error> {
    let mut from = from;
    loop {
        let page = options.store.events(query.clone(), from, limit).await?;
        let page = planned(page, from, options.clock.now());
        from = From::After(page.reached);
        let over = Instant::now() >= deadline || options.shutdown.is_cancelled();
        if !page.found.is_empty() || over {
            return Ok(told(&page));
        }
        if page.more {
            continue;
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = options.shutdown.cancelled() => {}
        }
    }
}

/// Ends a page before the first event that is not planned yet and soon will be.
fn planned(mut page: Page<EventSummary>, from: From, now: jiff::Timestamp) -> Page<EventSummary> {
    let fresh = |event: &EventSummary| {
        event.plan.is_none() && now.duration_since(event.head.accepted_at) < PLANNED_WITHIN
    };
    if let Some(first) = page.found.iter().position(fresh) {
        page.found.truncate(first);
        page.more = false;
        page.reached = match (page.found.last(), from) {
            (Some(last), _) => last.head.seq,
            (None, From::After(place) | From::Before(place)) => place,
        };
    }
    page
}

fn told(page: &Page<EventSummary>) -> view::Events {
    view::Events {
        events: page.found.iter().map(summary).collect(),
        reached: page.reached,
        more: page.more,
    }
}

/// `GET /v1/events/{id}`.
pub(super) async fn explain(
    options: &Options,
    id: &str,
    mut parameters: Parameters,
) -> Result<view::Explained, Error> {
    let bodies = parameters.take("bodies")?.unwrap_or(false);
    let subscription: Option<String> = parameters.take("subscription")?;
    let EventFilter { .. } = parameters.rest()?;
    let subscription = subscription_key(&options.current(), subscription.as_deref())?;
    let (found, more) = find(options, id, subscription).await?;
    if found.is_empty() {
        return Err(Error::NotFound(format!(
            "no event is kept that has the id `{id}`, ours or the sender's"
        )));
    }
    let events = found
        .iter()
        .map(|history| explain::explanation(options, history, bodies))
        .collect();
    Ok(view::Explained { events, more })
}

/// Events by our uid, by a dead letter's key, or by the sender's id: newest first, and whether there
/// are more.
async fn find(
    options: &Options,
    id: &str,
    subscription: Option<hookswitch_crds::key::ObjectKey>,
) -> Result<(Vec<History>, bool), Error> {
    let here = |history: &History| {
        let came = &history.event.event.subscription;
        subscription.as_ref().is_none_or(|it| it == came)
    };
    if let Ok(uid) = id.parse::<Uuid>() {
        if let Some(history) = options.store.history(uid).await?.filter(here) {
            return Ok((vec![history], false));
        }
        let query = DeadQuery {
            ids: Some(vec![uid]),
            ..DeadQuery::default()
        };
        let page = options.store.dead_letters(query, 0, 1).await?;
        if let Some(letter) = page.found.first()
            && let Some(history) = options.store.history(letter.event.uid).await?.filter(here)
        {
            return Ok((vec![history], false));
        }
    }
    let query = EventQuery {
        id: Some(id.to_owned()),
        subscription: subscription.clone(),
        ..EventQuery::default()
    };
    let mut from = From::Before(u64::MAX);
    let mut found = Vec::new();
    loop {
        let page = options.store.events(query.clone(), from, SAME_ID).await?;
        from = From::Before(page.reached);
        for event in page.found {
            if found.len() == SAME_ID {
                return Ok((found, true));
            }
            found.extend(options.store.history(event.head.uid).await?);
        }
        if !page.more || options.shutdown.is_cancelled() {
            return Ok((found, false));
        }
    }
}

/// An event in a list.
pub(super) fn summary(event: &EventSummary) -> view::Event {
    let EventSummary {
        head,
        plan,
        pending,
        delivered,
        dead,
    } = event;
    let mut told = self::head(head);
    told.plan = plan.as_ref().map(|plan| view::Plan {
        sequence: plan.sequence,
        planned_at: plan.planned_at,
        fired: names(&plan.verdicts, |outcome| outcome == Outcome::Fired),
        waits: names(&plan.verdicts, |outcome| outcome == Outcome::Waits),
        failed: names(&plan.verdicts, |outcome| {
            matches!(outcome, Outcome::MissingField | Outcome::Error)
        }),
        rules: plan.verdicts.len(),
        suppressed: plan
            .suppressions
            .iter()
            .filter(|suppression| suppression.enforced)
            .count(),
    });
    (told.pending, told.delivered, told.dead) = (*pending, *delivered, *dead);
    told
}

/// An event of which nothing but its attributes is told.
pub(super) fn head(head: &EventHead) -> view::Event {
    let EventHead {
        seq,
        uid,
        subscription,
        id,
        r#type,
        accepted_at,
        subject,
        sender,
        disposition,
        bytes,
    } = head;
    view::Event {
        seq: *seq,
        uid: *uid,
        subscription: subscription.to_string(),
        id: id.clone(),
        r#type: r#type.clone(),
        subject: subject.clone(),
        sender: sender.clone(),
        accepted_at: *accepted_at,
        disposition: disposition.label().to_owned(),
        bytes: *bytes,
        plan: None,
        pending: 0,
        delivered: 0,
        dead: 0,
    }
}

fn names(verdicts: &[Verdict], wanted: impl Fn(Outcome) -> bool) -> Vec<String> {
    verdicts
        .iter()
        .filter(|verdict| wanted(verdict.outcome))
        .map(|verdict| format!("{}/{}", verdict.route, verdict.rule))
        .collect()
}
