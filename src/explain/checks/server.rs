//! Checks of the report without a name: the cluster's DNS itself.

use super::{Check, checks, fact, fault};

checks! {
    CLUSTER_RESOLV_CONF = fact("cluster.resolv-conf", "The resolv.conf that Pods get");
    COREFILE_IS = fact("corefile.is", "The zone and the upstreams of the Corefile");
    COREFILE_NONE = fault(
        "corefile.none",
        "There is no Corefile",
        "The ConfigMap kube-system/coredns does not exist. Other distributions give it another name.",
        "Look which ConfigMap the Pods of the DNS server mount.",
    );
    COREFILE_UNREAD = fault(
        "corefile.unread",
        "The Corefile could not be read",
        "This account may not read ConfigMaps of kube-system.",
        "Bind the ClusterRole `view` to the account.",
    );
    COREFILE_MISTAKE = fault(
        "corefile.mistake",
        "The Corefile has an error",
        "A line of the Corefile cannot be parsed, or an option is wrong. A server with this Corefile does not start, or keeps its last valid one. While servers are ready, this is a warning.",
        "Correct the line; the server reloads the ConfigMap after one or two minutes.",
    );
    COREFILE_WARNING = fault(
        "corefile.warning",
        "A line of the Corefile has no effect, or not the intended one",
        "The message names the line and the reason.",
        "Correct or remove the line.",
    );
    COREFILE_LOOP = fault(
        "corefile.loop",
        "The DNS server forwards to itself",
        "The upstream is the cluster's DNS or a loopback address. Often the resolv.conf of the node names the stub of systemd-resolved, 127.0.0.53.",
        "Forward to a resolver outside of the cluster.",
    );
    COREFILE_NO_ZONE = fault(
        "corefile.no-zone",
        "No server block answers cluster names",
        "No server block has the plugin `kubernetes` with a zone.",
        "Add `kubernetes cluster.local in-addr.arpa ip6.arpa`.",
    );
    COREFILE_SHADOW = fault(
        "corefile.shadow",
        "Another plugin takes the name from kubernetes",
        "CoreDNS calls its plugins in a fixed order, whatever the order of the lines. `hosts` and `template` without `fallthrough` answer for every name of their zones, and a server block with a longer zone gets the query first.",
        "Add `fallthrough` to the plugin, give it a smaller zone, or remove the server block.",
    );
    RBAC_IS = fact("rbac.is", "The DNS server may read what it needs");
    RBAC_UNREAD = fact("rbac.unread", "The DNS server's permissions could not be read");
    RBAC_ROLE = fault(
        "rbac.role",
        "The DNS server's ClusterRole does not exist",
        "The ClusterRole system:coredns was deleted.",
        "`kubeadm init phase addon coredns` creates it again.",
    );
    RBAC_RULE = fault(
        "rbac.rule",
        "The DNS server lacks a permission",
        "The ClusterRole system:coredns does not allow the server to list and watch what it needs. A role from before Kubernetes 1.19 has no endpointslices.",
        "Add the rule that the message names.",
    );
    RBAC_BINDING = fault(
        "rbac.binding",
        "The DNS server's role is not bound",
        "No ClusterRoleBinding gives the role to the ServiceAccount of the server.",
        "Add the ServiceAccount to the subjects of the ClusterRoleBinding system:coredns.",
    );
    CLUSTER_SERVERS = fact("cluster.servers", "How many DNS servers are ready");
    CLUSTER_REPLICAS = fault(
        "cluster.replicas",
        "The DNS server is scaled to 0",
        "All Deployments behind the Service of the DNS have 0 replicas.",
        "Scale it to 2.",
    );
    CLUSTER_ONE_REPLICA = fault(
        "cluster.one-replica",
        "There is one DNS server only",
        "One server is ready. If its node fails, no name of the cluster resolves until a new one runs.",
        "Scale the Deployment to 2 replicas.",
    );
    CLUSTER_ONE_NODE = fault(
        "cluster.one-node",
        "All DNS servers are on one node",
        "If the node fails, no name of the cluster resolves.",
        "Add a topology spread constraint, or delete one of the Pods.",
    );
    CLUSTER_NO_SERVICE = fault(
        "cluster.no-service",
        "The DNS Service does not exist",
        "kubelet writes the cluster IP of the Service kube-system/kube-dns into every Pod's resolv.conf.",
        "`kubeadm init phase addon coredns` creates it again. Its cluster IP must be that of kubelet's `clusterDNS`.",
    );
    CLUSTER_NO_ENDPOINTS = fault(
        "cluster.no-endpoints",
        "No DNS server is ready",
        "The selector of the DNS Service matches no Pods, or its Pods are not ready. The plugin `loop` ends the server whenever it finds a forwarding loop, so its Pods restart again and again.",
        "The message has the reason; `ndots explain` without a name looks at the DNS server alone.",
    );
    CLUSTER_UNREAD = fault(
        "cluster.unread",
        "The DNS Service could not be read",
        "This account may not read Services of kube-system.",
        "Bind the ClusterRole `view` to the account.",
    );
    CLUSTER_PORT = fault(
        "cluster.port",
        "The DNS Service lacks a port",
        "Clients use port 53 over UDP and TCP. A port without `protocol` is TCP.",
        "Add the port to the Service kube-system/kube-dns.",
    );
}
