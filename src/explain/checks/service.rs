//! Checks of step 2: the Service and its ports.

use super::{Check, checks, fact, fault};

checks! {
    SERVICE_IS = fact("service.is", "The type, the cluster IP and the ports of the Service");
    SERVICE_NONE = fact("service.none", "There is no Service to check");
    SERVICE_REJECTED = fault(
        "service.rejected",
        "The API server rejects the Service",
        "A manifest breaks a rule of the API: several ports and one without a name, a number or a name twice, a nodePort with type ClusterIP, a number that is not a valid port.",
        "Correct the manifest; `kubectl apply --dry-run=server` checks it.",
    );
    SERVICE_NAMESPACE_TERMINATING = fault(
        "service.namespace-terminating",
        "The namespace is being deleted",
        "Somebody deleted the namespace. Everything in it goes away, and nothing new can be created.",
        "Create the objects in another namespace, or wait until the deletion is complete.",
    );
    SERVICE_NO_CLUSTER_IP = fault(
        "service.no-cluster-ip",
        "The Service has no cluster IP",
        "The API server has not assigned an address.",
        "Look at the events of the Service.",
    );
    SERVICE_PORT = fault(
        "service.port",
        "The Service does not have this port",
        "Clients use a port of the Service, and not the port at the Pods.",
        "Use one of the Service's ports, or add the port to the Service.",
    );
    SERVICE_PORT_NAME = fault(
        "service.port-name",
        "The Service has no port of this name",
        "SRV names are _NAME._PROTOCOL.SERVICE.NAMESPACE, with the name of a port of the Service.",
        "Name the port, or use another name.",
    );
    SERVICE_HEADLESS_PORT = fault(
        "service.headless-port",
        "A headless Service maps no ports",
        "DNS returns the addresses of the Pods, so clients connect to the Pods directly. Nothing maps port to targetPort.",
        "Use the port at the Pods, or a Service with a cluster IP.",
    );
    SERVICE_EXTERNAL_NAME_PORT = fault(
        "service.external-name-port",
        "An ExternalName maps no ports",
        "ExternalName is only an alias in DNS, so `targetPort` has no effect.",
        "Connect to the port of the external server.",
    );
    SERVICE_EXTERNAL_NAME_HOST = fault(
        "service.external-name-host",
        "The external server sees another host name",
        "ExternalName is only an alias in DNS. HTTP and TLS still carry the name of the Service, which the external server may not know.",
        "Let the client send the external name, or let the server accept both.",
    );
    SERVICE_AFFINITY = fact("service.affinity", "Connections of a client stay with one endpoint");
    SERVICE_INTERNAL_LOCAL = fault(
        "service.internal-local",
        "internalTrafficPolicy Local, and no endpoint on the client's node",
        "With internalTrafficPolicy Local, kube-proxy sends connections of Pods to endpoints on the same node only, and drops them if there are none.",
        "Run a Pod on each node (DaemonSet), or set `internalTrafficPolicy: Cluster`.",
    );
    SERVICE_INTERNAL_LOCAL_NODES = fault(
        "service.internal-local-nodes",
        "internalTrafficPolicy Local: only some nodes have endpoints",
        "Pods on other nodes get no reply.",
        "Run a Pod on each node (DaemonSet), or set `internalTrafficPolicy: Cluster`.",
    );
    OBJECT_NO_SERVICE = fault(
        "object.no-service",
        "No Service selects the Pods of the workload",
        "No Service of the namespace has a selector that matches the Pod template.",
        "Create a Service, or correct its selector.",
    );
    OBJECT_MISSING = fault(
        "object.missing",
        "The object does not exist",
        "The namespace has no object of this kind and name.",
        "Check the name, and give the namespace with -n.",
    );
    OBJECT_UNREAD = fault(
        "object.unread",
        "The object could not be read",
        "This account may not read objects of this kind.",
        "Bind the ClusterRole `view` to the account.",
    );
    POD_READY = fact("pod.ready", "The Pod is ready");
    POD_SERVICE = fact("pod.service", "A Service that selects the Pod");
    POD_NO_SERVICE = fact("pod.no-service", "No Service selects the Pod");
}
