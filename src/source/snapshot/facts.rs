//! The octets of facts.

use crate::model::{
    Addressing, Endpoint, EndpointDetails, EndpointFields, EndpointPort, EndpointSlice, Exposure,
    Gateway, Import, Ingress, Kind, LoadBalancerPoint, Namespace, Node, NodeAddress, Object,
    Outside, Pod, Protocol, Route, Service, ServicePort,
};

use super::{
    ClusterIdentity, Header,
    codec::{Field, Input, records},
};

records! {
    Header { cluster, written, serials, kinds, endpoint_fields }
    ClusterIdentity { host, authority, labels }
    Namespace { name, labels }
    Service { namespace, name, addressing, ports, outside }
    ServicePort { name, protocol, port, node_port }
    Outside { exposure, external_ips, load_balancer, local_only, hosts, created, ignored }
    EndpointSlice { namespace, name, service, import, endpoints, ports }
    Import { service, cluster }
    Endpoint { address, details }
    EndpointDetails { hostname, pod, zone, node }
    EndpointFields { pods, zones, nodes }
    EndpointPort { name, protocol, port }
    Pod { namespace, name, addresses, host_network }
    Node { name, ready, addresses }
    Ingress { namespace, name, class, created, hosts, points }
    Gateway { namespace, name, class, points }
    Route { kind, namespace, name, created, hosts, gateways }
}

/// Implements [`Field`] for enums: a number, and the value that the variant holds.
macro_rules! choices {
    ($($name:ident { $($number:literal $variant:ident $(($value:ident))?),* $(,)? })*) => {$(
        impl Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $(($value))? => {
                        let number: u8 = $number;
                        number.put(out);
                        $($value.put(out);)?
                    })*
                }
            }

            fn take(input: &mut Input<'_>) -> Option<Self> {
                match u8::take(input)? {
                    $($number => Some(Self::$variant $(({
                        let $value = Field::take(input)?;
                        $value
                    }))?),)*
                    _ => None,
                }
            }
        }
    )*};
}

choices! {
    Protocol { 0 Tcp, 1 Udp, 2 Sctp }
    Exposure { 0 None, 1 NodePort, 2 LoadBalancer }
    NodeAddress { 0 Internal(address), 1 External(address) }
    LoadBalancerPoint { 0 Ip(address), 1 Hostname(name) }
    Addressing { 0 ClusterIps(addresses), 1 Headless, 2 ExternalName(name) }
    Kind {
        0 Namespace, 1 Service, 2 EndpointSlice, 3 Pod, 4 Node, 5 Ingress, 6 Gateway,
        7 HttpRoute, 8 TlsRoute, 9 GrpcRoute, 10 ServiceImport,
    }
    Object {
        0 Namespace(it), 1 Service(it), 2 EndpointSlice(it), 3 Pod(it), 4 Node(it), 5 Ingress(it),
        6 Gateway(it), 7 Route(it), 8 ServiceImport(it),
    }
}
