//! What the resources define and this build does not serve yet.
//!
//! Such a field is refused, never passed over: a route that does less than it says would be worse than
//! one that is not served.

use hookswitch_crds::condition::reason;
use hookswitch_crds::event_route::{Destination, EventRouteSpec};

use super::problems::Problems;

/// Refuses each field that is written and not served yet.
pub(super) fn refuse(spec: &EventRouteSpec, problems: &mut Problems) {
    let mut refuse = |field: String, written: bool| {
        if written {
            problems.refused(
                field,
                reason::NOT_YET_SUPPORTED,
                "this version of Hookswitch does not serve it: remove it, or install a version that does",
            );
        }
    };
    for (index, destination) in spec.destinations.iter().enumerate() {
        let field = |name: &str| format!("spec.destinations[{index}].{name}");
        for (kind, written) in kinds(destination) {
            refuse(field(kind), written);
        }
    }
}

/// The kinds of destination that are not served, and whether a destination is of one.
fn kinds(destination: &Destination) -> [(&'static str, bool); 2] {
    [
        ("nats", destination.nats.is_some()),
        ("postgres", destination.postgres.is_some()),
    ]
}
