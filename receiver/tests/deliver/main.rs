//! Deliveries from the embedded store to real servers, through the engine's own front.

#[cfg(test)]
mod support;
#[cfg(test)]
mod whole;
