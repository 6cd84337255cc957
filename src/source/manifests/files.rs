//! Files to objects, with the place of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::limits;

use super::{
    Fault, Place,
    parse::{Parsed, Written, parse, values},
};

/// The files of a directory, each with what it held when it was last without a fault.
pub(super) struct Files {
    pub(super) root: PathBuf,
    known: BTreeMap<PathBuf, Known>,
    unread: Vec<Fault>,
}

#[derive(Default)]
struct Known {
    text: Option<Vec<u8>>,
    parsed: Parsed,
}

/// What lies under the root.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) files: BTreeSet<PathBuf>,
    /// Directories that cannot be looked into, and the root where it is not there.
    pub(super) unread: Vec<Fault>,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, known: BTreeMap::new(), unread: Vec::new() }
    }

    /// Manifests under the root. Names that begin with a dot are left out, and so are the real
    /// directories of a ConfigMap's mount: what its links show is read.
    pub(super) fn list(&self) -> Listing {
        let mut listing = Listing::default();
        match fs::metadata(&self.root) {
            Ok(root) if root.is_dir() => walk(&self.root, 0, &mut listing),
            Ok(_) => drop(listing.files.insert(self.root.clone())),
            Err(error) => listing.unread.push(whole_file(&self.root, error.to_string())),
        }
        listing
    }

    /// Reads what is there now; whether anything is different. What cannot be read or parsed keeps
    /// its last good objects.
    pub(super) fn refresh(&mut self) -> bool {
        let Listing { files, unread } = self.list();
        let before = self.known.len();
        self.known.retain(|path, _| {
            files.contains(path) || unread.iter().any(|fault| path.starts_with(&fault.place.file))
        });
        let mut changed = self.known.len() != before || self.unread != unread;
        for path in files {
            changed |= self.known.entry(path.clone()).or_default().refresh(&path);
        }
        self.unread = unread;
        changed
    }

    pub(super) fn objects(&self) -> Vec<Written> {
        self.known.values().flat_map(|known| known.parsed.objects.iter().cloned()).collect()
    }

    /// Every object as it is written, of whatever kind. What cannot be read is among the faults of
    /// [`Files::refresh`].
    pub(super) fn values(&self) -> Vec<Value> {
        let texts = self.known.iter().filter_map(|(path, known)| {
            Some((path, std::str::from_utf8(known.text.as_deref()?).ok()?))
        });
        texts
            .filter_map(|(path, text)| values(path, text).ok())
            .flatten()
            .map(|(value, _)| value)
            .collect()
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        self.known
            .values()
            .flat_map(|known| &known.parsed.faults)
            .chain(&self.unread)
            .cloned()
            .collect()
    }

    /// Objects of kinds that are not read.
    pub(super) fn others(&self) -> usize {
        self.known.values().map(|known| known.parsed.others).sum()
    }
}

impl Known {
    fn refresh(&mut self, path: &Path) -> bool {
        let bytes = match read_bounded(path) {
            Ok(bytes) if self.text.as_ref() == Some(&bytes) => return false,
            Ok(bytes) => bytes,
            Err(sentence) => {
                self.text = None;
                let faults = vec![whole_file(path, sentence)];
                let changed = self.parsed.faults != faults;
                self.parsed.faults = faults;
                return changed;
            }
        };
        match std::str::from_utf8(&bytes).map(|text| parse(path, text)) {
            Ok(Ok(parsed)) => self.parsed = parsed,
            Ok(Err(fault)) => self.parsed.faults = vec![*fault],
            Err(_) => {
                self.parsed.faults = vec![whole_file(path, "it is not UTF-8 text".to_owned())]
            }
        }
        self.text = Some(bytes);
        true
    }
}

fn whole_file(path: &Path, sentence: String) -> Fault {
    Fault { place: Place { file: path.to_owned(), line: 0, column: 0 }, sentence }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(limits::MANIFEST_OCTETS + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limits::MANIFEST_OCTETS {
        return Err(format!("it is larger than {} MiB", limits::MANIFEST_OCTETS >> 20));
    }
    Ok(bytes)
}

fn walk(directory: &Path, depth: usize, listing: &mut Listing) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return listing.unread.push(whole_file(directory, error.to_string())),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let manifest = path
            .extension()
            .is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
        if path.is_dir() {
            if depth < limits::MANIFESTS_DEPTH && !leads_back(&path) {
                walk(&path, depth + 1, listing);
            }
        } else if manifest && path.is_file() {
            listing.files.insert(path);
        }
    }
}

/// A link to a directory that it lies in.
fn leads_back(path: &Path) -> bool {
    let home = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
    path.is_symlink()
        && fs::canonicalize(path).is_ok_and(|real| home.is_some_and(|home| home.starts_with(real)))
}
