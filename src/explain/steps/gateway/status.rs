//! Reports what the controller wrote into the conditions of routes and Gateways.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    explain::{checks, objects, report::Section},
    source::kind::gateway_api::{Gateway, GatewayClass, Route},
};

/// The conditions that must be True.
const NEEDED: [&str; 3] = ["Accepted", "ResolvedRefs", "Programmed"];

pub(super) fn of_route(route: &Route, section: &mut Section) {
    for parent in &route.status.parents {
        let gateway = parent.parent_ref.name.as_deref().unwrap_or("its parent");
        for condition in failed(&parent.conditions) {
            section
                .broken(
                    checks::GATEWAY_STATUS,
                    format!("{} at Gateway {gateway}: {}", super::path(route), words(condition)),
                )
                .want(format!("the condition {} with status True", condition.type_))
                .advise(format!(
                    "kubectl -n {} describe {} {}",
                    objects::namespace(route),
                    route.kind.to_ascii_lowercase(),
                    objects::name(route)
                ));
        }
    }
}

pub(super) fn of_gateway(gateway: &Gateway, section: &mut Section) {
    let Some(status) = &gateway.status else { return };
    let path = objects::path(gateway);
    let of_listeners = status.listeners.iter().flat_map(|listener| {
        failed(&listener.conditions)
            .map(move |condition| (format!("listener {} of ", listener.name), condition))
    });
    let own = failed(&status.conditions).map(|condition| (String::new(), condition));
    if let Some((place, condition)) = own.chain(of_listeners).next() {
        section
            .broken(checks::GATEWAY_STATUS, format!("{place}Gateway {path}: {}", words(condition)))
            .want(format!("the condition {} with status True", condition.type_))
            .advise(format!(
                "kubectl -n {} describe gateway {}",
                objects::namespace(gateway),
                objects::name(gateway)
            ));
    }
}

pub(super) fn of_class(class: &GatewayClass, section: &mut Section) {
    let name = objects::name(class);
    if let Some(condition) = failed(&class.status.conditions).next() {
        section
            .broken(checks::GATEWAY_STATUS, format!("GatewayClass {name}: {}", words(condition)))
            .want(
                "the condition Accepted with status True: no controller uses the class without it",
            )
            .advise(format!("kubectl describe gatewayclass {name}"));
    }
}

fn failed(conditions: &[Condition]) -> impl Iterator<Item = &Condition> {
    conditions.iter().filter(|it| NEEDED.contains(&it.type_.as_str()) && it.status == "False")
}

/// `Accepted is False: NoMatchingParent: …`.
fn words(condition: &Condition) -> String {
    let message = condition.message.trim_end_matches('.');
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    format!("{} is {}: {}{message}", condition.type_, condition.status, condition.reason)
}
