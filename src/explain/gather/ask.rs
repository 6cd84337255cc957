//! Asks the server that the Pod asks, what the Pod would ask.

use crate::{
    explain::{
        Answer, Evidence,
        destination::Destination,
        evidence::{Asked, Reply},
        names::{self, Subject},
        objects,
    },
    limits,
    net::client::{self, Nameserver, RetryPolicy},
    wire::{Name, Question, Type},
};

use super::Request;

pub(super) async fn ask(
    request: &Request,
    evidence: &Evidence,
    wanted: &Destination,
    inside: bool,
) -> Asked {
    let (server, inside) = match (&request.server, evidence.is_live) {
        (Some(server), _) => (server.clone(), true),
        (None, false) => {
            let why = "no DNS server was queried; computed from the manifests (--server ADDR queries one)";
            return Asked { not_asked: Some(why.to_owned()), ..Asked::default() };
        }
        (None, true) => {
            match evidence
                .asker
                .resolv
                .nameservers
                .iter()
                .find_map(|text| text.parse::<std::net::IpAddr>().ok())
            {
                Some(address) => (Nameserver::from(address), inside),
                None => {
                    return Asked {
                    not_asked: Some("no DNS server was queried: its address is unknown here; give --server ADDR".to_owned()),
                    ..Asked::default()
                };
                }
            }
        }
    };
    let mut asking =
        Asking { asked: Asked { server: server.to_string(), inside, ..Asked::default() }, server };
    asking.search_path(evidence, wanted).await;
    asking.asked
}

struct Asking {
    server: Nameserver,
    asked: Asked,
}

impl Asking {
    /// Up to the name that finds something. A server that is silent is asked once, and one that is
    /// not the cluster's hears no name.
    async fn search_path(&mut self, evidence: &Evidence, wanted: &Destination) {
        let (kubernetes, qtype) = kubernetes_default(evidence);
        if self.question(&kubernetes, qtype, false).await.is_none()
            || !self.asked.inside && self.is_another(evidence)
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
                match self.question(&candidate, *qtype, false).await {
                    Some(records) => found |= records,
                    None => return,
                }
            }
            if found {
                self.question(&candidate, types[0], true).await;
                break;
            }
        }
        if wanted.host.is_empty() {
            self.question(&kubernetes, qtype, true).await;
            self.question(".", Type::NS, false).await;
        }
        if let Subject::Service { service, .. } = &subject
            && let Some(target) =
                service.spec.as_ref().and_then(|spec| spec.external_name.as_deref())
        {
            self.question(&format!("{}.", target.trim_end_matches('.')), Type::A, false).await;
        }
    }

    /// Outside of the cluster anybody may have the address.
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
            *result = Err("something else has this address here".to_owned());
        }
        another
    }

    /// Whether there are records; `None` where nobody answers.
    async fn question(&mut self, name: &str, qtype: Type, tcp: bool) -> Option<bool> {
        let parsed: Name = name.parse().ok()?;
        let server = if tcp { self.server.over_tcp() } else { self.server.clone() };
        let policy = RetryPolicy::retransmit_once(limits::EXPLAIN_ASK_TIME);
        let answer = client::query(&server, Question::new(parsed, qtype), policy).await;
        let answer = answer
            .map_err(|error| error.to_string())
            .and_then(|reply| Answer::decode(&reply.message));
        let result = answer.as_ref().ok().map(|it| !it.records.is_empty());
        self.asked.replies.push(Reply {
            name: name.to_owned(),
            qtype: qtype.to_string(),
            tcp,
            answer,
        });
        result
    }
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
