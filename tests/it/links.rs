//! Every relative link of the documentation leads to a file that exists, and to a heading of it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn pages(directory: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            self::pages(&path, pages);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|ch| ch.is_alphanumeric() || " -_".contains(*ch));
        kept.map(|ch| if ch == ' ' { '-' } else { ch }).collect()
    };
    headings.map(anchor).collect()
}

/// The targets of `](target)`, without code spans.
fn targets(text: &str) -> Vec<String> {
    let lines = prose(text).map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join(""));
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0.trim().to_owned()))
        .collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    pages(root, &mut files);
    assert!(files.len() > 40, "only {} pages", files.len());
    let (mut checked, mut faults) = (0, Vec::new());
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        for target in targets(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let to = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let has_anchor = || anchors(&fs::read_to_string(&to).unwrap()).contains(anchor);
            if !to.exists() || !anchor.is_empty() && !has_anchor() {
                faults.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(checked > 50, "only {checked} links");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
