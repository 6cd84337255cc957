//! Checks of step 2: the Pods behind the Service, and its EndpointSlices.

use super::{Check, checks, fact, fault};

checks! {
    ENDPOINTS_PODS = fact("endpoints.pods", "The Pods that the selector matches");
    ENDPOINTS_READY = fact("endpoints.ready", "The ready endpoints of the Service");
    ENDPOINTS_API_SERVER = fact("endpoints.api-server", "The API server is its own endpoint");
    ENDPOINTS_TEMPLATE = fact(
        "endpoints.template",
        "The workload whose Pods the selector matches; the manifests have no Pods",
    ).leaves_open("whether Pods are ready");
    ENDPOINTS_NO_STATUS = fact(
        "endpoints.no-status",
        "The manifests have Pods without a status",
    ).leaves_open("whether Pods are ready");
    ENDPOINTS_NOT_IN_MANIFESTS = fact(
        "endpoints.not-in-manifests",
        "The manifests have no Pods and no workload with the labels of the selector",
    ).leaves_open("whether Pods exist");
    ENDPOINTS_NOT_PROBED = fact("endpoints.not-probed", "Connections that were not tried (--probe)")
        .leaves_open("connections");
    ENDPOINTS_CONNECT = fault(
        "endpoints.connect",
        "A connection to an endpoint fails (--probe)",
        "Refused: nothing listens at the port, or only on 127.0.0.1. Reset: a proxy in the Pod has no server behind it. No reply: a network policy, a firewall or the Pod network drops the packets.",
        "Let the application listen on 0.0.0.0 and the targetPort; check policies and the network plugin.",
    );
    ENDPOINTS_FORWARD = fault(
        "endpoints.forward",
        "A connection through port-forward fails (--probe)",
        "A machine outside of the cluster connects through the API server, to the loopback address of the Pod. Refused: nothing listens at the port there. A server that listens on the Pod's own address only is not found in this way.",
        "Compare the targetPort with the port in the log of the application, and let the application listen on 0.0.0.0.",
    );
    ENDPOINTS_UNREAD = fault(
        "endpoints.unread",
        "Pods, workloads or EndpointSlices could not be read",
        "This account may not list them in the namespace of the Service, or a field of an object has another type than in the API.",
        "Bind the ClusterRole `view` to the account. The message names an object that cannot be read.",
    );
    ENDPOINTS_SELECTOR = fault(
        "endpoints.selector",
        "The selector matches no Pods",
        "The labels in `spec.selector` and those of the Pods differ. All labels of the selector must match.",
        "Correct `spec.selector`, or the labels of the Pod template.",
    );
    ENDPOINTS_NO_PODS = fault(
        "endpoints.no-pods",
        "The namespace has no Pods",
        "The workload was not created, or its Pods cannot be created (quota, admission, missing ServiceAccount).",
        "Look at the workload and the events of the namespace.",
    );
    ENDPOINTS_OTHER_NAMESPACE = fault(
        "endpoints.other-namespace",
        "The Pods are in another namespace",
        "A selector matches Pods of the Service's own namespace only.",
        "Create the Service in the namespace of the Pods.",
    );
    ENDPOINTS_SCALED_TO_ZERO = fault(
        "endpoints.scaled-to-zero",
        "The workload is scaled to 0",
        "The workload that the selector matches has 0 replicas.",
        "Scale it to 1 or more.",
    );
    ENDPOINTS_NOT_CREATED = fault(
        "endpoints.not-created",
        "The workload has no Pods",
        "The workload should have Pods, and its controller cannot create them: a quota, Pod Security, an admission webhook or a missing ServiceAccount forbids them, or no node fits a DaemonSet.",
        "Look at the conditions and events of the workload and of its ReplicaSet.",
    );
    ENDPOINTS_REJECTED = fault(
        "endpoints.rejected",
        "The API server rejects the workload or the Pod",
        "A manifest breaks a rule of the API: a selector that does not match the labels of its own template, a port name with more than 15 characters or twice in a container, dnsPolicy None without nameservers.",
        "Correct the field that the message names.",
    );
    ENDPOINTS_PROBE_PORT = fault(
        "endpoints.probe-port",
        "A probe names a port that its container does not have",
        "kubelet looks a name up among the ports of the same container. It finds none, so the probe fails always.",
        "Use the name of a port of the container, or its number.",
    );
    ENDPOINTS_ADDRESS = fault(
        "endpoints.address",
        "An endpoint has an address that cannot be used",
        "kube-proxy ignores EndpointSlices with addressType FQDN. The API server rejects loopback, link-local and multicast addresses. The cluster IP of another Service is not translated a second time.",
        "Use the addresses of the servers themselves. For a host name use a Service of type ExternalName.",
    );
    ENDPOINTS_JOB = fault(
        "endpoints.job",
        "Only a Job makes Pods with these labels",
        "Pods of a Job are not endpoints after they have ended.",
        "Use a Deployment or a StatefulSet, or correct the selector.",
    );
    ENDPOINTS_NO_SELECTOR = fault(
        "endpoints.no-selector",
        "The Service has no selector and no endpoints",
        "Without a selector no controller creates EndpointSlices. Those that exist must have the label kubernetes.io/service-name.",
        "Add a selector, or an EndpointSlice with the label.",
    );
    ENDPOINTS_TARGET_PORT = fault(
        "endpoints.target-port",
        "No container has the targetPort",
        "The number in `targetPort` is none of the ports that the containers declare. Without `targetPort` it is the port of the Service.",
        "Correct `targetPort`, or declare the port in the container.",
    );
    ENDPOINTS_TARGET_PORT_NAME = fault(
        "endpoints.target-port-name",
        "No container has a port with the name in targetPort",
        "A name in `targetPort` must be the name of a container's port with the same protocol. Without it the endpoints have no port.",
        "Correct the name, or use the number.",
    );
    ENDPOINTS_PROTOCOL = fault(
        "endpoints.protocol",
        "Service and container have different protocols",
        "A port without `protocol` is TCP.",
        "Set the same protocol in both.",
    );
    ENDPOINTS_SOME_WITHOUT_PORT = fault(
        "endpoints.some-without-port",
        "The selector also matches Pods without the port",
        "Pods of another workload or of a Job have the same labels. Connections to them fail.",
        "Use a selector that matches the Pods of one workload only.",
    );
    ENDPOINTS_SOME_UNREADY = fault(
        "endpoints.some-unready",
        "Some of the Pods are not ready",
        "Connections go to the other Pods only.",
        "The message has the reason of each Pod.",
    );
    ENDPOINTS_UNREADY = fault(
        "endpoints.unready",
        "No Pod is ready",
        "Only Pods with the condition Ready are endpoints.",
        "Look at the events and the log of the Pod, and at its readinessProbe.",
    );
    ENDPOINTS_PROBE = fault(
        "endpoints.probe",
        "A probe fails",
        "The container runs, but its startup or readiness probe fails: another port or path, an application that is not ready, or one that listens on 127.0.0.1 only.",
        "Run the request of the probe in the Pod, and compare port and path.",
    );
    ENDPOINTS_INIT_CONTAINER = fault(
        "endpoints.init-container",
        "An init container has not ended",
        "The other containers start after every init container has ended with exit code 0.",
        "Read the log of the init container.",
    );
    ENDPOINTS_OOM_KILLED = fault(
        "endpoints.oom-killed",
        "A container used more memory than its limit",
        "The kernel ended the container (OOMKilled, exit code 137).",
        "Raise `resources.limits.memory`, or find out why the container needs so much.",
    );
    ENDPOINTS_IMAGE = fault(
        "endpoints.image",
        "An image cannot be pulled",
        "The name or the tag does not exist, or the registry wants a pull secret.",
        "Look at the events of the Pod.",
    );
    ENDPOINTS_WAITING = fault(
        "endpoints.waiting",
        "A container does not run",
        "The container ends again and again, or cannot be created.",
        "Read the log of its last run: `kubectl logs POD --previous`.",
    );
    ENDPOINTS_UNSCHEDULED = fault(
        "endpoints.unscheduled",
        "The Pod has no node",
        "No node has enough resources, or taints, selectors and volumes exclude all nodes.",
        "The message of the scheduler has the reason for each node.",
    );
    ENDPOINTS_READINESS_GATE = fault(
        "endpoints.readiness-gate",
        "A readiness gate is not True",
        "A controller, for example that of a load balancer, has to set the condition.",
        "Look at the log of that controller.",
    );
    ENDPOINTS_NODE = fault(
        "endpoints.node",
        "The Pod's node is not ready",
        "The node does not report its state, so its Pods are not ready.",
        "Look at the node: `kubectl describe node`.",
    );
    ENDPOINTS_TERMINATING = fault(
        "endpoints.terminating",
        "The Pods are being deleted",
        "A terminating Pod gets no new connections.",
        "Wait for the new Pods, or look why there are none.",
    );
    ENDPOINTS_FINISHED = fault(
        "endpoints.finished",
        "The Pods have ended",
        "A Pod of phase Succeeded or Failed is not an endpoint. An evicted Pod is one of these.",
        "Delete the Pods, and look why the workload makes no new ones.",
    );
    ENDPOINTS_SLICES_LAG = fault(
        "endpoints.slices-lag",
        "The EndpointSlices are behind the Pods",
        "The endpointslice controller lags or does not run.",
        "Read the log of kube-controller-manager.",
    );
    ENDPOINTS_STRANGER = fault(
        "endpoints.stranger",
        "An endpoint has no Pod",
        "The endpointslice controller lags, or something else writes EndpointSlices for this Service.",
        "Read the log of kube-controller-manager, and delete the wrong EndpointSlice.",
    );
    ENDPOINTS_SLICE_PORT = fault(
        "endpoints.slice-port",
        "The EndpointSlice has other port names than the Service",
        "kube-proxy matches the ports of the Service and of its EndpointSlices by name. A port without a name matches one without a name.",
        "Use the same names in both.",
    );
    ENDPOINTS_FAMILY = fault(
        "endpoints.family",
        "The endpoints have another IP family",
        "A Service with an IPv4 address needs endpoints with IPv4 addresses, and the same for IPv6.",
        "Change `ipFamilies`, or give the Pods addresses of both families.",
    );
    ENDPOINTS_NONE = fault(
        "endpoints.none",
        "The Service has 0 ready endpoints",
        "No EndpointSlice of the Service has a ready endpoint.",
        "Look at the EndpointSlices and the Pods.",
    );
}
