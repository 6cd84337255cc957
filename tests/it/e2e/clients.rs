//! Clients in a Pod: dig, and programs that use glibc and musl.

use std::{
    cell::{Cell, RefCell},
    io::{BufRead, BufReader, Lines, Write},
    net::IpAddr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use super::cluster::Cluster;
use crate::support::lab::Netns;

/// How long a change may take to show. It should take milliseconds; the rest is for the controllers
/// and for a busy machine.
const CHANGE: Duration = Duration::from_secs(5);
/// A C library that gets no reply sends its query again after 2.5 s or 5 s. An answer before that
/// time is the answer to the first query.
const FIRST_TRY: Duration = Duration::from_millis(2400);

pub(crate) struct Client {
    pub(crate) netns: Netns,
    /// The addresses of the Pod, IPv4 and IPv6.
    pub(crate) addresses: [String; 2],
    musl: RefCell<Resolver>,
    asked: Cell<usize>,
}

impl Client {
    pub(crate) fn new(cluster: &Cluster, netns: Netns, addresses: [String; 2]) -> Self {
        let musl = RefCell::new(Resolver::start(&netns, &cluster.musl.display().to_string()));
        Self { netns, addresses, musl, asked: Cell::new(0) }
    }

    /// Every client finds exactly these addresses, and this alias if there is one. The question is
    /// `NAME A` or `NAME AAAA`; the expected lines are those of `dig +short`.
    pub(crate) fn finds(&self, question: &str, expected: &[&str]) {
        self.dig(question, expected);
        self.libraries_find(question, expected);
    }

    /// Like `finds`, but without dig.
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

    /// `dig +search` prints these lines over UDP and TCP, with the addresses in any order.
    pub(crate) fn dig(&self, question: &str, expected: &[&str]) {
        for transport in ["+notcp", "+tcp"] {
            let line = format!("dig {transport} +tries=1 +search +short {question}");
            self.count(1);
            let text = self.netns.text(&line);
            assert_eq!(in_order(text.lines().collect()), in_order(expected.to_vec()), "{line}");
        }
    }

    /// Every client finds these names of the address. A client that uses only one name finds one of
    /// them.
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

    /// No client finds a record.
    pub(crate) fn finds_nothing(&self, question: &str) {
        self.finds(question, &[]);
    }

    /// Repeats the query with musl until the answer is as expected, and returns how long that took.
    /// Panics after [`CHANGE`].
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

    /// One answer from musl: the canonical name and the addresses, or `error: …`.
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

    /// Prints how many checks were made.
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

/// Keeps the order of aliases, and sorts the addresses.
fn in_order(mut lines: Vec<&str>) -> Vec<&str> {
    let first = lines.iter().position(|line| line.parse::<IpAddr>().is_ok()).unwrap_or(0);
    lines[first..].sort_unstable();
    lines
}

/// A process of `resolve.c` in a Pod.
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
