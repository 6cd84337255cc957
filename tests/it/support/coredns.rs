//! CoreDNS on loopback, to compare with.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    free_address,
    lab::{self, until},
    requirements::require_lab_program,
};

/// A running CoreDNS. The process is killed when this is dropped.
pub(crate) struct CoreDns {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl CoreDns {
    /// Serves the Corefile that is made for a free port of 127.0.0.1, and waits until it listens.
    pub(crate) fn start(corefile: impl FnOnce(u16) -> String) -> Self {
        let address = free_address();
        Self::start_at(address, &corefile(address.port()))
    }

    /// Waits until an address that the Corefile serves takes connections.
    pub(crate) fn start_at(address: SocketAddr, corefile: &str) -> Self {
        require_lab_program("coredns");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("Corefile");
        std::fs::write(&file, corefile).unwrap();
        let mut command = Command::new(lab::program("coredns"));
        command.arg("-conf").arg(file).stdout(Stdio::null());
        let coredns = Self { child: command.spawn().unwrap(), address, _directory: directory };
        until("CoreDNS that listens", Duration::from_secs(30), || TcpStream::connect(address).ok());
        coredns
    }
}

impl Drop for CoreDns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
