//! Services change between all types while a client sends queries. Every answer matches a state
//! that the API server had, and no answer goes back to an earlier state.
//!
//! Each state of a Service has a mark in its answers: a cluster IP or an ExternalName that no other
//! state has. The test records a state before it sends it to the API server. Queries are sequential
//! and rotate over sockets, so that every thread of the server answers some.

use std::{
    fmt::Write,
    net::UdpSocket,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    end::end,
    lab::{Api, Lab, LabOptions, Program, until},
    packet::ask,
    turn,
};
use hickory_proto::op::Message;
use serde_json::{Value, json};

const SERVICES: usize = 5;
const A: u16 = 1;
const SRV: u16 = 33;

/// Forwards the targets of ExternalNames to a server that has the same address for all of them.
const COREFILE: &str = ".:53 {
    errors
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa
    forward . WORLD
    cache
}
";

#[test]
fn a_hundred_changes_appear_in_order() {
    run(100);
}

#[test]
#[ignore = "the long form: `make diff`"]
fn a_thousand_changes_appear_in_order() {
    run(1000);
}

/// The state of a Service. No other state has the same mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    /// The type, and the last octets of the cluster IP.
    Address(&'static str, u16),
    Headless,
    Alias(u16),
}

const TYPES: [&str; 3] = ["ClusterIP", "NodePort", "LoadBalancer"];

impl State {
    /// The next state, chosen by a random number. A Service keeps its address, and so its mark,
    /// while its type has one.
    fn next(self, mark: u16, random: usize) -> Self {
        let fresh = Self::Address(TYPES[random / 7 % 3], mark);
        match (self, random % 4) {
            (Self::Missing, 0) => Self::Headless,
            (Self::Missing, 1) => Self::Alias(mark),
            (Self::Missing, _) => fresh,
            (Self::Address(old, kept), 0 | 1) => Self::Address(
                TYPES[(TYPES.iter().position(|it| *it == old).unwrap() + 1 + random / 7 % 2) % 3],
                kept,
            ),
            (Self::Address(..) | Self::Headless, 2) => Self::Alias(mark),
            (Self::Alias(_), 0) => Self::Headless,
            (Self::Alias(_), 1) => Self::Alias(mark),
            (Self::Alias(_), 2) => fresh,
            _ => Self::Missing,
        }
    }

    fn spec(self) -> Value {
        let ports = json!([{ "name": "http", "port": 80, "protocol": "TCP" }]);
        match self {
            Self::Missing => Value::Null,
            Self::Address(kind, mark) => {
                json!({ "type": kind, "clusterIP": address(mark), "externalName": null, "ports": ports })
            }
            Self::Headless => {
                json!({ "type": "ClusterIP", "clusterIP": "None", "externalName": null, "ports": ports })
            }
            Self::Alias(mark) => {
                json!({ "type": "ExternalName", "externalName": format!("t{mark}.example.org"), "clusterIP": null, "clusterIPs": null })
            }
        }
    }

    /// The expected answer for the Service's name: the code and the data of the records.
    fn answer(self, service: usize, qtype: u16) -> String {
        let name = format!("s{service}.churn.svc.cluster.local.");
        match (self, qtype) {
            (Self::Missing, _) => "NXDomain".to_owned(),
            (Self::Address(_, mark), A) => format!("NoError {}", address(mark)),
            (Self::Address(..), _) => format!("NoError 0 100 80 {name}"),
            (Self::Headless, A) => format!("NoError {}", endpoint(service)),
            (Self::Headless, _) => {
                format!("NoError 0 100 8080 {}.{name}", endpoint(service).replace('.', "-"))
            }
            (Self::Alias(mark), A) => format!("NoError t{mark}.example.org. 192.0.2.80"),
            (Self::Alias(_), _) => "NoError".to_owned(),
        }
    }
}

fn address(mark: u16) -> String {
    format!("10.96.{}.{}", 100 + mark / 250, 1 + mark % 250)
}

fn endpoint(service: usize) -> String {
    format!("10.244.60.{}", service + 1)
}

/// All states of each Service, including one that is being written.
type History = [Mutex<Vec<State>>; SERVICES];

fn run(changes: u16) {
    let turn = turn::alone();
    let lab = Lab::start(&turn, &LabOptions::default());
    let world = lab.world(&["--address=/example.org/192.0.2.80"]);
    prepare(&lab);
    let corefile = COREFILE.replace("WORLD", &world.netns.address.to_string());
    let mut server = lab.server(&lab.guest(), Program::Ndots, &corefile);
    server.wait_until_ready();
    let address = server.netns.address;
    let history: History = std::array::from_fn(|_| Mutex::new(vec![State::Missing]));
    let history = &history;
    thread::scope(|scope| {
        let (end, ended) = end();
        let asker = scope.spawn(move || {
            let mut asker = Asker::new(address.into());
            while !ended.is_true() {
                asker.round(history);
            }
            // The last states appear within 1 s.
            until("the last states", Duration::from_secs(1), || {
                asker.is_at_the_end(history).then_some(())
            });
            asker
        });
        let begun = Instant::now();
        write(&lab, history, changes, &asker);
        let took = begun.elapsed();
        drop(end);
        let asker = asker.join().unwrap();
        println!(
            "{changes} changes in {took:.1?}; {} answers, {} of them of another state than the one before",
            asker.answers, asker.steps
        );
        assert!(asker.answers > usize::from(changes), "only {} answers", asker.answers);
    });
}

