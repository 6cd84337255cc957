//! What was observed, before it is judged. `gather` collects it; tests make it up.

use std::{collections::BTreeMap, net::SocketAddr, time::SystemTime};

use k8s_openapi::api::core::v1::{Pod, Service};

use crate::{net::connect::Outcome, zone::outside::RefusedClaim};

use super::{Answer, ExpectedZone, Objects, ResolvConf, Rules, SimulatedServer, objects};

pub struct Evidence {
    /// The name as the user gave it; empty for a question about the cluster's DNS itself.
    pub name: String,
    pub objects: Objects,
    /// The zone that ndots derives from the objects.
    pub expected: ExpectedZone,
    /// The DNS server with the cluster's Corefile; `None` if its answers cannot be computed.
    pub simulated: Option<SimulatedServer>,
    /// The hosts that `k8s_gateway` does not answer for their objects.
    pub refused_claims: Vec<RefusedClaim>,
    /// The cluster's zone, `cluster.local`.
    pub zone: String,
    pub asker: Asker,
    pub asked: Asked,
    pub rules: Rules,
    /// The connections that were tried.
    pub probes: Probes,
    /// The node that the rules are from.
    pub node: Option<String>,
    /// When it was collected.
    pub now: SystemTime,
    /// The objects that could not be read.
    pub unread: Vec<Unread>,
    /// Whether the objects are from an API server; if not, they are from manifests.
    pub is_live: bool,
    /// Whether every object is checked, for no client in particular.
    pub is_overview: bool,
    /// Errors in the manifests, and objects that do not parse.
    pub complaints: Vec<String>,
    /// How many objects the manifests have of each `apiVersion` and `kind`; empty for a cluster.
    pub kinds: BTreeMap<(String, String), usize>,
}

/// The client that resolves the name: a Pod, or this machine.
pub struct Asker {
    pub namespace: String,
    pub pod: Option<Pod>,
    pub resolv: ResolvConf,
    /// The source of `resolv`: `a Pod of namespace default`, `/etc/resolv.conf of this machine`.
    pub from: String,
}

/// The replies of the DNS server.
#[derive(Default)]
pub struct Asked {
    /// Why no server was queried, if none was.
    pub not_asked: Option<String>,
    /// `10.96.0.10`.
    pub server: String,
    /// Whether Pods and Services are probably reachable from here.
    pub inside: bool,
    /// Whether the queries went through the API server to a Pod of the DNS server, over TCP.
    pub is_forwarded: bool,
    pub replies: Vec<Reply>,
    /// The replies of the other Pods of the DNS server to one of these queries, with their names.
    pub others: Vec<(String, Reply)>,
}

pub struct Reply {
    /// The absolute name, with its final dot.
    pub name: String,
    /// `A`.
    pub qtype: String,
    /// Whether it repeats a query over TCP.
    pub tcp: bool,
    pub answer: Result<Answer, String>,
}

impl Asked {
    pub fn find(&self, name: &str, qtype: &str, tcp: bool) -> Option<&Result<Answer, String>> {
        self.replies
            .iter()
            .find(|it| it.name == name && it.qtype == qtype && it.tcp == tcp)
            .map(|it| &it.answer)
    }
}

/// The connections of `--probe`.
#[derive(Default)]
pub struct Probes {
    /// What was not tried although the user asked for it, and why.
    pub not_tried: Option<String>,
    pub tried: Vec<Probe>,
}

pub struct Probe {
    pub target: ProbeTarget,
    pub outcome: Outcome,
}

/// One connection, for one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    pub place: Place,
    pub namespace: String,
    pub service: String,
    pub address: SocketAddr,
    /// The Pod that has the address, for [`Place::ForwardedPod`].
    pub pod: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Endpoint,
    ClusterIp,
    NodePort,
    /// The loopback address of a Pod, through the API server.
    ForwardedPod,
}

