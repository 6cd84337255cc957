//! The files of a directory, and the objects that they hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use crate::limits;

use super::{
    Location, ManifestError,
    parse::{ListedObject, Parsed, parse},
};

/// The files of a directory, each with its last valid objects.
pub(super) struct Files {
    pub(super) root: PathBuf,
    known: BTreeMap<PathBuf, KnownFile>,
    unreadable: Vec<ManifestError>,
}

#[derive(Default)]
struct KnownFile {
    /// `None` if the file could not be read.
    text: Option<Vec<u8>>,
    parsed: Parsed,
}

/// What lies under the root.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) files: BTreeSet<PathBuf>,
    /// Directories that cannot be read, and the root if it does not exist.
    pub(super) unreadable: Vec<ManifestError>,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, known: BTreeMap::new(), unreadable: Vec::new() }
    }

    /// The manifests under the root. Names that begin with a dot are left out. That includes the
    /// directories behind a ConfigMap's mount, whose links are followed.
    pub(super) fn list(&self) -> Listing {
        let mut listing = Listing::default();
        match fs::metadata(&self.root) {
            Ok(root) if root.is_dir() => walk(&self.root, 0, &mut listing),
            Ok(_) => drop(listing.files.insert(self.root.clone())),
            Err(error) => listing.unreadable.push(whole_file(&self.root, error.to_string())),
        }
        listing
    }

    /// Reads the files again, and returns whether anything changed. A file that cannot be read or
    /// parsed keeps its last valid objects.
    pub(super) fn refresh(&mut self) -> bool {
        let Listing { files, unreadable } = self.list();
        let before = self.known.len();
        self.known.retain(|path, _| {
            files.contains(path)
                || unreadable.iter().any(|error| path.starts_with(&error.location.file))
        });
        let mut changed = self.known.len() != before || self.unreadable != unreadable;
        for path in files {
            changed |= self.known.entry(path.clone()).or_default().refresh(&path);
        }
        self.unreadable = unreadable;
        changed
    }

    pub(super) fn objects(&self) -> Vec<ListedObject> {
        self.known.values().flat_map(|file| file.parsed.objects.iter().cloned()).collect()
    }

    pub(super) fn errors(&self) -> Vec<ManifestError> {
        self.known
            .values()
            .flat_map(|file| &file.parsed.errors)
            .chain(&self.unreadable)
            .cloned()
            .collect()
    }

    /// How many objects there are of each `apiVersion` and `kind`.
    pub(super) fn kinds(&self) -> BTreeMap<(String, String), usize> {
        let mut kinds = BTreeMap::new();
        for (kind, count) in self.known.values().flat_map(|file| &file.parsed.kinds) {
            *kinds.entry(kind.clone()).or_default() += count;
        }
        kinds
    }

    /// How many objects are of kinds that DNS does not need.
    pub(super) fn unused(&self) -> usize {
        self.known.values().map(|file| file.parsed.unused).sum()
    }
}

impl KnownFile {
    fn refresh(&mut self, path: &Path) -> bool {
        let bytes = match read_bounded(path) {
            Ok(bytes) if self.text.as_ref() == Some(&bytes) => return false,
            Ok(bytes) => bytes,
            Err(message) => {
                self.text = None;
                let errors = vec![whole_file(path, message)];
                let changed = self.parsed.errors != errors;
                self.parsed.errors = errors;
                return changed;
            }
        };
        match std::str::from_utf8(&bytes).map(|text| parse(path, text)) {
            Ok(Ok(parsed)) => self.parsed = parsed,
            Ok(Err(error)) => self.parsed.errors = vec![*error],
            Err(_) => {
                self.parsed.errors =
                    vec![whole_file(path, "the file is not UTF-8 text".to_owned())];
            }
        }
        self.text = Some(bytes);
        true
    }
}

fn whole_file(path: &Path, message: String) -> ManifestError {
    ManifestError { location: Location { file: path.to_owned(), line: 0, column: 0 }, message }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(limits::MANIFEST_OCTETS + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limits::MANIFEST_OCTETS {
        return Err(format!("the file is larger than {} MiB", limits::MANIFEST_OCTETS >> 20));
    }
    Ok(bytes)
}

fn walk(directory: &Path, depth: usize, listing: &mut Listing) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return listing.unreadable.push(whole_file(directory, error.to_string())),
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

/// Whether it is a link to a directory that contains it.
fn leads_back(path: &Path) -> bool {
    let home = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
    path.is_symlink()
        && fs::canonicalize(path).is_ok_and(|real| home.is_some_and(|home| home.starts_with(real)))
}
