//! The entries of the kernel's conntrack table that forwarded queries cause.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    DNSMASQ,
    lab::program,
    requirements::{require_programs, require_root},
    turn,
};

/// The bar: entries at one time, at [`RATE`] misses a second.
const MOST_ENTRIES: usize = 2000;
const RATE: usize = 1000;
/// Processes that send queries at the same time, each one query after another.
const PROCESSES: usize = 4;
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

    /// Asks for [`RATE`] new names, in several processes.
    fn ask(&self, round: usize) -> Vec<Child> {
        let ask = |process: usize| {
            let names: String = (0..RATE / PROCESSES)
                .map(|name| format!("n{round}-{process}-{name}.test A\n"))
                .collect();
            let file = self.directory.path().join(format!("names-{process}"));
            fs::write(&file, names).unwrap();
            let mut dig = self.command("timeout 20 dig @127.0.0.1 +tries=1 +time=2 +short -f");
            dig.arg(file).stdout(Stdio::piped()).spawn().unwrap()
        };
        (0..PROCESSES).map(ask).collect()
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

/// The entries at most and at the end, and how many queries of how many were answered.
fn measure(server: &Path, name: &str) -> [usize; 4] {
    let tracked = Tracked::start(server, name);
    thread::sleep(Duration::from_secs(1));
    let (begun, mut most, mut asked, mut answered) = (Instant::now(), 0, 0, 0);
    let mut round = 0;
    while begun.elapsed() < TIME {
        let next = begun + Duration::from_secs(round as u64 + 1);
        let processes = tracked.ask(round);
        thread::sleep(next.saturating_duration_since(Instant::now()));
        most = most.max(tracked.ports().len());
        for dig in processes {
            let replies = String::from_utf8(dig.wait_with_output().unwrap().stdout).unwrap();
            answered += replies.lines().filter(|line| *line == "192.0.2.80").count();
        }
        (asked, round) = (asked + RATE, round + 1);
    }
    [most, tracked.ports().len(), answered, asked]
}

#[test]
#[ignore = "minutes: `make soak`"]
fn a_thousand_misses_a_second_leave_room_in_the_table_of_connections() {
    require_programs(&["ip", "nft", "dig", "dnsmasq", "conntrack"]);
    require_root();
    let _turn = turn::alone();
    let ours = Path::new(env!("CARGO_BIN_EXE_ndots"));
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| measure(&program("coredns"), "coredns"));
        let ours = measure(ours, "ndots");
        (theirs.join().unwrap(), ours)
    });
    println!("entries of the conntrack table at up to {RATE} misses a second, for {TIME:?}");
    for (name, [most, last, answered, asked]) in [("CoreDNS", theirs), ("ndots", ours)] {
        println!("{name:8} {most:6} at most {last:6} at the end, {answered} of {asked} answered");
    }
    let [most, _, answered, asked] = ours;
    assert!(most <= MOST_ENTRIES, "{most} entries");
    assert!(answered * 100 >= asked * 99, "{answered} of {asked} queries were answered");
}
