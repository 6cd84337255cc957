//! Compares the ports of the Service with the ports of the containers.

use k8s_openapi::{
    api::core::v1::{ContainerPort, Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{
    corefile::nearest,
    explain::{
        Evidence, checks, objects,
        report::{Finding, FindingLevel, Section},
        view::{destination::Destination, workloads},
    },
};

pub(super) fn judge(
    evidence: &Evidence,
    service: &Service,
    wanted: Option<i32>,
    section: &mut Section,
) {
    let templates = workloads::of_service(evidence, service);
    let mut pods: Vec<&Pod> = evidence.objects.selected(service).collect();
    if pods.is_empty() {
        pods.extend(templates.iter().map(|template| &template.pod));
    }
    let is_fine = |port: &ServicePort| {
        let number = |pod: &&Pod| objects::at_pod(port, pod);
        pods.iter().any(|pod| {
            let protocol = objects::protocol(port.protocol.as_ref());
            objects::declared(pod).any(|it| {
                Some(it.container_port) == number(pod)
                    && objects::protocol(it.protocol.as_ref()) == protocol
            })
        })
    };
    for port in objects::ports(service) {
        let others = objects::ports(service).iter().filter(|it| !std::ptr::eq(*it, port));
        let level = level(port, wanted, others.filter(|it| is_fine(it)).count());
        let fault = match &port.target_port {
            Some(IntOrString::String(name)) => by_name(service, port, name, &pods, section),
            // Clients of a headless Service connect to the ports of the Pods.
            _ if objects::is_headless(service) => None,
            Some(IntOrString::Int(number)) if *number != 0 => {
                by_number(service, port, *number, &pods, section)
            }
            _ => by_number(service, port, port.port, &pods, section),
        };
        if let Some(fault) = fault {
            fault.level = level;
        }
    }
}

/// A port that does not work breaks the Service, unless other ports work and the user did not ask
/// for this one.
pub(super) fn level(port: &ServicePort, wanted: Option<i32>, working: usize) -> FindingLevel {
    match wanted {
        Some(number) if number == port.port => FindingLevel::Broken,
        Some(_) => FindingLevel::Warning,
        None if working > 0 => FindingLevel::Warning,
        None => FindingLevel::Broken,
    }
}

/// Checks a targetPort that is a name, and returns the fault. A Pod without a port of that name is
/// an endpoint that lacks the port.
fn by_name<'s>(
    service: &Service,
    port: &ServicePort,
    name: &str,
    pods: &[&Pod],
    section: &'s mut Section,
) -> Option<&'s mut Finding> {
    let protocol = objects::protocol(port.protocol.as_ref());
    let has = |pod: &&&Pod| {
        objects::declared(pod).any(|it| {
            it.name.as_deref() == Some(name) && objects::protocol(it.protocol.as_ref()) == protocol
        })
    };
    if pods.is_empty() || pods.iter().any(|pod| has(&pod)) {
        some_without(service, port, pods.iter().filter(|pod| !has(pod)), section);
        return None;
    }
    let saw = format!(
        "targetPort {name} of port {}: no container of the Pods has a port of that name over {protocol}",
        objects::port_name(port)
    );
    let names: Vec<&str> = pods
        .iter()
        .flat_map(|pod| objects::declared(pod))
        .filter_map(|it| it.name.as_deref())
        .collect();
    let want = match nearest(name, &names) {
        Some(near) => format!("did you mean {near}? {}", list(pods)),
        None => list(pods),
    };
    let broken = section.broken(checks::ENDPOINTS_TARGET_PORT_NAME, saw);
    broken.want(want).advise(format!(
        "kubectl -n {} edit service {}    # targetPort",
        objects::namespace(service),
        objects::name(service)
    ));
    Some(broken)
}

/// Warns about Pods that the selector matches, and that do not have the port: often they belong to
/// another workload.
fn some_without<'p>(
    service: &Service,
    port: &ServicePort,
    without: impl Iterator<Item = &'p &'p Pod>,
    section: &mut Section,
) {
    let names: Vec<&str> = without.map(|pod| objects::name(*pod)).collect();
    if names.is_empty() {
        return;
    }
    let saw = format!(
        "the selector also matches Pods that do not declare targetPort {} of port {}: {}",
        objects::target(port),
        objects::port_name(port),
        names.join(", ")
    );
    section
        .say(FindingLevel::Warning, checks::ENDPOINTS_SOME_WITHOUT_PORT, saw)
        .want("a selector that matches only Pods with this port: connections to the others fail")
        .advise(format!("kubectl -n {} get pods --show-labels", objects::namespace(service)));
}

