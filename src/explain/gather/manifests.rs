//! Reads a directory of manifests as a cluster, with the objects that controllers would make.

use std::path::Path;

use crate::{
    explain::Objects,
    source::manifests::{Manifests, ManifestsUpdate},
};

use super::Gathered;

pub(super) fn read(directory: &Path) -> anyhow::Result<Gathered> {
    let ManifestsUpdate { objects, changes, errors, kinds, .. } =
        Manifests::open(directory, None)?.read();
    let mut complaints: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let mut all = Objects::default();
    for object in &objects {
        complaints.extend(all.add(object).err());
    }
    Ok(Gathered { objects: all, changes, unread: Vec::new(), namespace: None, complaints, kinds })
}
