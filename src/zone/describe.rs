//! The metadata of a query that says which object its name stands for.

/// CoreDNS's value of `kubernetes/parse-error` for a name that no object can have.
const INVALID: &str = "invalid query name";

pub(super) type Labels = Vec<(&'static str, String)>;

/// How the names of a zone are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Whether the zone is that of a cluster set.
    pub(super) is_set: bool,
    pub(super) zonal: bool,
}

/// CoreDNS's metadata labels for a query. `name` has the DNS labels left of the zone.
pub(super) fn describe(name: &[String], reading: Reading) -> Labels {
    let mut labels = Labels::new();
    match Parts::of(name, reading) {
        None => labels.push(("kubernetes/parse-error", INVALID.to_owned())),
        Some(parts) => parts.add(&mut labels, reading),
    }
    labels
}

/// The parts of a name under `svc` or `pod`. Those that it does not have are empty.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts<'p> {
    port: &'p str,
    protocol: &'p str,
    endpoint: &'p str,
    cluster: &'p str,
    /// The topology zone of a name for endpoints in one zone.
    zone: String,
    service: &'p str,
    namespace: &'p str,
    kind: &'p str,
}

impl<'p> Parts<'p> {
    /// `None` for DNS labels that no object can have.
    fn of(labels: &'p [String], reading: Reading) -> Option<Self> {
        let Reading { is_set, zonal } = reading;
        let mut parts = Self::default();
        let Some((kind, left)) = labels.split_last() else { return Some(parts) };
        if !["svc", "pod"].contains(&kind.as_str()) {
            return None;
        }
        if left.is_empty() {
            return Some(parts);
        }
        parts.kind = kind;
        let (namespace, left) = left.split_last()?;
        parts.namespace = namespace;
        let Some((service, left)) = left.split_last() else { return Some(parts) };
        parts.service = service;
        match left {
            [] => {}
            [endpoint] => parts.endpoint = endpoint,
            [endpoint, cluster]
                if is_set && !endpoint.starts_with('_') && !cluster.starts_with('_') =>
            {
                (parts.endpoint, parts.cluster) = (endpoint, cluster);
            }
            [port, protocol] => (parts.port, parts.protocol) = (bare(port), bare(protocol)),
            [zone @ .., directive, anchor]
                if zonal
                    && !is_set
                    && anchor == "_zone"
                    && kind == "svc"
                    && ["pin", "prefer"].contains(&directive.as_str()) =>
            {
                parts.zone = zone.join(".");
            }
            _ => return None,
        }
        Some(parts)
    }

    fn add(self, labels: &mut Labels, Reading { is_set, zonal }: Reading) {
        let mut add = |label, value: &str| labels.push((label, value.to_owned()));
        add("kubernetes/port-name", self.port);
        add("kubernetes/protocol", self.protocol);
        add("kubernetes/endpoint", self.endpoint);
        if is_set {
            add("kubernetes/cluster", self.cluster);
        }
        if zonal {
            add("kubernetes/zone", &self.zone);
        }
        add("kubernetes/service", self.service);
        add("kubernetes/namespace", self.namespace);
        add("kubernetes/kind", self.kind);
    }
}

/// Without the underscore of a port or of a protocol.
fn bare(label: &str) -> &str {
    label.strip_prefix('_').unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, is_set: bool, expected: Option<[&str; 6]>) {
        let labels: Vec<String> =
            name.split('.').filter(|label| !label.is_empty()).map(str::to_owned).collect();
        let found = Parts::of(&labels, Reading { is_set, zonal: true });
        let found = found.as_ref().map(|parts| {
            let Parts { port, protocol, endpoint, service, namespace, kind, .. } = parts;
            [*port, *protocol, *endpoint, *service, *namespace, *kind]
        });
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn names_have_parts() {
        let empty = [""; 6];
        check("", false, Some(empty));
        check("svc", false, Some(empty));
        check("shop.svc", false, Some(["", "", "", "", "shop", "svc"]));
        check("web.shop.svc", false, Some(["", "", "", "web", "shop", "svc"]));
        check("a.web.shop.svc", false, Some(["", "", "a", "web", "shop", "svc"]));
        check("_http._tcp.web.shop.svc", false, Some(["http", "tcp", "", "web", "shop", "svc"]));
        check("10-0-0-1.shop.pod", false, Some(["", "", "", "10-0-0-1", "shop", "pod"]));
        check("a.east.web.shop.svc", true, Some(["", "", "a", "web", "shop", "svc"]));
        check("eu.1.pin._zone.web.shop.svc", false, Some(["", "", "", "web", "shop", "svc"]));
        check("eu.other._zone.web.shop.svc", false, None);
        check("a.b.c.web.shop.svc", false, None);
        check("web.shop.other", false, None);
    }
}
