//! Checks the addresses that the load balancer's controller assigned.

use k8s_openapi::api::core::v1::Service;

use crate::explain::{
    Evidence, checks, objects,
    report::{FindingLevel, Section},
    view::foreign,
};

/// Adds what is wrong with a Service of type LoadBalancer to step 4 of the report. Other Services
/// get no finding.
pub(super) fn judge(evidence: &Evidence, service: &Service, section: &mut Section) {
    if objects::kind(service) != "LoadBalancer" {
        return;
    }
    let points = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref()?.ingress.as_deref())
        .unwrap_or_default();
    let named: Vec<&str> =
        points.iter().filter_map(|it| it.ip.as_deref().or(it.hostname.as_deref())).collect();
    let spec = service.spec.as_ref();
    let has_status = service.status.as_ref().is_some_and(|it| it.load_balancer.is_some());
    if named.is_empty() && !evidence.shows_status(has_status) {
        section.say(
            FindingLevel::Skipped,
            checks::OUTSIDE_BALANCER_NO_STATUS,
            "the manifest has no status, so the address of the LoadBalancer is not known",
        );
        return;
    }
    if named.is_empty() {
        let class = spec.and_then(|spec| spec.load_balancer_class.as_deref());
        let whose = class.map_or(
            "the cloud's controller, MetalLB, or another controller in the cluster".to_owned(),
            |class| format!("the controller of class {class}"),
        );
        let broken = section
            .broken(checks::OUTSIDE_PENDING, "the LoadBalancer is pending: it has no address");
        broken.want(format!("an address in status.loadBalancer, which {whose} writes"));
        broken.advise(format!(
            "kubectl -n {} describe service {}    # its events",
            objects::namespace(service),
            objects::name(service)
        ));
        return;
    }
    let ports = objects::ports(service)
        .iter()
        .map(|port| format!("{}/{}", port.port, objects::protocol(port.protocol.as_ref())))
        .collect::<Vec<_>>()
        .join(", ");
    section.ok(
        checks::OUTSIDE_LOAD_BALANCER,
        format!("clients use {}, port {ports}", named.join(", ")),
    );
    if foreign::has_pools_without_advertisement(evidence) {
        section
            .say(
                FindingLevel::Warning,
                checks::OUTSIDE_BALANCER_NOT_ANNOUNCED,
                "MetalLB has an IPAddressPool, and no L2Advertisement or BGPAdvertisement: no node answers for the address",
            )
            .want("an L2Advertisement, which without a selector announces every pool");
    }
    let requested = spec.and_then(|spec| spec.load_balancer_ip.as_deref()).unwrap_or_default();
    if !requested.is_empty() && points.iter().all(|it| it.ip.as_deref() != Some(requested)) {
        section
            .say(
                FindingLevel::Warning,
                checks::OUTSIDE_BALANCER_OTHER,
                format!(
                    "loadBalancerIP asks for {requested}, but the LoadBalancer has {}",
                    named.join(", ")
                ),
            )
            .want("the requested address")
            .advise(
                "check whether the address is taken, and whether the controller reads this field",
            );
    }
    let ranges =
        spec.and_then(|spec| spec.load_balancer_source_ranges.as_deref()).unwrap_or_default();
    if !ranges.is_empty() {
        section.say(
            FindingLevel::Note,
            checks::OUTSIDE_SOURCE_RANGES,
            format!("only clients in {} can connect", ranges.join(", ")),
        );
    }
}
