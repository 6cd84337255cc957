//! Checks of step 3: the rules of kube-proxy on a node.

use super::{Check, checks, fact, fault};

checks! {
    PROXY_RULES = fact("proxy.rules", "The rules for the Service are complete");
    PROXY_NO_PART = fact("proxy.no-part", "kube-proxy is not involved: the Service has no cluster IP");
    PROXY_OTHER = fact("proxy.other", "Another proxy handles the Service, as its label says")
        .leaves_open("the other proxy");
    PROXY_HEADLESS_LABEL = fault(
        "proxy.headless-label",
        "kube-proxy ignores the Service because of a label",
        "kube-proxy does not watch Services with the label service.kubernetes.io/headless, also if they have a cluster IP.",
        "Remove the label from the Service.",
    );
    PROXY_NOT_SEEN = fact("proxy.not-seen", "The rules of the node were not read")
        .leaves_open("kube-proxy's rules");
    PROXY_OTHER_FAMILY = fact("proxy.other-family", "The rules are of another IP family than the Service");
    PROXY_REFUSED = fact("proxy.refused", "kube-proxy refuses connections, because there is no ready endpoint");
    PROXY_DROPPED = fact("proxy.dropped", "kube-proxy drops connections, because this node has no endpoint");
    PROXY_CONNECT = fault(
        "proxy.connect",
        "A connection to the cluster IP fails (--probe)",
        "If the endpoints accept connections, the rules of kube-proxy on this node are the cause: they are missing, or older than the endpoints.",
        "Check the rules on this node: `ndots explain NAME` as root, or --rules FILE.",
    );
    PROXY_STOPPED = fault(
        "proxy.stopped",
        "kube-proxy does not run, or is not ready",
        "The rules on the node no longer change: they can lead to Pods that are gone.",
        "Look at the Pods of kube-proxy and their logs.",
    );
    PROXY_UNHEALTHY = fault(
        "proxy.unhealthy",
        "kube-proxy is not healthy",
        "kube-proxy runs, and has not been able to write its rules for some time.",
        "Read its log.",
    );
    PROXY_LOG = fault(
        "proxy.log",
        "kube-proxy logs errors",
        "The message is from its log.",
        "Read its log.",
    );
    PROXY_NONE = fault(
        "proxy.none",
        "The node has no rules of kube-proxy",
        "kube-proxy has never run here, somebody flushed the rules, or another program takes its place.",
        "Look at the Pods of kube-proxy.",
    );
    PROXY_TWO_MODES = fault(
        "proxy.two-modes",
        "The node has rules of two modes",
        "The mode of kube-proxy was changed, and the rules of the former mode were not removed.",
        "Run `kube-proxy --cleanup` on the node, then start kube-proxy again.",
    );
    PROXY_HOOK = fault(
        "proxy.hook",
        "The chains of kube-proxy are not reached",
        "A jump to KUBE-SERVICES, or the base chain of the table, is missing. Another program flushed the table.",
        "Restart kube-proxy on the node.",
    );
    PROXY_NO_RULE = fault(
        "proxy.no-rule",
        "There is no rule for the Service",
        "The rule was deleted, or kube-proxy is behind the API.",
        "Restart kube-proxy on the node.",
    );
    PROXY_LAG = fault(
        "proxy.lag",
        "The rules are older than the endpoints",
        "kube-proxy is behind the API, does not run, or the rules were changed by hand.",
        "Restart kube-proxy on the node, and read its log.",
    );
    PROXY_DANGLING = fault(
        "proxy.dangling",
        "A rule leads to an empty chain",
        "The rule of an endpoint was deleted by hand.",
        "Restart kube-proxy on the node.",
    );
    PROXY_PROBABILITY = fault(
        "proxy.probability",
        "The endpoints do not get equal shares",
        "The probabilities in the rules were changed by hand, or a rule was deleted.",
        "Restart kube-proxy on the node.",
    );
    PROXY_POSTROUTING = fault(
        "proxy.postrouting",
        "Source NAT is missing",
        "The rule that masquerades marked packets is missing, so replies go past the node and clients drop them.",
        "Restart kube-proxy on the node.",
    );
    PROXY_MARK = fault(
        "proxy.mark",
        "Packets from outside are not marked for source NAT",
        "The mark rule is missing, so replies go past the node and clients drop them.",
        "Restart kube-proxy on the node.",
    );
    PROXY_HAIRPIN_MARK = fault(
        "proxy.hairpin-mark",
        "A Pod cannot reach itself through the Service: the rule is missing",
        "A Pod that calls its own Service and is chosen as the endpoint must be masqueraded. Otherwise it drops the reply.",
        "Restart kube-proxy on the node.",
    );
    PROXY_HAIRPIN = fault(
        "proxy.hairpin",
        "A Pod cannot reach itself through the Service: hairpin mode is off",
        "The bridge does not send a packet back to the port that it came from.",
        "Set `hairpinMode: true` in the configuration of the CNI bridge plugin.",
    );
}
