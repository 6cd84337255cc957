//! External names: the cost of a cache miss and of a cached name, in ndots, CoreDNS and resolvers.
//! Knot DNS is the upstream of all of them.

use std::{fmt::Write as _, fs, net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    Bench, ROUNDS, load, middle, peers, query,
    server::Server,
    shared::support::{DNSMASQ, free_address, unbound_conf},
};

/// The names of one measurement. No server can answer more in that time.
const NAMES: usize = 500_000;

const CACHED: &str = "www.bench.test";

pub(crate) fn costs(bench: &Bench) {
    let knot = knot(bench);
    let servers = servers(bench, knot.address);
    let known = query(CACHED);
    for (_, server) in &servers {
        server.until(&known, |reply| reply.get(7) == Some(&1));
    }
    let mut heading = format!("{:<30}", "");
    servers.iter().for_each(|(name, _)| write!(heading, " {name:>8}").unwrap());
    println!(
        "\nCPU time a query, in microseconds, with Knot DNS as the upstream: median of {ROUNDS} turns. The \
         last column is the system calls of a miss alone\n{heading}"
    );
    let cached = bench.questions(&[CACHED.to_owned()]);
    row("a name in the cache", &servers, |_| cached.clone());
    row("a miss", &servers, |turn| {
        let names: Vec<_> = (0..NAMES).map(|name| format!("n{turn}-{name}.bench.test")).collect();
        bench.questions(&names)
    });
}

/// Prints one line of figures. `file` returns the input of dnsperf for a turn, whose number is the
/// argument.
fn row(what: &str, servers: &[(&str, Server)], file: impl Fn(usize) -> PathBuf) {
    let mut figures = vec![Vec::new(); servers.len()];
    for round in 0..ROUNDS {
        for (at, (_, server)) in servers.iter().enumerate() {
            figures[at].push(load::cost(server, &file(round * servers.len() + at)));
        }
    }
    let mut line = format!("{what:<30}");
    figures.into_iter().for_each(|figures| write!(line, " {:>8.2}", middle(figures)).unwrap());
    println!("{line}");
}

/// A zone in which every name has an address.
fn knot(bench: &Bench) -> Server {
    let (here, address) = (bench.directory.path().join("knot"), free_address());
    fs::create_dir(&here).unwrap();
    let zone = "$ORIGIN bench.test.\n$TTL 300\n\
        @ SOA ns host 1 7200 1800 86400 60\n@ NS ns\nns A 127.0.0.1\n* A 192.0.2.80\n";
    fs::write(here.join("zone"), zone).unwrap();
    let (directory, port) = (here.display(), address.port());
    let text = format!(
        "server:
    rundir: {directory}
    listen: 127.0.0.1@{port}
    udp-workers: 1
database:
    storage: {directory}
zone:
  - domain: bench.test
    file: {directory}/zone
    zonefile-sync: -1
"
    );
    let file = here.join("knot.conf");
    fs::write(&file, text).unwrap();
    let server =
        Server::load_side("knotd", &["-c".to_owned(), file.display().to_string()], address);
    server.until(&query(CACHED), |reply| reply.get(7) == Some(&1));
    server
}

fn servers(bench: &Bench, knot: SocketAddr) -> Vec<(&'static str, Server)> {
    let mut servers: Vec<_> = peers()
        .into_iter()
        .map(|(name, program)| {
            let address = free_address();
            let file = bench.directory.path().join(format!("Corefile-{}", address.port()));
            let text = format!(
                ".:{} {{\n bind 127.0.0.1\n forward . {knot}\n cache 300\n}}\n",
                address.port()
            );
            fs::write(&file, text).unwrap();
            (name, Server::corefile(&program, &file, address))
        })
        .collect();
    servers.push(("Unbound", unbound(bench, knot)));
    servers.push(("dnsmasq", dnsmasq(knot)));
    servers.push(("system", Server::relay(knot)));
    std::thread::sleep(Duration::from_millis(200));
    servers
}

fn unbound(bench: &Bench, knot: SocketAddr) -> Server {
    let (address, directory) = (free_address(), bench.directory.path());
    let file = directory.join("unbound.conf");
    fs::write(&file, unbound_conf(directory, address.port(), knot.port())).unwrap();
    Server::server_side("unbound", &["-c".to_owned(), file.display().to_string()], address)
}

fn dnsmasq(knot: SocketAddr) -> Server {
    let address = free_address();
    let own = [
        "--listen-address=127.0.0.1".to_owned(),
        "--bind-interfaces".to_owned(),
        "--cache-size=10000".to_owned(),
        format!("--port={}", address.port()),
        format!("--server=127.0.0.1#{}", knot.port()),
    ];
    let arguments: Vec<_> = DNSMASQ.iter().map(ToString::to_string).chain(own).collect();
    Server::server_side("dnsmasq", &arguments, address)
}
