//! What is told of what is kept: histories, and the state of lanes.

use std::collections::BTreeMap;

use hookswitch_receiver::plan::Lane;
use hookswitch_receiver::store::{
    DeliveryRecord, DeliveryState, History, LaneStats, TimerRecord, TimerState,
};

use super::Model;

impl Model {
    pub(crate) fn histories(&self) -> Vec<History> {
        self.events
            .values()
            .map(|kept| History {
                event: kept.event.clone(),
                plan: kept.plan.clone(),
                deliveries: kept
                    .deliveries
                    .iter()
                    .map(|delivery| DeliveryRecord {
                        id: delivery.new.id,
                        lane: delivery.new.lane.clone(),
                        rule: delivery.new.rule.clone(),
                        request: delivery.new.request.clone(),
                        planned_at: delivery.planned_at,
                        state: delivery.state,
                        look_ups: Vec::new(),
                        attempts: delivery.records.clone(),
                    })
                    .collect(),
                timers: self
                    .timers
                    .iter()
                    .filter(|timer| timer.id.seq == kept.event.seq)
                    .map(|timer| TimerRecord {
                        route: timer.id.scope.route.clone(),
                        rule: timer.id.scope.rule.clone(),
                        at: timer.at,
                        due: timer.due,
                        state: match timer.state {
                            // Who cancelled it is told for as long as it is kept.
                            TimerState::Cancelled { at, by } => TimerState::Cancelled {
                                at,
                                by: by.filter(|uid| {
                                    let mut kept = self.events.values();
                                    kept.any(|kept| kept.event.event.uid == *uid)
                                }),
                            },
                            state => state,
                        },
                    })
                    .collect(),
            })
            .collect()
    }

    pub(crate) fn lanes(&self) -> Vec<LaneStats> {
        let mut lanes: BTreeMap<Lane, LaneStats> = BTreeMap::new();
        for kept in self.events.values() {
            for delivery in &kept.deliveries {
                let dead = matches!(delivery.state, DeliveryState::Dead(_));
                if !dead && !delivery.is_pending() {
                    continue;
                }
                let lane = lanes
                    .entry(delivery.new.lane.clone())
                    .or_insert_with(|| LaneStats {
                        lane: delivery.new.lane.clone(),
                        pending: 0,
                        oldest: None,
                        dead: 0,
                    });
                if dead {
                    lane.dead += 1;
                } else {
                    lane.pending += 1;
                    lane.oldest = lane.oldest.or(Some(kept.event.event.accepted_at));
                }
            }
        }
        lanes.into_values().collect()
    }
}
