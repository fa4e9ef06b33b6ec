//! Expressions in use: one text is compiled and kept once, however many routes have it.
//!
//! Routes are written from examples and charts, so thousands of them have the same few expressions, and
//! a compiled one takes some ten kilobytes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use super::{Compiled, Error, Scope};

/// All that compiling depends on: the scope, whether it is a condition, and the text.
type Key = (Scope, bool, Box<str>);

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// Forgets what nobody uses once it has grown to this many, and then to twice what was left.
const SWEEP: usize = 1024;

#[derive(Default)]
struct Known {
    all: HashMap<Key, Weak<Compiled>>,
    sweep_at: usize,
}

/// The compiled expression, from whoever uses it already.
pub(super) fn compile(
    source: &str,
    scope: Scope,
    condition: bool,
    compile: impl FnOnce() -> Result<Compiled, Error>,
) -> Result<Arc<Compiled>, Error> {
    let key = (scope, condition, Box::from(source));
    // It is whole after each use, whoever panicked in between.
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known().all.get(&key).and_then(Weak::upgrade);
    if let Some(found) = found {
        return Ok(found);
    }
    // Without the lock: of two who compile one text at once, both are right.
    let compiled = Arc::new(compile()?);
    known().keep(key, &compiled);
    Ok(compiled)
}

impl Known {
    fn keep(&mut self, key: Key, compiled: &Arc<Compiled>) {
        if self.all.len() >= self.sweep_at.max(SWEEP) {
            self.all.retain(|_, it| it.strong_count() > 0);
            self.sweep_at = self.all.len() * 2;
        }
        self.all.insert(key, Arc::downgrade(compiled));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Expression;
    use super::*;

    fn expression(source: &str, scope: Scope) -> Expression {
        Expression::compile(source, scope).unwrap()
    }

    #[test]
    fn one_text_is_kept_once_for_each_scope() {
        let one = expression("event.data.kept == 1", Scope::Event);
        let same = expression("event.data.kept == 1", Scope::Event);
        assert!(Arc::ptr_eq(&one.0, &same.0));
        let elsewhere = expression("event.data.kept == 1", Scope::Enriched);
        assert!(!Arc::ptr_eq(&one.0, &elsewhere.0));
        let condition = Expression::compile_condition("event.data.kept", Scope::Event);
        let value = expression("event.data.kept", Scope::Event);
        assert!(!Arc::ptr_eq(&condition.unwrap().0, &value.0));
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let compiled = |source: &str| expression(source, Scope::Event).0;
        let mut known = Known::default();
        let used: Vec<_> = (0..10).map(|n| compiled(&format!("{n}"))).collect();
        for (n, it) in used.iter().enumerate() {
            known.keep((Scope::Event, false, n.to_string().into()), it);
        }
        for n in 0..SWEEP {
            let key = (Scope::Event, false, format!("gone {n}").into());
            known.all.insert(key, Weak::new());
        }
        known.keep((Scope::Event, false, "10".into()), &compiled("10"));
        assert_eq!(known.all.len(), 11);
        assert_eq!(known.sweep_at, 20);
    }
}
