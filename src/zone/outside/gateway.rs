//! `k8s_gateway`: what clients outside can reach, by the host names in the objects of a cluster.

mod ownership;
mod settings;

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    model::{Addressing, Exposure, Kind, Object, Service},
    wire::{Name, Question, RecordSet, Spelled, Transfer, Type},
    zone::{
        answer::{Found, UnsyncedError},
        claims::{Claim, Claims, Path},
        cluster_set::ZoneKind,
        derive::{Scope, ServiceEntry, address_data, distinct},
        key::label_offsets,
        selection::Selection,
        store::Store,
        view::{View, longest, stale_age},
    },
};

use super::{
    apex::{Top, labels},
    service::OutsideAddresses,
    transfer,
};

pub use ownership::{ClaimRefusal, ClaimRules, Protection, RefusedClaim};
pub use settings::{GatewaySettings, is_route};

/// A view of a source's facts.
#[derive(Clone, Debug)]
pub struct Gateway {
    store: Arc<Store>,
    settings: GatewaySettings,
}

/// A name in one of the view's zones.
struct NameQuery<'q> {
    qtype: Type,
    scope: Scope<'q>,
    /// The zone's lower-case name in wire form.
    zone_wire: &'q [u8],
}

/// The addresses that the claims on a name give it.
struct ClaimedAddresses {
    place: OutsideAddresses,
    /// The Services with this name, each with its own addresses.
    services: Vec<(Arc<ServiceEntry>, OutsideAddresses)>,
}

impl Gateway {
    pub fn new(store: Arc<Store>, settings: GatewaySettings) -> Self {
        Self { store, settings }
    }

    /// Whether the kind is listed. A kind that the source may not read counts as listed and empty.
    fn knows(&self, kind: Kind) -> bool {
        self.store.is_synced(kind) || self.store.refusal(kind).is_some()
    }

