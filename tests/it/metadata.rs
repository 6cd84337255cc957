//! The labels of metadata in lines of `log`: ndots and CoreDNS with the same Corefile and the same
//! queries.

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::Receiver,
    time::Duration,
};

use crate::support::{
    child::{OwnedChild, START},
    coredns::CoreDns,
    free_address,
    lab::{self, until},
    program, question,
    requirements::require_lab_program,
    udp,
};

/// A server whose log is read. The process is killed when this is dropped.
struct Logging {
    _child: OwnedChild,
    address: SocketAddr,
    log: Receiver<String>,
    _directory: tempfile::TempDir,
}

impl Logging {
    fn start(server: &Path, corefile: &str) -> Self {
        let (address, directory) = (free_address(), tempfile::tempdir().unwrap());
        let file = directory.path().join("Corefile");
        fs::write(&file, corefile.replace("{port}", &address.port().to_string())).unwrap();
        let mut command = Command::new(server);
        command.arg("-conf").arg(file).stderr(Stdio::null());
        let (mut child, log) = OwnedChild::with_lines(&mut command);
        until("a server that answers", START, || {
            assert!(child.is_running(), "{} has ended", server.display());
            udp(address, &question(1, "start.invalid", 1))
        });
        let server = Self { _child: child, address, log, _directory: directory };
        server.line("start.invalid");
        server
    }

    /// The line about a name.
    fn line(&self, name: &str) -> String {
        let start = format!("[INFO] {name}. ");
        loop {
            let line = self.log.recv_timeout(Duration::from_secs(10)).expect("a line of the log");
            if line.starts_with(&start) {
                return line;
            }
        }
    }

    fn ask(&self, name: &str, qtype: u16) -> String {
        udp(self.address, &question(7, name, qtype)).expect("a reply");
        self.line(name)
    }
}

const A: u16 = 1;
const TXT: u16 = 16;

/// The blocks whose lines of the log are compared. `wild` is a zone file.
fn corefile(wild: &str, [first, second, closed]: [SocketAddr; 3]) -> String {
    format!(
        ".:{{port}} {{
            bind 127.0.0.1
            metadata
            log . \"{{name}} {{type}} {{rcode}} {{/forward/upstream}} {{/zone/wildcard}} {{/log/class}} {{/log/type}} {{/view/name}}\"
            cache 30
            file {wild} d.test
            forward start.invalid {first}
            forward example.org {first}
            forward example.net {first} {{
                next NXDOMAIN REFUSED
            }}
            forward example.net {second}
            forward closed.test {closed} {{
                max_fails 0
            }}
        }}
        views.test:{{port}} {{
            bind 127.0.0.1
            metadata
            log . \"{{name}} {{/view/name}} {{/forward/upstream}}\"
            view every {{
                expr true
            }}
            forward . {second}
        }}
        class.test:{{port}} {{
            bind 127.0.0.1
            metadata
            log . \"{{name}} {{rcode}} {{/log/class}} {{/log/type}}\"
            template ANY ANY empty.class.test {{
                rcode NOERROR
            }}
            template ANY ANY referral.class.test {{
                authority \"referral.class.test. 60 IN NS ns.class.test.\"
            }}
            template ANY ANY nodata.class.test {{
                authority \"class.test. 60 IN SOA ns.class.test. h.class.test. (1 60 60 60 60)\"
            }}
            template ANY ANY alias.class.test {{
                rcode NXDOMAIN
                answer \"{{{{ .Name }}}} 60 IN TXT text\"
            }}
            template ANY ANY notimp.class.test {{
                rcode NOTIMP
            }}
            template ANY ANY refused.class.test {{
                rcode REFUSED
            }}
        }}
        none.test:{{port}} {{
            bind 127.0.0.1
            log . \"{{name}} {{/forward/upstream}} {{/zone/wildcard}}\"
            forward . {second}
        }}"
    )
}

/// Each label, and queries for which it has a value, and for which it has none.
#[test]
fn labels_have_the_values_of_coredns() {
    require_lab_program("coredns");
    let zones = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/small");
    let upstreams = ["zone", "outside.zone"].map(|file| {
        let path = zones.join(file);
        CoreDns::start(|port| {
            let zone = if file == "zone" { "example.org" } else { "example.net" };
            format!("{zone}:{port} {{\n bind 127.0.0.1\n file {}\n}}\n", path.display())
        })
    });
    let [first, second] = upstreams.each_ref().map(|upstream| upstream.address);
    let closed = free_address();
    let wild = zones.join("outside.zone").display().to_string();
    let corefile = corefile(&wild, [first, second, closed]);
    let ours = Logging::start(&program(), &corefile);
    let theirs = Logging::start(&lab::program("coredns"), &corefile);
    let table = [
        ("v4.example.org", A, Some(first)),
        // From the cache.
        ("v4.example.org", A, None),
        ("nothing.example.org", A, Some(first)),
        ("text.example.org", A, Some(first)),
        ("text.example.org", TXT, Some(first)),
        // The second `forward` line gets the queries that the first upstream refuses.
        ("www.example.net", A, Some(second)),
        ("any.example.net", A, Some(second)),
        ("a.closed.test", A, Some(closed)),
        ("a.views.test", A, Some(second)),
        ("a.none.test", A, None),
        ("www.d.test", A, None),
        ("any.d.test", A, None),
        ("x.y.d.d.test", A, None),
        ("x.y.d.d.test", TXT, None),
        ("r.c.d.d.test", A, None),
        ("any.alias.d.test", A, None),
        ("any.mail.d.test", A, None),
        ("d.test", A, None),
        ("empty.class.test", A, None),
        ("referral.class.test", A, None),
        ("nodata.class.test", A, None),
        ("alias.class.test", A, None),
        ("notimp.class.test", A, None),
        ("refused.class.test", A, None),
    ];
    let mut faults = String::new();
    for (name, qtype, upstream) in table {
        let (ours, theirs) = (ours.ask(name, qtype), theirs.ask(name, qtype));
        let shown = upstream.map(|upstream| upstream.to_string());
        if ours != theirs || shown.is_some_and(|shown| !ours.contains(&shown)) {
            writeln!(faults, "CoreDNS: {theirs}\nndots:   {ours}\n").unwrap();
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}
