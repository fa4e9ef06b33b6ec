//! What the author of a route may not expect of the subscriptions that it is attached to.
//!
//! Nothing here keeps a route from being served.

use hookswitch_crds::snapshot::{Route, Subscription};

use super::problems::Problems;

/// Warns about rules and guards that can't do what they are for.
pub(super) fn warn(route: &Route, attached: &[&Subscription], problems: &mut Problems) {
    if attached.is_empty() {
        return;
    }
    rules_that_never_fire(route, attached, problems);
    guards_that_see_no_sender(route, attached, problems);
}

/// A rule needs a type that no subscription accepts.
fn rules_that_never_fire(route: &Route, attached: &[&Subscription], problems: &mut Problems) {
    let is_accepted = |name: &String| {
        let mut accepting = attached.iter().map(|it| &it.types);
        accepting.any(|types| types.is_empty() || types.contains(name))
    };
    for (index, rule) in route.rules.iter().enumerate() {
        if !rule.types.is_empty() && !rule.types.iter().any(is_accepted) {
            problems.warning(
                format!("spec.rules[{index}].types"),
                format!(
                    "no subscription of this route accepts {}, so the rule never fires: add it to \
                     a subscription's types, or correct it here",
                    rule.types.join(" or ")
                ),
            );
        }
    }
}

/// Something is written back, and who sent an event is not known.
fn guards_that_see_no_sender(route: &Route, attached: &[&Subscription], problems: &mut Problems) {
    let guard = &route.loop_guard;
    let writes_back = route.destinations.iter().any(|it| it.writes_back);
    if !writes_back || guard.senders.is_empty() || guard.echo.is_some() {
        return;
    }
    if let Some(blind) = attached.iter().find(|it| it.fields.sender.is_none()) {
        problems.warning(
            "spec.loopGuard.senders",
            format!(
                "the subscription {} does not say where an event's sender is, so only hops and \
                 rate stop a loop: set its fields.sender, or loopGuard.echo here",
                blind.origin.key
            ),
        );
    }
}
