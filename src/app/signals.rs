//! Signals, with CoreDNS's meanings.

use std::{io, pin::pin};

use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    reload: Signal,
    upgrade: Signal,
    /// Held so that SIGHUP, which a closed terminal sends, does not end the process.
    _hangup: Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Wait for the lameduck time, then answer the pending queries.
    Terminate,
    /// Answer the pending queries.
    Interrupt,
    Quit,
    Reload,
}

/// Which order arrived while something else was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    Nothing,
    Reload,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            reload: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
            _hangup: signal(SignalKind::hangup())?,
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
                    tracing::warn!(
                        "SIGUSR2: ndots does not replace its own binary; start the new version as another process"
                    );
                    continue;
                }
            };
            tracing::info!("{text}");
            return order;
        }
    }

    /// Runs `work` up to its end. A signal that ends the process also ends the work.
    ///
    /// # Errors
    /// The order of the signal.
    pub(super) async fn during<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<(T, Meanwhile), Order> {
        let (mut work, mut meanwhile) = (pin!(work), Meanwhile::Nothing);
        loop {
            tokio::select! {
                done = &mut work => return Ok((done, meanwhile)),
                order = self.next() => match order {
                    Order::Reload => meanwhile = Meanwhile::Reload,
                    order => return Err(order),
                },
            }
        }
    }

    /// The signals that still have a meaning while the process ends.
    pub(super) fn at_end(self) -> (Forced, Impatience) {
        let Self { terminate, interrupt, quit, .. } = self;
        (Forced { interrupt, quit }, Impatience(terminate))
    }
}

/// The signals that end the process without delay.
pub(super) struct Forced {
    interrupt: Signal,
    quit: Signal,
}

impl Forced {
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => tracing::info!("SIGINT: Force quit"),
            _ = self.quit.recv() => tracing::info!("SIGQUIT: Quitting process immediately"),
        }
    }
}

/// A second SIGTERM. It ends only the wait for a program that hangs. The rest of the shutdown is
/// not changed.
pub(super) struct Impatience(Signal);

impl Impatience {
    pub(super) async fn next(&mut self) {
        self.0.recv().await;
        tracing::info!("SIGTERM: not waiting any longer for the programs of `on shutdown`");
    }
}
