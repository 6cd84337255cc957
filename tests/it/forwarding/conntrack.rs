//! The entries of the kernel's conntrack table that forwarded queries cause.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::support::{
    DNSMASQ,
    lab::program,
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
    name: String,
    children: Vec<Child>,
    directory: tempfile::TempDir,
}

impl Tracked {
    fn start(server: &Path, name: &str) -> Self {
        let name = format!("tracked-{name}-{}", std::process::id());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("Corefile");
        let text =
            format!(".:53 {{\n bind 127.0.0.1\n forward . 127.0.0.53:{UPSTREAM}\n cache 30\n}}\n");
        fs::write(&file, text).unwrap();
        let status = Command::new("ip").args(["netns", "add", &name]).status().unwrap();
        assert!(status.success());
        let mut tracked = Self { name, children: Vec::new(), directory };
        assert!(tracked.command("ip link set lo up").status().unwrap().success());
        // A rule about the state of connections makes the kernel track them.
        let rules = "add table ip t; add chain ip t o { type filter hook output priority 0; }; \
                     add rule ip t o ct state new accept";
        assert!(tracked.command("nft").arg(rules).status().unwrap().success());
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
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(line.split(' '));
        command
    }

    fn spawn(&mut self, mut command: Command) {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.children.push(child);
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

impl Drop for Tracked {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
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

/// The program whose entries are counted: that of the environment variable `NDOTS_PROGRAM`, such as
/// a release build, or the one that was built for the tests.
fn program_of_ndots() -> PathBuf {
    std::env::var_os("NDOTS_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_ndots").into()).into()
}

#[test]
#[ignore = "minutes: `make soak`"]
fn a_thousand_misses_a_second_leave_room_in_the_table_of_connections() {
    require_programs(&["ip", "nft", "dnsperf", "dnsmasq", "conntrack"]);
    require_root();
    let _turn = turn::alone();
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| measure(&program("coredns"), "coredns"));
        let ours = measure(&program_of_ndots(), "ndots");
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
