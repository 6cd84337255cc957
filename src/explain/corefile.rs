//! The Corefile in the ConfigMap `coredns`, and the zone of the cluster that it sets.

use crate::{
    corefile::{Block, Corefile, Diagnostics, Line, Reader, is_slip, parse},
    plugin::{self, Entry},
};

use crate::explain::Objects;

/// Reads no file, since the files of this machine do not belong to the cluster's Corefile.
struct NoFiles;

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
pub(in crate::explain) fn is_about_variable(line: &str) -> bool {
    line.contains(UNSET)
}

/// Whether the Corefile has variables. Their values are in the server's Pod, so parts of it are not
/// known here.
pub(in crate::explain) fn has_variables(text: &str) -> bool {
    text.contains("{$") || text.contains("{%")
}

impl Reader for NoFiles {
    fn read(&self, _: &str) -> Result<String, String> {
        Err(NOT_HERE.to_owned())
    }

    fn list(&self, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn env(&self, _: &str) -> Option<String> {
        None
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
pub(in crate::explain) fn read(text: &str) -> (Corefile, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let corefile = parse("Corefile", text, &NoFiles, &mut diagnostics);
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

/// The first zone of `kubernetes` that is not a reverse zone.
pub(in crate::explain) fn zone(objects: &Objects) -> Option<String> {
    let (corefile, _) = read(text(objects)?);
    let zones = directives(&corefile, "kubernetes")
        .flat_map(|line| &line.arguments)
        .map(|token| token.text.trim_end_matches('.').to_ascii_lowercase());
    zones
        .into_iter()
        .find(|zone| !zone.is_empty() && !zone.ends_with(".arpa") && !zone.contains('/'))
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
    let (corefile, _) = read(text(objects)?);
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
