//! CoreDNS and ndots, each in its own container, with exactly the same Corefile.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use ndots::{
    diff::{Asked, How},
    wire::Type,
};

use super::{ask::ask, upstream};
use crate::support::lab::{Container, Lab, Netns, Program, until};

/// The names of `corefiles/*.corefile`.
pub(crate) fn corefiles() -> Vec<String> {
    let files = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "corefile"));
    let mut names: Vec<_> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    names
}

pub(crate) fn corefile(name: &str) -> String {
    fs::read_to_string(directory().join(name).with_extension("corefile")).unwrap()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diff/corefiles")
}

/// The two hosts. The servers of one Corefile after the other run on them.
pub(crate) struct Machines {
    pub(crate) coredns: Netns,
    pub(crate) ndots: Netns,
    /// The `/etc/resolv.conf` of both hosts.
    resolv: String,
}

impl Machines {
    pub(crate) fn new(lab: &Lab) -> Self {
        lab.account();
        let world = lab.lan.test_address();
        upstream::start(IpAddr::from(world));
        Self { coredns: lab.guest(), ndots: lab.guest(), resolv: format!("nameserver {world}\n") }
    }

    pub(crate) fn addresses(&self) -> [IpAddr; 2] {
        [self.coredns.address, self.ndots.address].map(IpAddr::from)
    }

    /// A server that answers and has synced with the cluster.
    pub(crate) fn start(&self, lab: &Lab, program: Program, name: &str) -> Running {
        let machine = if program == Program::CoreDns { &self.coredns } else { &self.ndots };
        let text = corefile(name);
        let mut container = lab.prepared(machine, program, &text, "coredns");
        for file in ["NodeHosts", "custom/stub.server", "custom/small.override", "k3s/more.server"]
        {
            container.file(
                &format!("/etc/coredns/{file}"),
                &fs::read_to_string(directory().join("files").join(file)).unwrap(),
            );
        }
        container.file("/etc/resolv.conf", &self.resolv);
        container.file("/etc/hosts", "127.0.0.1 localhost\n192.0.2.12 from.hosts.test\n");
        container.serve();
        if text.lines().any(|line| line.trim() == "ready") {
            container.wait_until_ready();
        }
        let address = SocketAddr::new(machine.address.into(), 53);
        let probe =
            [Asked { name: "probe.invalid".to_owned(), qtype: Type::A, how: How::default() }];
        until("a server that answers", Duration::from_secs(30), || {
            container.process().assert_running();
            ask(address, &probe)[0].is_some().then_some(())
        });
        Running { address, _container: container }
    }
}

/// A running server; it ends when this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    _container: Container,
}
