//! Ingress as its senders meet it: real sockets before it, a store of the tests' own behind it.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod pings;
#[cfg(test)]
mod recorder;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod tls;
