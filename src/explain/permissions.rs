//! What the account of the DNS server may read, and what it needs.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Subject};

use crate::{
    corefile::{Corefile, Diagnostics},
    model::Kind,
    plugin, server,
    source::kind::{KindDescriptor, Need, of_fact},
    wire::Name,
    zone::Settings,
};

/// The verbs that a watch of the API needs.
const VERBS: [&str; 2] = ["list", "watch"];

/// A ServiceAccount.
pub(super) struct Account<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

/// What an account lacks.
pub(super) struct MissingRule {
    pub(super) group: &'static str,
    /// `endpointslices`.
    pub(super) resource: &'static str,
    pub(super) verbs: Vec<&'static str>,
}

/// The permissions of an account.
pub(super) struct Permissions<'r> {
    /// The names of the ClusterRoles that are bound to the account itself, each once.
    pub(super) bound: Vec<&'r str>,
    /// The ClusterRoles that are bound to it, or to a group that it belongs to.
    roles: Vec<&'r ClusterRole>,
}

impl<'r> Permissions<'r> {
    pub(super) fn new(
        account: &Account<'_>,
        roles: &'r [ClusterRole],
        bindings: &'r [ClusterRoleBinding],
    ) -> Self {
        let bound_to = |is_meant: &dyn Fn(&Subject) -> bool| {
            let is_bound = |it: &&ClusterRoleBinding| it.subjects.iter().flatten().any(is_meant);
            let bound = bindings.iter().filter(is_bound);
            bound.map(|it| it.role_ref.name.as_str()).collect::<BTreeSet<&str>>()
        };
        let all = bound_to(&|subject| account.is(subject) || account.is_in(subject));
        let is_named =
            |it: &&ClusterRole| it.metadata.name.as_deref().is_some_and(|name| all.contains(&name));
        let bound = bound_to(&|subject| account.is(subject)).into_iter().collect();
        Self { bound, roles: roles.iter().filter(is_named).collect() }
    }

    /// Whether none of the ClusterRoles that are bound to the account itself exists.
    pub(super) fn has_no_role(&self) -> bool {
        let mut names = self.roles.iter().filter_map(|it| it.metadata.name.as_deref());
        !names.any(|name| self.bound.contains(&name))
    }

    /// What the account lacks to read these kinds.
    pub(super) fn missing(&self, kinds: &[Kind]) -> Vec<MissingRule> {
        let of_kind = |kind: &Kind| {
            let (kind, watched) = of_fact(*kind);
            let lacks = |verb: &&str| !self.allow(kind, verb);
            let verbs: Vec<&str> = VERBS.into_iter().filter(lacks).collect();
            let is_needed = watched.need == Need::Required && !verbs.is_empty();
            is_needed.then(|| MissingRule { group: kind.group(), resource: kind.plural, verbs })
        };
        kinds.iter().filter_map(of_kind).collect()
    }

    fn allow(&self, kind: &KindDescriptor, verb: &str) -> bool {
        let has = |list: &[String], word: &str| list.iter().any(|it| it == word || it == "*");
        let has_any =
            |list: &Option<Vec<String>>, word| has(list.as_deref().unwrap_or_default(), word);
        let allows = |rule: &PolicyRule| {
            // A rule for certain names does not allow to list all objects.
            rule.resource_names.as_ref().is_none_or(Vec::is_empty)
                && has_any(&rule.api_groups, kind.group())
                && has_any(&rule.resources, kind.plural)
                && has(&rule.verbs, verb)
        };
        self.roles.iter().flat_map(|role| role.rules.iter().flatten()).any(allows)
    }
}

impl Account<'_> {
    /// Whether the subject of a binding is a group that the account belongs to. Every cluster has such
    /// bindings.
    fn is_in(&self, subject: &Subject) -> bool {
        let own = format!("system:serviceaccounts:{}", self.namespace);
        let groups = ["system:authenticated", "system:serviceaccounts", &own];
        subject.kind == "Group" && groups.contains(&subject.name.as_str())
    }

    /// Whether the subject of a binding is the account itself.
    fn is(&self, subject: &Subject) -> bool {
        let Self { namespace, name } = self;
        match subject.kind.as_str() {
            "Group" => false,
            "User" => subject.name == format!("system:serviceaccount:{namespace}:{name}"),
            _ => subject.name == *name && subject.namespace.as_deref() == Some(*namespace),
        }
    }
}

/// The kinds that a server with this Corefile reads; without a Corefile those that `kubernetes` reads
/// by default.
pub(super) fn needed(parsed: Option<&Corefile>) -> Vec<Kind> {
    let blocks = parsed.map(|it| server::check(it, 53, &mut Diagnostics::default()));
    let needs = blocks.iter().flatten().flat_map(server::CheckedBlock::needs);
    let of_source = needs.filter_map(|need| match need {
        plugin::Need::Source { kinds, .. } => Some(kinds),
        _ => None,
    });
    let mut kinds: Vec<Kind> = of_source.flatten().collect();
    if kinds.is_empty() {
        kinds.extend(Settings::new(Vec::<Name>::new()).kinds());
    }
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}
