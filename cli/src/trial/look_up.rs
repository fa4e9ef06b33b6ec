//! What look-ups find, as a case gives it: nothing is asked here.

use std::collections::BTreeMap;

use anyhow::bail;
use hookswitch_crds::snapshot::OnEnrichFailure;
use hookswitch_receiver::config::{Config, Subscription};
use hookswitch_receiver::event::Event;
use hookswitch_receiver::plan::{DeadReason, EchoMark, NewDelivery, Unrendered};
use hookswitch_receiver::redact::Hidden;
use hookswitch_receiver::route;
use serde_json::{Map, Value as Json};

/// What is found, by the name of a look-up, or by `namespace/route/rule/name`. What is not there fails.
pub(super) type Given = BTreeMap<String, Json>;

/// A body that is rendered, or why it is not.
pub(super) type Rendered = Result<(Vec<u8>, Option<EchoMark>), DeadReason>;

/// Refuses what no rule looks up: a name that is mistyped would be a look-up that fails.
pub(super) fn check(config: &Config, given: &Given) -> anyhow::Result<()> {
    let mut known = Vec::new();
    for (key, route) in &config.routes {
        for rule in &route.rules {
            for look_up in &rule.enrich {
                let name = &look_up.spec.name;
                known.push(name.clone());
                known.push(format!("{key}/{}/{name}", rule.name));
            }
        }
    }
    match given.keys().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => bail!("enriched: no rule has a look-up {name}"),
    }
}

/// Renders a body with what is given.
pub(super) fn render(
    subscription: &Subscription,
    given: &Given,
    planned: &NewDelivery,
    event: &Event,
    (hidden, unrendered): (Hidden, &[u8]),
) -> Rendered {
    let unrendered: Unrendered =
        serde_json::from_slice(unrendered).map_err(|_| DeadReason::Damaged)?;
    let place = format!("{}/{}", planned.lane.route, planned.rule);
    let mut found = Map::new();
    for look_up in &unrendered.look_ups {
        let whole = given.get(&format!("{place}/{}", look_up.name));
        let value = whole.or_else(|| given.get(&look_up.name));
        // Without a URL it is not made.
        match (value.filter(|_| look_up.url.is_some()), look_up.on_failure) {
            (Some(value), _) => drop(found.insert(look_up.name.clone(), value.clone())),
            (None, OnEnrichFailure::Continue) => {}
            (None, OnEnrichFailure::DeadLetter) => return Err(DeadReason::LookUpFailed),
            // Tried until `giveUpAfter`.
            (None, OnEnrichFailure::Retry) => return Err(DeadReason::GaveUp),
        }
    }
    let mut routes = subscription.routes.iter();
    let route = routes.find(|it| it.spec.origin.key == planned.lane.route);
    let words = route.and_then(|it| it.words.as_ref());
    let found = Json::Object(found);
    match route::render_late(event, &unrendered, hidden, &found, words) {
        Ok(late) => Ok((late.body.to_vec(), late.echo)),
        Err(_) => Err(DeadReason::RuleError),
    }
}
