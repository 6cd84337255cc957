//! Sockets, timers, tasks: the only place that waits for the network.

pub mod exchange;
