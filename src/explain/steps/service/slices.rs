//! Checks whether the EndpointSlices agree with the Pods, and whether kube-proxy can use them.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::EndpointSlice,
};

use crate::explain::{
    Evidence, checks, objects,
    report::{FindingLevel, Section},
    view::{endpoints, pods},
    words::counted,
};

pub(super) fn judge(
    evidence: &Evidence,
    service: &Service,
    wanted: Option<i32>,
    section: &mut Section,
) {
    let (namespace, name) = (objects::namespace(service), objects::name(service));
    if let Some(unread) = evidence.lacks("endpointslices", namespace) {
        section.say(
            FindingLevel::Unknown,
            checks::ENDPOINTS_UNREAD,
            format!("cannot tell whether there are endpoints: {unread}"),
        );
        return;
    }
    if undecoded(evidence, namespace, name, section) {
        return;
    }
    let slices: Vec<&EndpointSlice> = evidence.objects.slices_of(namespace, name).collect();
    addresses(evidence, service, &slices, section);
    if objects::has_selector(service) {
        against_pods(evidence, service, &slices, section);
    } else if slices.is_empty() && !evidence.is_live && is_api_server(service) {
        section.say(
            FindingLevel::Skipped,
            checks::ENDPOINTS_API_SERVER,
            "the API server writes the endpoints of this Service itself",
        );
        return;
    } else if let Some(reason) = evidence.rejected("Endpoints", namespace, name) {
        section
            .broken(
                checks::ENDPOINTS_ADDRESS,
                format!("the API server rejects Endpoints {namespace}/{name}: {reason}"),
            )
            .want("addresses; for a host name use a Service of type ExternalName");
    } else if !slices.iter().any(|slice| slice.endpoints.iter().any(endpoints::is_ready)) {
        let broken = section.broken(
            checks::ENDPOINTS_NO_SELECTOR,
            "the Service has no selector, and none of its EndpointSlices has a ready endpoint",
        );
        broken.want("spec.selector, or an EndpointSlice with the label kubernetes.io/service-name");
        broken.advise(format!(
            "kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}"
        ));
    }
    ports(service, &slices, wanted, section);
    families(evidence, service, section);
    let ready = endpoints::addresses(evidence, service);
    if ready.is_empty() && !section.is_broken() {
        none_ready(evidence, service, section);
    }
    if !section.is_broken() {
        let addresses =
            ready.iter().take(6).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let more =
            if ready.len() > 6 { format!(" and {} more", ready.len() - 6) } else { String::new() };
        section.ok(
            checks::ENDPOINTS_READY,
            format!(
                "{} ready in {}: {addresses}{more}",
                counted(ready.len(), "endpoint"),
                counted(slices.len(), "slice")
            ),
        );
    }
}

/// Reports an EndpointSlice of the Service that could not be decoded. Returns whether there is one.
fn undecoded(evidence: &Evidence, namespace: &str, service: &str, section: &mut Section) -> bool {
    let Some(slice) = evidence.expected.coverage().undecoded_slice(namespace, service) else {
        return false;
    };
    let reason = evidence.rejected("EndpointSlice", namespace, slice).unwrap_or_default();
    section
        .say(
            FindingLevel::Unknown,
            checks::ENDPOINTS_UNREAD,
            format!(
                "cannot tell whether there are endpoints: ndots cannot read EndpointSlice {namespace}/{slice}: {reason}"
            ),
        )
        .advise(format!("kubectl -n {namespace} get endpointslice {slice} -o yaml"));
    true
}

