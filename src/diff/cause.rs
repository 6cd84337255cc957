//! The cause of a difference that no rule explains, as far as two replies show it.

use super::{
    compare::Delta,
    question::Asked,
    reply::{Line, Reply},
};
use crate::wire::Type;

/// Why replies would change, and what to do. Ids never change.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    pub id: &'static str,
    pub reason: &'static str,
    pub advice: &'static str,
}

const fn cause(id: &'static str, reason: &'static str, advice: &'static str) -> Cause {
    Cause { id, reason, advice }
}

const SILENT_SERVER: Cause = cause(
    "server-silent",
    "The server that runs now does not reply.",
    "Check its address, and that a firewall or a plugin such as `acl` lets this machine ask.",
);
const SILENT_NDOTS: Cause = cause(
    "ndots-silent",
    "ndots does not reply.",
    "Read the log of ndots; if `acl` drops the query, this is intended.",
);
const SERVER_FAILS: Cause = cause(
    "server-fails",
    "The server that runs now replies SERVFAIL: it has not read the cluster, or its upstream fails.",
    "Read its log. ndots would answer.",
);
const NDOTS_FAILS: Cause = cause(
    "ndots-fails",
    "ndots replies SERVFAIL: it has not read a kind of objects, or its upstream fails.",
    "`/ready` of ndots names the missing permission; `ndots check --cluster` checks the ClusterRole.",
);
const NOT_SERVED: Cause = cause(
    "zone-not-served",
    "The server that runs now refuses the name: no server block has a zone for it.",
    "Compare the zones of `kubernetes`, and --zone.",
);
const NOT_SERVED_HERE: Cause = cause(
    "zone-not-in-ndots",
    "ndots refuses the name: no server block has a zone for it.",
    "Compare the zones of `kubernetes`, and --zone.",
);
const PODS: Cause = cause(
    "pods-mode",
    "Names of Pods exist on one side only: the option `pods` of `kubernetes` differs.",
    "Use the same mode: disabled, insecure or verified.",
);
const REVERSE: Cause = cause(
    "reverse-zone",
    "One side does not answer this reverse name from the cluster.",
    "Compare the zones in-addr.arpa and ip6.arpa of `kubernetes`, and `fallthrough`.",
);
const ALIAS: Cause = cause(
    "alias",
    "One reply begins with an alias: `autopath`, `rewrite` or `template` made it.",
    "Compare these plugins in both Corefiles.",
);
const OTHER_PLUGIN: Cause = cause(
    "other-plugin",
    "The server that runs now does not answer this name from the cluster: `hosts`, `template`, `rewrite`, `file` or `forward` answers.",
    "Give ndots the same Corefile; `ndots check FILE` checks it.",
);
const ONLY_THERE: Cause = cause(
    "only-in-server",
    "The records exist in the server that runs now only: it is out of date, or ndots reads another cluster.",
    "`kubectl get service,endpointslice` shows which is right.",
);
const ONLY_HERE: Cause = cause(
    "only-in-ndots",
    "The records exist in ndots only: the server that runs now is out of date, or selects fewer namespaces or objects.",
    "`kubectl get service,endpointslice` shows which is right; compare `namespaces`, `labels` and `noendpoints`.",
);
const CLUSTER_IP: Cause = cause(
    "address",
    "The name has another address: one side is out of date, the clusters differ, or a plugin such as `hosts`, `template` or `rewrite` answers.",
    "`kubectl get service` shows which is right.",
);
const ENDPOINTS: Cause = cause(
    "endpoints",
    "The name has other endpoints: one side is out of date, or the clusters differ.",
    "`kubectl get endpointslice` shows which is right.",
);
const PORTS: Cause = cause(
    "ports",
    "SRV records have other ports or priorities.",
    "`kubectl get service` and `kubectl get endpointslice` show which is right.",
);
const ENDPOINT_NAMES: Cause = cause(
    "endpoint-names",
    "The same addresses have other names: the option `endpoint_pod_names` of `kubernetes` differs, or two Services share the address.",
    "Use the option on both sides, or on none.",
);
const EXTERNAL_NAME: Cause = cause(
    "external-name",
    "The alias has another target.",
    "`kubectl get service` shows the `externalName`.",
);
const TTL: Cause = cause(
    "ttl",
    "Records have another TTL: the option `ttl` of `kubernetes`, or a cache, differs.",
    "Use the same `ttl`.",
);
const SECTIONS: Cause = cause(
    "sections",
    "The authority or additional section differs: `minimal` or `loadbalance`.",
    "Clients rarely need these sections; compare the plugins.",
);
const PROTOCOL: Cause = cause(
    "protocol",
    "Flags or EDNS differ: `bufsize`, `header`, `nsid` or `dnssec`.",
    "Compare these plugins in both Corefiles.",
);
const RECORDS: Cause = cause(
    "records",
    "The records differ in another way.",
    "Compare both Corefiles; the example shows the records.",
);

