//! Sockets, timers, tasks: the only place that waits for the network.

pub mod admin;
pub mod client;
pub mod exchange;
mod hickory;
pub mod listeners;
pub mod log;
mod shell;
mod stream;
#[cfg(test)]
mod testing;
pub mod tls;
mod udp;

pub use shell::Shell;
