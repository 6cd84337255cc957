//! Checks of step 4: the ways into the cluster.

use super::{Check, checks, fact, fault};

checks! {
    OUTSIDE_NONE = fact("outside.none", "There is no Service and no Ingress");
    OUTSIDE_INSIDE_ONLY = fact("outside.inside-only", "The Service is not exposed");
    OUTSIDE_EXTERNAL_NAME = fact("outside.external-name", "Clients outside use the external name itself");
    OUTSIDE_BY_INGRESS = fact("outside.by-ingress", "An Ingress that leads to the Service");
    OUTSIDE_BY_ROUTE = fact("outside.by-route", "A route of a Gateway that leads to the Service");
    OUTSIDE_REFUSED_HOST = fault(
        "outside.refused-host",
        "`k8s_gateway` does not answer a host for its object",
        "Objects of any namespace can name any host. In the cluster's Corefile, the plugin `k8s_gateway` gives a host to the namespace of the oldest object that has it, and keeps the zone itself, its name servers, its wildcard and the names NAME.NAMESPACE of Services.",
        "Remove the host from one of the objects, or say in the Corefile which namespace has it: `claims NAMESPACE HOST`.",
    );
    OUTSIDE_SOURCE = fact("outside.source", "Which client address the Pods see");
    OUTSIDE_SOURCE_RANGES = fact("outside.source-ranges", "Only some client addresses can connect");
    OUTSIDE_NODES_UNREAD = fact("outside.nodes-unread", "Nodes could not be read")
        .leaves_open("the nodes");
    OUTSIDE_NO_NODES = fact("outside.no-nodes", "No ready node is known")
        .leaves_open("the nodes");
    OUTSIDE_NODE_PORT = fault(
        "outside.node-port",
        "The node port of the Service",
        "A Service of type NodePort without a node port has not been processed by the API server.",
        "Look at the events of the Service.",
    );
    OUTSIDE_NODE_PORT_RANGE = fault(
        "outside.node-port-range",
        "The node port is outside of the API server's range",
        "The default of --service-node-port-range is 30000-32767.",
        "Use a port of the range.",
    );
    OUTSIDE_CONNECT = fault(
        "outside.connect",
        "A connection to a node port fails (--probe)",
        "A firewall of the node or the cloud drops the packets, the rules of kube-proxy on that node are missing, or it has no endpoint with externalTrafficPolicy Local.",
        "Open the port in the firewall, and check kube-proxy on that node.",
    );
    OUTSIDE_LOCAL = fault(
        "outside.local",
        "externalTrafficPolicy Local, and the node has no endpoint",
        "With externalTrafficPolicy Local, a node sends connections to its own endpoints only, and drops them if it has none.",
        "Use a node with a ready Pod, or set `externalTrafficPolicy: Cluster`.",
    );
    OUTSIDE_LOCAL_NODES = fault(
        "outside.local-nodes",
        "externalTrafficPolicy Local: only some nodes answer",
        "The other nodes have no ready endpoint, and drop connections.",
        "Use the nodes that the message names, or set `externalTrafficPolicy: Cluster`.",
    );
    OUTSIDE_LOAD_BALANCER = fact("outside.load-balancer", "The address of the load balancer");
    OUTSIDE_BALANCER_NO_STATUS = fact(
        "outside.balancer-no-status",
        "The manifest has no status of the LoadBalancer",
    ).leaves_open("the address of the LoadBalancer");
    OUTSIDE_BALANCER_OTHER = fault(
        "outside.balancer-other",
        "The load balancer has another address than the requested one",
        "The controller of the load balancer does not use spec.loadBalancerIP, which is deprecated, or the address belongs to another Service.",
        "Use the annotation of the controller instead of loadBalancerIP, or connect to the address in the status.",
    );
    OUTSIDE_BALANCER_NOT_ANNOUNCED = fault(
        "outside.balancer-not-announced",
        "No node announces the address of the load balancer",
        "MetalLB assigns addresses of an IPAddressPool, and announces only pools that an L2Advertisement or a BGPAdvertisement selects.",
        "Create an L2Advertisement in the namespace of MetalLB.",
    );
    OUTSIDE_PENDING = fault(
        "outside.pending",
        "The LoadBalancer has no address",
        "No controller has assigned an address. Clusters without a cloud need one, such as MetalLB; with loadBalancerClass it must be the controller of that class.",
        "Install such a controller, or use the node port. Look at the events of the Service.",
    );
    OUTSIDE_EXTERNAL_IP = fault(
        "outside.external-ip",
        "An external IP",
        "kube-proxy accepts connections to an address in `externalIPs` on every node. If no node has the address, your network must route it to a node.",
        "Use an address of a node, or add a route.",
    );
    OUTSIDE_EXTERNAL_IPS_DEPRECATED = fault(
        "outside.external-ips-deprecated",
        "externalIPs is deprecated",
        "Kubernetes 1.36 deprecates the field externalIPs (KEP-5707), because everybody who may create a Service can take over traffic with it. A later release ignores it.",
        "Use a Service of type LoadBalancer, or an Ingress or Gateway.",
    );
    OUTSIDE_INGRESS_HOST = fault(
        "outside.ingress-host",
        "The host of an Ingress is not a host name",
        "The API server accepts only DNS names in `host`: no URL, no port and no address.",
        "Write the host name alone, or a rule without `host`.",
    );
    OUTSIDE_NOT_IN_MANIFESTS = fact(
        "outside.not-in-manifests",
        "The manifests do not have the Services of an Ingress",
    ).leaves_open("the Services of the Ingress");
    OUTSIDE_INGRESS_REJECTED = fault(
        "outside.ingress-rejected",
        "The API server rejects the Ingress",
        "A manifest breaks a rule of the API: a path without pathType or without a slash, a backend in the form of networking.k8s.io/v1beta1, a host with capital letters.",
        "Correct the manifest; `kubectl apply --dry-run=server` checks it.",
    );
    OUTSIDE_INGRESS_TWICE = fault(
        "outside.ingress-twice",
        "Two Ingresses have the same host and path",
        "Ingresses of one class are merged by host. For the same path the controller uses one of them, in most cases the oldest.",
        "Remove the path from one of them.",
    );
    OUTSIDE_INGRESS_ADDRESS = fault(
        "outside.ingress-address",
        "The address of the Ingress",
        "An Ingress without an address was not accepted by a controller: none is installed, or the class belongs to none.",
        "Look at the class of the Ingress, and at the Pods of the controller.",
    );
    OUTSIDE_INGRESS_NO_STATUS = fact(
        "outside.ingress-no-status",
        "The manifest has no status of the Ingress",
    ).leaves_open("the address of the Ingress");
    OUTSIDE_INGRESS_VERSION = fault(
        "outside.ingress-version",
        "The apiVersion of the Ingress is outdated",
        "Kubernetes 1.22 and later do not serve extensions/v1beta1 and networking.k8s.io/v1beta1.",
        "Convert it: `kubectl convert -f FILE --output-version networking.k8s.io/v1`.",
    );
    OUTSIDE_INGRESS_CLASS = fault(
        "outside.ingress-class",
        "The class of the Ingress does not exist",
        "The name in `ingressClassName`, or in the annotation, is none of the IngressClasses.",
        "Use an existing class: `kubectl get ingressclasses`.",
    );
    OUTSIDE_INGRESS_NO_CLASS = fault(
        "outside.ingress-no-class",
        "The Ingress has no class",
        "Without a class, and without a default class, no controller accepts the Ingress.",
        "Set `ingressClassName`.",
    );
    OUTSIDE_INGRESS_PATH = fault(
        "outside.ingress-path",
        "No path of the Ingress matches",
        "pathType Exact matches the whole path. Prefix matches whole segments, and has no wildcards.",
        "Correct the path or its pathType.",
    );
    OUTSIDE_INGRESS_ROUTE = fact("outside.ingress-route", "The Service behind a path");
    OUTSIDE_INGRESS_RESOURCE = fact("outside.ingress-resource", "A path that leads to another resource than a Service");
    OUTSIDE_INGRESS_SERVICE = fault(
        "outside.ingress-service",
        "The Service of the Ingress does not exist",
        "An Ingress can use Services of its own namespace only.",
        "Correct the name, or create the Ingress in the namespace of the Service.",
    );
    OUTSIDE_INGRESS_UNREAD = fault(
        "outside.ingress-unread",
        "The Services of an Ingress could not be read",
        "The account may not read the Services of the namespace.",
        "Use an account that may, for example with the ClusterRole `view`.",
    );
    OUTSIDE_INGRESS_PORT = fault(
        "outside.ingress-port",
        "The Service of the Ingress does not have this port",
        "The backend names a port of the Service, not of the Pods. A number in quotes is a name.",
        "Use a port of the Service.",
    );
    OUTSIDE_INGRESS_REWRITE = fault(
        "outside.ingress-rewrite",
        "A rewrite uses a group that the path does not have",
        "With ingress-nginx, `$2` in `rewrite-target` is the second group in parentheses of the path. Without this group it is empty, so every request gets the same path.",
        "Use a path such as `/api(/|$)(.*)` with pathType ImplementationSpecific, or no rewrite.",
    );
    OUTSIDE_INGRESS_NODE_PORT = fault(
        "outside.ingress-node-port",
        "The load balancer of an Ingress needs node ports that the Service does not have",
        "The AWS Load Balancer Controller sends to node ports, unless the annotation `alb.ingress.kubernetes.io/target-type` is `ip`.",
        "Set the annotation to `ip`, or the type of the Service to NodePort.",
    );
    OUTSIDE_TLS = fact("outside.tls", "The certificate is valid for the host");
    OUTSIDE_TLS_UNREAD = fault(
        "outside.tls-unread",
        "The certificate could not be read",
        "The ClusterRole `view` does not allow to read Secrets.",
        "Read the certificate with an account that may.",
    );
    OUTSIDE_TLS_SECRET = fault(
        "outside.tls-secret",
        "The Secret with the certificate does not exist",
        "The controller presents its own certificate instead, which browsers reject.",
        "Create the Secret in the namespace of the Ingress.",
    );
    OUTSIDE_TLS_CERTIFICATE = fault(
        "outside.tls-certificate",
        "The Secret has no usable certificate",
        "The field tls.crt is missing or is not a certificate in PEM form.",
        "Create the Secret again with `kubectl create secret tls`.",
    );
    OUTSIDE_TLS_EXPIRED = fault(
        "outside.tls-expired",
        "The certificate is not valid now",
        "The certificate has expired or will soon, or is not valid yet. What should renew it, such as cert-manager, has not done so.",
        "Renew the certificate. With cert-manager: `kubectl describe certificate,order,challenge`.",
    );
    OUTSIDE_TLS_HOST = fault(
        "outside.tls-host",
        "The certificate is for another host",
        "None of the certificate's subject alternative names covers the host.",
        "Use a certificate for the host.",
    );
    OBJECTS_NOT_READ = fact("objects.not-read", "The manifests have objects of other kinds");
}
