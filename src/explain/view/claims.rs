//! Hosts that `k8s_gateway` in the cluster's Corefile does not answer for the objects that have
//! them.

use std::{collections::HashSet, sync::Arc};

use crate::{
    corefile::Diagnostics,
    explain::{corefile, expected::ExpectedZone, objects::Objects},
    server,
    zone::outside::{Gateway, RefusedClaim},
};

/// The hosts that are refused; none if the Corefile has no `k8s_gateway`.
pub(in crate::explain) fn refused(all: &Objects, expected: &ExpectedZone) -> Vec<RefusedClaim> {
    let Some(text) = corefile::text(all) else { return Vec::new() };
    if !text.contains("k8s_gateway") {
        return Vec::new();
    }
    let (parsed, _) = corefile::read(text, &corefile::environment(all));
    let blocks = server::check(&parsed, 53, &mut Diagnostics::default());
    let directives = blocks.iter().flat_map(|block| &block.checked.directives);
    let views = directives.filter_map(|directive| directive.settings.outside_view());
    let mut all: Vec<RefusedClaim> = views
        .flat_map(|view| Gateway::new(Arc::clone(expected.store()), view.clone()).refused_claims())
        .collect();
    let mut seen = HashSet::new();
    all.retain(|claim| seen.insert(claim.clone()));
    all
}
