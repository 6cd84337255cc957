//! Reloads under load: the Corefile of a mounted ConfigMap changes many times, and no query is
//! lost.
//!
//! `NDOTS_RELOADS` sets the number of reloads; `make soak` runs 1,000.

mod slow;

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Ndots,
    child::status,
    end::{Ended, end},
    page, program, question, turn, udp,
    upstream::Upstream,
};

const A: u16 = 1;
const PAGES: &str = "127.0.0.1:0";
const RELOADS: u32 = 200;
/// Every 8th reload gets no signal, so ndots must notice the file. Every 25th file is broken.
const SEEN: u32 = 8;
const BROKEN: u32 = 25;
/// The client's receive buffer, in octets: enough for seconds of replies.
const RECEIVE_OCTETS: usize = 4 << 20;
/// The pause between two queries: 1,000 queries each second.
const PAUSE: Duration = Duration::from_millis(1);

/// A ConfigMap as kubelet mounts it: the file is a link into `..data`, and `..data` is a link that
/// kubelet replaces.
struct Mount {
    directory: tempfile::TempDir,
    writes: u32,
}

impl Mount {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        symlink("..data/Corefile", directory.path().join("Corefile")).unwrap();
        Self { directory, writes: 0 }
    }

    fn corefile(&self) -> PathBuf {
        self.directory.path().join("Corefile")
    }

    fn write(&mut self, text: &str) {
        self.writes += 1;
        let (data, fresh) =
            (format!("..written_{}", self.writes), self.directory.path().join("..data_tmp"));
        fs::create_dir(self.directory.path().join(&data)).unwrap();
        fs::write(self.directory.path().join(&data).join("Corefile"), text).unwrap();
        symlink(&data, &fresh).unwrap();
        let before = fs::read_link(self.directory.path().join("..data"));
        fs::rename(&fresh, self.directory.path().join("..data")).unwrap();
        if let Ok(before) = before {
            fs::remove_dir_all(self.directory.path().join(before)).unwrap();
        }
    }
}

/// The Corefile with this number, which is in the address of `v.example`. The other block changes
/// only in ways that keep the cache.
fn corefile(number: u32, upstream: SocketAddr) -> String {
    let ttl = 5 + number % 2;
    let cafe = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cafe");
    format!(
        ".:0 {{\n bind 127.0.0.1\n errors\n reload\n loadbalance\n prometheus 127.0.0.1:0\n health 127.0.0.1:0\n ready 127.0.0.1:0\n \
         kubernetes cluster.local {{\n manifests {}\n ttl {ttl}\n }}\n forward . {upstream}\n cache 3600\n loop\n}}\n\
         v.example:0 {{\n bind 127.0.0.1\n hosts none {{\n 192.0.{}.{} v.example\n }}\n}}\n",
        cafe.display(),
        number / 256,
        number % 256,
    )
}

/// The results of a client that sends queries during the whole test.
#[derive(Debug, Default)]
struct Report {
    asked: u32,
    lost: u32,
    /// Wrong replies.
    wrong: u32,
    slowest: Duration,
}

/// Queries a cluster name and a cached name in turns, until `ended` is true.
fn load(to: SocketAddr, ended: &Ended) -> Report {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    socket.set_nonblocking(true).unwrap();
    // Without a large buffer the client itself could lose replies while other processes run.
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_OCTETS).unwrap();
    let names = ["kubernetes.default.svc.cluster.local", "www.example.org"];
    let (mut report, mut waiting, mut reply) = (Report::default(), HashMap::new(), [0; 512]);
    let (begun, mut stopped) = (Instant::now(), None);
    loop {
        while let Ok(length) = socket.recv(&mut reply) {
            let id = u16::from_be_bytes([reply[0], reply[1]]);
            let Some(asked): Option<Instant> = waiting.remove(&id) else { continue };
            report.slowest = report.slowest.max(asked.elapsed());
            let address = [[10, 96, 0, 1], [192, 0, 2, 80]][usize::from(id % 2)];
            report.wrong += u32::from(reply[3] & 15 != 0 || !reply[..length].ends_with(&address));
        }
        if ended.is_true() {
            let since = *stopped.get_or_insert_with(Instant::now);
            if waiting.is_empty() || since.elapsed() > Duration::from_secs(3) {
                report.lost += waiting.len() as u32;
                return report;
            }
        } else if begun.elapsed() >= PAUSE * report.asked {
            let id = report.asked as u16;
            socket.send(&question(id, names[usize::from(id % 2)], A)).unwrap();
            report.asked += 1;
            // If an id is reused and still waits for its reply, the first query was lost.
            report.lost += u32::from(waiting.insert(id, Instant::now()).is_some());
            continue;
        }
        thread::sleep(PAUSE / 4);
    }
}

