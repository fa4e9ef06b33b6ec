//! Which rules of a subscription an event's type concerns, so that planning an event looks at no others.
//!
//! A rule is concerned where it names the type or none, and where what ends its wait (`after.unless`)
//! does. A route whose echo guard asks about every event is concerned whatever its rules name.
//!
//! What an event costs grows with the rules that it concerns, and not with all that there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Route, Rule};

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its route's place in the subscription.
    pub route: usize,
    /// Its own in the route; `None` stands for the route's echo guard, and comes first.
    pub rule: Option<usize>,
}

/// The rules of a subscription by the types that they name.
#[derive(Debug, Default)]
pub struct Index {
    /// Concerned by every type, in order.
    any: Vec<Place>,
    /// Concerned by one that they name, in order.
    named: HashMap<String, Vec<Place>>,
}

impl Index {
    /// Indexes a subscription's routes.
    pub(super) fn new(routes: &[Arc<Route>]) -> Self {
        let mut index = Self::default();
        for (at, route) in routes.iter().enumerate() {
            let place = |rule| Place { route: at, rule };
            let writes_back = route.spec.destinations.iter().any(|it| it.writes_back);
            if route.echo.is_some() && writes_back {
                index.any.push(place(None));
            }
            for (number, rule) in route.rules.iter().enumerate() {
                index.add(place(Some(number)), rule);
            }
        }
        index
    }

    fn add(&mut self, place: Place, rule: &Rule) {
        let unless = rule.after.as_ref().and_then(|it| it.unless.as_ref());
        if rule.types.is_empty() || unless.is_some_and(|it| it.types.is_empty()) {
            self.any.push(place);
            return;
        }
        let ends = unless.map(|it| it.types.as_slice()).unwrap_or_default();
        for kind in rule.types.iter().chain(ends) {
            match self.named.get_mut(kind) {
                // It names the type twice.
                Some(places) if places.last() == Some(&place) => {}
                Some(places) => places.push(place),
                None => drop(self.named.insert(kind.clone(), vec![place])),
            }
        }
    }

    /// What an event of the type concerns, in the order of routes and of their rules.
    pub fn concerned(&self, kind: &str) -> impl Iterator<Item = Place> {
        let named = self.named.get(kind).map_or(&[][..], Vec::as_slice);
        let (mut any, mut named) = (
            self.any.iter().copied().peekable(),
            named.iter().copied().peekable(),
        );
        std::iter::from_fn(move || match (any.peek(), named.peek()) {
            (Some(one), Some(other)) if one > other => named.next(),
            (None, _) => named.next(),
            (Some(_), _) => any.next(),
        })
    }
}
