//! Sends the queries of the client's resolver to the server that the client uses.

use std::fmt;

use k8s_openapi::api::core::v1::ServicePort;

use crate::{
    explain::{
        Answer, Evidence,
        evidence::{Asked, Reply},
        objects,
        view::{
            destination::Destination,
            names::{self, Subject},
            pods,
        },
    },
    limits,
    net::client::{self, Nameserver, RetryPolicy},
    wire::{Name, Question, Type},
};

use super::{
    Request,
    forward::{Forwarder, PodPort},
};

/// The way to the server.
enum Way<'f> {
    Direct(Nameserver),
    /// Over TCP to a Pod of the DNS server, through the API server.
    Forwarded {
        forwarder: &'f Forwarder,
        namespace: String,
        pod: String,
        port: u16,
    },
}

/// There is a `forwarder` if connections are tried and this machine is outside of the cluster.
pub(super) async fn ask(
    request: &Request,
    evidence: &Evidence,
    wanted: &Destination,
    inside: bool,
    forwarder: Option<&Forwarder>,
) -> Asked {
    let none = |why: &str| Asked { not_asked: Some(why.to_owned()), ..Asked::default() };
    let mut pods = forwarder.map(|it| forwarded(evidence, it)).unwrap_or_default().into_iter();
    let mut asking = match (&request.server, pods.next()) {
        (Some(server), _) => Asking::direct(server.clone(), true),
        (None, Some(way)) => Asking::new(way),
        (None, None) if !evidence.is_live => {
            return none(
                "no DNS server was queried; computed from the manifests (--server ADDR queries one)",
            );
        }
        (None, None) => {
            let servers = &evidence.asker.resolv.nameservers;
            match servers.iter().find_map(|text| text.parse::<std::net::IpAddr>().ok()) {
                Some(address) => Asking::direct(Nameserver::from(address), inside),
                None => {
                    return none(
                        "no DNS server was queried: its address is unknown here; give --server ADDR",
                    );
                }
            }
        }
    };
    asking.search_path(evidence, wanted).await;
    if asking.asked.is_forwarded {
        asking.other_pods(pods).await;
    }
    asking.asked
}

/// The ways to the ready Pods of the DNS server, if the client uses that server.
fn forwarded<'f>(evidence: &Evidence, forwarder: &'f Forwarder) -> Vec<Way<'f>> {
    let Some(service) = evidence.dns_service() else { return Vec::new() };
    let is_used = |server: &String| objects::cluster_ips(service).contains(&server.as_str());
    if !evidence.asker.resolv.nameservers.first().is_some_and(is_used) {
        return Vec::new();
    }
    let is_dns_over_tcp =
        |port: &&ServicePort| port.port == 53 && objects::protocol(port.protocol.as_ref()) == "TCP";
    let Some(port) = objects::ports(service).iter().find(is_dns_over_tcp) else {
        return Vec::new();
    };
    let way = |pod| {
        Some(Way::Forwarded {
            forwarder,
            namespace: objects::namespace(pod).to_owned(),
            pod: objects::name(pod).to_owned(),
            port: u16::try_from(objects::at_pod(port, pod)?).ok()?,
        })
    };
    pods::ready(evidence, service).filter_map(way).take(limits::EXPLAIN_DNS_PODS).collect()
}

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(server) => server.fmt(f),
            Self::Forwarded { namespace, pod, .. } => write!(f, "Pod {namespace}/{pod}"),
        }
    }
}

struct Asking<'f> {
    way: Way<'f>,
    asked: Asked,
}

impl<'f> Asking<'f> {
    fn direct(server: Nameserver, inside: bool) -> Self {
        let mut asking = Self::new(Way::Direct(server));
        asking.asked.inside = inside;
        asking
    }

    fn new(way: Way<'f>) -> Self {
        let (server, is_forwarded) = (way.to_string(), matches!(way, Way::Forwarded { .. }));
        Self { way, asked: Asked { server, is_forwarded, ..Asked::default() } }
    }

    /// Sends the last query that had an answer with records to the other Pods of the DNS server.
    async fn other_pods(&mut self, pods: impl Iterator<Item = Way<'f>>) {
        let has_records =
            |reply: &&Reply| reply.answer.as_ref().is_ok_and(|answer| !answer.records.is_empty());
        let Some(Reply { name, qtype, .. }) = self.asked.replies.iter().rfind(has_records) else {
            return;
        };
        let Ok(rtype) = qtype.parse::<Type>() else { return };
        let mut others = Vec::new();
        for way in pods {
            let answer = exchange(&way, name, rtype).await;
            let reply = Reply { name: name.clone(), qtype: qtype.clone(), tcp: true, answer };
            others.push((way.to_string(), reply));
        }
        self.asked.others = others;
    }