/// The numbers of descriptors and threads, and the memory in KiB.
fn figures(pid: u32) -> (usize, u64, u64) {
    let number = |name: &str| status(pid, name).unwrap();
    (fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), number("Threads"), number("VmRSS"))
}

/// Number of new log lines about a rejected file. If `wanted`, waits for the first.
fn failures(server: &Ndots, wanted: bool) -> u32 {
    let failed = |line: &String| {
        assert!(!line.contains("Recovered from panic"), "{line}");
        line.contains("reload failed")
    };
    let mut failures = 0;
    while wanted && failures == 0 {
        let line = server
            .log
            .recv_timeout(Duration::from_secs(20))
            .expect("the log names the broken file");
        failures += u32::from(failed(&line));
    }
    failures + server.log.try_iter().filter(failed).count() as u32
}

/// Waits until the Corefile with this number is in use.
fn in_force(to: SocketAddr, number: u32) -> bool {
    let (begun, address) = (Instant::now(), [192, 0, (number / 256) as u8, (number % 256) as u8]);
    while begun.elapsed() < Duration::from_secs(20) {
        if udp(to, &question(2, "v.example", A)).unwrap().ends_with(&address) {
            return true;
        }
        thread::sleep(PAUSE);
    }
    false
}

#[test]
fn reloads_lose_no_query() {
    let _turn = turn::alone();
    let reloads = std::env::var("NDOTS_RELOADS").map_or(RELOADS, |number| number.parse().unwrap());
    let upstream = Upstream::start(Ipv4Addr::LOCALHOST);
    let mut mount = Mount::new();
    mount.write(&corefile(0, upstream.address));
    let mut command = Command::new(program());
    command.arg("-conf").arg(mount.corefile());
    let server = Ndots::with_banner(command, &["dns", PAGES]);
    let (to, pid) = (server.address, server.child.id());
    udp(to, &question(1, "www.example.org", A)).unwrap();

    let (end, ended) = end();
    let loading = thread::spawn(move || load(to, &ended));
    let (mut before, mut failed, mut longest) = (None, 0, Duration::ZERO);
    let begun = Instant::now();
    for turn in 1..=reloads {
        let broken = turn % BROKEN == 0;
        mount.write(&if broken {
            "cluster.local {\n forwrad . 10.0.0.2\n}\n".to_owned()
        } else {
            corefile(turn, upstream.address)
        });
        let written = Instant::now();
        if turn % SEEN > 0 {
            server.child.signal("USR1");
        }
        failed += failures(&server, broken);
        assert!(in_force(to, if broken { turn - 1 } else { turn }), "reload {turn}");
        longest = longest.max(written.elapsed());
        if turn == reloads / 10 {
            before = Some(figures(pid));
        }
    }
    let took = begun.elapsed();
    drop(end);
    let report = loading.join().unwrap();
    let (before, after) = (before.unwrap(), figures(pid));
    println!("{reloads} reloads in {took:.1?} ({} of broken files), {report:?}", reloads / BROKEN);
    println!("the longest until a change is in force: {longest:.1?}");
    println!(
        "descriptors {} -> {}, threads {} -> {}, memory {} -> {} KiB",
        before.0, after.0, before.1, after.1, before.2, after.2
    );
    assert_eq!((report.lost, report.wrong), (0, 0), "{report:?}");
    // It takes 2 s on an idle machine.
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert_eq!(upstream.asked(|name| name == "www.example.org."), 1, "the cache survives reloads");
    assert!(
        after.0 <= before.0 + 2 && after.1 <= before.1 + 1,
        "descriptors and threads: {before:?} -> {after:?}"
    );
    assert!(after.2 <= before.2 + 4096, "memory: {before:?} -> {after:?}");
    let page = page(server.bound[PAGES], "/metrics").unwrap();
    failed += failures(&server, false);
    assert!(
        failed >= reloads / BROKEN
            && page.contains(&format!("coredns_reload_failed_total {failed}\n")),
        "{failed}: {page}"
    );
}

