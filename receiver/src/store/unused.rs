//! A base for stores of tests: the operations that what is tested does not call.

/// Operations of [`crate::store::Store`] that nobody is to call, in an `impl` of it: each ends the test.
#[doc(hidden)]
#[macro_export]
macro_rules! unused_operations {
    ($($operation:ident)*) => { $($crate::unused_operations!(@ $operation);)* };
    (@ accept) => { $crate::unused_operations!(=> accept(_: $crate::store::NewEvent) $crate::store::Accepted); };
    (@ seen) => {
        $crate::unused_operations!(=> seen(_: &::hookswitch_crds::key::ObjectKey, _: &str, _: [u8; 32], _: ::jiff::Timestamp) bool);
    };
    (@ unplanned_subscriptions) => {
        $crate::unused_operations!(=> unplanned_subscriptions() Vec<::hookswitch_crds::key::ObjectKey>);
    };
    (@ unplanned) => {
        $crate::unused_operations!(=> unplanned(_: &::hookswitch_crds::key::ObjectKey, _: usize) (u64, Vec<$crate::store::StoredEvent>));
    };
    (@ waiting) => { $crate::unused_operations!(=> waiting() Vec<$crate::store::Waiting>); };
    (@ guard) => {
        $crate::unused_operations!(=> guard(_: Vec<$crate::store::GuardQuestion>) Vec<$crate::store::GuardAnswer>);
    };
    (@ recall) => {
        $crate::unused_operations!(=> recall(_: &::hookswitch_crds::key::ObjectKey, _: Vec<$crate::plan::MemoryKey>) Vec<Option<$crate::plan::Recalled>>);
    };
    (@ plan) => {
        $crate::unused_operations!(=> plan(_: &::hookswitch_crds::key::ObjectKey, _: u64, _: Vec<$crate::plan::Plan>) ());
    };
    (@ timers_due) => {
        $crate::unused_operations!(=> timers_due(_: &::hookswitch_crds::key::ObjectKey, _: ::jiff::Timestamp, _: ::jiff::Timestamp, _: usize) $crate::store::TimersDue);
    };
    (@ fire) => {
        $crate::unused_operations!(=> fire(_: &::hookswitch_crds::key::ObjectKey, _: u64, _: Vec<$crate::plan::Firing>) ());
    };
    (@ timers) => { $crate::unused_operations!(=> timers() Vec<$crate::store::TimerStats>); };
    (@ remove_timers) => {
        $crate::unused_operations!(=> remove_timers(_: &::hookswitch_crds::key::ObjectKey, _: &$crate::plan::Scope, _: ::jiff::Timestamp) $crate::store::RemovedTimers);
    };
    (@ due) => {
        $crate::unused_operations!(=> due(_: &$crate::plan::Lane, _: ::jiff::Timestamp, _: usize) $crate::store::Due);
    };
    (@ unrendered) => {
        $crate::unused_operations!(=> unrendered(_: &$crate::plan::Lane, _: ::jiff::Timestamp, _: usize) $crate::store::Due);
    };
    (@ render) => { $crate::unused_operations!(=> render(_: Vec<$crate::store::Render>) Vec<bool>); };
    (@ claim) => { $crate::unused_operations!(=> claim(_: Vec<$crate::store::Claim>) Vec<bool>); };
    (@ finish) => { $crate::unused_operations!(=> finish(_: Vec<$crate::store::Finish>) Vec<bool>); };
    (@ scan) => { $crate::unused_operations!(=> scan(_: u64, _: usize) Vec<$crate::store::History>); };
    (@ history) => { $crate::unused_operations!(=> history(_: ::uuid::Uuid) Option<$crate::store::History>); };
    (@ lanes) => { $crate::unused_operations!(=> lanes() Vec<$crate::store::LaneStats>); };
    (@ purge) => {
        $crate::unused_operations!(=> purge(_: ::jiff::Timestamp, _: Vec<(::hookswitch_crds::key::ObjectKey, $crate::store::Retention)>, _: $crate::store::Retention) $crate::store::Purged);
    };
    (@ planning) => {
        fn planning(&self, _: &[u64]) -> Result<(), $crate::store::Error> {
            unimplemented!()
        }
    };
    (@ suspects) => {
        fn suspects(&self) -> Vec<(u64, u32)> {
            unimplemented!()
        }
    };
    (@ health) => {
        fn health(&self) -> Result<(), $crate::store::Error> {
            unimplemented!()
        }
    };
    (@ close) => { $crate::unused_operations!(=> close() ()); };
    (=> $operation:ident($($name:tt: $given:ty),*) $gives:ty) => {
        fn $operation(&self $(, $name: $given)*) -> $crate::store::Pending<'_, $gives> {
            unimplemented!()
        }
    };
}
