//! The settings of a resolver (search list and ndots), and the names that it queries because of
//! them.

/// The parts of a resolv.conf that decide which queries a resolver sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    pub nameservers: Vec<String>,
    pub search: Vec<String>,
    /// The search domains that kubelet leaves out, because there are too many.
    pub left_out: Vec<String>,
    pub ndots: usize,
}

/// How many search domains kubelet writes, and how many characters they have with the spaces between
/// them (`MaxDNSSearchPaths` and `MaxDNSSearchListChars` in Kubernetes).
const MOST_DOMAINS: usize = 32;
const MOST_CHARACTERS: usize = 2_048;

/// The value that kubelet sets for Pods with `dnsPolicy: ClusterFirst`.
pub(in crate::explain) const CLUSTER_NDOTS: usize = 5;
/// The default of a resolver (resolv.conf(5)).
pub(in crate::explain) const PLAIN_NDOTS: usize = 1;
/// The maximum in glibc, which lowers a larger value to this one (resolv.conf(5)).
const MOST_NDOTS: usize = 15;

impl ResolvConf {
    /// Parses a resolv.conf. As in glibc, the last `search` or `domain` line wins.
    pub fn parse(text: &str) -> Self {
        let mut read = Self {
            nameservers: Vec::new(),
            search: Vec::new(),
            left_out: Vec::new(),
            ndots: PLAIN_NDOTS,
        };
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
        // The root domain `.` is the name itself, which is queried in any case.
        read.search.retain(|domain| !domain.is_empty());
        read
    }

    /// Adds the search domains of a Pod's `dnsConfig`, each once.
    pub fn add_search<'d>(&mut self, domains: impl Iterator<Item = &'d str>) {
        for domain in domains.map(trimmed).filter(|it| !it.is_empty()) {
            if !self.search.contains(&domain) {
                self.search.push(domain);
            }
        }
    }

    /// Leaves out the search domains that kubelet does not write.
    pub fn limit_search(&mut self) {
        let mut characters = 0;
        let mut fits = |domain: &String| {
            characters += domain.len() + usize::from(characters > 0);
            characters <= MOST_CHARACTERS
        };
        let fitting = self.search.iter().take(MOST_DOMAINS).take_while(|it| fits(it)).count();
        self.left_out = self.search.split_off(fitting);
    }

    /// What kubelet writes for a Pod of a namespace, without the domains of the node's resolv.conf.
    pub fn of_namespace(namespace: &str, zone: &str, server: Option<&str>) -> Self {
        let search =
            vec![format!("{namespace}.svc.{zone}"), format!("svc.{zone}"), zone.to_owned()];
        Self {
            nameservers: server.into_iter().map(str::to_owned).collect(),
            search,
            left_out: Vec::new(),
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
        check(&ResolvConf::parse("search ."), "grafana", &["grafana."]);
    }

    #[test]
    fn kubelet_writes_a_part_of_a_long_search_list() {
        let check = |domains: &[String], kept: usize| {
            let mut conf = ResolvConf::parse("");
            conf.add_search(domains.iter().map(String::as_str));
            conf.limit_search();
            assert_eq!(conf.search, domains[..kept]);
            assert_eq!(conf.left_out, domains[kept..]);
        };
        let short: Vec<String> = (0..40).map(|number| format!("d{number}.example.com")).collect();
        check(&short, 32);
        // Each domain has 128 characters: 15 domains and 14 spaces are 1,934 characters.
        let long: Vec<String> =
            (0..20).map(|number| format!("{}{number:02}", "a".repeat(126))).collect();
        check(&long, 15);
    }
}
