//! ndots or CoreDNS on loopback, with a Corefile that names its port.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use super::{child::OwnedChild, free_address, program};

/// A running server. The process is killed when this is dropped.
pub(crate) struct Serving {
    pub(crate) child: OwnedChild,
    pub(crate) address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Serving {
    /// Runs ndots with the Corefile that is made for a free port of 127.0.0.1, and waits until it
    /// listens.
    pub(crate) fn start(corefile: impl FnOnce(u16) -> String) -> Self {
        let address = free_address();
        Self::run(&program(), address, &corefile(address.port()))
    }

    /// Runs a program, and waits until it takes connections at an address of the Corefile.
    pub(crate) fn run(program: &Path, address: SocketAddr, corefile: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("Corefile");
        std::fs::write(&file, corefile).unwrap();
        let mut command = Command::new(program);
        let mut child = OwnedChild::spawn(command.arg("-conf").arg(file).stdout(Stdio::null()));
        child.wait_until_it_listens(address);
        Self { child, address, _directory: directory }
    }
}
