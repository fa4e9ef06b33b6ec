//! The store's promises, shown on the embedded engine.

#[cfg(test)]
mod archive;
#[cfg(test)]
mod child;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damaged;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod model;
#[cfg(test)]
mod model_archive;
#[cfg(test)]
mod random;
#[cfg(test)]
mod random_embedded;
#[cfg(test)]
mod remembered;
#[cfg(test)]
mod size;
#[cfg(test)]
mod support;
#[cfg(test)]
mod unrendered;
