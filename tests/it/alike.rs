//! Sends the queries of scenarios in `answer/` to CoreDNS with the same Corefile and the same
//! upstream. Its replies, and its queries to the upstream, must be those that the scenario has for
//! ndots. A line `; differs: REASON` before a query says that they are not, and why.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use crate::{
    answer::{Upstream, asked as shown, printed, request},
    support::{coredns::CoreDns, udp, upstream::datagrams},
};
use ndots::wire::{EdnsOptions, Query};

#[test]
fn rewrite() {
    compare("rewrite", 37);
}

#[test]
fn rewrite_names() {
    compare("rewrite-names", 34);
}

#[test]
fn situations_of_public_threads() {
    compare("rewrite-outside", 19);
}

#[test]
fn template() {
    compare("template", 17);
}

#[test]
fn template_field() {
    compare("template-field", 37);
}

fn compare(scenario: &str, least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/answer").join(scenario);
    let text = fs::read_to_string(path.with_extension("dns")).unwrap();
    let part = |name: &str| {
        let (_, rest) = text.split_once(&format!("=== {name}\n")).unwrap_or_default();
        rest.split("\n=== ").next().unwrap_or_default()
    };
    let upstream = Recorder::start(Upstream::parse(part("upstream")));
    let coredns = CoreDns::start(|port| {
        part("corefile")
            .replace(":53 {", &format!(":{port} {{\n    bind 127.0.0.1"))
            .replace("forward . 192.0.2.53", &format!("forward . {}", upstream.address))
    });
    let (mut faults, mut questions) = (Vec::new(), 0);
    let mut differs = false;
    for entry in part("questions").split("\n\n").filter(|entry| !entry.trim().is_empty()) {
        let mut expected = String::new();
        let mut question = "";
        for line in entry.lines() {
            match line.strip_prefix("> ") {
                Some(asked) => question = asked,
                None if line.starts_with("; differs: ") => differs = true,
                None if line.starts_with("; ") || line.starts_with("edns ") => {}
                None => expected += &format!("{line}\n"),
            }
        }
        if question.is_empty() {
            continue;
        }
        let mut words = question.split(' ');
        let (name, qtype) = (words.next().unwrap(), words.next().unwrap());
        let options: Vec<&str> = words.collect();
        let edns = options.iter().find_map(|option| option.strip_prefix("edns="));
        let packet = request(name, qtype, &options, edns, None);
        let reply = udp(coredns.address, &packet);
        let reply = reply.map_or_else(|| "no reply\n".to_owned(), |reply| printed(&reply));
        let got = upstream.asked() + &reply;
        questions += 1;
        if (comparable(&got) == comparable(&expected)) == std::mem::take(&mut differs) {
            faults.push(format!("> {question}\nCoreDNS:\n{got}ndots:\n{expected}"));
        }
    }
    println!("{questions} questions alike");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(questions >= least, "{scenario} has shrunk to {questions} questions");
}

/// The lines without what differs by design: sizes of messages, the OPT record, the case of names.
/// The queries to the upstream have no order.
fn comparable(shown: &str) -> Vec<String> {
    let lines = shown.lines().filter(|line| !line.starts_with("edns "));
    let lines = lines.map(|line| {
        let line = line.to_lowercase();
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            [.., _, "octets"] => words[..words.len() - 2].join(" "),
            _ => line,
        }
    });
    let (asked, shown): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('^'));
    asked.into_iter().collect::<BTreeSet<_>>().into_iter().chain(shown).collect()
}

/// An upstream over UDP that remembers the queries.
struct Recorder {
    address: SocketAddr,
    asked: Arc<Mutex<String>>,
}

impl Recorder {
    fn start(upstream: Upstream) -> Self {
        let asked = Arc::<Mutex<String>>::default();
        let remembered = Arc::clone(&asked);
        let address = datagrams(move |packet| {
            let query = Query::parse(packet).ok()?;
            let seen = Query { options: without_cookie(&query.client_options), ..query };
            remembered.lock().unwrap().push_str(&format!("^ {}\n", shown(&seen)));
            upstream.reply(&seen)
        });
        Self { address, asked }
    }

    /// The queries since the last call.
    fn asked(&self) -> String {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn without_cookie(options: &EdnsOptions) -> EdnsOptions {
    let mut options = options.clone();
    options.remove(10);
    options
}
