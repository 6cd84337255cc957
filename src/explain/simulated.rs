//! Simulates the cluster's DNS server from its Corefile and the objects: which plugin answers a
//! name, and with which records. `explain` finds plugins that take cluster names from `kubernetes`
//! in this way.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use crate::{
    chain::{Cx, Transport, Wait},
    corefile::{Corefile, Diagnostics, Severity},
    plugin::Need,
    server::{
        BlockConfig, CheckedBlock, Listen, NothingOutside, Outcome, Scheme, Server, assemble, check,
    },
    wire::{Name, Query, Question, Type},
    zone::Store,
};

use super::{Answer, Objects, corefile};

/// Answers queries of one client as the server with the cluster's Corefile does.
pub struct SimulatedServer {
    server: Server,
    listen: Listen,
    client: SocketAddr,
    now: Instant,
}

/// What the server does with a query.
#[derive(Debug)]
pub(in crate::explain) enum SimulatedReply {
    /// The reply, and the plugin that gave it.
    Answer(Answer, &'static str),
    /// The server forwards the query to an upstream.
    Forwarded,
    /// The server drops the query.
    Silence,
}

impl SimulatedServer {
    /// `None` if there is no Corefile, if it has a mistake, a variable or a plugin that ndots
    /// lacks, or if an answer depends on the address of a client that is not known.
    pub(in crate::explain) fn new(
        objects: &Objects,
        store: &Arc<Store>,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Option<Self> {
        const BY_CLIENT: [&str; 2] = ["acl", "view"];
        let environment = corefile::environment(objects);
        let is_known = |text: &&str| !corefile::has_unknown_variables(text, &environment);
        let text = corefile::text(objects).filter(is_known)?;
        let (mut parsed, mut diagnostics) = corefile::read(text, &environment);
        let is_by_client =
            BY_CLIENT.iter().any(|name| corefile::directives(&parsed, name).next().is_some());
        if is_by_client && client.is_none() || !corefile::take_foreign(&mut parsed).is_empty() {
            return None;
        }
        let blocks = check(&parsed, 53, &mut diagnostics);
        if has_mistakes(&diagnostics) {
            return None;
        }
        let port = port(&parsed, &blocks)?;
        let outside = NothingOutside::with_files(files(objects, &blocks));
        let sources = blocks.iter().flat_map(CheckedBlock::needs).filter_map(|need| match need {
            Need::Source { source, .. } => Some((source, Arc::clone(store))),
            _ => None,
        });
        let stores: HashMap<_, _> = sources.collect();
        let configs: Vec<BlockConfig> = blocks.into_iter().map(config).collect();
        let assembled = assemble(&configs, &outside.context(&stores)).ok()?;
        let client = SocketAddr::new(client.unwrap_or(Ipv4Addr::LOCALHOST.into()), 4_000);
        Some(Self { server: assembled.server, listen: listen(port), client, now })
    }

    /// `None` if the answer depends on data that is not known here.
    pub(in crate::explain) fn ask(&self, name: &str, qtype: Type) -> Option<SimulatedReply> {
        /// Plugins whose records are not known here. Without records they answer SERVFAIL.
        const WITH_DATA: [&str; 4] = ["auto", "etcd", "file", "secondary"];
        let question = Question::new(name.parse::<Name>().ok()?, qtype);
        let mut packet = Vec::new();
        Query { id: 7, ..Query::internal(question) }.encode(&mut packet);
        let local = self.listen.address;
        let mut cx = Cx::new(self.now, 1, self.client, local, Transport::Udp);
        let mut out = Vec::new();
        match self.server.receive(self.listen, &packet, &mut cx, &mut out) {
            Outcome::Reply => {
                let (answer, plugin) = (Answer::decode(&out).ok()?, cx.answered_by());
                let has_no_data = answer.rcode == "SERVFAIL" && WITH_DATA.contains(&plugin);
                (!has_no_data).then_some(SimulatedReply::Answer(answer, plugin))
            }
            Outcome::Wait(_, Wait::Exchange(_)) => Some(SimulatedReply::Forwarded),
            Outcome::Silence => Some(SimulatedReply::Silence),
            Outcome::Wait(_, Wait::Pause(..) | Wait::Commit(_)) | Outcome::Transfer(_) => None,
        }
    }
}

fn listen(port: u16) -> Listen {
    Listen { scheme: Scheme::Dns, address: (Ipv4Addr::UNSPECIFIED, port).into() }
}

/// Whether the Corefile has errors, apart from those about files that are not here.
fn has_mistakes(diagnostics: &Diagnostics) -> bool {
    diagnostics
        .lines()
        .any(|(severity, line)| severity == Severity::Error && !corefile::is_about_file(&line))
}

/// The port of the block that serves the cluster's zone, or else of the first block.
fn port(parsed: &Corefile, blocks: &[CheckedBlock]) -> Option<u16> {
    let of_cluster = parsed
        .blocks
        .iter()
        .position(|block| block.directives.iter().any(|line| line.name.text == "kubernetes"));
    let keys = &blocks.get(of_cluster.unwrap_or(0))?.keys;
    keys.iter().find(|(_, key)| key.scheme == Scheme::Dns).map(|(_, key)| key.port_or(53))
}

/// The block at its ports. `bind` has no effect here.
fn config(block: CheckedBlock) -> BlockConfig {
    let of_dns = block.keys.into_iter().filter(|(_, key)| key.scheme == Scheme::Dns);
    let keys = of_dns.map(|(zone, key)| (zone, listen(key.port_or(53)))).collect();
    BlockConfig { keys, checked: block.checked }
}

/// The files of the server's Pod: those that are mounted from the ConfigMap of the Corefile, and a
/// resolv.conf with a placeholder as upstream.
fn files(objects: &Objects, blocks: &[CheckedBlock]) -> HashMap<String, Result<String, String>> {
    let text = |path: &str| {
        if path == "/etc/resolv.conf" {
            return Ok("nameserver 192.0.2.1\n".to_owned());
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        let mounted = corefile::mounted(objects, name).map(str::to_owned);
        mounted.ok_or_else(|| corefile::NOT_HERE.to_owned())
    };
    let paths = blocks.iter().flat_map(CheckedBlock::needs).filter_map(|need| match need {
        Need::File(path) => Some(path),
        _ => None,
    });
    paths.map(|path| (path.clone(), text(&path))).collect()
}