/// Checks that the endpoints have addresses to which kube-proxy can send connections.
fn addresses(
    evidence: &Evidence,
    service: &Service,
    slices: &[&EndpointSlice],
    section: &mut Section,
) {
    let advice = format!(
        "kubectl -n {} edit endpointslices -l kubernetes.io/service-name={}",
        objects::namespace(service),
        objects::name(service)
    );
    if let Some(slice) = slices.iter().find(|slice| slice.address_type == "FQDN") {
        let saw = format!(
            "EndpointSlice {} has addressType FQDN, which kube-proxy ignores",
            objects::name(*slice)
        );
        section
            .broken(checks::ENDPOINTS_ADDRESS, saw)
            .want("addressType IPv4 or IPv6, or a Service of type ExternalName for a host name")
            .advise(advice);
        return;
    }
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    for text in endpoints.flat_map(|it| &it.addresses) {
        let Ok(address) = text.parse::<IpAddr>() else { continue };
        let other = evidence.objects.at_cluster_ip(text).next();
        // A client of a headless Service connects to the cluster IP itself, which works.
        let other = other.filter(|_| !objects::is_headless(service));
        let saw = match other {
            Some(other) => format!(
                "endpoint {text} is the cluster IP of Service {}: kube-proxy does not translate the address a second time",
                objects::path(other)
            ),
            // What a live API server has accepted is fine.
            None if !evidence.is_live && !is_usable(address) => format!(
                "endpoint {text} is a loopback, link-local or multicast address, which the API server rejects"
            ),
            None => continue,
        };
        section
            .broken(checks::ENDPOINTS_ADDRESS, saw)
            .want("the addresses of the servers themselves")
            .advise(advice);
        return;
    }
}

/// Whether the API server accepts it as the address of an endpoint.
fn is_usable(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || is_link_local)
}

/// The Service of the API server, which has no selector.
fn is_api_server(service: &Service) -> bool {
    objects::is(service, "default", "kubernetes")
}

/// Reports a Service without any ready endpoint, whose cause no other check has found.
fn none_ready(evidence: &Evidence, service: &Service, section: &mut Section) {
    let families =
        service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    let pods: Vec<&str> = pods::ready(evidence, service).flat_map(objects::pod_addresses).collect();
    let of_family = |family: &String| pods.iter().any(|ip| (family == "IPv6") == ip.contains(':'));
    let namespace = objects::namespace(service);
    if !pods.is_empty() && !families.is_empty() && !families.iter().any(of_family) {
        let families = families.join(", ");
        let saw = format!(
            "the Service has 0 ready endpoints: it is {families} only, and its Pods have {}",
            pods.join(", ")
        );
        section
            .broken(checks::ENDPOINTS_FAMILY, saw)
            .want(format!("Pods with {families} addresses, or other ipFamilies"))
            .advise(format!(
                "kubectl -n {namespace} get pods -o custom-columns=NAME:.metadata.name,IPS:.status.podIPs"
            ));
        return;
    }
    section
        .broken(checks::ENDPOINTS_NONE, "the Service has 0 ready endpoints: every connection fails")
        .want("at least one ready endpoint in its EndpointSlices")
        .advise(format!(
            "kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={}",
            objects::name(service)
        ));
}

/// Compares the slices with the Pods. They differ if the controller is late or does not run.
fn against_pods(
    evidence: &Evidence,
    service: &Service,
    slices: &[&EndpointSlice],
    section: &mut Section,
) {
    let (namespace, name) = (objects::namespace(service), objects::name(service));
    let listed: BTreeSet<&str> = slices
        .iter()
        .flat_map(|slice| &slice.endpoints)
        .flat_map(|it| &it.addresses)
        .map(String::as_str)
        .collect();
    let ready: BTreeSet<&str> = slices
        .iter()
        .flat_map(|slice| &slice.endpoints)
        .filter(|it| endpoints::is_ready(it))
        .flat_map(|it| &it.addresses)
        .map(String::as_str)
        .collect();
    let controller = "kubectl -n kube-system logs -l component=kube-controller-manager --tail=50    # the endpointslice controller";
    let families =
        service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    let matters = |address: &str| {
        families.is_empty()
            || families.iter().any(|family| (family == "IPv6") == address.contains(':'))
    };
    for pod in pods::ready(evidence, service) {
        let addresses: Vec<&str> =
            objects::pod_addresses(pod).into_iter().filter(|address| matters(address)).collect();
        if !addresses.is_empty() && !addresses.iter().any(|address| ready.contains(address)) {
            let how = if addresses.iter().any(|address| listed.contains(address)) {
                "listed as not ready"
            } else {
                "missing from the EndpointSlices"
            };
            let broken = section.broken(
                checks::ENDPOINTS_SLICES_LAG,
                format!(
                    "Pod {} ({}) is ready, but {how}",
                    objects::name(pod),
                    addresses.join(", ")
                ),
            );
            broken
                .want("an EndpointSlice with every ready Pod: the controller lags, or does not run")
                .advise(controller);
            broken.advise(format!("kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name} -o yaml"));
            return;
        }
    }
    let of_pods: BTreeSet<&str> =
        evidence.objects.selected(service).flat_map(objects::pod_addresses).collect();
    if let Some(stranger) = ready.iter().find(|address| !of_pods.contains(**address)) {
        let broken = section.broken(
            checks::ENDPOINTS_STRANGER,
            format!("stale endpoint: {stranger} is listed as ready, but no Pod has this address"),
        );
        let has = |slice: &&&EndpointSlice| {
            slice.endpoints.iter().flat_map(|it| &it.addresses).any(|it| it == stranger)
        };
        match slices.iter().find(has).and_then(|slice| Some((*slice, other_manager(slice)?))) {
            Some((slice, manager)) => {
                let slice = objects::name(slice);
                broken
                    .want(format!("slices of the endpointslice controller only: {manager} wrote {slice}, perhaps at a time when the Service had no selector"))
                    .advise(format!("kubectl -n {namespace} delete endpointslice {slice}"));
            }
            None => {
                broken
                    .want("endpoints of Pods that run: the controller lags, or something else writes slices of this Service")
                    .advise(controller);
            }
        }
    }
}

