//! The plugin `etcd` with a real etcd, compared with CoreDNS's.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    small::Asked,
    support::{
        child::{OwnedChild, START},
        coredns::CoreDns,
        free_address,
        lab::{program, until},
        requirements::require_lab_program,
        serving::Serving,
    },
};

const PATIENCE: Duration = Duration::from_secs(20);

/// An etcd without TLS on loopback.
struct Etcd {
    child: OwnedChild,
    clients: SocketAddr,
    peers: SocketAddr,
    directory: tempfile::TempDir,
}

impl Etcd {
    fn start() -> Self {
        require_lab_program("etcd");
        let directory = tempfile::tempdir().unwrap();
        let (clients, peers) = (free_address(), free_address());
        let child = Self::process(&directory, clients, peers);
        let mut etcd = Self { child, clients, peers, directory };
        etcd.wait();
        etcd
    }

    fn process(
        directory: &tempfile::TempDir,
        clients: SocketAddr,
        peers: SocketAddr,
    ) -> OwnedChild {
        let mut command = Command::new(program("etcd"));
        command.args(["--name", "it", "--unsafe-no-fsync", "--log-level", "error", "--data-dir"]);
        command.arg(directory.path().join("data"));
        for (name, address) in [
            ("--listen-client-urls", clients),
            ("--advertise-client-urls", clients),
            ("--listen-peer-urls", peers),
            ("--initial-advertise-peer-urls", peers),
        ] {
            command.arg(name).arg(format!("http://{address}"));
        }
        command.arg("--initial-cluster").arg(format!("it=http://{peers}"));
        OwnedChild::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    fn wait(&mut self) {
        until("etcd that answers", START, || {
            assert!(self.child.is_running(), "etcd has ended");
            self.call("kv/range", &json!({ "key": "YQ==" }))
        });
    }

    fn restart(&mut self) {
        self.kill();
        self.child = Self::process(&self.directory, self.clients, self.peers);
        self.wait();
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A call of the JSON gateway; `None` if it fails.
    fn call(&self, method: &str, request: &Value) -> Option<Value> {
        let body = request.to_string();
        let mut stream = TcpStream::connect(self.clients).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(
            stream,
            "POST /v3/{method} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        if !page.starts_with("HTTP/1.1 200") {
            return None;
        }
        // The body is one line. If it is sent in chunks, their lengths are on other lines.
        page.lines()
            .find(|line| line.starts_with('{'))
            .and_then(|line| serde_json::from_str(line).ok())
    }

    fn put(&self, key: &str, value: &str) {
        self.put_leased(key, value, "0");
    }

    fn put_leased(&self, key: &str, value: &str, lease: &str) {
        let [key, value] = [key, value].map(|text| BASE64_STANDARD.encode(text));
        let request = json!({ "key": key, "value": value, "lease": lease });
        self.call("kv/put", &request).expect("the key is written");
    }

    fn delete(&self, key: &str) {
        let request = json!({ "key": BASE64_STANDARD.encode(key) });
        self.call("kv/deleterange", &request).expect("the key is deleted");
    }
}

fn corefile(port: u16, etcd: SocketAddr, options: &str) -> String {
    format!(
        "skydns.test:{port} 10.0.0.0/24:{port} {{\n bind 127.0.0.1\n etcd {{\n endpoint http://{etcd}\n {options}\n }}\n}}\n\
         example.net:{port} {{\n bind 127.0.0.1\n template IN A {{\n match ^many\n answer \"{{{{ .Name }}}} 60 IN A 192.0.2.77\"\n answer \"{{{{ .Name }}}} 60 IN A 192.0.2.78\"\n fallthrough\n }}\n \
         template IN A {{\n answer \"{{{{ .Name }}}} 60 IN A 192.0.2.99\"\n }}\n template IN AAAA {{\n answer \"{{{{ .Name }}}} 60 IN AAAA 2001:db8::99\"\n }}\n \
         template IN TXT {{\n answer \"{{{{ .Name }}}} 60 IN TXT elsewhere\"\n }}\n}}\n"
    )
}

const KEYS: [(&str, &str); 40] = [
    ("dns/apex/x1", r#"{"host":"192.0.2.1","ttl":60}"#),
    ("dns/apex/x2", r#"{"host":"2001:db8::1"}"#),
    ("dns/ns/a", r#"{"host":"192.0.2.53"}"#),
    ("dns/ns/b", r#"{"host":"2001:db8::53"}"#),
    ("one", r#"{"host":"192.0.2.2"}"#),
    ("two/a", r#"{"host":"192.0.2.3","port":80,"priority":1,"weight":5}"#),
    ("two/b", r#"{"host":"192.0.2.4","port":81,"priority":1,"weight":10}"#),
    ("two/c", r#"{"host":"192.0.2.4","port":82,"priority":2}"#),
    ("two/d", r#"{"host":"2001:db8::4","port":82,"priority":2,"weight":1}"#),
    ("two/e", r#"{"host":"192.0.2.4","port":-1}"#),
    ("deep/a/b/c/d", r#"{"host":"192.0.2.5","ttl":7}"#),
    ("alias", r#"{"host":"one.skydns.test"}"#),
    ("alias2", r#"{"host":"alias.skydns.test."}"#),
    ("out", r#"{"host":"host.example.net","port":443}"#),
    ("outs/a", r#"{"host":"a.example.net","port":1}"#),
    ("outs/b", r#"{"host":"many.example.net","port":2}"#),
    ("outs/c", r#"{"host":"192.0.2.6","port":3}"#),
    ("outs/d", r#"{"host":"a.example.net","port":4}"#),
    ("nowhere", r#"{"host":"nowhere.example.invalid","port":4}"#),
    ("self/a", r#"{"host":"self.skydns.test"}"#),
    ("circle1", r#"{"host":"circle2.skydns.test"}"#),
    ("circle2", r#"{"host":"circle1.skydns.test"}"#),
    ("dangling", r#"{"host":"missing.skydns.test","port":5}"#),
    ("text/a", r#"{"text":"a text"}"#),
    ("text/b", r#"{"text":"another text","host":"","ttl":9}"#),
    ("both", r#"{"text":"of a host","host":"192.0.2.7","port":9}"#),
    ("named", r#"{"text":"of a name","host":"one.skydns.test"}"#),
    ("mail/a", r#"{"host":"192.0.2.8","mail":true,"priority":20}"#),
    ("mail/b", r#"{"host":"one.skydns.test","mail":true}"#),
    ("mail/c", r#"{"host":"mx.example.net","mail":true,"priority":30}"#),
    ("mail/d", r#"{"host":"192.0.2.9"}"#),
    ("strip/a/b/c", r#"{"host":"192.0.2.10","port":1,"targetstrip":1}"#),
    ("strip/a/b/d", r#"{"host":"192.0.2.11","port":1,"targetstrip":2}"#),
    ("strip/a/b/e", r#"{"host":"192.0.2.12","port":1,"targetstrip":20}"#),
    ("group/a", r#"{"host":"192.0.2.13","group":"g1"}"#),
    ("group/sub/b", r#"{"host":"192.0.2.14","group":"g1"}"#),
    ("group/sub/c", r#"{"host":"192.0.2.15","group":"g2"}"#),
    ("mapped", r#"{"host":"::ffff:192.0.2.16"}"#),
    ("UPPER", r#"{"host":"192.0.2.17"}"#),
    ("double/a", r#"{"host":"192.0.2.2"}"#),
];

const QUERIES: &str = "
#? one.skydns.test A
#? ONE.skydns.TEST A
#? one.skydns.test AAAA
#? one.skydns.test MX
#? one.skydns.test HTTPS
#? one.skydns.test SRV
#? sub.one.skydns.test A
#? missing.skydns.test A
#? skydns.test A
#? skydns.test AAAA
#? skydns.test NS
#? two.skydns.test A
#? two.skydns.test AAAA
#? two.skydns.test SRV
#? a.two.skydns.test SRV
#? *.skydns.test A
#? any.two.skydns.test A
#? a.*.skydns.test A
#? *.two.skydns.test SRV
#? x.*.skydns.test A
#? deep.skydns.test A
#? a.deep.skydns.test A
#? d.c.b.a.deep.skydns.test A
#? d.c.b.a.deep.skydns.test TXT
#? alias.skydns.test A
#? alias.skydns.test CNAME
#? alias.skydns.test AAAA
#? alias2.skydns.test A
#? alias2.skydns.test TXT
#? out.skydns.test A
#? out.skydns.test AAAA
#? out.skydns.test TXT
#? out.skydns.test CNAME
#? out.skydns.test SRV
#? outs.skydns.test A
#? outs.skydns.test AAAA
#? outs.skydns.test SRV
#? nowhere.skydns.test A
#? nowhere.skydns.test SRV
#? self.skydns.test A
#? circle1.skydns.test A
#? circle2.skydns.test A
#? dangling.skydns.test A
#? dangling.skydns.test SRV
#? text.skydns.test TXT
#? text.skydns.test A
#? a.text.skydns.test TXT
#? both.skydns.test TXT
#? both.skydns.test A
#? both.skydns.test SRV
#? named.skydns.test TXT
#? named.skydns.test A
#? named.skydns.test CNAME
#? mail.skydns.test MX
#? mail.skydns.test A
#? a.mail.skydns.test MX
#? strip.skydns.test SRV
#? group.skydns.test A
#? sub.group.skydns.test A
#? mapped.skydns.test A
#? mapped.skydns.test AAAA
#? upper.skydns.test A
#? 7.0.0.10.in-addr.arpa PTR
#? 8.0.0.10.in-addr.arpa PTR
#? 9.0.0.10.in-addr.arpa PTR
#? 7.0.0.10.in-addr.arpa A
#? ns.dns.skydns.test A
#? apex.dns.skydns.test A
#? one.skydns.test A ch
#! one.skydns.test SOA -- the SOA record is at the apex only
#! missing.skydns.test SOA -- the SOA record is at the apex only, and this name does not exist
#! 0.0.10.in-addr.arpa NS -- the apex exists although etcd has no name servers for it
";

/// The reply without serials. CoreDNS takes them from the clock, and ndots takes them from etcd.
fn without_serials(reply: &str) -> String {
    let soa = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        let at =
            fields.iter().position(|field| *field == "7200").filter(|_| line.contains(" SOA "));
        at.map_or_else(
            || line.to_owned(),
            |at| {
                let mut fields = fields.clone();
                fields[at - 1] = "SERIAL";
                fields.join(" ")
            },
        )
    };
    reply.lines().map(soa).collect::<Vec<_>>().join("\n")
}

#[test]
fn services_are_answered_as_by_coredns() {
    let etcd = Etcd::start();
    for (key, value) in KEYS {
        etcd.put(&format!("/skydns/test/skydns/{key}"), value);
    }
    etcd.put("/skydns/arpa/in-addr/10/0/0/7", r#"{"host":"one.skydns.test"}"#);
    etcd.put("/skydns/arpa/in-addr/10/0/0/8", r#"{"host":"192.0.2.1"}"#);
    etcd.put("/skydnsx/test/skydns/other", r#"{"host":"192.0.2.66"}"#);
    let theirs = CoreDns::start(|port| corefile(port, etcd.clients, ""));
    let ours = Serving::start(|port| corefile(port, etcd.clients, ""));
    let (mut queries, mut faults) = (0, String::new());
    for asked in QUERIES.lines().filter_map(Asked::read) {
        queries += 1;
        let [theirs, ours] =
            [theirs.address, ours.address].map(|server| without_serials(&asked.ask(server)));
        if asked.different.is_none() != (theirs == ours) {
            faults += &format!("{asked:?}\nCoreDNS: {theirs}\nndots: {ours}\n");
        }
    }
    println!("{queries} queries");
    assert!(faults.is_empty(), "\n{faults}");
    assert!(queries >= 72, "only {queries} queries");
}

fn address(server: &Serving, name: &str) -> String {
    Asked::read(&format!("#? {name} A")).unwrap().ask(server.address)
}

/// Waits until the reply has these words.
fn shows(server: &Serving, name: &str, words: &str) -> Duration {
    let started = Instant::now();
    until(&format!("{name}: {words}"), PATIENCE, || {
        address(server, name).contains(words).then_some(())
    });
    started.elapsed()
}

#[test]
fn changes_show_at_once_and_the_last_keys_are_served_while_etcd_is_away() {
    let mut etcd = Etcd::start();
    etcd.put("/skydns/test/skydns/a", r#"{"host":"192.0.2.1"}"#);
    etcd.put("/skydns/test/skydns/odd/x", "no JSON");
    let server = Serving::start(|port| corefile(port, etcd.clients, ""));
    // The first query finds the keys.
    assert!(address(&server, "a.skydns.test").contains("192.0.2.1"));
    assert!(address(&server, "odd.skydns.test").starts_with("SERVFAIL"));
    etcd.put("/skydns/test/skydns/a", r#"{"host":"192.0.2.2"}"#);
    etcd.put("/skydns/test/skydns/odd/y", r#"{"host":"192.0.2.9"}"#);
    let took = shows(&server, "a.skydns.test", "192.0.2.2");
    shows(&server, "odd.skydns.test", "192.0.2.9");
    println!("a change shows after {took:?}");
    etcd.delete("/skydns/test/skydns/a");
    shows(&server, "a.skydns.test", "NXDOMAIN");
    etcd.put("/skydns/test/skydns/b", r#"{"host":"192.0.2.3"}"#);
    shows(&server, "b.skydns.test", "192.0.2.3");
    etcd.kill();
    sleep(Duration::from_millis(200));
    assert!(address(&server, "b.skydns.test").contains("192.0.2.3"));
    etcd.restart();
    etcd.put("/skydns/test/skydns/b", r#"{"host":"192.0.2.4"}"#);
    println!("after the return {:?}", shows(&server, "b.skydns.test", "192.0.2.4"));
}

/// 1200 keys are more than a page.
#[test]
fn all_pages_are_read() {
    let etcd = Etcd::start();
    for hundred in 0..12 {
        let puts: Vec<_> = (0..100)
            .map(|at| {
                let key = BASE64_STANDARD.encode(format!("/skydns/test/skydns/n{}", hundred * 100 + at));
                json!({ "requestPut": { "key": key, "value": BASE64_STANDARD.encode(r#"{"host":"192.0.2.1"}"#) } })
            })
            .collect();
        etcd.call("kv/txn", &json!({ "success": puts })).expect("the keys are written");
    }
    let server = Serving::start(|port| corefile(port, etcd.clients, ""));
    for at in [0, 1, 499, 500, 777, 1000, 1199] {
        let reply = address(&server, &format!("n{at}.skydns.test"));
        assert!(reply.contains("192.0.2.1"), "{at}: {reply}");
    }
}

fn ttl(server: SocketAddr, name: &str) -> u32 {
    let reply = Asked::read(&format!("#? {name} A")).unwrap().ask(server);
    reply.split(&format!("{name}. ")).nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn leases_limit_ttls_as_in_coredns() {
    let etcd = Etcd::start();
    for (name, lease) in [("short", 100), ("long", 5000)] {
        let lease = etcd.call("lease/grant", &json!({ "TTL": lease.to_string() })).unwrap();
        let id = lease["ID"].as_str().unwrap();
        etcd.put_leased(&format!("/skydns/test/skydns/{name}"), r#"{"host":"192.0.2.1"}"#, id);
    }
    for options in ["", "min-lease-ttl 200\n max-lease-ttl 20m"] {
        let theirs = CoreDns::start(|port| corefile(port, etcd.clients, options));
        let ours = Serving::start(|port| corefile(port, etcd.clients, options));
        for name in ["short.skydns.test", "long.skydns.test"] {
            let (theirs, ours) = (ttl(theirs.address, name), ttl(ours.address, name));
            println!("{options:?} {name}: {theirs} and {ours}");
            assert!(theirs.abs_diff(ours) <= 10, "{options:?} {name}: {theirs} and {ours}");
        }
    }
}

#[test]
fn a_user_logs_in() {
    let etcd = Etcd::start();
    etcd.put("/skydns/test/skydns/a", r#"{"host":"192.0.2.1"}"#);
    for (method, request) in [
        ("auth/user/add", json!({ "name": "root", "password": "secret" })),
        ("auth/role/add", json!({ "name": "root" })),
        ("auth/user/grant", json!({ "user": "root", "role": "root" })),
        ("auth/enable", json!({})),
    ] {
        etcd.call(method, &request).expect(method);
    }
    let with = |options: &str| Serving::start(|port| corefile(port, etcd.clients, options));
    assert!(address(&with("credentials root secret"), "a.skydns.test").contains("192.0.2.1"));
    assert!(address(&with("credentials root wrong"), "a.skydns.test").starts_with("SERVFAIL"));
    assert!(address(&with(""), "a.skydns.test").starts_with("SERVFAIL"));
}
