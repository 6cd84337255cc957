//! Compares the evaluator with a second one over random policies. The second one works on the JSON
//! of the policies, as the API's reference describes the fields.

use std::{collections::BTreeMap, net::Ipv4Addr};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

use super::*;
use crate::random::SplitMix64;

/// How many sets of policies are compared.
const SETS: usize = 2_000;
const NAMESPACES: [&str; 3] = ["shop", "data", "other"];

struct Pod {
    namespace: &'static str,
    labels: BTreeMap<String, String>,
    address: Ipv4Addr,
}

/// A Namespace has its own name as the label `name`, and some have `team`.
fn namespace_labels(name: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([("name".to_owned(), name.to_owned())]);
    if name != "other" {
        labels.insert("team".to_owned(), "red".to_owned());
    }
    labels
}

impl Pod {
    fn peer(&self) -> Peer<'static> {
        Peer::Pod {
            namespace: Some(self.namespace),
            namespace_labels: Some(namespace_labels(self.namespace)),
            labels: Some(self.labels.clone()),
            addresses: vec![self.address.into()],
        }
    }
}

struct Dice(SplitMix64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        (self.0.next_u64() % end as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn selector(&mut self, keys: &[&str], values: &[&str]) -> Value {
        let (key, value) = (self.pick(keys), self.pick(values));
        match self.below(6) {
            0 => json!({}),
            1 => json!({ "matchLabels": { key: value } }),
            2 => {
                json!({ "matchExpressions": [{ "key": key, "operator": "In", "values": [value, "x"] }] })
            }
            3 => {
                json!({ "matchExpressions": [{ "key": key, "operator": "NotIn", "values": [value] }] })
            }
            4 => json!({ "matchExpressions": [{ "key": key, "operator": "Exists" }] }),
            _ => {
                json!({ "matchLabels": { key: value }, "matchExpressions": [{ "key": "team", "operator": "DoesNotExist" }] })
            }
        }
    }

    fn pods(&mut self) -> Value {
        self.selector(&["app", "tier"], &["web", "db"])
    }

    fn peer(&mut self) -> Value {
        match self.below(4) {
            0 => json!({ "podSelector": self.pods() }),
            1 => json!({ "namespaceSelector": self.selector(&["name", "team"], &["shop", "red"]) }),
            2 => {
                json!({ "namespaceSelector": self.selector(&["name", "team"], &["data", "red"]), "podSelector": self.pods() })
            }
            _ => {
                json!({ "ipBlock": { "cidr": self.pick(&["10.0.0.0/8", "10.0.1.0/24", "0.0.0.0/0"]), "except": self.pick(&[json!([]), json!(["10.0.2.0/24"])]) } })
            }
        }
    }

    fn port(&mut self) -> Value {
        match self.below(5) {
            0 => json!({ "port": 80 }),
            1 => json!({ "port": 8000, "endPort": 8100, "protocol": "TCP" }),
            2 => json!({ "port": self.pick(&["http", "dns"]) }),
            3 => json!({ "protocol": "UDP" }),
            _ => json!({ "port": 53, "protocol": "UDP" }),
        }
    }

    fn rules(&mut self, peers: &str) -> Value {
        let rule = |dice: &mut Self| {
            let mut rule = json!({});
            if dice.below(4) > 0 {
                rule[peers] = (0..dice.below(3)).map(|_| dice.peer()).collect();
            }
            if dice.below(2) > 0 {
                rule["ports"] = (0..dice.below(3)).map(|_| dice.port()).collect();
            }
            rule
        };
        (0..self.below(3)).map(|_| rule(self)).collect()
    }

    fn policy(&mut self) -> Value {
        let mut spec = json!({ "podSelector": self.pods() });
        if self.below(2) > 0 {
            spec["ingress"] = self.rules("from");
        }
        if self.below(2) > 0 {
            spec["egress"] = self.rules("to");
        }
        if self.below(3) > 0 {
            spec["policyTypes"] =
                self.pick(&[json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])]);
        }
        json!({ "metadata": { "name": "x", "namespace": self.pick(&NAMESPACES) }, "spec": spec })
    }

    fn pod(&mut self) -> Pod {
        let mut labels = BTreeMap::new();
        for key in ["app", "tier"] {
            if self.below(3) > 0 {
                labels.insert(key.to_owned(), self.pick(&["web", "db"]).to_owned());
            }
        }
        let address = Ipv4Addr::new(10, 0, self.below(4) as u8, 7);
        Pod { namespace: self.pick(&NAMESPACES), labels, address }
    }
}

/// The second evaluator.
mod oracle {
    use super::*;

