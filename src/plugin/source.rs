//! The source of a cluster's facts: an API server or a directory of manifests.

/// Where facts come from. Blocks with the same source share the facts, and each kind is read once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    pub origin: Origin,
    /// `labels`: a selector for Services, EndpointSlices and Pods.
    pub labels: Option<String>,
    pub throttle: Throttle,
}

/// Limits for requests to an API server. 0 means CoreDNS's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Throttle {
    /// `apiserver_qps`: requests in a thousand seconds; 0 means no limit.
    pub requests_in_1000_s: u32,
    /// `apiserver_burst`: requests that may exceed the rate at once; 0 means 10.
    pub burst: u32,
    /// `apiserver_max_inflight`: requests that wait for the head of their reply; 0 means no limit.
    pub in_flight: u32,
}

/// `tls`: the files of the client's certificate, its key, and the authority of the API server's
/// certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientTls {
    pub certificate: String,
    pub key: String,
    pub authority: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// The API server in the environment variables of the Pod.
    InCluster,
    Kubeconfig {
        file: String,
        context: Option<String>,
    },
    /// `endpoint URL` with its certificates.
    Endpoint {
        url: String,
        tls: Option<ClientTls>,
    },
    /// `manifests DIR`: a directory of YAML and JSON files. ndots simulates the cluster's
    /// controllers.
    Manifests(String),
}

impl Source {
    /// All objects of the cluster that this Pod runs in.
    pub fn in_cluster() -> Self {
        Self { origin: Origin::InCluster, labels: None, throttle: Throttle::default() }
    }
}
