//! The Deployment whose image is replaced.

use serde_json::Value;

use super::{Findings, SwitchEvidence, SwitchLevel, list, name, text};
use crate::explain::checks::{self, Check};

/// CoreDNS's flags that ndots accepts.
const FLAGS: [&str; 8] =
    ["conf", "dns.port", "p", "quiet", "pidfile", "log-format", "version", "plugins"];
/// The label of the cluster's DNS.
const LABEL: &str = "/metadata/labels/k8s-app";
/// The owners of a Deployment: the label or annotation that shows the owner, its name, the check,
/// and what to do.
const OWNERS: [(&str, &str, &Check, &str); 5] = [
    (
        "/metadata/labels/addonmanager.kubernetes.io~1mode",
        "the add-on manager of the platform (GKE, AKS)",
        checks::SWITCH_DEPLOYMENT_RECONCILED,
        "run ndots beside it: docs/install, Platforms",
    ),
    (
        "/metadata/labels/eks.amazonaws.com~1component",
        "the EKS add-on",
        checks::SWITCH_DEPLOYMENT_MANAGED,
        "aws eks delete-addon --addon-name coredns --preserve",
    ),
    (
        "/metadata/annotations/objectset.rio.cattle.io~1id",
        "k3s or RKE2",
        checks::SWITCH_DEPLOYMENT_MANAGED,
        "k3s: create coredns.yaml.skip; RKE2: a HelmChartConfig (docs/install, Platforms)",
    ),
    (
        "/metadata/annotations/meta.helm.sh~1release-name",
        "a Helm release",
        checks::SWITCH_DEPLOYMENT_MANAGED,
        "change the image in the values of the release, or the next upgrade writes it back",
    ),
    (
        "/metadata/labels/addon.kops.k8s.io~1name",
        "kops",
        checks::SWITCH_DEPLOYMENT_MANAGED,
        "set spec.kubeDNS.coreDNSImage in the kops cluster",
    ),
];

/// The Deployment of the cluster's DNS.
pub(super) fn find<'e>(evidence: &'e SwitchEvidence, findings: &mut Findings) -> Option<&'e Value> {
    let of_dns: Vec<&Value> = evidence
        .deployments
        .iter()
        .filter(|it| text(it, LABEL) == "kube-dns" || text(it, "/metadata/name") == "coredns")
        .collect();
    if let [first, second, ..] = *of_dns {
        findings.say(
            SwitchLevel::Warning,
            checks::SWITCH_DEPLOYMENT_TWO,
            &name("Deployment", second),
            format!(
                "{} is a second Deployment of the cluster's DNS: `kubeadm upgrade` stops with \"multiple DNS addon deployments found\"",
                text(first, "/metadata/name")
            ),
            "remove the label k8s-app: kube-dns from the one that is not the cluster's DNS",
        );
    }
    let named = of_dns.iter().find(|it| text(it, "/metadata/name") == "coredns");
    let found = named.or(of_dns.first()).copied();
    if found.is_none() && !evidence.unread.iter().any(|unread| unread.contains("deployments")) {
        findings.say(
            SwitchLevel::Break,
            checks::SWITCH_DEPLOYMENT_NONE,
            "Deployment kube-system/coredns",
            "there is no Deployment with the name coredns or the label k8s-app: kube-dns",
            "docs/install, Platforms: OpenShift has a DaemonSet of its DNS operator; use the chart or standalone",
        );
    }
    found
}

/// Checks the Deployment, and returns the container whose image is replaced.
pub(super) fn judge<'e>(deployment: &'e Value, findings: &mut Findings) -> Option<&'e Value> {
    let place = name("Deployment", deployment);
    owners(deployment, &place, findings);
    scale(deployment, &place, findings);
    let containers: Vec<&Value> = list(deployment, "/spec/template/spec/containers").collect();
    let container = containers.iter().find(|it| text(it, "/name") == "coredns").copied();
    let Some(container) = container else {
        let names: Vec<&str> = containers.iter().map(|it| text(it, "/name")).collect();
        findings.say(
            SwitchLevel::Break,
            checks::SWITCH_CONTAINER_NAME,
            &format!("{place} spec.template.spec.containers"),
            format!("no container is named coredns, only {}: the patch would add a second server beside it", names.join(", ")),
            "put the name of the container into deploy/image/deployment.yaml",
        );
        return containers.first().copied();
    };
    program(container, &place, findings);
    shell(container, &place, findings);
    image(container, &place, findings);
    Some(container)
}

fn owners(deployment: &Value, place: &str, findings: &mut Findings) {
    for (pointer, owner, check, cure) in OWNERS {
        let value = text(deployment, pointer);
        if value.is_empty() || value == "EnsureExists" {
            continue;
        }
        let level = if check == checks::SWITCH_DEPLOYMENT_RECONCILED {
            SwitchLevel::Break
        } else {
            SwitchLevel::Warning
        };
        findings.say(
            level,
            check,
            place,
            format!("the Deployment belongs to {owner}, which writes its own image again"),
            cure,
        );
    }
}

