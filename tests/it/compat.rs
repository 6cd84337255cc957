//! Sends the queries of `answer/*.dns` to our listeners and to those of hickory-server. The two
//! implementations must agree.

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::support::{
    Ndots, Tcp,
    packet::{Request, ask_class},
    witness::Witness,
};
use hickory_proto::{op::Message, rr::Record};
use ndots::wire::Type;

const COREFILE: &str = include_str!("../answer/Corefile");
const COMPAT: &str = "dns://127.0.0.2:0";

#[test]
fn two_implementations_give_the_same_answers() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/answer");
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "dns"));
    files.sort();
    let (upstream, mut scenarios, mut questions, mut wrong) = (Witness::start(), 0, 0, Vec::new());
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        // These scenarios read simulated files, which are not on the disk.
        if text.contains(" /etc/") || text.contains(" keys/") {
            continue;
        }
        let objects = tempfile::tempdir().unwrap();
        let server = server(&text, objects.path(), upstream.address);
        scenarios += 1;
        // A transfer has many messages, and hickory-server sends only one.
        let one_message =
            |question: &&str| !question.contains(" AXFR") && !question.contains(" IXFR");
        for question in text.lines().filter_map(|line| line.strip_prefix("> ")).filter(one_message)
        {
            questions += 1;
            let packet = request(question).packet();
            let (ours, theirs) = (server.address, server.bound[COMPAT]);
            if let Some(difference) = differ(&packet, ours, theirs) {
                wrong.push(format!("{}: {question}\n{difference}", path.display()));
            }
        }
    }
    println!("{questions} questions of {scenarios} scenarios, over UDP and TCP");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(questions >= 200, "the scenarios have shrunk to {questions} questions");
}

/// Starts the scenario's server, with the same upstream for all scenarios.
fn server(text: &str, directory: &Path, upstream: SocketAddr) -> Ndots {
    let (head, _) = text.split_once("=== questions\n").unwrap();
    let part = |name: &str| {
        let (_, rest) = head.split_once(&format!("=== {name}\n"))?;
        Some(rest.split("\n=== ").next().unwrap().to_owned())
    };
    fs::write(directory.join("objects.yaml"), part("objects").unwrap_or_default()).unwrap();
    let corefile = part("corefile").unwrap_or_else(|| COREFILE.to_owned());
    let corefile = corefile
        .replace(":53 {\n", ":0 {\n bind 127.0.0.1\n")
        .replace("{$DIR}", &directory.display().to_string());
    let corefile = corefile.lines().map(|line| {
        if line.trim().starts_with("forward ") {
            with_upstream(line, upstream)
        } else {
            format!("{line}\n")
        }
    });
    Ndots::corefile(&corefile.collect::<String>(), &["dns", COMPAT], &["--compat-listener", COMPAT])
}

/// Replaces every address in a line.
fn with_upstream(line: &str, upstream: SocketAddr) -> String {
    let word = |word: &str| {
        if word.parse::<IpAddr>().is_ok() { upstream.to_string() } else { word.to_owned() }
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n"
}

/// Parses `NAME TYPE` or `NAME CLASS/TYPE`, and options.
fn request(question: &str) -> Request {
    let words: Vec<&str> = question.split(' ').collect();
    let (class, qtype) = words[1].split_once('/').unwrap_or(("IN", words[1]));
    let request =
        ask_class(words[0], qtype.parse::<Type>().unwrap().0, if class == "CH" { 3 } else { 1 });
    let request = if words.contains(&"cd") { request.flags(0x0110) } else { request };
    let size =
        words.iter().find_map(|word| word.strip_prefix("edns=")).map(|size| size.parse().unwrap());
    size.map_or(request.clone(), |size| {
        request.opt(size, if words.contains(&"do") { 0x8000 } else { 0 }, &[])
    })
}

type Ask = fn(&[u8], SocketAddr) -> Option<(Vec<u8>, u16)>;
/// A reply, and the port of the client.
type Answered = Option<(Message, u16)>;

/// The two replies if they differ.
fn differ(packet: &[u8], ours: SocketAddr, theirs: SocketAddr) -> Option<String> {
    let both = |ask: Ask| -> [Answered; 2] {
        [ours, theirs].map(|at| {
            ask(packet, at).map(|(reply, port)| (Message::from_vec(&reply).unwrap(), port))
        })
    };
    let datagrams = both(udp);
    // The records of a truncated reply are random, and ours has room for more.
    let cut = datagrams.iter().flatten().any(|(reply, _)| reply.metadata.truncation);
    let pairs = if cut { vec![both(tcp)] } else { vec![datagrams, both(tcp)] };
    pairs.into_iter().find_map(|pair| {
        let [ours, theirs] = pair.map(|reply| {
            reply.map_or_else(|| "no reply".to_owned(), |(reply, port)| shown(&reply, port))
        });
        (ours != theirs).then(|| format!("  ours\n{ours}\n  hickory-server's\n{theirs}"))
    })
}

fn udp(packet: &[u8], to: SocketAddr) -> Option<(Vec<u8>, u16)> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    socket.send_to(packet, to).unwrap();
    let mut reply = vec![0; 4096];
    let length = socket.recv(&mut reply).ok()?;
    reply.truncate(length);
    Some((reply, socket.local_addr().unwrap().port()))
}

fn tcp(packet: &[u8], to: SocketAddr) -> Option<(Vec<u8>, u16)> {
    let mut tcp = Tcp::to(to);
    tcp.send(packet);
    Some((tcp.receive()?, tcp.0.local_addr().unwrap().port()))
}

/// A message without the order of its records, the TTLs that a cache counts down, and the client's
/// port.
fn shown(message: &Message, port: u16) -> String {
    let section = |records: &[Record]| {
        let ttl = |record: &Record| {
            if message.metadata.authoritative { record.ttl.to_string() } else { "TTL".to_owned() }
        };
        let mut lines: Vec<_> = records
            .iter()
            .map(|record| (record, record.data.to_string().replace(&format!(" {port} "), " PORT ")))
            .map(|(record, data)| {
                format!(
                    "{} {} {} {} {data}",
                    record.name,
                    ttl(record),
                    record.dns_class,
                    record.record_type()
                )
            })
            .collect();
        lines.sort();
        lines.join("\n")
    };
    let edns = message.edns.as_ref().map(|edns| {
        format!("{} {} {:?}", edns.max_payload(), edns.flags().dnssec_ok, edns.options())
    });
    let sections = [&message.answers, &message.authorities, &message.additionals]
        .map(|records| section(records));
    format!("{:?}\n{:?}\n{edns:?}\n{}", message.metadata, message.queries, sections.join("\n--\n"))
}