/// The cause of the differences in these replies that no rule explains.
pub(super) fn judge(
    asked: &Asked,
    replies: [Option<&Reply>; 2],
    deltas: &[Delta],
) -> &'static Cause {
    let (theirs, ours) = match replies {
        [None, _] => return &SILENT_SERVER,
        [_, None] => return &SILENT_NDOTS,
        [Some(theirs), Some(ours)] => (theirs, ours),
    };
    if theirs.rcode != ours.rcode {
        for (rcode, there, here) in
            [("SERVFAIL", &SERVER_FAILS, &NDOTS_FAILS), ("REFUSED", &NOT_SERVED, &NOT_SERVED_HERE)]
        {
            if theirs.rcode == rcode {
                return there;
            }
            if ours.rcode == rcode {
                return here;
            }
        }
        if asked.name.to_lowercase().contains(".pod.") {
            return &PODS;
        }
    }
    let [their_answer, our_answer] = [theirs, ours].map(answer);
    let is_alias = |lines: &[Line]| lines.first().is_some_and(|line| line.rtype == "CNAME");
    if is_alias(their_answer) != is_alias(our_answer) && asked.qtype != Type::CNAME {
        return &ALIAS;
    }
    match (their_answer.is_empty(), our_answer.is_empty()) {
        _ if theirs.is_authoritative() != ours.is_authoritative() => {
            if asked.qtype == Type::PTR {
                &REVERSE
            } else {
                &OTHER_PLUGIN
            }
        }
        (false, true) => &ONLY_THERE,
        (true, false) => &ONLY_HERE,
        (true, true) if theirs.rcode != ours.rcode => {
            if theirs.rcode == "NXDOMAIN" {
                &ONLY_HERE
            } else {
                &ONLY_THERE
            }
        }
        _ => of_records(their_answer, our_answer, deltas),
    }
}

/// The cause if both replies have the same outcome.
fn of_records(theirs: &[Line], ours: &[Line], deltas: &[Delta]) -> &'static Cause {
    let has = |fields: &[&str]| deltas.iter().any(|delta| fields.contains(&delta.field));
    if has(&["answer"]) {
        let of_type = |rtype: &str| theirs.iter().any(|line| line.rtype == rtype);
        let data = |lines: &[Line], word: Option<usize>| {
            let mut data: Vec<String> = lines
                .iter()
                .map(|line| match word {
                    Some(word) => line.data.split(' ').take(word).collect::<Vec<_>>().join(" "),
                    None => line.data.to_lowercase(),
                })
                .collect();
            data.sort_unstable();
            data
        };
        return match (theirs.len(), ours.len()) {
            _ if of_type("CNAME") && data(theirs, None).first() != data(ours, None).first() => {
                &EXTERNAL_NAME
            }
            // Priority, weight and port.
            _ if of_type("SRV") && data(theirs, Some(3)) == data(ours, Some(3)) => &ENDPOINT_NAMES,
            (there, here) if of_type("SRV") && there == here => &PORTS,
            _ if of_type("PTR") => &ENDPOINT_NAMES,
            (1, 1) if of_type("A") || of_type("AAAA") => &CLUSTER_IP,
            _ if ["A", "AAAA", "SRV"].iter().any(|rtype| of_type(rtype)) => &ENDPOINTS,
            _ => &RECORDS,
        };
    }
    match () {
        () if has(&["ttl"]) => &TTL,
        () if has(&["authority", "additional"]) => &SECTIONS,
        () if has(&["opt", "options", "aa", "tc", "ra", "rd", "ad", "cd", "z", "cut"]) => &PROTOCOL,
        () => &RECORDS,
    }
}

fn answer(reply: &Reply) -> &[Line] {
    let [answer, ..] = &reply.sections;
    answer
}
