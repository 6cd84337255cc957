//! Checks of step 2: whether NetworkPolicies let the connection through.

use super::{Check, checks, fact, fault};

checks! {
    POLICY_ALLOWED = fact("policy.allowed", "Network policies let the client reach the Pods");
    POLICY_NOT_READ = fact("policy.not-read", "Network policies could not be read")
        .leaves_open("network policies");
    POLICY_NOT_CHECKED = fault(
        "policy.not-checked",
        "There are policies of another kind",
        "Policies of Cilium, Calico, a service mesh or AdminNetworkPolicy can block the connection. They are not evaluated.",
        "Look at them with the tool of your network plugin.",
    );
    POLICY_DNS = fault(
        "policy.dns",
        "A network policy blocks queries to the DNS server",
        "As soon as one policy limits egress of a Pod, every other connection of the Pod is denied, DNS included.",
        "Allow egress to kube-system, Pods `k8s-app: kube-dns`, port 53 over UDP and TCP.",
    );
    POLICY_DNS_TCP = fault(
        "policy.dns-tcp",
        "A network policy blocks DNS over TCP",
        "A reply that is too large for UDP is asked for again over TCP.",
        "Allow port 53 over TCP, too.",
    );
    POLICY_EGRESS = fault(
        "policy.egress",
        "A network policy of the client blocks the connection",
        "As soon as one policy limits egress of a Pod, only what some policy allows is let out. The port is that of the Pods, not of the Service.",
        "Add an egress rule for the Pods and their port.",
    );
    POLICY_INGRESS = fault(
        "policy.ingress",
        "A network policy of the Pods blocks the connection",
        "As soon as one policy limits ingress of a Pod, only what some policy allows is let in. A podSelector alone means Pods of the policy's own namespace.",
        "Add an ingress rule for the client and the port of the Pods.",
    );
    POLICY_CLIENT = fault(
        "policy.client",
        "It depends on the client whether the connection is allowed",
        "The policies admit only clients with certain labels or addresses, and the client is not known.",
        "Name the client with --pod NAMESPACE/NAME.",
    );
    POLICY_OUTSIDE = fault(
        "policy.outside",
        "Network policies block clients outside of the cluster",
        "The Service is a NodePort or a LoadBalancer, and no policy has an ipBlock that admits its clients.",
        "Add an ingress rule with an ipBlock.",
    );
}