/// Objects that the API server did not return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// As RBAC names it: `pods`, `endpointslices.discovery.k8s.io`.
    pub resource: String,
    pub verb: &'static str,
    /// Empty for the whole cluster.
    pub namespace: String,
    pub why: String,
    pub forbidden: bool,
    /// The namespaces that were read, if the whole cluster could not be.
    pub read_in: Vec<String>,
}

impl Unread {
    /// Whether it is about this resource, such as `endpointslices`.
    pub fn is_of(&self, resource: &str) -> bool {
        self.resource.split('.').next() == Some(resource)
    }
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
            )?;
        } else {
            write!(f, "cannot {} {} {place}: {}", self.verb, self.resource, self.why)?;
        }
        if !self.read_in.is_empty() {
            write!(f, "; those of {} were read", self.read_in.join(", "))?;
        }
        Ok(())
    }
}

impl Evidence {
    /// The evidence that objects give about a name. No DNS server was queried, and no node was looked
    /// at.
    pub(super) fn new(
        name: &str,
        objects: Objects,
        expected: ExpectedZone,
        asker: Asker,
        now: SystemTime,
    ) -> Self {
        let zone = expected.view().zone.clone();
        Self {
            name: name.to_owned(),
            objects,
            expected,
            simulated: None,
            refused_claims: Vec::new(),
            zone,
            asker,
            asked: Asked::default(),
            rules: Rules::default(),
            probes: Probes::default(),
            node: None,
            now,
            unread: Vec::new(),
            is_live: false,
            is_overview: false,
            complaints: Vec::new(),
            kinds: BTreeMap::new(),
        }
    }

    /// Why a resource in a namespace is unknown, if it could not be read.
    pub fn lacks(&self, resource: &str, namespace: &str) -> Option<&Unread> {
        let concerns = |it: &&Unread| {
            let is_here = it.namespace == namespace;
            let is_everywhere =
                it.namespace.is_empty() && !it.read_in.iter().any(|there| there == namespace);
            it.is_of(resource) && (is_here || is_everywhere)
        };
        self.unread.iter().find(concerns)
    }

    /// Why an object of the manifests is not among the objects.
    pub fn rejected(&self, kind: &str, namespace: &str, name: &str) -> Option<&str> {
        let names = [format!("{kind} {namespace}/{name}: "), format!("{kind} {name}: ")];
        self.complaints.iter().find_map(|text| {
            names.iter().find_map(|name| {
                let (before, reason) = text.split_once(name.as_str())?;
                (before.is_empty() || before.ends_with(' ')).then_some(reason)
            })
        })
    }

    /// The node of the Pod that resolves the name, or the node that the user gave.
    pub fn near(&self) -> Option<&str> {
        let of_pod =
            self.asker.pod.as_ref().and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
        of_pod.or(self.node.as_deref())
    }

    /// The Service of the cluster's DNS.
    pub fn dns_service(&self) -> Option<&Service> {
        self.objects.dns_service()
    }

    /// The cluster IP of the DNS Service.
    pub fn dns_address(&self) -> Option<&str> {
        objects::cluster_ips(self.dns_service()?).first().copied()
    }

    /// Whether the objects show which Pods run. A repository of manifests does not.
    pub fn shows_pods(&self) -> bool {
        self.is_live || self.objects.show_pods()
    }

    /// Whether the Services of a namespace may be missing from the manifests: these have no status
    /// and no Service of the namespace. Some repositories hold only Ingresses and routes.
    pub fn may_lack_services(&self, namespace: &str, has_status: bool) -> bool {
        // In manifests the Service of the API server is simulated.
        let mut services =
            self.objects.services().iter().filter(|it| !objects::is(*it, "default", "kubernetes"));
        !self.shows_status(has_status) && !services.any(|it| objects::namespace(it) == namespace)
    }

    /// Whether the source has statuses, so that an object without one was not handled by its
    /// controller. In a repository of manifests no object has a status.
    pub fn shows_status(&self, has_status: bool) -> bool {
        has_status || self.shows_pods()
    }
}
