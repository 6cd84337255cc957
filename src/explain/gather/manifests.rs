//! Reads manifests as a cluster, with the objects that controllers would make.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::{
    explain::{Objects, expected::Coverage},
    limits,
    source::manifests::{ManifestSource, Manifests, ManifestsUpdate},
};

use super::Gathered;

pub(super) fn read(paths: &[PathBuf]) -> anyhow::Result<Gathered> {
    of(paths.iter().map(|path| source(path)).collect::<anyhow::Result<_>>()?)
}

pub(super) fn of(sources: Vec<ManifestSource>) -> anyhow::Result<Gathered> {
    let ManifestsUpdate { objects, changes, errors, kinds, .. } = Manifests::read_once(sources)?;
    let mut complaints: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let mut all = Objects::default();
    complaints.extend(all.add_all(&objects));
    Ok(Gathered {
        objects: all,
        changes,
        unread: Vec::new(),
        namespace: None,
        complaints,
        kinds,
        coverage: Coverage::default(),
    })
}

fn source(path: &Path) -> anyhow::Result<ManifestSource> {
    if path != Path::new("-") {
        return Ok(ManifestSource::Path(path.to_owned()));
    }
    let mut bytes = Vec::new();
    let mut input = std::io::stdin().take(limits::MANIFEST_OCTETS + 1);
    input.read_to_end(&mut bytes).context("standard input")?;
    if bytes.len() as u64 > limits::MANIFEST_OCTETS {
        bail!("standard input is larger than {} MiB", limits::MANIFEST_OCTETS >> 20);
    }
    Ok(ManifestSource::Text { name: "standard input".into(), bytes })
}
