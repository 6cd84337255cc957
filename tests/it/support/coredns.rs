//! CoreDNS on loopback, to compare with.

use std::{
    net::SocketAddr,
    ops::{Deref, DerefMut},
};

use super::{free_address, lab, requirements::require_lab_program, serving::Serving};

/// A running CoreDNS. The process is killed when this is dropped.
pub(crate) struct CoreDns(Serving);

impl CoreDns {
    /// Serves the Corefile that is made for a free port of 127.0.0.1, and waits until it listens.
    pub(crate) fn start(corefile: impl FnOnce(u16) -> String) -> Self {
        let address = free_address();
        Self::start_at(address, &corefile(address.port()))
    }

    /// Waits until an address that the Corefile serves takes connections.
    pub(crate) fn start_at(address: SocketAddr, corefile: &str) -> Self {
        require_lab_program("coredns");
        Self(Serving::run(&lab::program("coredns"), address, corefile))
    }
}

impl Deref for CoreDns {
    type Target = Serving;

    fn deref(&self) -> &Serving {
        &self.0
    }
}

impl DerefMut for CoreDns {
    fn deref_mut(&mut self) -> &mut Serving {
        &mut self.0
    }
}
