//! Reads zone files, with the files that they include.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Write,
    time::SystemTime,
};

use crate::{
    limits,
    plugin::{Need, ZoneDirectory},
    server::CheckedBlock,
    wire::Name,
    zonefile,
};

use super::config::Configuration;

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

/// What is wrong with the zone files of a configuration, each with its file and line. A server
/// reports the same when it starts.
pub(super) fn problems(configuration: &Configuration) -> Vec<String> {
    let mut zones = Vec::new();
    for need in configuration.blocks.iter().flat_map(CheckedBlock::needs) {
        match need {
            Need::ZoneFile { path, origins } => {
                zones.extend(origins.into_iter().map(|origin| (path.clone(), origin)));
            }
            Need::ZoneDirectory(directory) => {
                let files = list(&directory);
                let zone = |path: String| directory.origin(&path).map(|origin| (path, origin));
                zones.extend(files.into_iter().filter_map(zone));
            }
            _ => {}
        }
    }
    let mut files = HashMap::new();
    zones.iter().for_each(|(path, _)| read(path.clone(), &mut files, &mut HashMap::new()));
    let mut found: Vec<_> =
        zones.iter().flat_map(|(path, origin)| problems_of_zone(path, origin, &files)).collect();
    let mut seen = HashSet::new();
    found.retain(|problem| seen.insert(problem.clone()));
    found
}

fn problems_of_zone(
    path: &str,
    origin: &Name,
    files: &HashMap<String, Result<String, String>>,
) -> Vec<String> {
    let read = |path: &str| match files.get(path) {
        Some(text) => text.as_deref().map_err(Clone::clone),
        None => Err("it was not read".to_owned()),
    };
    match read(path).map(|text| zonefile::parse(path, text, origin, &read)) {
        Ok(Ok(parsed)) => parsed.problems.iter().map(ToString::to_string).collect(),
        Ok(Err(error)) => vec![error.to_string()],
        Err(reason) => vec![format!("the zone file {path} cannot be read: {reason}")],
    }
}

/// The files in a directory and in the directories below it whose names match, in ascending order.
/// Directories whose names begin with two dots are left out: they belong to a volume of Kubernetes,
/// and the files that are listed are links into them.
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

/// The text of a zone file. Octets that are not UTF-8 become escapes, which stand for the same
/// octets.
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
