//! The operator: compiles `WebhookSubscription`s and `EventRoute`s into the snapshot that receivers
//! follow, and tells in their status what became of them.

pub mod compile;
