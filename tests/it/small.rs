//! Plugins that need no cluster: ndots and CoreDNS with the same Corefile and the same queries.
//!
//! `tests/small/*.corefile` are the Corefiles. A line `#? NAME TYPE [WORD…]` in one is a query;
//! `#! …` is one that ndots answers differently on purpose, with the reason after ` -- `. The words
//! are `v6` (to ::1), `tcp`, `nsid`, `do`, `cd`, `norec` (without RD), and `ch` for the class.
//! `{port}` is the port of the server, `{upstream}` the address of a CoreDNS that serves
//! `tests/small/zone`, and `{zone}` the file `tests/small/outside.zone`.

use std::{
    fmt::Write,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hickory_proto::{op::Message, rr::RData};
use ndots::wire::{Rcode, Spelled, Type};

use crate::support::{Tcp, coredns::CoreDns, serving::Serving, udp};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/small")
}

#[test]
fn small_plugins_answer_as_in_coredns() {
    let zone = directory().join("zone");
    let upstream = CoreDns::start(|port| {
        format!("example.org:{port} {{\n bind 127.0.0.1\n file {}\n}}\n", zone.display())
    });
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "corefile"));
    files.sort();
    let (mut questions, mut faults) = (0, String::new());
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let text = text.replace("{upstream}", &upstream.address.to_string());
        let text = text.replace("{zone}", &directory().join("outside.zone").display().to_string());
        let at = |port: u16| text.replace("{port}", &port.to_string());
        let (theirs, ours) = (CoreDns::start(at), Serving::start(at));
        for asked in text.lines().filter_map(Asked::read) {
            questions += 1;
            let (theirs, ours) = (asked.ask(theirs.address), asked.ask(ours.address));
            let name = path.file_name().unwrap().display();
            if asked.different.is_none() != (theirs == ours) {
                writeln!(faults, "{name}: {asked:?}\nCoreDNS: {theirs}\nndots: {ours}").unwrap();
            }
        }
    }
    println!("{questions} queries to {} Corefiles", files.len());
    assert!(faults.is_empty(), "\n{faults}");
    assert!(questions >= 400 && files.len() >= 55, "only {questions} queries");
}

/// A line of a Corefile that is a query.
#[derive(Debug)]
pub(super) struct Asked {
    name: String,
    qtype: Type,
    words: Vec<String>,
    /// Why ndots answers differently.
    pub(super) different: Option<String>,
}

impl Asked {
    pub(super) fn read(line: &str) -> Option<Self> {
        let line = line.trim();
        let (query, different) = match line.strip_prefix("#? ") {
            Some(query) => (query, None),
            None => {
                let (query, reason) = line.strip_prefix("#! ")?.split_once(" -- ").unwrap();
                (query, Some(reason.to_owned()))
            }
        };
        let mut words = query.split_whitespace().map(str::to_owned);
        let (name, qtype) = (words.next()?, words.next()?.parse().unwrap());
        Some(Self { name, qtype, words: words.collect(), different })
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|it| it == word)
    }

    fn packet(&self) -> Vec<u8> {
        let edns = ["nsid", "do", "cd"].iter().any(|word| self.has(word));
        let flags = [u8::from(!self.has("norec")), u8::from(self.has("cd")) << 4];
        let mut packet = [&[0, 7][..], &flags, &[0, 1, 0, 0, 0, 0, 0, u8::from(edns)]].concat();
        packet.extend_from_slice(self.name.parse::<Spelled>().unwrap().wire());
        packet.extend_from_slice(&self.qtype.0.to_be_bytes());
        packet.extend_from_slice(&[0, if self.has("ch") { 3 } else { 1 }]);
        if edns {
            let nsid: &[u8] = if self.has("nsid") { &[0, 3, 0, 0] } else { &[] };
            packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, u8::from(self.has("do")) << 7]);
            packet.extend_from_slice(&[0, 0, nsid.len() as u8]);
            packet.extend_from_slice(nsid);
        }
        packet
    }

    /// The reply as text.
    pub(super) fn ask(&self, mut server: SocketAddr) -> String {
        if self.has("v6") {
            server.set_ip(IpAddr::V6(Ipv6Addr::LOCALHOST));
        }
        let reply = if self.has("tcp") {
            let mut client = Tcp::to(server);
            client.send(&self.packet());
            client.receive()
        } else {
            udp(server, &self.packet())
        };
        // CoreDNS adds an OPT record where the client has none (RFC 6891 §7 forbids it).
        let edns = self.packet()[11] == 1;
        reply.map_or_else(|| "no reply".to_owned(), |reply| printed(&reply, edns))
    }
}

fn printed(reply: &[u8], edns: bool) -> String {
    let message = Message::from_vec(reply).unwrap();
    let meta = &message.metadata;
    let flags = [
        ("aa", meta.authoritative),
        ("tc", meta.truncation),
        ("rd", meta.recursion_desired),
        ("ra", meta.recursion_available),
        ("ad", meta.authentic_data),
        ("cd", meta.checking_disabled),
    ];
    let flags = flags.iter().filter(|(_, set)| *set).map(|(name, _)| *name);
    let rcode = Rcode(meta.response_code.into()).to_string();
    let mut text = [&*rcode].into_iter().chain(flags).collect::<Vec<_>>().join(" ");
    for section in [&message.answers, &message.authorities, &message.additionals] {
        let mut lines: Vec<_> = section
            .iter()
            .map(|record| {
                let data = match &record.data {
                    RData::Unknown { rdata, .. } => format!("{rdata:?}"),
                    // The client's port, as `whoami` tells it.
                    RData::SRV(srv) if srv.target.is_root() => "0 0 PORT .".to_owned(),
                    data => data.to_string(),
                };
                format!(
                    "\n  {} {} {} {} {data}",
                    record.name,
                    record.ttl,
                    record.dns_class,
                    record.record_type()
                )
            })
            .collect();
        lines.sort();
        text += "\n --";
        text += &lines.concat();
    }
    if let Some(edns) = message.edns.as_ref().filter(|_| edns) {
        let mut options: Vec<_> =
            edns.options().as_ref().iter().map(|option| format!("{option:?}")).collect();
        options.sort();
        write!(text, "\n edns do={} {}", edns.flags().dnssec_ok, options.join(" ")).unwrap();
    }
    text
}

/// The replies to three queries over one connection, and how long the connection is idle before
/// the server closes it.
fn over_one_connection(server: SocketAddr) -> (usize, Duration) {
    let mut client = Tcp::to(server);
    let asked = Asked::read("#? example.com A tcp").unwrap();
    let mut replies = 0;
    for _ in 0..3 {
        client.send(&asked.packet());
        replies += usize::from(client.receive().is_some());
    }
    let mut idle = Tcp::to(server);
    idle.send(&asked.packet());
    idle.receive().unwrap();
    let begun = Instant::now();
    assert!(idle.receive().is_none());
    (replies, begun.elapsed())
}

#[test]
fn timeouts_bound_a_connection_as_in_coredns() {
    let corefile = |port: u16| {
        format!(
            "example.com:{port} {{\n bind 127.0.0.1 ::1\n multisocket 2\n timeouts {{\n idle 1s\n maxtcpqueries 2\n }}\n whoami\n}}\n"
        )
    };
    let (theirs, ours) = (CoreDns::start(corefile), Serving::start(corefile));
    for server in [theirs.address, ours.address] {
        let (replies, idle) = over_one_connection(server);
        assert_eq!(replies, 2, "{server}");
        assert!((900..2500).contains(&idle.as_millis()), "{server}: {idle:?}");
    }
}
