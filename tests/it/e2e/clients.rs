//! What runs in a Pod and asks: dig, and programs of two C libraries.

use std::{
    cell::{Cell, RefCell},
    io::{BufRead, BufReader, Lines, Write},
    net::IpAddr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use super::cluster::Cluster;
use crate::support::lab::Netns;

/// Milliseconds are what it should be; this is for a controller's part, and a machine that has
/// other things to do.
const CHANGE: Duration = Duration::from_secs(5);
/// A C library that got no answer asks again after 2.5 s or 5 s: what comes sooner is the answer to
/// the first question.
const FIRST_TRY: Duration = Duration::from_millis(2400);

pub(crate) struct Client {
    pub(crate) netns: Netns,
    /// Of IPv4, and of IPv6.
    pub(crate) addresses: [String; 2],
    musl: RefCell<Resolver>,
    asked: Cell<usize>,
}

impl Client {
    pub(crate) fn new(cluster: &Cluster, netns: Netns, addresses: [String; 2]) -> Self {
        let musl = RefCell::new(Resolver::start(&netns, &cluster.musl.display().to_string()));
        Self { netns, addresses, musl, asked: Cell::new(0) }
    }

    /// Every client finds these addresses and no others, behind this alias if there is one: `name`
    /// is `NAME A` or `NAME AAAA`, and what is expected is what `dig +short` prints.
    pub(crate) fn finds(&self, question: &str, expected: &[&str]) {
        self.dig(question, expected);
        self.libraries_find(question, expected);
    }

    /// Like `finds`, without dig.
    pub(crate) fn libraries_find(&self, question: &str, expected: &[&str]) {
        self.glibc_finds(question, expected);
        self.musl_finds(question, expected);
    }

    pub(crate) fn glibc_finds(&self, question: &str, expected: &[&str]) {
        let (name, database) = match question.rsplit_once(' ').unwrap() {
            (name, "A") => (name, "ahostsv4"),
            (name, _) => (name, "ahostsv6"),
        };
        for options in ["", "use-vc"] {
            let text = self.getent(database, name, options);
            let canonical = text
                .lines()
                .next()
                .and_then(|line| line.split_whitespace().nth(2))
                .unwrap_or_default();
            let addresses = text
                .lines()
                .filter(|line| line.contains("STREAM"))
                .filter_map(|line| line.split_whitespace().next());
            check(&format!("getent {database} {name} ({options})"), canonical, addresses, expected);
        }
    }

    pub(crate) fn musl_finds(&self, question: &str, expected: &[&str]) {
        let (name, family) = match question.rsplit_once(' ').unwrap() {
            (name, "A") => (name, 4),
            (name, _) => (name, 6),
        };
        let text = self.musl(&format!("{family} {name}"));
        assert!(!text.starts_with("error") || expected.is_empty(), "musl, {question}: {text}");
        let (canonical, addresses) = text.split_once(' ').unwrap_or_default();
        let found = if text.starts_with("error") { "" } else { addresses };
        check(&format!("musl, {question}"), canonical, found.split_whitespace(), expected);
    }

    /// `dig +search` prints this over UDP and TCP, addresses in any order.
    pub(crate) fn dig(&self, question: &str, expected: &[&str]) {
        for transport in ["+notcp", "+tcp"] {
            let line = format!("dig {transport} +tries=1 +search +short {question}");
            self.count(1);
            let text = self.netns.text(&line);
            assert_eq!(in_order(text.lines().collect()), in_order(expected.to_vec()), "{line}");
        }
    }

    /// Every client finds these names of this address, or one of them where one is all it takes.
    pub(crate) fn names(&self, address: &str, expected: &[&str]) {
        let dotted: Vec<_> = expected.iter().map(|name| format!("{name}.")).collect();
        self.dig(&format!("-x {address}"), &dotted.iter().map(String::as_str).collect::<Vec<_>>());
        let is_one = |found: &str| {
            if expected.is_empty() { found.is_empty() } else { expected.contains(&found) }
        };
        for options in ["", "use-vc"] {
            let text = self.getent("hosts", address, options);
            assert!(
                is_one(text.split_whitespace().nth(1).unwrap_or_default()),
                "getent hosts {address} ({options}): {text}"
            );
        }
        let text = self.musl(&format!("ptr {address}"));
        assert!(
            is_one(if text.starts_with("error") { "" } else { &text }),
            "musl, ptr {address}: {text}"
        );
    }

    /// No client finds anything.
    pub(crate) fn finds_nothing(&self, question: &str) {
        self.finds(question, &[]);
    }

    /// Asks with musl until the answer is this, for no longer than a change may take; how long it
    /// took.
    pub(crate) fn until(&self, question: &str, expected: impl Fn(&str) -> bool) -> Duration {
        let begun = Instant::now();
        loop {
            let text = self.musl.borrow_mut().ask(question);
            if expected(&text) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < CHANGE, "{question}: still {text}");
        }
    }

    /// One answer of musl's: the canonical name and addresses, or `error: …`.
    pub(crate) fn musl(&self, question: &str) -> String {
        self.count(1);
        let begun = Instant::now();
        let text = self.musl.borrow_mut().ask(question);
        assert!(begun.elapsed() < FIRST_TRY, "musl, {question}: {:?}", begun.elapsed());
        text
    }

    fn getent(&self, database: &str, name: &str, options: &str) -> String {
        self.count(1);
        let mut command = self.netns.command("getent");
        command.args([database, name]).env("RES_OPTIONS", options);
        let begun = Instant::now();
        let output = command.output().unwrap();
        assert!(
            begun.elapsed() < FIRST_TRY,
            "getent {database} {name} ({options}): {:?}",
            begun.elapsed()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn count(&self, more: usize) {
        self.asked.set(self.asked.get() + more);
    }

    /// Says how much was shown.
    pub(crate) fn tell(&self, what: &str) {
        println!("{what}: {} questions, each asked once", self.asked.get());
    }
}

fn check<'a>(
    what: &str,
    canonical: &str,
    addresses: impl Iterator<Item = &'a str>,
    expected: &[&str],
) {
    let is_address = |text: &&str| text.parse::<IpAddr>().is_ok();
    let wanted: Vec<_> = expected.iter().copied().filter(is_address).collect();
    assert_eq!(in_order(addresses.collect()), in_order(wanted), "{what}");
    if let Some(alias) = expected.iter().rfind(|text| !is_address(text)) {
        assert_eq!(canonical, alias.trim_end_matches('.'), "{what}");
    }
}

/// Aliases as they stand, then addresses sorted.
fn in_order(mut lines: Vec<&str>) -> Vec<&str> {
    let first = lines.iter().position(|line| line.parse::<IpAddr>().is_ok()).unwrap_or(0);
    lines[first..].sort_unstable();
    lines
}

/// `resolve.c`, running in a Pod.
struct Resolver {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Resolver {
    fn start(netns: &Netns, program: &str) -> Self {
        let mut child =
            netns.command(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.input, "{question}").unwrap();
        self.output.next().expect("it answers each line").unwrap()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
