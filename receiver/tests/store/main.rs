//! The store's promises, shown on the embedded engine.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod model;
#[cfg(test)]
mod random;
#[cfg(test)]
mod support;
