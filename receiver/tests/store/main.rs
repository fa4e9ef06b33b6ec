//! The store's promises, shown on the embedded engine.

mod contract;
mod support;