    fn top(&self) -> Top<'_> {
        Top {
            apex: &self.settings.top,
            serial: self.store.outside.serial(),
            ttl: self.settings.ttl,
        }
    }

    fn scope<'q>(&self, zone: &'q Spelled) -> Scope<'q> {
        Scope {
            ttl: self.settings.ttl,
            zone,
            zone_kind: ZoneKind::Cluster,
            subdomain: b"",
            pod_names: false,
            no_endpoints: false,
            endpoints_known: true,
            ignore_empty: false,
        }
    }

    fn counts(&self, claim: &Claim) -> bool {
        let class = |classes: &[Box<str>], class: &str| {
            classes.is_empty() || classes.iter().any(|it| **it == *class)
        };
        self.settings.resources.contains(&kind_of(claim))
            && match claim {
                Claim::Object(object) => match &**object {
                    Object::Ingress(ingress) => {
                        class(&self.settings.ingress_classes, &ingress.class)
                    }
                    _ => true,
                },
                Claim::Service(_) => true,
            }
    }

    /// Whether a name below this one exists.
    fn is_above(&self, name: &[u8], zone: &[u8]) -> bool {
        let facts = &self.store.outside;
        let left = &name[..name.len() - zone.len()];
        let server = |server: &Name| {
            server
                .left_of(&Name::root())
                .is_some_and(|labels| labels.len() > left.len() && labels.ends_with(left))
        };
        let admitted =
            |path: &Path, claim: &Claim| self.counts(claim) && self.is_admitted(path, claim);
        facts.hosts.is_above(&Path::new(name), admitted)
            || facts.services.is_above(&Path::new(left), |_, claim| self.counts(claim))
            || self.settings.top.servers.iter().any(server)
    }

    fn name(&self, question: &Question, asked: &NameQuery<'_>) -> Found {
        let (name, zone) = (question.name.wire(), asked.zone_wire);
        let server = self
            .settings
            .top
            .servers
            .iter()
            .find(|server| labels(server) == &name[..name.len() - zone.len()]);
        if let Some(server) = server
            && matches!(asked.qtype, Type::A | Type::AAAA)
        {
            return Found::set(
                asked.qtype,
                asked.scope.ttl,
                address_data(asked.qtype, &self.server_addresses(server)),
            );
        }
        let claims = self.claims(name, zone);
        if !claims.is_empty() {
            return self.answer(&claims, Selection::Service, asked);
        }
        if let Some(found) = self.port(name, asked) {
            return found;
        }
        if server.is_some() || name.len() == zone.len() || self.is_above(name, zone) {
            return Found::NoData;
        }
        self.wildcard(&question.name, asked)
    }

    /// `_port._proto.NAME`, and `_proto.NAME`, which exists if a port of that protocol exists.
    fn port(&self, name: &[u8], asked: &NameQuery<'_>) -> Option<Found> {
        let zone = asked.zone_wire;
        let offsets = label_offsets(&name[..name.len() - zone.len()]);
        let label =
            |at: usize| name.get(offsets[at] + 1..=offsets[at] + usize::from(name[offsets[at]]));
        let count = offsets
            .iter()
            .enumerate()
            .take(2)
            .take_while(|(at, _)| label(*at).is_some_and(|label| label.starts_with(b"_")))
            .count();
        let (port, protocol) = match count {
            1 => (b"".as_slice(), label(0)?),
            2 => (label(0)?, label(1)?),
            _ => return None,
        };
        let base = offsets.get(count).map_or(zone, |at| &name[*at..]);
        let claims = self.claims(base, zone);
        let part = Selection::port(port, protocol);
        if claims.is_empty() {
            return None;
        }
        let found = self.answer(&claims, part, asked);
        // Without a port the name has no records, even if names below it exist.
        Some(if count == 1 && !matches!(found, Found::NoName | Found::Unsynced) {
            Found::NoData
        } else {
            found
        })
    }

    /// A wildcard applies below the closest existing name (RFC 4592 §3.3.1).
    fn wildcard(&self, name: &Name, asked: &NameQuery<'_>) -> Found {
        let zone = asked.zone_wire;
        let mut encloser = name.parent();
        while let Some(name) = encloser {
            let wire = name.wire();
            if wire.len() <= zone.len()
                || !self.claims(wire, zone).is_empty()
                || self.is_above(wire, zone)
            {
                let wildcard = [b"\x01*", wire].concat();
                let claims = self.claims(&wildcard, zone);
                return if claims.is_empty() {
                    Found::NoName
                } else {
                    self.answer(&claims, Selection::Service, asked)
                };
            }
            encloser = name.parent();
        }
        Found::NoName
    }

    fn answer(&self, claims: &Claims, part: Selection<'_>, asked: &NameQuery<'_>) -> Found {
        let Ok(ClaimedAddresses { place, services }) = self.claimed_addresses(claims) else {
            return Found::Unsynced;
        };
        let (qtype, scope) = (asked.qtype, &asked.scope);
        if matches!(part, Selection::Service) && (qtype != Type::SRV || place.addresses.is_empty())
        {
            return place.answer(qtype, scope.ttl);
        }
        let of_service = |(entry, place): &(Arc<ServiceEntry>, OutsideAddresses)| {
            Some(entry.answer_at(entry.service.as_ref()?, place, part, qtype, scope))
        };
        let nothing =
            if matches!(part, Selection::Service) { Found::NoData } else { Found::NoName };
        services.iter().filter_map(of_service).fold(nothing, better)
    }

    /// The addresses from the first kind of resources that has some.
    fn claimed_addresses(&self, claims: &Claims) -> Result<ClaimedAddresses, UnsyncedError> {
        let mut services = Vec::new();
        let mut place = OutsideAddresses::default();
        for kind in &self.settings.resources {
            if !place.is_empty() {
                break;
            }
            for claim in claims.iter().filter(|claim| kind_of(claim) == *kind) {
                match claim {
                    Claim::Service(key) => {
                        let Some(entry) = self.store.service(key) else { continue };
                        let own = self.place_of_service(&entry)?;
                        place.add(own.clone());
                        services.push((entry, own));
                    }
                    Claim::Object(object) => place.add(self.place_of_object(object)?),
                }
            }
        }
        place.addresses = distinct(place.addresses.into_iter());
        Ok(ClaimedAddresses { place, services })
    }

    fn place_of_object(&self, object: &Object) -> Result<OutsideAddresses, UnsyncedError> {
        match object {
            Object::Ingress(ingress) => {
                let place = OutsideAddresses::of_points(&ingress.points);
                let controller =
                    self.settings.controllers.iter().find(|(class, _)| *class == ingress.class);
                match controller.filter(|_| place.is_empty()) {
                    Some((_, service)) => self.place_at(service),
                    None => Ok(place),
                }
            }
            Object::Route(route) => {
                let mut place = OutsideAddresses::default();
                for (namespace, name) in &route.gateways {
                    if !self.knows(Kind::Gateway) {
                        return Err(UnsyncedError);
                    }
                    let Some(gateway) = self.store.outside.gateway(namespace, name) else {
                        continue;
                    };
                    let Object::Gateway(gateway) = &*gateway else { continue };
                    let classes = &self.settings.gateway_classes;
                    if classes.is_empty() || classes.contains(&gateway.class) {
                        place.add(OutsideAddresses::of_points(&gateway.points));
                    }
                }
                Ok(place)
            }
            _ => Ok(OutsideAddresses::default()),
        }
    }

    /// The addresses of the Service `svc.ns`.
    fn place_at(&self, service: &Name) -> Result<OutsideAddresses, UnsyncedError> {
        if !self.knows(Kind::Service) {
            return Err(UnsyncedError);
        }
        self.store
            .service(labels(service))
            .map_or(Ok(OutsideAddresses::default()), |entry| self.place_of_service(&entry))
    }

    /// `externalIPs` if there are any, else the load balancer's addresses, else the Nodes if the
    /// Service has node ports.
    fn place_of_service(&self, entry: &ServiceEntry) -> Result<OutsideAddresses, UnsyncedError> {
        let Some(service) = &entry.service else { return Ok(OutsideAddresses::default()) };
        if let Addressing::ExternalName(target) = &service.addressing {
            return Ok(OutsideAddresses {
                hostname: Some(target.clone()),
                ..OutsideAddresses::default()
            });
        }
        let Some(outside) = &service.outside else { return Ok(OutsideAddresses::default()) };
        if !outside.external_ips.is_empty() {
            return Ok(OutsideAddresses {
                addresses: outside.external_ips.to_vec(),
                ..OutsideAddresses::default()
            });
        }
        let place = OutsideAddresses::of_points(&outside.load_balancer);
        if !place.is_empty() || outside.exposure != Exposure::NodePort {
            return Ok(place);
        }
        let local = if outside.local_only { Some(self.nodes_with_endpoints(entry)?) } else { None };
        if !self.knows(Kind::Node) {
            return Err(UnsyncedError);
        }
        let mut addresses =
            self.store.outside.node_addresses(local.as_ref(), &self.settings.node_addresses);
        addresses.retain(|address| has_family(service, *address));
        Ok(OutsideAddresses { addresses, at_nodes: true, ..OutsideAddresses::default() })
    }

    fn nodes_with_endpoints<'e>(
        &self,
        entry: &'e ServiceEntry,
    ) -> Result<HashSet<&'e str>, UnsyncedError> {
        if !self.knows(Kind::EndpointSlice) {
            return Err(UnsyncedError);
        }
        Ok(entry
            .endpoints()
            .filter_map(|(_, endpoint)| endpoint.node().map(|node| &**node))
            .collect())
    }

    /// All claimed names of a zone.
    fn names(&self, zone: &Name) -> BTreeSet<Name> {
        let facts = &self.store.outside;
        let root = Name::root();
        let hosts = facts
            .hosts
            .within(&Path::new(zone.wire()))
            .into_iter()
            .map(|(path, _)| path.name(&root));
        let services =
            facts.services.within(&Path::new(b"")).into_iter().map(|(path, _)| path.name(zone));
        let mut names = BTreeSet::new();
        for name in hosts.chain(services).flatten() {
            let claims = self.claims(name.wire(), zone.wire());
            if claims.is_empty() {
                continue;
            }
            for claim in &claims {
                if let Claim::Service(key) = claim
                    && let Some(service) =
                        self.store.service(key).and_then(|entry| entry.service.clone())
                {
                    names.extend(transfer::with_ports(name.clone(), &service));
                }
            }
            names.insert(name);
        }
        names
    }

    /// The addresses of the Service with that name. Without any, the first name server has this
    /// server's own addresses.
    fn server_addresses(&self, server: &Name) -> Vec<IpAddr> {
        let addresses = self.place_at(server).map(|place| place.addresses).unwrap_or_default();
        if addresses.is_empty() && *server == self.settings.top.servers[0] {
            self.settings.own_addresses.clone()
        } else {
            addresses
        }
    }
}