/// Checks a targetPort that is a number. A container need not declare its ports, but if it declares
/// others and not this one, the number is probably wrong.
fn by_number<'s>(
    service: &Service,
    port: &ServicePort,
    number: i32,
    pods: &[&Pod],
    section: &'s mut Section,
) -> Option<&'s mut Finding> {
    let protocol = objects::protocol(port.protocol.as_ref());
    let of_protocol = |it: &&ContainerPort| objects::protocol(it.protocol.as_ref()) == protocol;
    let all = || pods.iter().flat_map(|pod| objects::declared(pod));
    let has = |pod: &&&Pod| {
        objects::declared(pod).filter(of_protocol).any(|it| it.container_port == number)
    };
    if pods.iter().any(|pod| has(&pod)) {
        // A Pod that declares no ports may listen on any.
        let without =
            pods.iter().filter(|pod| objects::declared(pod).next().is_some() && !has(pod));
        some_without(service, port, without, section);
        return None;
    }
    all().next()?;
    let edit = format!(
        "kubectl -n {} edit service {}",
        objects::namespace(service),
        objects::name(service)
    );
    if let Some(other) = all().find(|it| it.container_port == number) {
        let theirs = objects::protocol(other.protocol.as_ref());
        let saw = format!(
            "port {}: the containers have {number} over {theirs}, not over {protocol}",
            objects::port_name(port)
        );
        section
            .broken(checks::ENDPOINTS_PROTOCOL, saw)
            .want(format!("protocol: {theirs}"))
            .advise(format!("{edit}    # protocol; without it a port is TCP"));
        return None;
    }
    let saw = format!(
        "targetPort {number} of port {}: no container of the Pods has it",
        objects::port_name(port)
    );
    let broken = section.broken(checks::ENDPOINTS_TARGET_PORT, saw);
    broken.want(list(pods)).advise(format!("{edit}    # targetPort"));
    Some(broken)
}

/// Checks the port that the user asked for at a headless Service: DNS gives the addresses of the
/// Pods, and nothing maps the Service's port to the targetPort.
fn headless_port(evidence: &Evidence, service: &Service, number: u16, section: &mut Section) {
    let number = i32::from(number);
    let pods = workloads::pods_or_templates(evidence, service);
    let at_pods = |port: &ServicePort| match pods.first() {
        Some((pod, _)) => objects::at_pod(port, pod),
        None => match &port.target_port {
            Some(IntOrString::String(_)) => None,
            Some(IntOrString::Int(target)) if *target != 0 => Some(*target),
            _ => Some(port.port),
        },
    };
    let ports = objects::ports(service);
    if ports.iter().any(|port| at_pods(port) == Some(number)) {
        return;
    }
    let Some(port) = ports.iter().find(|port| port.port == number) else { return };
    let Some(target) = at_pods(port) else { return };
    let saw = format!(
        "the Service is headless: clients connect to the Pods directly, and port {number} is not mapped to targetPort {target}"
    );
    section
        .broken(checks::SERVICE_HEADLESS_PORT, saw)
        .want(format!("port {target}, where the Pods listen, or a Service with a cluster IP"))
        .advise(format!("use {}.{}:{target}", objects::name(service), objects::namespace(service)));
}

/// Checks that the Service has the port that the user asked for.
pub(super) fn asked_for(
    evidence: &Evidence,
    service: &Service,
    wanted: &Destination,
    srv: Option<&(String, String)>,
    section: &mut Section,
) {
    let ports = objects::ports(service);
    let all = ports.iter().map(objects::port_name).collect::<Vec<_>>().join(", ");
    if let Some(number) = wanted.port.filter(|_| objects::is_headless(service)) {
        headless_port(evidence, service, number, section);
    }
    if let Some(number) = wanted.port
        && objects::kind(service) != "ExternalName"
        && !objects::is_headless(service)
        && !ports
            .iter()
            .any(|port| port.port == i32::from(number) || port.node_port == Some(number.into()))
    {
        let broken = section.broken(
            checks::SERVICE_PORT,
            format!("Service {} has no port {number}", objects::path(service)),
        );
        let behind = ports.iter().find(|port| objects::target(port) == number.to_string());
        match behind {
            Some(port) => broken.want(format!(
                "{}: {number} is the port at the Pods, behind it",
                objects::port_name(port)
            )),
            None => broken.want(format!("one of {all}")),
        };
        broken.advise(format!(
            "use {}:{}",
            wanted.host,
            behind.or(ports.first()).map_or(0, |port| port.port)
        ));
    }
    if let Some((name, protocol)) = srv {
        let is = |port: &&ServicePort| {
            port.name.as_deref() == Some(name)
                && objects::protocol(port.protocol.as_ref()).eq_ignore_ascii_case(protocol)
        };
        if !ports.iter().any(|port| is(&port)) {
            let broken = section.broken(
                checks::SERVICE_PORT_NAME,
                format!(
                    "Service {} has no {} port with the name {name}",
                    objects::path(service),
                    protocol.to_ascii_uppercase()
                ),
            );
            broken.want(format!("one of {all}: SRV names are _NAME._PROTOCOL of a named port"));
            broken.advise(format!(
                "kubectl -n {} get service {} -o yaml",
                objects::namespace(service),
                objects::name(service)
            ));
        }
    }
}

fn list(pods: &[&Pod]) -> String {
    let mut ports: Vec<String> = pods
        .iter()
        .flat_map(|pod| objects::declared(pod))
        .map(|it| {
            let name = it.name.as_deref().map_or(String::new(), |name| format!("{name} "));
            format!("{name}{}/{}", it.container_port, objects::protocol(it.protocol.as_ref()))
        })
        .collect();
    ports.sort();
    ports.dedup();
    if ports.is_empty() {
        "the containers declare no ports".to_owned()
    } else {
        format!("the containers have {}", ports.join(", "))
    }
}