    /// Queries the names of the search path, up to the first that has records. A server that does
    /// not reply is queried once. One that is not the cluster's gets only the query for
    /// kubernetes.default.
    async fn search_path(&mut self, evidence: &Evidence, wanted: &Destination) {
        let (kubernetes, qtype) = kubernetes_default(evidence);
        if self.question(&kubernetes, qtype).await.is_none()
            || !self.asked.inside && !self.asked.is_forwarded && self.is_another(evidence)
        {
            return;
        }
        let subject = names::subject(evidence, wanted);
        let mut candidates = evidence.asker.resolv.candidates(&wanted.host);
        if let (Ok(_), Subject::Service { candidate, .. }) =
            (wanted.host.parse::<std::net::IpAddr>(), &subject)
        {
            candidates = vec![candidate.clone()];
        }
        if wanted.host.is_empty() {
            candidates.clear();
        }
        for candidate in candidates {
            let types: &[Type] =
                if candidate.starts_with('_') { &[Type::SRV] } else { &[Type::A, Type::AAAA] };
            let mut found = false;
            for qtype in types {
                match self.question(&candidate, *qtype).await {
                    Some(records) => found |= records,
                    None => return,
                }
            }
            if found {
                self.again_over_tcp(&candidate, types[0]).await;
                break;
            }
        }
        if wanted.host.is_empty() {
            self.again_over_tcp(&kubernetes, qtype).await;
            self.question(".", Type::NS).await;
        }
        if let Subject::Service { service, .. } = &subject
            && let Some(target) =
                service.spec.as_ref().and_then(|spec| spec.external_name.as_deref())
        {
            self.question(&format!("{}.", target.trim_end_matches('.')), Type::A).await;
        }
    }

    /// Whether the reply is from a server outside of the cluster that has the same private address:
    /// its kubernetes.default is not that of the cluster. If so, an error replaces the reply.
    fn is_another(&mut self, evidence: &Evidence) -> bool {
        let ips = evidence
            .objects
            .service("default", "kubernetes")
            .map(objects::cluster_ips)
            .unwrap_or_default();
        let Some(Reply { answer: result, qtype, .. }) = self.asked.replies.last_mut() else {
            return false;
        };
        let Ok(answer) = result else { return false };
        let another = !answer.data(qtype).iter().any(|data| ips.contains(data));
        if another {
            *result = Err("another server has this address here".to_owned());
        }
        another
    }

    /// Whether the reply has records; `None` if the server does not reply.
    async fn question(&mut self, name: &str, qtype: Type) -> Option<bool> {
        let answer = exchange(&self.way, name, qtype).await;
        let result = answer.as_ref().ok().map(|it| !it.records.is_empty());
        self.keep(name, qtype, false, answer);
        result
    }

    /// Repeats a query over TCP, unless it went through the API server, which is TCP.
    async fn again_over_tcp(&mut self, name: &str, qtype: Type) {
        if let Way::Direct(server) = &self.way {
            let answer = exchange(&Way::Direct(server.over_tcp()), name, qtype).await;
            self.keep(name, qtype, true, answer);
        }
    }

    fn keep(&mut self, name: &str, qtype: Type, tcp: bool, answer: Result<Answer, String>) {
        let (name, qtype) = (name.to_owned(), qtype.to_string());
        self.asked.replies.push(Reply { name, qtype, tcp, answer });
    }
}

async fn exchange(way: &Way<'_>, name: &str, qtype: Type) -> Result<Answer, String> {
    let name: Name = name.parse().map_err(|_| format!("{name} is not a DNS name"))?;
    let question = Question::new(name, qtype);
    let reply = match way {
        Way::Direct(server) => {
            let policy = RetryPolicy::retransmit_once(limits::EXPLAIN_ASK_TIME);
            client::query(server, question, policy).await.map_err(|error| error.to_string())
        }
        Way::Forwarded { forwarder, namespace, pod, port } => {
            let to = PodPort { namespace, pod, port: *port };
            forwarder.ask(&to, question).await.map_err(|error| error.to_string())
        }
    }?;
    Answer::decode(&reply.message)
}

/// The name that every cluster has, with the type of its address.
fn kubernetes_default(evidence: &Evidence) -> (String, Type) {
    let ips = evidence
        .objects
        .service("default", "kubernetes")
        .map(objects::cluster_ips)
        .unwrap_or_default();
    let v6 = !ips.is_empty() && ips.iter().all(|ip| ip.contains(':'));
    (format!("kubernetes.default.svc.{}.", evidence.zone), if v6 { Type::AAAA } else { Type::A })
}
