//! The settings of a `k8s_gateway` block.

use std::net::IpAddr;

use crate::{
    model::{EndpointFields, Kind, Object},
    wire::Name,
    zone::{
        claims::{Claim, ClaimRule, Path},
        nodes::NodeAddressType,
    },
};

use super::{super::apex::Apex, claim_rules::ClaimRules};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    pub zones: Vec<Name>,
    pub ttl: u32,
    /// The name servers are Services, for example `dns1.kube-system`.
    pub top: Apex,
    /// The kinds whose names are shown. If several kinds claim a name, the first one here counts.
    pub resources: Vec<Kind>,
    /// Only Ingresses of these classes; an empty list means all.
    pub ingress_classes: Vec<Box<str>>,
    /// Only Gateways of these classes; an empty list means all.
    pub gateway_classes: Vec<Box<str>>,
    /// For each Ingress class, the Service `svc.ns` whose addresses an Ingress gets if its status
    /// has none.
    pub controllers: Vec<(Box<str>, Name)>,
    /// The types of Node addresses for clients of node ports, the preferred type first.
    pub node_addresses: Vec<NodeAddressType>,
    pub own_addresses: Vec<IpAddr>,
    pub claims: ClaimRules,
}

impl GatewaySettings {
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        let shows = |kind| self.resources.contains(&kind);
        let routes = self.resources.iter().any(|kind| is_route(*kind));
        let services = shows(Kind::Service) || !self.controllers.is_empty();
        let besides = [
            (Kind::Service, services),
            (Kind::EndpointSlice, services),
            (Kind::Node, services),
            (Kind::Gateway, routes),
        ];
        let besides = besides.into_iter().filter_map(|(kind, needed)| needed.then_some(kind));
        besides.chain(self.resources.iter().copied().filter(|kind| *kind != Kind::Service))
    }

    /// Whether the settings show objects like the one that has the claim.
    pub(super) fn shows(&self, claim: &Claim) -> bool {
        let classes = &self.ingress_classes;
        self.resources.contains(&claim.kind())
            && match claim {
                Claim::Object(object) => match &**object {
                    Object::Ingress(it) => classes.is_empty() || classes.contains(&it.class),
                    _ => true,
                },
                Claim::Service(_) => true,
            }
    }

    /// The details of endpoints that the view answers from.
    pub fn endpoint_fields(&self) -> EndpointFields {
        EndpointFields { nodes: true, ..EndpointFields::default() }
    }
}

impl ClaimRule for GatewaySettings {
    fn counts(&self, path: &Path, claim: &Claim) -> bool {
        self.shows(claim) && self.claims.admit(path, claim)
    }
}

pub fn is_route(kind: Kind) -> bool {
    matches!(kind, Kind::HttpRoute | Kind::TlsRoute | Kind::GrpcRoute)
}