    fn list<'v>(value: &'v Value, field: &str) -> Vec<&'v Value> {
        value[field].as_array().into_iter().flatten().collect()
    }

    fn select(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            if labels.get(key).map(String::as_str) != value.as_str() {
                return false;
            }
        }
        for expression in list(selector, "matchExpressions") {
            let label = labels.get(expression["key"].as_str().unwrap());
            let among = list(expression, "values").iter().any(|it| label.is_some_and(|l| *it == l));
            let holds = match expression["operator"].as_str().unwrap() {
                "In" => label.is_some() && among,
                "NotIn" => label.is_none() || !among,
                "Exists" => label.is_some(),
                _ => label.is_none(),
            };
            if !holds {
                return false;
            }
        }
        true
    }

    /// The tests only have prefix lengths that are multiples of 8.
    fn contains(cidr: &str, address: Ipv4Addr) -> bool {
        let (network, bits) = cidr.split_once('/').unwrap();
        let network: Ipv4Addr = network.parse().unwrap();
        let octets = bits.parse::<usize>().unwrap() / 8;
        network.octets()[..octets] == address.octets()[..octets]
    }

    fn peer(peer: &Value, own: &str, other: &Pod) -> bool {
        let block = &peer["ipBlock"];
        if !block.is_null() {
            return contains(block["cidr"].as_str().unwrap(), other.address)
                && !list(block, "except")
                    .iter()
                    .any(|it| contains(it.as_str().unwrap(), other.address));
        }
        let namespace = if peer["namespaceSelector"].is_null() {
            other.namespace == own
        } else {
            select(&peer["namespaceSelector"], &namespace_labels(other.namespace))
        };
        namespace && (peer["podSelector"].is_null() || select(&peer["podSelector"], &other.labels))
    }

    fn port(wanted: &Value, port: &Port<'_>) -> bool {
        if wanted["protocol"].as_str().unwrap_or("TCP") != port.protocol {
            return false;
        }
        if let Some(name) = wanted["port"].as_str() {
            return port.names.contains(&name);
        }
        let Some(first) = wanted["port"].as_i64() else { return true };
        let number = i64::from(port.number);
        number >= first && number <= wanted["endPort"].as_i64().unwrap_or(first)
    }

    pub(super) fn allows(
        policies: &[Value],
        direction: Direction,
        subject: &Pod,
        other: &Pod,
        at: &Port<'_>,
    ) -> bool {
        let (kind, rules, peers) = match direction {
            Direction::Ingress => ("Ingress", "ingress", "from"),
            Direction::Egress => ("Egress", "egress", "to"),
        };
        let mut isolated = false;
        for policy in policies {
            let (own, spec) = (policy["metadata"]["namespace"].as_str().unwrap(), &policy["spec"]);
            let affects = match spec["policyTypes"].as_array() {
                Some(types) => types.iter().any(|it| it == kind),
                None => direction == Direction::Ingress || !list(spec, "egress").is_empty(),
            };
            if !affects
                || own != subject.namespace
                || !select(&spec["podSelector"], &subject.labels)
            {
                continue;
            }
            isolated = true;
            for rule in list(spec, rules) {
                let (from, ports) = (list(rule, peers), list(rule, "ports"));
                if (from.is_empty() || from.iter().any(|it| peer(it, own, other)))
                    && (ports.is_empty() || ports.iter().any(|it| port(it, at)))
                {
                    return true;
                }
            }
        }
        !isolated
    }
}

#[test]
fn a_second_evaluator_decides_the_same_for_random_policies() {
    let mut dice = Dice(SplitMix64::new(20_261_128));
    let ports = [
        Port { protocol: "TCP", number: 80, names: vec!["http"] },
        Port { protocol: "TCP", number: 8080, names: Vec::new() },
        Port { protocol: "UDP", number: 53, names: vec!["dns"] },
    ];
    let (mut denied, mut unknown_is_consistent) = (0, 0);
    for set in 0..SETS {
        let json: Vec<Value> = (0..=dice.below(4)).map(|_| dice.policy()).collect();
        let policies: Vec<NetworkPolicy> =
            json.iter().map(|it| serde_json::from_value(it.clone()).unwrap()).collect();
        let (subject, other) = (dice.pod(), dice.pod());
        for direction in [Direction::Ingress, Direction::Egress] {
            for port in &ports {
                let want = oracle::allows(&json, direction, &subject, &other, port);
                let got =
                    decide(&policies, direction, &subject.peer(), &other.peer(), port).allowed;
                assert_eq!(
                    got,
                    Truth::from(want),
                    "set {set}, {direction:?}, {port:?}: {:?} {:?} and {:?} {:?}\n{json:#?}",
                    subject.namespace,
                    subject.labels,
                    other.namespace,
                    other.labels
                );
                denied += usize::from(!want);
                // What holds for a client whose labels are unknown holds for every client.
                let anybody = Peer::Pod {
                    namespace: Some(other.namespace),
                    namespace_labels: Some(namespace_labels(other.namespace)),
                    labels: None,
                    addresses: Vec::new(),
                };
                let general = decide(&policies, direction, &subject.peer(), &anybody, port).allowed;
                assert!(
                    general == Truth::Maybe || general == got,
                    "set {set}: {general:?} {got:?}"
                );
                unknown_is_consistent += usize::from(general != Truth::Maybe);
            }
        }
    }
    assert!(denied > SETS && unknown_is_consistent > SETS, "{denied} {unknown_is_consistent}");
}
