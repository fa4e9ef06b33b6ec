//! The `JetStream` engine on real NATS servers: the cases that every engine goes through, and those that
//! only several receivers have.

#[cfg(test)]
#[path = "../../receiver/tests/store/model.rs"]
mod model;
#[cfg(test)]
#[path = "../../receiver/tests/store/model_archive.rs"]
mod model_archive;
#[cfg(test)]
#[path = "../../receiver/tests/store/random.rs"]
mod random;
#[cfg(test)]
#[path = "../../receiver/tests/store/support.rs"]
#[allow(dead_code, reason = "other engines' tests use the rest")]
mod support;

#[cfg(test)]
#[path = "store/checkpoints.rs"]
mod checkpoints;
#[cfg(test)]
#[path = "store/faults.rs"]
mod faults;
#[cfg(test)]
#[path = "store/login.rs"]
mod login;
#[cfg(test)]
#[path = "store/lost.rs"]
mod lost;
#[cfg(test)]
#[path = "store/receivers.rs"]
mod receivers;
#[cfg(test)]
#[path = "store/replica.rs"]
mod replica;
#[cfg(test)]
#[path = "store/same.rs"]
mod same;
