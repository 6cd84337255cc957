//! Reads zone files, with the files that they include.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write,
    time::SystemTime,
};

use crate::{limits, plugin::ZoneDirectory, zonefile};

/// Reads a zone file and the files that it includes, unless they are in `files` already.
pub(super) fn read(
    path: String,
    files: &mut HashMap<String, Result<String, String>>,
    modified: &mut HashMap<String, SystemTime>,
) {
    let mut paths = vec![path];
    while let Some(path) = paths.pop() {
        if files.contains_key(&path) {
            continue;
        }
        let text = std::fs::read(&path).map(text).map_err(|error| error.to_string());
        if let Ok(text) = &text {
            paths.extend(zonefile::included(&path, text));
        }
        let written = std::fs::metadata(&path).and_then(|file| file.modified());
        modified.extend(written.ok().map(|time| (path.clone(), time)));
        files.insert(path, text);
    }
}

/// The paths of a zone file and of the files that it includes.
pub(super) fn paths(path: &str) -> BTreeSet<String> {
    let mut files = HashMap::new();
    read(path.to_owned(), &mut files, &mut HashMap::new());
    files.into_keys().collect()
}

/// The files of a directory and of those below it whose names match, in ascending order. A directory
/// that begins with two dots belongs to a volume of Kubernetes, whose files are links to it.
pub(super) fn list(directory: &ZoneDirectory) -> Vec<String> {
    let mut files = Vec::new();
    let mut directories = vec![(directory.path.clone(), 0)];
    while let Some((path, depth)) = directories.pop() {
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{path}/{name}");
            if entry.file_type().is_ok_and(|file| file.is_dir()) {
                if depth < limits::MANIFESTS_DEPTH && !name.starts_with("..") {
                    directories.push((path, depth + 1));
                }
            } else if directory.origin(&path).is_some()
                && std::fs::metadata(&path).is_ok_and(|file| file.is_file())
            {
                files.push(path);
            }
        }
    }
    files.sort_unstable();
    files
}

/// The text of a zone file. Octets that are not UTF-8 become escapes, which stand for the same octets.
fn text(octets: Vec<u8>) -> String {
    let octets = match String::from_utf8(octets) {
        Ok(text) => return text,
        Err(error) => error.into_bytes(),
    };
    let mut text = String::with_capacity(octets.len() + 64);
    for chunk in octets.utf8_chunks() {
        text.push_str(chunk.valid());
        for octet in chunk.invalid() {
            // Writing to a String does not fail.
            let _ = write!(text, "\\{octet:03}");
        }
    }
    text
}