/// The first answer with records, else the first answer for an existing name.
fn better(one: Found, other: Found) -> Found {
    match (&one, &other) {
        (Found::Records { .. } | Found::Alias { .. }, _) => one,
        (_, Found::Records { .. } | Found::Alias { .. }) | (Found::NoName, _) => other,
        _ => one,
    }
}

fn kind_of(claim: &Claim) -> Kind {
    match claim {
        Claim::Service(_) => Kind::Service,
        Claim::Object(object) => object.key().kind,
    }
}

/// A node port works in the address families of the Service.
fn has_family(service: &Service, address: IpAddr) -> bool {
    match &service.addressing {
        Addressing::ClusterIps(ips) => ips.iter().any(|ip| ip.is_ipv4() == address.is_ipv4()),
        Addressing::Headless | Addressing::ExternalName(_) => false,
    }
}

impl View for Gateway {
    fn find(&self, question: &Question) -> Found {
        let Some(zone) = longest(&self.settings.zones, &question.name) else {
            return Found::NotInZone;
        };
        if question.name == *zone
            && let Some(found) =
                self.top().answer(question, zone, |server| self.server_addresses(server))
        {
            return found;
        }
        let spelled = question.spelled_from(question.name.wire().len() - zone.wire().len());
        let asked = NameQuery {
            qtype: question.qtype,
            scope: self.scope(&spelled),
            zone_wire: zone.wire(),
        };
        match self.name(question, &asked) {
            // An object that is not listed yet may claim the name.
            Found::NoName if !self.settings.kinds().all(|kind| self.knows(kind)) => Found::Unsynced,
            found => found,
        }
    }

