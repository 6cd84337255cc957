//! The Corefile in the ConfigMap `coredns`, and the zone of the cluster that it sets.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Service};

use crate::{
    corefile::{Block, Corefile, Diagnostics, Line, Reader, Severity, is_slip, parse},
    model::Selector,
    plugin::{self, Entry},
    server,
    zone::{PodMode, Settings, is_reverse},
};

use crate::explain::Objects;

/// The variables of the server's container that are known, with their values.
pub(in crate::explain) type Environment = BTreeMap<String, String>;

/// Reads no file, since the files of this machine do not belong to the cluster's Corefile.
struct InPod<'e>(&'e Environment);

/// Why no file of a Corefile is read.
pub(in crate::explain) const NOT_HERE: &str = "it is mounted in the server's Pod, and not here";

/// The warning about a pattern that matches no file, which can match files in the server's Pod.
const NO_MATCH: &str = "No files matching import glob pattern";

/// Whether a diagnostic is only about a file that is not here.
pub(in crate::explain) fn is_about_file(line: &str) -> bool {
    [NOT_HERE, NO_MATCH].iter().any(|words| line.contains(words))
}

/// The warning about a variable, which can be set in the server's Pod.
const UNSET: &str = "the environment variable `";

/// Whether a diagnostic is only about a variable that is not known here.
fn is_about_variable(line: &str) -> bool {
    line.contains(UNSET)
}

/// Whether the Corefile has a variable whose value is not known here, so that parts of it are not.
pub(in crate::explain) fn has_unknown_variables(text: &str, environment: &Environment) -> bool {
    let (_, diagnostics) = read(text, environment);
    diagnostics.lines().any(|(_, line)| is_about_variable(&line))
}

/// The variables of a container that have a value in its specification.
pub(in crate::explain) fn variables(container: &Container) -> Environment {
    let all = container.env.iter().flatten();
    all.filter_map(|it| Some((it.name.clone(), it.value.clone()?))).collect()
}

/// The variables of the server's container, if its Deployment was read.
pub(in crate::explain) fn environment(objects: &Objects) -> Environment {
    let mut deployments = objects.deployments().iter();
    let server = deployments.find(|it| it.metadata.name.as_deref() == Some("coredns"));
    let pod = server.and_then(|it| it.spec.as_ref()?.template.spec.as_ref());
    let containers = pod.map(|pod| pod.containers.as_slice()).unwrap_or_default();
    let named = containers.iter().find(|it| it.name == "coredns").or(containers.first());
    named.map(variables).unwrap_or_default()
}

/// A mistake or a warning about a Corefile that is known here.
pub(in crate::explain) struct CorefileFault {
    pub(in crate::explain) severity: Severity,
    pub(in crate::explain) line: String,
    /// Whether the server's Pod has the same fault. Variables that are not known here can change the
    /// Corefile.
    pub(in crate::explain) is_sure: bool,
}

/// The faults of a Corefile, without those about files and variables that are not known here.
pub(in crate::explain) fn faults(diagnostics: &Diagnostics) -> Vec<CorefileFault> {
    let lines: Vec<(Severity, String)> = diagnostics.lines().collect();
    let is_sure = !lines.iter().any(|(_, line)| is_about_variable(line));
    let known =
        lines.into_iter().filter(|(_, line)| !is_about_file(line) && !is_about_variable(line));
    known.map(|(severity, line)| CorefileFault { severity, line, is_sure }).collect()
}

impl Reader for InPod<'_> {
    fn read(&self, _: &str) -> Result<String, String> {
        Err(NOT_HERE.to_owned())
    }

    fn list(&self, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn env(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

/// The text of the Corefile, if the ConfigMap was read and has one.
pub(in crate::explain) fn text(objects: &Objects) -> Option<&str> {
    mounted(objects, "Corefile")
}

/// A file that the server's Pod has from the ConfigMap of the Corefile, such as `NodeHosts` in k3s.
pub(in crate::explain) fn mounted<'o>(objects: &'o Objects, name: &str) -> Option<&'o str> {
    let map = objects.config_map("kube-system", "coredns")?;
    map.data.as_ref()?.get(name).map(String::as_str)
}

/// Parses the text and returns the Corefile with its diagnostics.
pub(in crate::explain) fn read(text: &str, environment: &Environment) -> (Corefile, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let corefile = parse("Corefile", text, &InPod(environment), &mut diagnostics);
    (corefile, diagnostics)
}

