//! Checks of step 4 (From outside): Gateways and routes.

use super::{Check, checks, fact, fault};

checks! {
    GATEWAY_PARENT = fault(
        "gateway.parent",
        "The Gateway of the route does not exist",
        "A parentRef without `namespace` means the namespace of the route.",
        "Correct `parentRefs`: `kubectl get gateways -A`.",
    );
    GATEWAY_OTHER_PARENT = fact("gateway.other-parent", "The parent of the route is not a Gateway")
        .leaves_open("parents that are not Gateways");
    GATEWAY_NOT_IN_MANIFESTS = fact("gateway.not-in-manifests", "The manifests do not have the Gateway, or the Services behind it")
        .leaves_open("the Gateway and the Services behind it");
    GATEWAY_UNREAD = fault(
        "gateway.unread",
        "Gateways, grants or Services could not be read",
        "This account may not read them. The ClusterRole `view` does not contain the Gateway API by default.",
        "Give the account the permission to list them.",
    );
    GATEWAY_LISTENER = fault(
        "gateway.listener",
        "The Gateway does not have the listener",
        "`sectionName` or `port` of the parentRef names a listener that does not exist.",
        "Use a listener of the Gateway.",
    );
    GATEWAY_NAMESPACE = fault(
        "gateway.namespace",
        "The listener does not take routes of this namespace",
        "`allowedRoutes.namespaces.from` defaults to Same: only routes of the Gateway's namespace are accepted.",
        "Set it to All, or to Selector with labels of the namespace.",
    );
    GATEWAY_KIND = fault(
        "gateway.kind",
        "The listener does not take routes of this kind",
        "HTTP and HTTPS take HTTPRoute and GRPCRoute, TLS takes TLSRoute, TCP takes TCPRoute; `allowedRoutes.kinds` can limit them.",
        "Use another listener or another kind of route.",
    );
    GATEWAY_HOSTNAME = fault(
        "gateway.hostname",
        "Listener and route have no host name in common",
        "The hostname of the listener must cover a hostname of the route.",
        "Correct one of them.",
    );
    GATEWAY_CLASS = fault(
        "gateway.class",
        "The GatewayClass does not exist",
        "Without a class no controller accepts the Gateway.",
        "Use an existing class: `kubectl get gatewayclasses`.",
    );
    GATEWAY_STATUS = fault(
        "gateway.status",
        "The controller reports an error",
        "A condition of the route, the Gateway or a listener is False. The message is that of the controller.",
        "Correct what the message names.",
    );
    GATEWAY_ADDRESS = fault(
        "gateway.address",
        "The Gateway has no address",
        "A Gateway without an address was not set up by a controller.",
        "Look at the conditions of the Gateway, and at the Pods of the controller.",
    );
    GATEWAY_NO_STATUS = fact("gateway.no-status", "The manifest has no status of the Gateway")
        .leaves_open("the Gateway's address");
    GATEWAY_CERTIFICATE = fault(
        "gateway.certificate",
        "The certificate of the listener cannot be used",
        "The Secret does not exist, or is in another namespace without a ReferenceGrant.",
        "Create the Secret or the ReferenceGrant.",
    );
    GATEWAY_PORT = fault(
        "gateway.port",
        "No listener matches the URL's port and scheme",
        "The port or the scheme of the URL fits none of the listeners that take the route.",
        "Add a listener, or use another URL.",
    );
    GATEWAY_PATH = fault(
        "gateway.path",
        "No rule of the route matches",
        "PathPrefix matches whole segments, Exact the whole path.",
        "Correct the matches of the route.",
    );
    GATEWAY_REDIRECT = fact("gateway.redirect", "A rule that redirects the request");
    GATEWAY_ROUTE = fact("gateway.route", "The Service behind a rule");
    GATEWAY_OTHER_BACKEND = fact("gateway.other-backend", "A backend that is not a Service")
        .leaves_open("backends that are not Services");
    GATEWAY_MATCH = fault(
        "gateway.match",
        "Every rule wants more than the path",
        "The rules for the path have conditions on headers, query parameters or the method, and no other route of the host takes the path. A plain request matches none of them.",
        "Add a rule without conditions, or send what the rule wants.",
    );
    GATEWAY_NO_BACKEND = fault(
        "gateway.no-backend",
        "A rule has no backend",
        "Requests that match the rule get an error.",
        "Add a backendRef.",
    );
    GATEWAY_WEIGHT = fault(
        "gateway.weight",
        "Every backend has weight 0",
        "A backend with weight 0 gets no requests.",
        "Give one of them a weight above 0.",
    );
    GATEWAY_SERVICE = fault(
        "gateway.service",
        "The Service of the route does not exist",
        "A backendRef without `namespace` means the namespace of the route.",
        "Correct the name or the namespace.",
    );
    GATEWAY_SERVICE_PORT = fault(
        "gateway.service-port",
        "The Service of the route does not have this port",
        "A backendRef needs a port of the Service, not of the Pods.",
        "Use a port of the Service.",
    );
    GATEWAY_GRANT = fault(
        "gateway.grant",
        "A ReferenceGrant is missing",
        "A route may use a Service of another namespace only if a ReferenceGrant there allows it.",
        "Create the ReferenceGrant in the namespace of the Service.",
    );
}