fn scale(deployment: &Value, place: &str, findings: &mut Findings) {
    let replicas = deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let scaled = format!("{place} spec.replicas");
    let cure = "kubectl -n kube-system scale deployment coredns --replicas=2";
    match replicas {
        0 => findings.say(
            SwitchLevel::Break,
            checks::CLUSTER_REPLICAS,
            &scaled,
            "0 replicas: this Deployment does not serve the cluster",
            cure,
        ),
        1 => findings.say(
            SwitchLevel::Warning,
            checks::CLUSTER_ONE_REPLICA,
            &scaled,
            "1 replica: no canary is possible, and each restart interrupts DNS",
            cure,
        ),
        _ => {}
    }
    if text(deployment, "/spec/strategy/type") == "Recreate" {
        findings.say(
            SwitchLevel::Warning,
            checks::SWITCH_STRATEGY_RECREATE,
            &format!("{place} spec.strategy"),
            "Recreate stops every server before the first new one starts",
            "set strategy: { type: RollingUpdate, rollingUpdate: { maxUnavailable: 1 } }",
        );
    }
    if deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        findings.say(
            SwitchLevel::Break,
            checks::SWITCH_DEPLOYMENT_PAUSED,
            &format!("{place} spec.paused"),
            "the rollout is paused: a new image starts no Pod",
            "kubectl -n kube-system rollout resume deployment coredns",
        );
    }
}

/// The entry point and its arguments.
fn program(container: &Value, place: &str, findings: &mut Findings) {
    let command: Vec<&str> = list(container, "/command").filter_map(Value::as_str).collect();
    if command.first().is_some_and(|program| *program != "/coredns") {
        findings.say(
            SwitchLevel::Break,
            checks::SWITCH_CONTAINER_COMMAND,
            &format!("{place} container coredns, command"),
            format!(
                "the command is {}: the image of ndots has the program /coredns only, and no shell",
                command.join(" ")
            ),
            "remove `command`, or write [/coredns]",
        );
    }
    let mut words =
        command.iter().skip(1).copied().chain(list(container, "/args").filter_map(Value::as_str));
    let is_unknown = |word: &&str| {
        let flag = word.trim_start_matches('-').split('=').next().unwrap_or_default();
        word.starts_with('-') && !FLAGS.contains(&flag)
    };
    if let Some(word) = words.find(is_unknown) {
        findings.say(
            SwitchLevel::Break,
            checks::SWITCH_CONTAINER_ARGS,
            &format!("{place} container coredns, args"),
            format!("ndots does not know the flag {word}, and would not start"),
            "remove the flag; `ndots --help` lists the flags",
        );
    }
}

/// Commands in the container need programs that the image does not have.
fn shell(container: &Value, place: &str, findings: &mut Findings) {
    for field in [
        "/lifecycle/preStop",
        "/lifecycle/postStart",
        "/livenessProbe",
        "/readinessProbe",
        "/startupProbe",
    ] {
        let words: Vec<&str> = container
            .pointer(field)
            .into_iter()
            .flat_map(|it| list(it, "/exec/command"))
            .filter_map(Value::as_str)
            .collect();
        if words.is_empty() {
            continue;
        }
        let cure = if field.starts_with("/lifecycle") {
            "use preStop: { sleep: { seconds: N } }, which needs no program"
        } else {
            "use httpGet: /health of the plugin health, /ready of the plugin ready"
        };
        findings.say(
            SwitchLevel::Break,
            checks::SWITCH_CONTAINER_EXEC,
            &format!("{place} container coredns, {}", &field[1..].replace('/', ".")),
            format!("it runs {}: the image of ndots has no such program", words.join(" ")),
            cure,
        );
    }
}

/// Reports the current image.
fn image(container: &Value, place: &str, findings: &mut Findings) {
    let image = text(container, "/image");
    findings.say(
        SwitchLevel::Note,
        checks::SWITCH_IMAGE_NOW,
        &format!("{place} container coredns, image"),
        format!("{image} is the only field that the switch changes"),
        "",
    );
}

/// The tag of an image as kubeadm reads it; empty if there is none.
pub(super) fn tag(image: &str) -> &str {
    let bare = image.split('@').next().unwrap_or(image);
    let last = bare.rsplit('/').next().unwrap_or(bare);
    last.split_once(':').map_or("", |(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn tags_are_read_as_kubeadm_reads_them() {
        for (image, expected) in [
            ("registry.example/coredns/coredns:v1.14.2", "v1.14.2"),
            ("registry.example:5000/coredns", ""),
            ("registry.example:5000/coredns:v1.14.2@sha256:00ff", "v1.14.2"),
            ("coredns@sha256:00ff", ""),
            ("coredns:1.6.2-100", "1.6.2-100"),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }
}