/// Removes the directives of plugins that ndots does not have, and returns them. They are plugins
/// of CoreDNS or external plugins. A name that one typing slip turns into the name of a plugin is a
/// mistake, and stays. External plugins such as `kubernetai` and `idetcd` differ by more.
pub(in crate::explain) fn take_foreign(corefile: &mut Corefile) -> Vec<ForeignDirective> {
    let foreign = |name: &str| match plugin::ALL.iter().find(|entry| entry.name() == name) {
        Some(Entry::Here(_) | Entry::Removed(..)) => None,
        Some(Entry::NotYet(_) | Entry::Refused(..)) => {
            Some(ForeignDirective { name: name.to_owned(), is_external: false })
        }
        None if plugin::ALL.iter().any(|entry| is_slip(name, entry.name())) => None,
        None => Some(ForeignDirective { name: name.to_owned(), is_external: true }),
    };
    let mut taken = Vec::new();
    for block in &mut corefile.blocks {
        block.directives.retain(|line| {
            let found = foreign(&line.name.text);
            let stays = found.is_none();
            taken.extend(found);
            stays
        });
    }
    taken
}

/// A directive that ndots does not have.
pub(in crate::explain) struct ForeignDirective {
    pub(in crate::explain) name: String,
    /// Whether it is not part of CoreDNS.
    pub(in crate::explain) is_external: bool,
}

/// All directives with this name, from all server blocks.
pub(in crate::explain) fn directives<'c>(
    corefile: &'c Corefile,
    name: &'c str,
) -> impl Iterator<Item = &'c Line> {
    corefile
        .blocks
        .iter()
        .flat_map(|block| &block.directives)
        .filter(move |line| line.name.text == name)
}

/// What the cluster's DNS server shows of the objects.
pub(in crate::explain) struct ClusterView {
    /// `cluster.local`.
    pub(in crate::explain) zone: String,
    pub(in crate::explain) settings: Settings,
    /// `labels`: the Services that are shown.
    labels: Option<Selector>,
}

impl ClusterView {
    /// The view of the first `kubernetes` with a zone that is not a reverse zone. Without a Corefile
    /// it is that of kubeadm's.
    pub(in crate::explain) fn new(objects: &Objects) -> Self {
        let found = text(objects).and_then(|text| Self::read(text, &environment(objects)));
        found.unwrap_or_else(|| {
            let zone = "cluster.local".to_owned();
            let settings = Settings { pods: PodMode::Insecure, ..Settings::new(Vec::new()) };
            Self { settings: with_zone(settings, &zone), zone, labels: None }
        })
    }

    fn read(text: &str, environment: &Environment) -> Option<Self> {
        let (parsed, _) = read(text, environment);
        let blocks = server::check(&parsed, 53, &mut Diagnostics::default());
        let directives = blocks.iter().flat_map(|block| &block.checked.directives);
        let mut views = directives.filter_map(|it| it.settings.cluster_view());
        views.find_map(|(settings, labels)| {
            let zone = settings.zones.iter().find(|zone| !is_reverse(zone))?.to_string();
            let zone = zone.trim_end_matches('.').to_ascii_lowercase();
            let labels = labels.and_then(|text| Selector::parse(text).ok());
            let settings = with_zone(settings.clone(), &zone);
            (!zone.is_empty()).then_some(Self { zone, settings, labels })
        })
    }

    /// Whether the server reads a Service.
    pub(in crate::explain) fn shows(&self, service: &Service) -> bool {
        self.labels.as_ref().is_none_or(|selector| {
            let labels: Vec<_> = service.metadata.labels.iter().flatten().collect();
            selector.matches(&labels)
        })
    }
}

/// The settings for the zone and the reverse zones.
fn with_zone(settings: Settings, zone: &str) -> Settings {
    let zones = [zone, "in-addr.arpa", "ip6.arpa"].into_iter();
    Settings { zones: zones.filter_map(|it| it.parse().ok()).collect(), ..settings }
}

/// The zone of the first `kubernetes` that has one that is not a reverse zone.
pub(in crate::explain) fn zone(objects: &Objects) -> Option<String> {
    Some(ClusterView::read(text(objects)?, &environment(objects))?.zone)
}

/// Options of `kubernetes` that say where the objects are read. They do not change answers.
const OF_SOURCE: [&str; 5] = ["endpoint", "tls", "kubeconfig", "manifests", "snapshot"];

/// What the Corefile says about the cluster's zone.
pub struct LiveKubernetes {
    pub zone: String,
    /// The options that change answers, one on each line.
    pub options: String,
}

/// The first `kubernetes` with a zone that is not a reverse zone.
pub(in crate::explain) fn live_kubernetes(objects: &Objects) -> Option<LiveKubernetes> {
    let zone = zone(objects)?;
    let (corefile, _) = read(text(objects)?, &environment(objects));
    let serves = |line: &&Line| {
        line.arguments
            .iter()
            .any(|token| token.text.trim_end_matches('.').eq_ignore_ascii_case(&zone))
    };
    let line = directives(&corefile, "kubernetes").find(serves)?;
    let mut options = line.body.clone();
    options.retain(|option| !OF_SOURCE.contains(&option.name.text.as_str()));
    let block = Block { keys: Vec::new(), directives: options };
    let printed = Corefile { blocks: vec![block] }.to_string();
    let lines = printed.lines().filter(|line| line.starts_with("    "));
    Some(LiveKubernetes { options: lines.map(|line| format!("{line}\n")).collect(), zone })
}
