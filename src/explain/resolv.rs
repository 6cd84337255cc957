//! The settings of a resolver (search list and ndots), and the names that it queries because of
//! them.

/// The parts of a resolv.conf that decide which queries a resolver sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    pub nameservers: Vec<String>,
    pub search: Vec<String>,
    pub ndots: usize,
}

/// The value that kubelet sets for Pods with `dnsPolicy: ClusterFirst`.
pub(in crate::explain) const CLUSTER_NDOTS: usize = 5;
/// The default of a resolver (resolv.conf(5)).
pub(in crate::explain) const PLAIN_NDOTS: usize = 1;
/// The maximum in glibc, which lowers a larger value to this one (resolv.conf(5)).
const MOST_NDOTS: usize = 15;

impl ResolvConf {
    /// Parses a resolv.conf. As in glibc, the last `search` or `domain` line wins.
    pub fn parse(text: &str) -> Self {
        let mut read = Self { nameservers: Vec::new(), search: Vec::new(), ndots: PLAIN_NDOTS };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => read.nameservers.extend(words.next().map(str::to_owned)),
                Some("search") => read.search = words.map(trimmed).collect(),
                Some("domain") => read.search = words.take(1).map(trimmed).collect(),
                Some("options") => {
                    let mut numbers =
                        words.filter_map(|word| word.strip_prefix("ndots:")?.parse::<usize>().ok());
                    read.ndots = numbers.next_back().unwrap_or(read.ndots).min(MOST_NDOTS);
                }
                _ => {}
            }
        }
        read.search.retain(|domain| !domain.is_empty());
        read
    }

    /// What kubelet writes for a Pod of a namespace, without the domains of the node's resolv.conf.
    pub fn of_namespace(namespace: &str, zone: &str, server: Option<&str>) -> Self {
        let search =
            vec![format!("{namespace}.svc.{zone}"), format!("svc.{zone}"), zone.to_owned()];
        Self {
            nameservers: server.into_iter().map(str::to_owned).collect(),
            search,
            ndots: CLUSTER_NDOTS,
        }
    }

    /// The names that the resolver queries in turn until one has records, in the order of glibc's
    /// `res_search`.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let absolute = format!("{name}.");
        let mut names: Vec<String> =
            self.search.iter().map(|domain| format!("{name}.{domain}.")).collect();
        let at = if self.is_absolute_first(name) { 0 } else { names.len() };
        names.insert(at, absolute);
        names
    }

    /// A name with at least `ndots` dots is queried as it is before the search list is tried.
    pub fn is_absolute_first(&self, name: &str) -> bool {
        name.ends_with('.') || dots(name) >= self.ndots
    }
}

pub(in crate::explain) fn dots(name: &str) -> usize {
    name.bytes().filter(|octet| *octet == b'.').count()
}

fn trimmed(domain: &str) -> String {
    domain.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_list_and_ndots_decide_the_candidates() {
        let pod = ResolvConf::parse(
            "nameserver 10.96.0.10\nsearch old\nsearch monitoring.svc.cluster.local svc.cluster.local cluster.local.\noptions edns0 ndots:5\n",
        );
        assert_eq!(
            pod,
            ResolvConf::of_namespace("monitoring", "cluster.local", Some("10.96.0.10"))
        );
        let check = |conf: &ResolvConf, name: &str, want: &[&str]| {
            assert_eq!(conf.candidates(name), want, "{name}");
        };
        check(
            &pod,
            "grafana",
            &[
                "grafana.monitoring.svc.cluster.local.",
                "grafana.svc.cluster.local.",
                "grafana.cluster.local.",
                "grafana.",
            ],
        );
        check(&pod, "cafe.example.com.", &["cafe.example.com."]);
        check(
            &pod,
            "a.b.c.d.e.f",
            &[
                "a.b.c.d.e.f.",
                "a.b.c.d.e.f.monitoring.svc.cluster.local.",
                "a.b.c.d.e.f.svc.cluster.local.",
                "a.b.c.d.e.f.cluster.local.",
            ],
        );
        let plain =
            ResolvConf::parse("# nothing\ndomain example.com\noptions ndots:x ndots:99 rotate");
        assert_eq!(
            (plain.ndots, plain.search.as_slice()),
            (15, ["example.com".to_owned()].as_slice())
        );
        check(&ResolvConf::parse(""), "grafana", &["grafana."]);
    }
}
