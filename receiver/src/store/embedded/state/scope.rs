//! The parts of rules that remember, and how many of their timers wait.

use rusqlite::Connection;

use super::{State, place, row_id};
use crate::plan::Scope;
use crate::store::embedded::fault::ReadFault;

/// What is known of a scope.
#[derive(Debug)]
pub(super) struct OfScope {
    /// Its subscription's row.
    pub(super) subscription: i64,
    /// Timers that wait.
    pub(super) timers: i64,
    pub(super) changed: bool,
}

impl State {
    /// The row of what remembers, for a subscription.
    pub(in crate::store::embedded) fn scope(
        &mut self,
        connection: &Connection,
        subscription: i64,
        scope: &Scope,
    ) -> Result<i64, ReadFault> {
        let key = (subscription, scope.clone());
        if let Some(id) = self.scopes.get(&key) {
            return Ok(*id);
        }
        let id = row_id(self.scopes.len());
        connection
            .prepare_cached(
                "INSERT INTO scope (id, subscription, namespace, route, rule, part, timers) VALUES (?, ?, ?, ?, ?, ?, 0)",
            )?
            .execute((
                id,
                subscription,
                &scope.route.namespace,
                &scope.route.name,
                &scope.rule,
                scope.part.to_string(),
            ))?;
        self.scopes.insert(key, id);
        self.of_scopes.push(OfScope {
            subscription,
            timers: 0,
            changed: false,
        });
        Ok(id)
    }

    /// The row of a scope's subscription.
    pub(in crate::store::embedded) fn subscription_of(&self, scope: i64) -> Option<i64> {
        let scope = place(scope).and_then(|at| self.of_scopes.get(at))?;
        Some(scope.subscription)
    }

    /// The row of what remembers, where it has remembered before.
    pub(in crate::store::embedded) fn find_scope(
        &self,
        subscription: i64,
        scope: &Scope,
    ) -> Option<i64> {
        self.scopes.get(&(subscription, scope.clone())).copied()
    }

    /// Changes the count of timers of a scope, by its row.
    pub(in crate::store::embedded) fn count_timers(&mut self, scope: i64, more: i64) {
        if let Some(of) = place(scope).and_then(|at| self.of_scopes.get_mut(at)) {
            of.timers += more;
            if !of.changed {
                of.changed = true;
                self.changed_scopes.push(scope);
            }
        }
    }
}