    fn zone_of(&self, name: &Name) -> Option<&Name> {
        longest(&self.settings.zones, name)
    }

    fn soa(&self, question: &Question) -> Option<RecordSet> {
        Some(self.top().soa(question, longest(&self.settings.zones, &question.name)?))
    }

    fn transfer(&self, question: &Question) -> Option<Result<Transfer, UnsyncedError>> {
        let zone = self.settings.zones.iter().find(|zone| **zone == question.name)?;
        if !self.settings.kinds().all(|kind| self.knows(kind)) {
            return Some(Err(UnsyncedError));
        }
        let soa = |serial| Top { serial, ..self.top() }.soa(question, zone);
        Some(Ok(transfer::whole(
            self,
            question,
            || self.store.outside.serial(),
            soa,
            || self.names(zone),
        )))
    }

    fn stale_age(&self) -> Option<u32> {
        stale_age(&self.store, self.settings.kinds())
    }

    /// All kinds are optional: a missing permission delays nothing.
    fn waiting(&self) -> Vec<(Kind, Option<Box<str>>)> {
        let waiting = self.settings.kinds().filter(|kind| {
            matches!(kind, Kind::Service | Kind::EndpointSlice) && !self.knows(*kind)
        });
        waiting.map(|kind| (kind, None)).collect()
    }
}
