//! Network namespaces on a network of their own, and the shell that removes them.

use std::{
    fs,
    io::Write,
    net::Ipv4Addr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

/// A shell that collects clean-up commands. It runs them when the test's process closes the pipe:
/// at the end, after a panic, or when the process is killed.
pub(crate) struct Sweeper {
    shell: Child,
    todo: Mutex<Option<ChildStdin>>,
}

impl Sweeper {
    pub(crate) fn start() -> Self {
        let mut shell = Command::new("sh");
        // Its own process group, so that Ctrl-C ends only the tests.
        shell.args(["-c", "todo=$(cat); eval \"$todo\""]).process_group(0).stdin(Stdio::piped());
        let mut shell = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let todo = Mutex::new(shell.stdin.take());
        Self { shell, todo }
    }

    /// Adds a line to the clean-up; lines run in order.
    pub(crate) fn later(&self, line: &str) {
        if let Some(todo) = &mut *self.todo.lock().unwrap() {
            writeln!(todo, "{line}").unwrap();
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.todo.lock().unwrap().take();
        let _ = self.shell.wait();
    }
}

/// A network of 16 addresses: the test's own namespace has the first, the lab's node the second;
/// guests and further nodes follow.
pub(crate) struct Lan {
    base: u32,
    slot: u32,
    next: AtomicU32,
    bridge: Netns,
}

impl Lan {
    pub(crate) fn new(sweeper: &Sweeper) -> Self {
        static LABS: AtomicU32 = AtomicU32::new(0);
        // 198.18.0.0/15 is reserved for benchmarks of devices (RFC 2544) and has room for 8192 of
        // these networks. Concurrent test processes have close process ids, so the slots of one
        // process are far apart.
        let slot = (std::process::id() + 4099 * LABS.fetch_add(1, Ordering::Relaxed)) % 8192;
        let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + slot * 16;
        let bridge = Netns::new(&format!("ndots-{slot}-node"), Ipv4Addr::from(base + 2), sweeper);
        let cable = format!("ndots-{slot}");
        // A fixed link-layer address. Otherwise the bridge takes the lowest of its ports'
        // addresses, which changes with each new port and breaks the neighbours' ARP entries.
        bridge.ip(&format!(
            "link add lan0 address 02:6e:64:00:{:02x}:{:02x} type bridge",
            slot >> 8,
            slot & 255
        ));
        bridge.ip(&format!("address add {}/28 dev lan0", bridge.address));
        bridge.ip("link set lan0 up");
        bridge.text("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.bridge.bridge-nf-call-iptables=0");
        ip(&format!("link add {cable} type veth peer name test0 netns {}", bridge.name));
        bridge.ip("link set test0 master lan0 up");
        ip(&format!("address add {}/28 dev {cable}", Ipv4Addr::from(base + 1)));
        ip(&format!("link set {cable} up"));
        Self { base, slot, next: AtomicU32::new(3), bridge }
    }

    /// The address of the test's own namespace.
    pub(crate) fn test_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    pub(crate) fn bridge(&self) -> Netns {
        self.bridge.clone()
    }

    /// Adds a machine to the network.
    pub(crate) fn guest(&self, sweeper: &Sweeper) -> Netns {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(number < 15, "a lab's network has room for twelve guests");
        let guest = Netns::new(
            &format!("ndots-{}-{number}", self.slot),
            Ipv4Addr::from(self.base + number),
            sweeper,
        );
        guest.ip(&format!(
            "link add eth0 type veth peer name lan{number} netns {}",
            self.bridge.name
        ));
        self.bridge.ip(&format!("link set lan{number} master lan0 up"));
        guest.ip(&format!("address add {}/28 dev eth0", guest.address));
        guest.ip("link set eth0 up");
        guest
    }

    /// The number of this network, which is part of the names of all its namespaces.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }
}

/// A network namespace. The lab's sweeper kills its processes and deletes it.
#[derive(Clone)]
pub(crate) struct Netns {
    pub(crate) name: String,
    /// Its address for other machines.
    pub(crate) address: Ipv4Addr,
}

impl Netns {
    pub(crate) fn new(name: &str, address: Ipv4Addr, sweeper: &Sweeper) -> Self {
        let netns = Self { name: name.to_owned(), address };
        sweeper.later(&format!("ip netns pids {name} | xargs -r kill -9; ip netns delete {name}; rm -rf /etc/netns/{name}"));
        ip(&format!("netns add {name}"));
        netns.ip("link set lo up");
        netns
    }

    /// A command that runs a program in this namespace, with its files from `/etc/netns`.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// The output of a program, trimmed. The program may fail, as dig does without a reply.
    pub(crate) fn text(&self, line: &str) -> String {
        let mut words = line.split(' ');
        let output = self.command(words.next().unwrap()).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Like `text`, but the program must succeed.
    pub(crate) fn run(&self, line: &str) -> String {
        let mut words = line.split(' ');
        let output = self.command(words.next().unwrap()).args(words).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs `ip` in this namespace.
    pub(crate) fn ip(&self, line: &str) {
        ip(&format!("-n {} {line}", self.name));
    }

    /// Runs `nft` in this namespace.
    pub(crate) fn nft(&self, line: &str) {
        let output = self.command("nft").arg(line).output().unwrap();
        assert!(output.status.success(), "nft {line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Sets `/etc/resolv.conf` for programs that start later.
    pub(crate) fn resolv_conf(&self, text: &str) {
        self.etc("resolv.conf", text);
    }

    /// Sets `/etc/NAME` for programs that start later. The file must exist on the host, too.
    pub(crate) fn etc(&self, name: &str, text: &str) {
        let directory = Path::new("/etc/netns").join(&self.name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
    }
}

fn ip(line: &str) {
    let output = Command::new("ip").args(line.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
}
