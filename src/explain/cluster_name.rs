//! The names in the cluster's zone.

/// The parts of a name in the cluster's zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::explain) enum ClusterName {
    Service {
        namespace: String,
        service: String,
        /// Port name and protocol of an SRV name, without their underscores.
        port: Option<(String, String)>,
        /// The hostname of an endpoint, or its address with dashes.
        endpoint: Option<String>,
    },
    Pod {
        namespace: String,
        address: String,
    },
    Other,
}

/// `None` for a name that is not in the zone.
pub(in crate::explain) fn take_apart(candidate: &str, zone: &str) -> Option<ClusterName> {
    let name = candidate.trim_end_matches('.').to_ascii_lowercase();
    let left = name.strip_suffix(zone)?.strip_suffix('.')?;
    let labels: Vec<&str> = left.split('.').collect();
    let service = |namespace: &str, service: &str, port, endpoint| ClusterName::Service {
        namespace: namespace.to_owned(),
        service: service.to_owned(),
        port,
        endpoint,
    };
    Some(match labels[..] {
        [name, namespace, "svc"] => service(namespace, name, None, None),
        [endpoint, name, namespace, "svc"] => {
            service(namespace, name, None, Some(endpoint.to_owned()))
        }
        [port, protocol, name, namespace, "svc"] => {
            let bare = |label: &str| label.trim_start_matches('_').to_owned();
            service(namespace, name, Some((bare(port), bare(protocol))), None)
        }
        [address, namespace, "pod"] => {
            ClusterName::Pod { namespace: namespace.to_owned(), address: address.to_owned() }
        }
        _ => ClusterName::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_are_split_into_their_parts() {
        let service = |namespace: &str,
                       service: &str,
                       port: Option<(&str, &str)>,
                       endpoint: Option<&str>| ClusterName::Service {
            namespace: namespace.into(),
            service: service.into(),
            port: port.map(|(port, protocol)| (port.into(), protocol.into())),
            endpoint: endpoint.map(Into::into),
        };
        for (name, want) in [
            (
                "grafana.monitoring.svc.cluster.local.",
                Some(service("monitoring", "grafana", None, None)),
            ),
            (
                "_web._tcp.prometheus.monitoring.svc.cluster.local",
                Some(service("monitoring", "prometheus", Some(("web", "tcp")), None)),
            ),
            (
                "prometheus-0.prometheus-operated.monitoring.svc.cluster.local",
                Some(service("monitoring", "prometheus-operated", None, Some("prometheus-0"))),
            ),
            (
                "10-244-1-10.default.pod.cluster.local",
                Some(ClusterName::Pod {
                    namespace: "default".into(),
                    address: "10-244-1-10".into(),
                }),
            ),
            ("grafana.cluster.local", Some(ClusterName::Other)),
            ("grafana.mycluster.local", None),
            ("cafe.example.com.", None),
        ] {
            assert_eq!(take_apart(name, "cluster.local"), want, "{name}");
        }
    }
}
