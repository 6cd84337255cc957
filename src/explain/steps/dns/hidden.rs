//! Reports a name that an option of `kubernetes` in the Corefile hides.

use k8s_openapi::api::core::v1::Service;

use crate::explain::{
    Evidence, checks,
    expected::HiddenBy,
    report::{FindingLevel, Section},
    steps::server::EDIT_COREFILE,
};

/// `service` is the Service that has the name. Returns whether an option hides the name.
pub(super) fn judge(
    evidence: &Evidence,
    candidate: &str,
    service: Option<&Service>,
    section: &mut Section,
) -> bool {
    let is_left_out = service.is_some_and(|it| !evidence.expected.view().shows(it));
    let found = if is_left_out {
        Some(HiddenBy::Labels)
    } else {
        evidence.expected.hidden_by(candidate, super::types(candidate))
    };
    let Some(option) = found else { return false };
    let (why, want) = words(option);
    // The missing endpoint is the cause, and another step reports it.
    let level = match option {
        HiddenBy::EmptyService => FindingLevel::Note,
        _ => FindingLevel::Broken,
    };
    section
        .say(level, checks::DNS_HIDDEN, format!("{candidate} does not exist: {why}"))
        .want(want)
        .advise(EDIT_COREFILE);
    true
}

fn words(option: HiddenBy) -> (&'static str, &'static str) {
    match option {
        HiddenBy::Pods => (
            "`kubernetes` in the Corefile does not have the option `pods`, so no Pod has a name",
            "`pods insecure` or `pods verified`",
        ),
        HiddenBy::PodsVerified => (
            "with `pods verified` only Pods that exist have names, and no Pod of the namespace has this address",
            "the address of a Pod of the namespace",
        ),
        HiddenBy::Namespaces => (
            "`namespaces` or `namespace_labels` in the Corefile leaves its namespace out",
            "the namespace among those of the option",
        ),
        HiddenBy::EmptyService => (
            "the Corefile has `ignore empty_service`, and no endpoint of the Service is ready",
            "a ready endpoint",
        ),
        HiddenBy::NoEndpoints => (
            "the Corefile has `noendpoints`, so headless Services have no addresses",
            "`kubernetes` without `noendpoints`",
        ),
        HiddenBy::PodNames => (
            "with `endpoint_pod_names` in the Corefile an endpoint without a hostname has the name of its Pod",
            "the name of the Pod below the Service",
        ),
        HiddenBy::Labels => (
            "the Service does not have the labels that `labels` in the Corefile asks for",
            "a Service with these labels",
        ),
    }
}