/// The name of what writes the slice; `None` for the controller of Services with a selector.
fn other_manager(slice: &EndpointSlice) -> Option<&str> {
    let labels = slice.metadata.labels.as_ref()?;
    let manager = labels.get("endpointslice.kubernetes.io/managed-by")?;
    Some(manager.as_str()).filter(|it| *it != "endpointslice-controller.k8s.io")
}

/// Checks the port names, because kube-proxy matches the ports of Service and slice by name.
fn ports(service: &Service, slices: &[&EndpointSlice], wanted: Option<i32>, section: &mut Section) {
    let with_endpoints = || slices.iter().filter(|slice| !slice.endpoints.is_empty());
    if with_endpoints().next().is_none() {
        return;
    }
    let has = |port: &ServicePort| {
        let name = port.name.as_deref().unwrap_or_default();
        let mut ports = with_endpoints().flat_map(|slice| slice.ports.iter().flatten());
        ports.any(|it| it.name.as_deref().unwrap_or_default() == name)
    };
    let working = objects::ports(service).iter().filter(|port| has(port)).count();
    for port in objects::ports(service) {
        let name = port.name.as_deref().unwrap_or_default();
        if !has(port) {
            let names: Vec<&str> = with_endpoints()
                .flat_map(|slice| slice.ports.iter().flatten())
                .map(|it| it.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("\"\""))
                .collect();
            let broken = section.say(
                super::ports::level(port, wanted, working),
                checks::ENDPOINTS_SLICE_PORT,
                format!(
                    "no slice has a port called {}: port {} has no endpoints",
                    if name.is_empty() { "\"\"" } else { name },
                    objects::port_name(port)
                ),
            );
            broken.want(format!("the same name in both: the slices have {}", names.join(", ")));
            broken.advise(format!(
                "kubectl -n {} edit endpointslice {}",
                objects::namespace(service),
                with_endpoints().next().map_or("", |slice| objects::name(*slice))
            ));
        }
    }
}

/// Checks that each IP family of the Service has endpoints.
fn families(evidence: &Evidence, service: &Service, section: &mut Section) {
    let ready = endpoints::addresses(evidence, service);
    if ready.is_empty() {
        return;
    }
    for ip in objects::cluster_ips(service) {
        let Ok(ip) = ip.parse::<IpAddr>() else { continue };
        if ready.iter().all(|address| address.is_ipv4() != ip.is_ipv4()) {
            let (family, other) = if ip.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
            let broken = section.broken(
                checks::ENDPOINTS_FAMILY,
                format!("cluster IP {ip} is {family}, and the ready endpoints are {other} only"),
            );
            broken.want(format!("Pods with {family} addresses, or ipFamilies: [{other}]"));
            broken.advise(format!(
                "kubectl -n {} get pods -o custom-columns=NAME:.metadata.name,IPS:.status.podIPs",
                objects::namespace(service)
            ));
        }
    }
}
