//! Generations of objects that come from files, where no API server counts them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// An object's generation grows when its spec changes, as the API server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Generations(BTreeMap<String, Generation>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Generation {
    number: i64,
    spec: Json,
}

impl Generations {
    /// The generation of an object with this spec.
    pub(crate) fn of(&mut self, id: &str, spec: Option<&Json>) -> i64 {
        let spec = spec.cloned().unwrap_or_default();
        match self.0.get_mut(id) {
            Some(known) if known.spec == spec => known.number,
            Some(known) => {
                known.number += 1;
                known.spec = spec;
                known.number
            }
            None => {
                self.0.insert(id.to_owned(), Generation { number: 1, spec });
                1
            }
        }
    }

    /// Forgets objects that are gone.
    pub(crate) fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| exists(id));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_generation_grows_with_the_spec_alone() {
        let mut generations = Generations::default();
        let a = json!({"a": 1});
        let b = json!({"a": 2});
        assert_eq!(generations.of("x", Some(&a)), 1);
        assert_eq!(generations.of("x", Some(&a)), 1);
        assert_eq!(generations.of("x", Some(&b)), 2);
        assert_eq!(generations.of("x", Some(&a)), 3);
        generations.retain(|id| id != "x");
        assert_eq!(generations.of("x", Some(&a)), 1);
    }
}
