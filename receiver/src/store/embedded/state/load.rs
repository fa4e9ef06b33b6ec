//! Reading the writer's memory from the file: at open, and after a rollback.

use std::collections::{BTreeMap, HashMap};

use hookswitch_crds::key::ObjectKey;
use rusqlite::{Connection, OptionalExtension};

use super::{Chapter, LaneCounts, OfScope, Shared, State, Stretch, Subscription, lock, place};
use crate::plan::{Lane, Scope};
use crate::store::embedded::codec::unsigned;
use crate::store::embedded::dedup::{self, Dedup};
use crate::store::embedded::fault::ReadFault;
use crate::store::embedded::memory;
use crate::store::embedded::recent::{Recent, Waiting};

impl State {
    /// Reads the file. Takes milliseconds however much is pending: at most [`dedup::RUN`] events are
    /// looked at.
    pub(in crate::store::embedded) fn load(
        connection: &Connection,
        shared: &Shared,
    ) -> Result<Self, ReadFault> {
        let chapter = connection
            .prepare_cached(
                "SELECT first, last, min, max FROM chapter ORDER BY first DESC LIMIT 1",
            )?
            .query_row((), |row| {
                Ok(Chapter {
                    first: row.get(0)?,
                    last: row.get(1)?,
                    uids: Stretch {
                        events: usize::try_from(row.get::<_, i64>(1)? - row.get::<_, i64>(0)? + 1)
                            .unwrap_or(usize::MAX),
                        min: row.get(2)?,
                        max: row.get(3)?,
                    },
                })
            })
            .optional()?;
        let flushed = chapter.map_or(0, |chapter| chapter.last);
        let mut state = Self {
            dedup: Dedup::load(connection)?,
            next_seq: flushed + 1,
            flushed,
            chapter,
            recent: Stretch::default(),
            subscriptions: Vec::new(),
            by_key: HashMap::new(),
            lanes: Vec::new(),
            by_lane: HashMap::new(),
            rules: names(connection, "SELECT name, id FROM rule")?,
            scopes: HashMap::new(),
            of_scopes: Vec::new(),
            changed_scopes: Vec::new(),
            shapes: names(connection, "SELECT shape, id FROM shape")?,
            verdicts: names(connection, "SELECT list, id FROM verdicts")?,
            changed_subscriptions: Vec::new(),
            changed_lanes: Vec::new(),
            cleared: Vec::new(),
            is_replica: shared.is_replica,
        };
        state.load_subscriptions(connection)?;
        state.load_lanes(connection)?;
        state.load_scopes(connection)?;
        let recent = state.load_recent(connection)?;
        *lock(&shared.recent) = recent;
        *lock(&shared.suspects) = suspects(connection)?;
        Ok(state)
    }

    fn load_subscriptions(&mut self, connection: &Connection) -> Result<(), ReadFault> {
        let mut statement = connection.prepare_cached(
            "SELECT id, namespace, name, planned, bytes, EXISTS \
             (SELECT 1 FROM backlog WHERE backlog.subscription = subscription.id), removed_since \
             FROM subscription ORDER BY id",
        )?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let key = ObjectKey {
                namespace: row.get(1)?,
                name: row.get(2)?,
            };
            let planned = row.get(3)?;
            self.next_seq = self.next_seq.max(planned + 1);
            self.by_key.insert(key.clone(), self.subscriptions.len());
            self.subscriptions.push(Subscription {
                key,
                id: row.get(0)?,
                planned,
                bytes: unsigned(row.get(4)?),
                backlog: row.get(5)?,
                removed_since: row.get(6)?,
                fresh: Vec::new(),
                changed: false,
            });
        }
        Ok(())
    }

    fn load_lanes(&mut self, connection: &Connection) -> Result<(), ReadFault> {
        let mut statement = connection.prepare_cached(
            "SELECT namespace, route, destination, pending, dead FROM lane ORDER BY id",
        )?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let lane = Lane {
                route: ObjectKey {
                    namespace: row.get(0)?,
                    name: row.get(1)?,
                },
                destination: row.get(2)?,
            };
            self.by_lane.insert(lane, self.lanes.len());
            self.lanes.push(LaneCounts {
                pending: row.get(3)?,
                dead: row.get(4)?,
                changed: false,
            });
        }
        Ok(())
    }

    fn load_scopes(&mut self, connection: &Connection) -> Result<(), ReadFault> {
        let mut statement = connection.prepare_cached(
            "SELECT id, subscription, namespace, route, rule, part, timers FROM scope ORDER BY id",
        )?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let scope = Scope {
                route: ObjectKey {
                    namespace: row.get(2)?,
                    name: row.get(3)?,
                },
                rule: row.get(4)?,
                part: memory::part(&row.get::<_, String>(5)?)?,
            };
            self.scopes.insert((row.get(1)?, scope), row.get(0)?);
            self.of_scopes.push(OfScope {
                subscription: row.get(1)?,
                timers: row.get(6)?,
                changed: false,
            });
        }
        Ok(())
    }

    /// Reads the recent events again: their dedup entries, their uids, and who has no plan.
    fn load_recent(&mut self, connection: &Connection) -> Result<Recent, ReadFault> {
        let mut statement = connection.prepare_cached(
            "SELECT seq, subscription, uid, id, digest, remember_until FROM event WHERE seq > ? ORDER BY seq",
        )?;
        let mut rows = statement.query([self.flushed])?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            let digest: [u8; 32] = row.get(4)?;
            self.next_seq = self.next_seq.max(seq + 1);
            self.recent.add(&row.get(2)?);
            let Some(subscription) =
                place(row.get(1)?).and_then(|at| self.subscriptions.get_mut(at))
            else {
                continue;
            };
            let id = row.get_ref(3)?.as_str().unwrap_or_default();
            self.dedup.remember(
                dedup::key(&subscription.key, id),
                dedup::half(&digest),
                row.get(5)?,
            );
            if seq > subscription.planned {
                subscription.fresh.push(Waiting { seq, event: None });
            }
        }
        let mut recent = Recent::default();
        for subscription in &mut self.subscriptions {
            subscription.show(&mut recent, self.flushed);
        }
        Ok(recent)
    }
}

fn names(connection: &Connection, sql: &str) -> Result<HashMap<String, i64>, ReadFault> {
    Ok(connection
        .prepare_cached(sql)?
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?)
}

fn suspects(connection: &Connection) -> Result<BTreeMap<i64, u32>, ReadFault> {
    Ok(connection
        .prepare_cached("SELECT seq, times FROM suspect")?
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?)
}
