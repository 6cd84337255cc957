//! What signals say, as CoreDNS takes them.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{chain::Level, net::log::Log};

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    reload: Signal,
    upgrade: Signal,
    /// ReloadState, and never asked: the signal is sent to whole sessions, and would end the
    /// process.
    _hangup: Signal,
    log: Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// What is on its way is answered first, and the lameduck time waited.
    Terminate,
    /// What is on its way is answered first.
    Interrupt,
    Quit,
    Reload,
}

impl Signals {
    pub(super) fn new(log: Log) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            reload: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
            _hangup: signal(SignalKind::hangup())?,
            log,
        })
    }

    pub(super) async fn next(&mut self) -> Order {
        loop {
            let (order, text) = tokio::select! {
                _ = self.terminate.recv() => (Order::Terminate, "SIGTERM: Shutting down servers then terminating"),
                _ = self.interrupt.recv() => (Order::Interrupt, "SIGINT: Shutting down"),
                _ = self.quit.recv() => (Order::Quit, "SIGQUIT: Quitting process immediately"),
                _ = self.reload.recv() => (Order::Reload, "SIGUSR1: Reloading"),
                _ = self.upgrade.recv() => {
                    self.log.say(Level::Warning, "SIGUSR2: a program is not exchanged while it runs; start the new one beside it");
                    continue;
                }
            };
            self.log.say(Level::Info, text);
            return order;
        }
    }

    /// Somebody at the terminal who does not want to wait for the end.
    pub(super) async fn forced(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => self.log.say(Level::Info, "SIGINT: Force quit"),
            _ = self.quit.recv() => self.log.say(Level::Info, "SIGQUIT: Quitting process immediately"),
        }
    }
}
