//! Checks of step 1: the name.

use super::{Check, checks, fact, fault};

checks! {
    DNS_INVALID = fault(
        "dns.invalid",
        "The argument is not a name",
        "The argument has no valid host name or address, so there is nothing to look up.",
        "Give a name, an address, a URL, or an object such as `svc/web`.",
    );
    DNS_RESOLVER = fact("dns.resolver", "The resolver settings of the client");
    DNS_QUESTION = fact("dns.question", "The query that finds the name, and its answer");
    DNS_SEARCH_PATH = fact("dns.search-path", "A query of the search path that finds nothing");
    DNS_POD = fact("dns.pod", "The name of a Pod in DNS");
    DNS_KUBERNETES_DEFAULT = fact("dns.kubernetes-default", "The address of kubernetes.default")
        .hidden_by(&[DNS_SERVER_FAILURE, DNS_NO_ANSWER]);
    DNS_SERVER = fact("dns.server", "Whether the DNS server says what the objects say")
        .leaves_open("the DNS server's replies")
        .once();
    DNS_UPSTREAM = fault(
        "dns.upstream",
        "External names do not resolve",
        "The DNS server has no upstream that answers.",
        "Look at `forward` in the Corefile, and at the resolv.conf of the server's node.",
    );
    DNS_TEMPLATE = fact("dns.template", "The StatefulSet that makes the Pod of this name")
        .leaves_open("the Pod's name in DNS");
    DNS_INGRESS_HOST = fact("dns.ingress-host", "The host of an Ingress or a route")
        .leaves_open("the public DNS of the host");
    DNS_NO_OBJECT = fact("dns.no-object", "There is no name to look up");
    DNS_BY_COREFILE = fact("dns.by-corefile", "A name that the Corefile itself answers")
        .leaves_open("what is at the address");
    DNS_OUTSIDE = fault(
        "dns.outside",
        "The name is not a cluster name, and no server was queried",
        "No object of the cluster has this name, and no DNS server was queried that knows other names.",
        "Check the spelling, or query a server: `ndots query NAME`.",
    );
    DNS_NO_SUCH_NAME = fault(
        "dns.no-such-name",
        "The name does not exist",
        "No object of the cluster has the name, and the DNS server answers NXDOMAIN.",
        "Check the spelling. `kubectl get services,ingresses,httproutes -A` lists the names of the cluster.",
    );
    DNS_UNREAD = fault(
        "dns.unread",
        "The answer depends on objects that could not be read",
        "This account may not list Services, namespaces or EndpointSlices.",
        "Bind the ClusterRole `view` to the account.",
    );
    DNS_NAME = fault(
        "dns.name",
        "The Service does not exist",
        "The namespace has no Service with this name.",
        "Use the right name. `kubectl -n NAMESPACE get services` lists them.",
    );
    DNS_REJECTED = fault(
        "dns.rejected",
        "The Service is in the manifests, and an API server rejects it",
        "A field has a value that the API does not allow, or a cluster IP or node port belongs to another Service.",
        "Correct the field: `kubectl apply --dry-run=server -f FILE` shows what the API server says.",
    );
    DNS_NAMESPACE = fault(
        "dns.namespace",
        "The namespace does not exist",
        "The second label of the name is taken as a namespace, and there is none with this name.",
        "Use NAME.NAMESPACE with an existing namespace.",
    );
    DNS_OTHER_NAMESPACE = fault(
        "dns.other-namespace",
        "The Service is in another namespace",
        "A short name is looked up in the client's own namespace only.",
        "Use NAME.NAMESPACE.",
    );
    DNS_SVC_MISSING = fault(
        "dns.svc-missing",
        "The label svc is missing",
        "A complete cluster name is NAME.NAMESPACE.svc.ZONE.",
        "Insert `svc`, or use NAME.NAMESPACE.",
    );
    DNS_ZONE = fault(
        "dns.zone",
        "The name has another zone than the cluster",
        "The cluster's zone is the one in the Corefile, and kubelet writes it into the search list (`clusterDomain`).",
        "Use NAME.NAMESPACE, which works in every cluster.",
    );
    DNS_ENDPOINT_NAME = fault(
        "dns.endpoint-name",
        "No ready endpoint has this name",
        "A name below a Service belongs to a Pod with `hostname` and `subdomain`. A StatefulSet sets both from its `serviceName`.",
        "Use the Service that `serviceName` names, and make sure that the Pod is ready.",
    );
    DNS_EXTERNAL_NAME = fault(
        "dns.external-name",
        "The external name does not exist",
        "The name in `externalName` of the Service does not exist in DNS.",
        "Correct `spec.externalName`.",
    );
    DNS_EXTERNAL_NAME_ADDRESS = fault(
        "dns.external-name-address",
        "externalName is an address",
        "DNS treats the value of `externalName` as a host name, also if it looks like an address.",
        "Use a Service without a selector, and an EndpointSlice with the address.",
    );
    DNS_EXTERNAL_NAME_INVALID = fault(
        "dns.external-name-invalid",
        "externalName is not a host name",
        "`externalName` is a URL, has a port or a path, or contains a character that host names do not allow, such as `_`. It becomes a CNAME record, which has a host name only.",
        "Write a valid host name alone. The client has to know scheme and port.",
    );
    DNS_EXTERNAL_NAME_CIRCLE = fault(
        "dns.external-name-circle",
        "External names form a loop",
        "The `externalName` of the Service leads back to the Service.",
        "Correct `spec.externalName`.",
    );
    DNS_EXTERNAL_NAME_END = fact("dns.external-name-end", "Where an ExternalName Service leads")
        .leaves_open("the external name");
    DNS_HOST_ALIAS = fault(
        "dns.host-alias",
        "hostAliases of the Pod answer for the name",
        "kubelet writes the `hostAliases` of a Pod into its /etc/hosts, which resolvers read before they query DNS.",
        "Remove the entry from `spec.hostAliases`, unless its address is the one that is meant.",
    );
    DNS_HOST_NETWORK = fault(
        "dns.host-network",
        "A Pod on the host network uses the node's resolver",
        "With `hostNetwork: true`, dnsPolicy ClusterFirst means Default: the resolv.conf of the node.",
        "Set `dnsPolicy: ClusterFirstWithHostNet`.",
    );
    DNS_POLICY = fault(
        "dns.policy",
        "The Pod uses the node's resolver",
        "dnsPolicy Default means the resolv.conf of the node, whose servers do not know cluster names.",
        "Set `dnsPolicy: ClusterFirst`, which applies if the field is absent.",
    );
    DNS_NAMESERVER = fault(
        "dns.nameserver",
        "The Pod queries another server",
        "The Pod has dnsPolicy None, and the nameservers of its dnsConfig are not the cluster's.",
        "Put the cluster IP of the Service kube-system/kube-dns into `dnsConfig.nameservers`.",
    );
    DNS_NDOTS = fault(
        "dns.ndots",
        "ndots is too small for this name",
        "A name with at least ndots dots is first looked up without the search list. glibc uses the search list afterwards, musl (Alpine) does not.",
        "Remove the option ndots, or use the complete name with its final dot.",
    );
    DNS_HIDDEN = fault(
        "dns.hidden",
        "An option of `kubernetes` hides the name",
        "The options of the plugin `kubernetes` in the Corefile decide which namespaces, Services, Pods and endpoints have names.",
        "Change the option in the Corefile, or use a name that exists with it.",
    );
    DNS_SEARCH_LIMIT = fault(
        "dns.search-limit",
        "The search list is too long",
        "kubelet writes at most 32 search domains, with 2,048 characters together, into the resolv.conf of a Pod, and leaves out the rest. musl (Alpine) ignores a line with 255 characters or more.",
        "Remove domains from `spec.dnsConfig.searches`, or use complete names.",
    );
    DNS_SEARCH = fault(
        "dns.search",
        "The search list does not lead to the name",
        "No domain of the Pod's search list makes the name complete.",
        "Use the complete name, or remove `dnsConfig.searches`.",
    ).hidden_by(&[
        DNS_HOST_NETWORK, DNS_POLICY, DNS_NAMESERVER, DNS_NDOTS, DNS_SEARCH_SHADOW, DNS_STALE,
        DNS_HOST_ALIAS,
        DNS_SERVER_FAILURE, DNS_NO_ANSWER,
    ]);
    DNS_SEARCH_SHADOW = fault(
        "dns.search-shadow",
        "A search domain answers for the name",
        "A domain of the search list, or a namespace such as `com`, has an answer for the name, so resolvers never query the name itself.",
        "Use the name with its final dot, or remove the domain from the search list.",
    );
    DNS_SHADOWS_WORLD = fault(
        "dns.shadows-world",
        "A Service has the name of a public host",
        "The namespace has the name of a top-level domain, and the search list comes first: Pods get the Service NAME.com instead of the host NAME.com.",
        "Rename the namespace, or use the name of the host with its final dot.",
    );
    DNS_NO_ANSWER = fault(
        "dns.no-answer",
        "The DNS server does not answer",
        "The server does not run, or a network policy, a firewall or missing rules of kube-proxy stop the query.",
        "`ndots explain` without a name checks the server itself.",
    ).once();
    DNS_SERVER_FAILURE = fault(
        "dns.server-failure",
        "The DNS server answers with an error",
        "SERVFAIL: the server cannot read the objects, or its upstream fails. REFUSED: no server block has the name.",
        "Read the server's log, and run `ndots explain` without a name.",
    );
    DNS_STALE = fault(
        "dns.stale",
        "The DNS server answers with old data",
        "The server's watch of the API has stopped, or the server belongs to another cluster.",
        "Read the server's log, and check its permission to watch.",
    );
    DNS_TCP = fault(
        "dns.tcp",
        "The DNS server does not answer over TCP",
        "A firewall, a network policy or the Service lets UDP through only. Replies that are too large for UDP then fail.",
        "Allow port 53 over TCP, too.",
    );
    DNS_OTHER_CLUSTER = fault(
        "dns.other-cluster",
        "The DNS server belongs to another cluster",
        "The server has another address for kubernetes.default, or does not know the name.",
        "Check the nameserver, the kubeconfig's context, and the zone in the Corefile.",
    ).hidden_by(&[DNS_SERVER_FAILURE, DNS_NO_ANSWER]);
}