#[test]
fn a_page_without_its_address_does_not_undo_a_reload_and_is_served_later() {
    let corefile = |number: u8, pages: &str| {
        format!(
            ".:0 {{\n bind 127.0.0.1\n reload\n prometheus 127.0.0.1:0\n{pages} hosts none {{\n 192.0.0.{number} v.example\n }}\n}}\n"
        )
    };
    for (page, path) in [("health", "/health"), ("ready", "/ready")] {
        let mut mount = Mount::new();
        mount.write(&corefile(1, ""));
        let mut command = Command::new(program());
        command.arg("-conf").arg(mount.corefile());
        let server = Ndots::with_banner(command, &["dns", PAGES]);
        assert!(in_force(server.address, 1));
        let first = log_until(&server, "Running configuration SHA512 = ");
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = stranger.local_addr().unwrap();
        mount.write(&corefile(2, &format!(" {page} {taken}\n")));
        server.child.signal("USR1");
        let line = log_until(&server, "cannot serve pages");
        assert!(line.contains(&format!("[ERROR] cannot serve pages at {taken}")), "{line}");
        assert!(line.contains("DNS is served without these pages"), "{line}");
        let second = log_until(&server, "Running configuration SHA512 = ");
        log_until(&server, "Reloading complete");
        assert!(in_force(server.address, 2));
        assert_ne!(first, second, "{page}");
        let hash = second.rsplit(' ').next().unwrap();
        let metrics = crate::support::page(server.bound[PAGES], "/metrics").unwrap();
        for series in [
            format!("coredns_reload_version_info{{hash=\"sha512\",value=\"{hash}\"}} 1\n"),
            format!("coredns_corefile_info{{sha512=\"{hash}\",state=\"running\"}} 1\n"),
            "coredns_reload_failed_total 0\n".to_owned(),
        ] {
            assert!(metrics.contains(&series), "{page}: {series}{metrics}");
        }

        drop(stranger);
        let begun = Instant::now();
        while crate::support::page(taken, path).is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the page is not served");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The first line of the log that contains the text. A line about a failed reload is a failure.
fn log_until(server: &Ndots, text: &str) -> String {
    loop {
        let line = server.log.recv_timeout(Duration::from_secs(20)).expect(text);
        assert!(!line.contains("reload failed"), "{line}");
        if line.contains(text) {
            return line;
        }
    }
}

/// A node without resolvers, and one whose network comes up late.
#[test]
fn without_a_usable_upstream_other_names_are_answered_until_the_file_has_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("resolv.conf");
    let upstreams = format!("{} no-such-host.invalid fe80::1%none", file.display());
    let text = format!(
        ".:0 {{\n bind 127.0.0.1\n hosts none {{\n 192.0.2.1 here.example\n fallthrough\n }}\n forward . {upstreams}\n}}\n"
    );
    let ndots = Ndots::corefile(&text, &["dns"], &[]);
    let rcode_of = |name: &str| ndots.udp(&question(1, name, A)).map(|reply| reply[3] & 15);
    assert_eq!((rcode_of("here.example"), rcode_of("www.example")), (Some(0), Some(2)));
    fs::write(&file, "nameserver name\n").unwrap();
    let long = Duration::from_secs(20);
    let logged = |text: &str| {
        let ends = Instant::now() + long;
        while let Ok(line) = ndots.log.recv_timeout(ends.saturating_duration_since(Instant::now()))
        {
            if line.contains(text) {
                return true;
            }
        }
        false
    };
    assert!(logged("`nameserver name`") && logged("Reloading complete"));
    fs::write(&file, "nameserver 127.0.0.1\n").unwrap();
    assert!(logged("Reloading complete"));
    assert_eq!(rcode_of("here.example"), Some(0));
}
