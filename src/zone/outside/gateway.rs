//! `k8s_gateway`: what clients outside can reach, by the host names in the objects of a cluster.

mod claim_rules;
mod ownership;
mod settings;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use crate::{
    model::{Addressing, Exposure, Kind, Object, Service},
    wire::{Name, Question, RecordSet, Sets, Spelled, Transfer, Type},
    zone::{
        answer::{Found, UnsyncedError},
        claims::{Claim, ClaimMap, Claims, CountedClaims, Path},
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

pub use claim_rules::{ClaimRules, Protection};
pub use ownership::{ClaimRefusal, RefusedClaim};
pub use settings::{GatewaySettings, is_route};

/// A view of a source's facts.
#[derive(Clone, Debug)]
pub struct Gateway {
    store: Arc<Store>,
    settings: Arc<GatewaySettings>,
    /// The hosts of objects, where the settings admit them.
    hosts: Arc<CountedClaims>,
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
        let settings = Arc::new(settings);
        let hosts = store.outside.hosts.counted(Arc::<GatewaySettings>::clone(&settings));
        Self { store, settings, hosts }
    }

    /// A view of the present facts. Later changes do not alter it.
    fn copy(&self) -> Self {
        Self {
            store: Arc::new(self.store.copy_for_outside()),
            settings: Arc::clone(&self.settings),
            hosts: Arc::new(self.hosts.copy()),
        }
    }

    /// Whether the kind is listed. A kind that the source may not read counts as listed and empty.
    fn knows(&self, kind: Kind) -> bool {
        self.store.is_synced(kind) || self.store.refusal(kind).is_some()
    }

    fn top(&self, qtype: Type) -> Top<'_> {
        self.top_at(self.store.outside.serial().reply(qtype))
    }

    fn top_at(&self, serial: u32) -> Top<'_> {
        Top { apex: &self.settings.top, serial, ttl: self.settings.ttl }
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

    /// The claims on names `svc.ns` in any zone; `None` if the view does not show Services.
    fn services(&self) -> Option<&ClaimMap> {
        let shown = self.settings.resources.contains(&Kind::Service);
        shown.then_some(&self.store.outside.services)
    }

    /// Whether the name exists without a claim: as the apex, as a name server, or because a name
    /// below it exists.
    fn exists_without_claim(&self, name: &[u8], zone: &[u8]) -> bool {
        let left = &name[..name.len() - zone.len()];
        left.is_empty()
            || self.settings.top.servers.iter().any(|server| labels(server).ends_with(left))
            || self.hosts.is_above(&Path::new(name))
            || self.services().is_some_and(|services| services.is_above(&Path::new(left)))
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
        if self.exists_without_claim(name, zone) {
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
            if !self.claims(wire, zone).is_empty() || self.exists_without_claim(wire, zone) {
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
            for claim in claims.iter().filter(|claim| claim.kind() == *kind) {
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
        place.addresses = distinct(place.addresses.into_iter()).into_vec();
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
        if outside.local_only && !self.knows(Kind::EndpointSlice) || !self.knows(Kind::Node) {
            return Err(UnsyncedError);
        }
        let (nodes, types) = (&self.store.outside.nodes, &self.settings.node_addresses);
        let addresses = if outside.local_only {
            nodes.addresses_of(entry.node_addresses(), types, || entry.nodes())
        } else {
            nodes.addresses(types)
        };
        let usable = addresses.iter().copied().filter(|address| has_family(service, *address));
        Ok(OutsideAddresses {
            addresses: usable.collect(),
            at_nodes: true,
            ..OutsideAddresses::default()
        })
    }

    /// The names in a zone that objects have claims on.
    fn claimed_names(&self, zone: &Name) -> BTreeSet<Name> {
        let hosts = self.hosts.within(&Path::new(zone.wire())).into_iter();
        let hosts = hosts.map(|(path, _)| path.name(&Name::root()));
        let services = self.services().map(|services| services.within(&Path::new(b"")));
        let services = services.into_iter().flatten().map(|(path, _)| path.name(zone));
        hosts.chain(services).flatten().collect()
    }

    /// The records of a claimed name, and those of the ports of Services with this name.
    fn records_at(&self, name: &Name, zone: &Name) -> Sets {
        let claims = self.claims(name.wire(), zone.wire());
        let mut names: BTreeSet<Name> = claims.iter().map(|_| name.clone()).collect();
        for claim in &claims {
            if let Claim::Service(key) = claim
                && let Some(entry) = self.store.service(key)
                && let Some(service) = &entry.service
            {
                let ports = transfer::port_names(name, service);
                // A name with a claim of its own has records of its own.
                names
                    .extend(ports.filter(|name| self.hosts.at(&Path::new(name.wire())).is_empty()));
            }
        }
        let each = |name: &Name| {
            let find = |qtype| self.find(&Question::new(name.clone(), qtype));
            transfer::sets(name, find)
        };
        names.iter().flat_map(each).collect()
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
                self.top(question.qtype).answer(question, zone, |it| self.server_addresses(it))
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
        let zone = longest(&self.settings.zones, &question.name)?;
        Some(self.top(question.qtype).soa(question, zone))
    }

    fn transfer(&self, question: &Question) -> Option<Result<Transfer, UnsyncedError>> {
        let zone = self.settings.zones.iter().find(|zone| **zone == question.name)?;
        if !self.settings.kinds().all(|kind| self.knows(kind)) {
            return Some(Err(UnsyncedError));
        }
        let (serial, view) = transfer::at_one_serial(self.store.outside.serial(), || self.copy());
        let soa = self.top_at(serial).soa(question, zone);
        let is_claimed = |name: &Name| !view.claims(name.wire(), zone.wire()).is_empty();
        let top = transfer::top(&view, question, is_claimed);
        let (names, zone) = (view.claimed_names(zone), zone.clone());
        let below = names.into_iter().flat_map(move |name| view.records_at(&name, &zone));
        Some(Ok(Transfer { soa, serial, records: Box::new(top.into_iter().chain(below)) }))
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