/// Creates the namespace, and a permanent endpoint for each Service.
fn prepare(lab: &Lab) {
    let mut yaml = String::from("apiVersion: v1\nkind: Namespace\nmetadata: { name: churn }\n");
    for service in 0..SERVICES {
        let meta = format!(
            "{{ name: s{service}, namespace: churn, labels: {{ kubernetes.io/service-name: s{service} }} }}"
        );
        write!(yaml, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {meta}\naddressType: IPv4\n").unwrap();
        writeln!(
            yaml,
            "endpoints: [{{ addresses: [{}] }}]\nports: [{{ name: http, port: 8080 }}]",
            endpoint(service)
        )
        .unwrap();
    }
    lab.apply(&yaml);
}

fn write(lab: &Lab, history: &History, changes: u16, asker: &thread::ScopedJoinHandle<'_, Asker>) {
    let mut api = lab.api();
    let services = "/api/v1/namespaces/churn/services";
    let mut random = 7_usize;
    for mark in 0..changes {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let service = (random >> 33) % SERVICES;
        let (name, path) = (format!("s{service}"), format!("{services}/s{service}"));
        let old = *history[service].lock().unwrap().last().unwrap();
        let new = old.next(mark, random >> 40);
        history[service].lock().unwrap().push(new);
        let object = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": new.spec() });
        match (old, new) {
            (State::Missing, _) => drop(api.json("POST", services, Some(&object))),
            (_, State::Missing) => drop(api.json("DELETE", &path, None)),
            _ => patch(&mut api, &path, &json!({ "spec": new.spec() })),
        }
        if asker.is_finished() {
            break;
        }
    }
}

/// Patches a Service. The API server runs a patch again if another client, such as a controller,
/// has changed the object in the meantime. The second run then fails, because the first run has
/// allocated the address. The allocation may stay for minutes, so this function deletes it.
fn patch(api: &mut Api, path: &str, body: &Value) {
    until("a patch without a conflict", Duration::from_secs(10), || {
        let (code, text) = api.request("PATCH", path, Some(body));
        let allocated = code == 422 && text.contains("provided IP is already allocated");
        assert!(allocated || (200..300).contains(&code), "PATCH {path}: {code} {text}");
        if allocated {
            let address = body["spec"]["clusterIP"].as_str().unwrap();
            api.request(
                "DELETE",
                &format!("/apis/networking.k8s.io/v1/ipaddresses/{address}"),
                None,
            );
        }
        (!allocated).then_some(())
    });
}

/// A client with sequential queries.
struct Asker {
    sockets: Vec<UdpSocket>,
    /// For each Service, the index of the latest state that an answer has shown.
    places: [usize; SERVICES],
    answers: usize,
    steps: usize,
}

impl Asker {
    fn new(server: std::net::IpAddr) -> Self {
        let socket = || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect((server, 53)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        };
        Self {
            sockets: (0..8).map(|_| socket()).collect(),
            places: [0; SERVICES],
            answers: 0,
            steps: 0,
        }
    }

    fn round(&mut self, history: &History) {
        for (service, states) in history.iter().enumerate() {
            for qtype in [A, SRV, A] {
                let said = self.ask(service, qtype);
                self.check(service, qtype, &said, &states.lock().unwrap());
            }
        }
    }

    /// Returns the code and the data of the answer section.
    fn ask(&mut self, service: usize, qtype: u16) -> String {
        self.answers += 1;
        let socket = &self.sockets[self.answers % self.sockets.len()];
        socket.send(&ask(&format!("s{service}.churn.svc.cluster.local"), qtype).packet()).unwrap();
        let mut reply = [0; 1500];
        let length = socket.recv(&mut reply).expect("a reply within 5 s");
        let reply = Message::from_vec(&reply[..length]).unwrap();
        let data: String = reply.answers.iter().map(|record| format!(" {}", record.data)).collect();
        format!("{:?}{data}", reply.metadata.response_code)
    }

    /// The answer must match the latest state that was shown, or a later one.
    fn check(&mut self, service: usize, qtype: u16, said: &str, states: &[State]) {
        let place = self.places[service];
        let fits = |state: &State| state.answer(service, qtype) == said;
        let Some(ahead) = states[place..].iter().position(fits) else {
            let before = states[..place].iter().rposition(fits);
            let kind = before.map_or("of no state at all".to_owned(), |before| {
                format!("of state {before} after that of state {place}")
            });
            panic!(
                "s{service} {qtype}: {said:?} is {kind} of {} states, the last of them {:?}",
                states.len(),
                &states[place.saturating_sub(3)..]
            );
        };
        self.places[service] += ahead;
        self.steps += usize::from(ahead > 0);
    }

    fn is_at_the_end(&mut self, history: &History) -> bool {
        self.round(history);
        (0..SERVICES).all(|service| {
            let last = *history[service].lock().unwrap().last().unwrap();
            self.ask(service, A) == last.answer(service, A)
        })
    }
}
