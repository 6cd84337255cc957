//! What was seen, before anyone judges it: gathered by `gather`, or made up by a test.

use k8s_openapi::api::core::v1::Pod;

use super::{Answer, Objects, OwnZone, ResolvConf, Rules, objects};

pub struct Evidence {
    /// As the person wrote it; empty where the cluster's DNS itself is asked about.
    pub name: String,
    pub objects: Objects,
    /// What the zone makes of them.
    pub own: OwnZone,
    /// The cluster's zone, `cluster.local`.
    pub zone: String,
    pub asker: Asker,
    pub asked: Asked,
    pub rules: Rules,
    /// Whose rules they are, and whose Pods are near.
    pub node: Option<String>,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// An API server's objects, not a directory's.
    pub is_live: bool,
    /// What is wrong with the manifests themselves.
    pub said: Vec<String>,
}

/// Who resolves the name.
pub struct Asker {
    pub namespace: String,
    pub pod: Option<Pod>,
    pub resolv: ResolvConf,
    /// Where that is known from: `a Pod of namespace default`, `/etc/resolv.conf of this machine`.
    pub from: String,
}

/// What a server said.
#[derive(Default)]
pub struct Asked {
    /// None was there to ask, and why.
    pub nobody: Option<String>,
    /// `10.96.0.10`.
    pub server: String,
    /// Whether Pods and Services can be reached from where this runs, as far as that shows.
    pub inside: bool,
    pub replies: Vec<Reply>,
}

pub struct Reply {
    /// Absolute, with its final dot.
    pub name: String,
    /// `A`.
    pub qtype: String,
    pub tcp: bool,
    pub heard: Result<Answer, String>,
}

impl Asked {
    pub fn find(&self, name: &str, qtype: &str, tcp: bool) -> Option<&Result<Answer, String>> {
        self.replies
            .iter()
            .find(|it| it.name == name && it.qtype == qtype && it.tcp == tcp)
            .map(|it| &it.heard)
    }
}

/// Something that the API server did not give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// As RBAC names it: `pods`, `endpointslices.discovery.k8s.io`.
    pub resource: String,
    pub verb: &'static str,
    /// Empty for the whole cluster.
    pub namespace: String,
    pub why: String,
    pub forbidden: bool,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.namespace.is_empty() {
            "cluster-wide".to_owned()
        } else {
            format!("in namespace {}", self.namespace)
        };
        if self.forbidden {
            write!(
                f,
                "this account lacks the permission to {} {} {place}",
                self.verb, self.resource
            )
        } else {
            write!(f, "cannot {} {} {place}: {}", self.verb, self.resource, self.why)
        }
    }
}

impl Evidence {
    /// Why nothing is known of a resource in a namespace.
    pub fn lacks(&self, resource: &str, namespace: &str) -> Option<&Unread> {
        let concerns = |it: &&Unread| {
            it.resource.split('.').next() == Some(resource)
                && (it.namespace.is_empty() || it.namespace == namespace)
        };
        self.unread.iter().find(concerns)
    }

    /// The node that the asking Pod runs on, or the one that was named.
    pub fn near(&self) -> Option<&str> {
        let of_pod =
            self.asker.pod.as_ref().and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
        of_pod.or(self.node.as_deref())
    }

    /// The address at which Pods find the cluster's DNS.
    pub fn dns_address(&self) -> Option<&str> {
        let service = self.objects.service("kube-system", "kube-dns")?;
        objects::cluster_ips(service).first().copied()
    }
}
