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
    parse::{ListedObject, Parsed, parse_all},
    text,
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

/// The files that were found under the root.
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

    /// The manifests under the root. Names that begin with a dot are left out. In the mount of a
    /// ConfigMap these are the directories with the data; the links to their files are followed.
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
        let changed = self.known.len() != before || self.unreadable != unreadable;
        let mut read = Vec::new();
        let mut has_new_errors = false;
        for path in files {
            let file = self.known.entry(path.clone()).or_default();
            match file.read(&path) {
                ReadFile::Same => {}
                ReadFile::Failed => has_new_errors = true,
                ReadFile::Text(text) => read.push((path, text)),
            }
        }
        self.unreadable = unreadable;
        let has_new_text = !read.is_empty();
        self.parse(&read);
        changed || has_new_errors || has_new_text
    }

    /// Adds a text that is in no file.
    pub(super) fn add_text(&mut self, name: PathBuf, bytes: Vec<u8>) {
        let mut file = KnownFile::default();
        let read = file.take(&name, bytes);
        self.known.insert(name.clone(), file);
        if let ReadFile::Text(text) = read {
            self.parse(&[(name, text)]);
        }
    }

    /// Adds the files of others.
    pub(super) fn merge(&mut self, other: Self) {
        self.known.extend(other.known);
        self.unreadable.extend(other.unreadable);
    }

    fn parse(&mut self, read: &[(PathBuf, String)]) {
        let texts: Vec<(&Path, &str)> =
            read.iter().map(|(path, text)| (path.as_path(), text.as_str())).collect();
        for ((path, _), parsed) in read.iter().zip(parse_all(&texts)) {
            let Some(file) = self.known.get_mut(path) else { continue };
            match parsed {
                Ok(parsed) => file.parsed = parsed,
                Err(error) => file.parsed.errors = vec![*error],
            }
        }
    }

    pub(super) fn objects(&self) -> Vec<ListedObject> {
        self.known.values().flat_map(|file| file.parsed.objects.iter().cloned()).collect()
    }

    /// Takes the objects out of the files.
    pub(super) fn take_objects(&mut self) -> Vec<ListedObject> {
        let files = self.known.values_mut();
        files.flat_map(|file| std::mem::take(&mut file.parsed.objects)).collect()
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

/// The result of reading a file.
enum ReadFile {
    /// It has not changed.
    Same,
    /// It has an error that it did not have before.
    Failed,
    Text(String),
}

impl KnownFile {
    fn read(&mut self, path: &Path) -> ReadFile {
        match read_bounded(path) {
            Ok(bytes) if self.text.as_ref() == Some(&bytes) => ReadFile::Same,
            Ok(bytes) => self.take(path, bytes),
            Err(message) => {
                self.text = None;
                self.fail(path, message)
            }
        }
    }

    fn take(&mut self, path: &Path, bytes: Vec<u8>) -> ReadFile {
        let text = text::decode(&bytes);
        self.text = Some(bytes);
        match text {
            Some(_) if is_kustomization(path) => {
                let directory = path.parent().unwrap_or(path).display();
                self.parsed = Parsed::default();
                self.fail(path, format!(
                    "the directory is a kustomization, and its files are read without the changes that it makes: run `kustomize build {directory} > all.yaml`, and use that file"
                ));
                ReadFile::Failed
            }
            Some(text) => ReadFile::Text(text),
            None => {
                self.fail(path, "the file is neither UTF-8 nor UTF-16 text".to_owned());
                ReadFile::Failed
            }
        }
    }

    fn fail(&mut self, path: &Path, message: String) -> ReadFile {
        let errors = vec![whole_file(path, message)];
        let is_new = self.parsed.errors != errors;
        self.parsed.errors = errors;
        if is_new { ReadFile::Failed } else { ReadFile::Same }
    }
}

fn is_kustomization(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["kustomization.yaml", "kustomization.yml"].contains(&name)
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
