//! The entries of the kernel's conntrack table that forwarded queries cause.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::support::{
    DNSMASQ,
    child::OwnedChild,
    lab::{self, Netns, Sweeper},
    program,
    requirements::{require_programs, require_root},
    turn,
};

/// The highest number of entries at one time that is allowed, at [`RATE`] misses a second.
const MOST_ENTRIES: usize = 2000;
const RATE: usize = 1000;
/// Longer than the kernel keeps an entry that was in use for more than 2 s.
const TIME: Duration = Duration::from_secs(150);
/// The port of the upstream, which no client uses.
const UPSTREAM: &str = "5353";

/// A network namespace whose connections are tracked, with a server and its upstream.
struct Tracked {
    // The fields are dropped in this order, so the processes end before the namespace.
    children: Vec<OwnedChild>,
    netns: Netns,
    directory: tempfile::TempDir,
    _sweeper: Sweeper,
}

impl Tracked {
    fn start(server: &Path, name: &str) -> Self {
        let name = format!("tracked-{name}-{}", std::process::id());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("Corefile");
        let text =
            format!(".:53 {{\n bind 127.0.0.1\n forward . 127.0.0.53:{UPSTREAM}\n cache 30\n}}\n");
        fs::write(&file, text).unwrap();
        let sweeper = Sweeper::start();
        let netns = Netns::new(&name, Ipv4Addr::LOCALHOST, &sweeper);
        let mut tracked = Self { children: Vec::new(), netns, directory, _sweeper: sweeper };
        // A rule about the state of connections makes the kernel track them.
        tracked.netns.nft(
            "add table ip t; add chain ip t o { type filter hook output priority 0; }; \
             add rule ip t o ct state new accept",
        );
        let mut upstream = tracked.command("dnsmasq --bind-interfaces --address=/#/192.0.2.80");
        upstream.args(DNSMASQ).args(["--listen-address=127.0.0.53", "--port", UPSTREAM]);
        upstream.args(["--max-cache-ttl=1", "--dns-forward-max=10000"]);
        tracked.spawn(upstream);
        let mut command = tracked.command(&server.display().to_string());
        command.arg("-conf").arg(&file);
        tracked.spawn(command);
        tracked
    }

    fn command(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let mut command = self.netns.command(words.next().unwrap());
        command.args(words);
        command
    }

    fn spawn(&mut self, mut command: Command) {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(OwnedChild::spawn(&mut command));
    }

    /// Starts to ask for [`RATE`] new names a second.
    fn ask(&self) -> Child {
        let names = RATE * TIME.as_secs() as usize;
        let names: String = (0..names).map(|name| format!("n{name}.test A\n")).collect();
        let file = self.directory.path().join("names");
        fs::write(&file, names).unwrap();
        let mut dnsperf = self.command(&format!("dnsperf -s 127.0.0.1 -n 1 -Q {RATE} -d"));
        dnsperf.arg(file).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// The ports of queries to the upstream that have an entry.
    fn ports(&self) -> Vec<String> {
        let list = self.command("conntrack -L -p udp --orig-port-dst").arg(UPSTREAM).output();
        let list = String::from_utf8(list.unwrap().stdout).unwrap();
        let port = |line: &str| {
            line.split(' ').find_map(|word| word.strip_prefix("sport=").map(str::to_owned))
        };
        list.lines().filter_map(port).collect()
    }
}

struct Measured {
    /// The largest number of entries, and the number at the end.
    entries: [usize; 2],
    asked: usize,
    answered: usize,
    rate: f64,
}

fn measure(server: &Path, name: &str) -> Measured {
    let tracked = Tracked::start(server, name);
    thread::sleep(Duration::from_secs(1));
    let mut load = tracked.ask();
    let mut most = 0;
    while load.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_secs(1));
        most = most.max(tracked.ports().len());
    }
    let report = String::from_utf8(load.wait_with_output().unwrap().stdout).unwrap();
    // The number behind a label of dnsperf's report.
    let figure = |label: &str| {
        let rest = report.split_once(label).unwrap_or_else(|| panic!("no {label} in {report}")).1;
        rest.split_whitespace().next().unwrap().parse::<f64>().unwrap()
    };
    Measured {
        entries: [most, tracked.ports().len()],
        asked: figure("Queries sent:") as usize,
        answered: figure("NOERROR") as usize,
        rate: figure("Queries per second:"),
    }
}

#[test]
#[ignore = "minutes: `make soak`"]
fn a_thousand_misses_a_second_leave_room_in_the_table_of_connections() {
    require_programs(&["ip", "nft", "dnsperf", "dnsmasq", "conntrack"]);
    require_root();
    let _turn = turn::alone();
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| measure(&lab::program("coredns"), "coredns"));
        let ours = measure(&program(), "ndots");
        (theirs.join().unwrap(), ours)
    });
    println!("entries of the conntrack table, for {TIME:?}");
    for (name, measured) in [("CoreDNS", &theirs), ("ndots", &ours)] {
        let Measured { entries: [most, last], asked, answered, rate } = measured;
        println!(
            "{name:8} {most:6} at most {last:6} at the end, {answered} of {asked} answered, {rate:.0}/s"
        );
    }
    let Measured { entries: [most, _], asked, answered, rate } = ours;
    assert!(rate > 0.95 * RATE as f64, "only {rate} queries a second");
    assert!(most <= MOST_ENTRIES, "{most} entries");
    assert!(answered * 100 >= asked * 99, "{answered} of {asked} queries were answered");
}
