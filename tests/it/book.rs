//! The pages of the documentation that are made from the code or from other pages: the list of
//! metrics, and the table of contents of the site. `UPDATE_EXPECT=1 cargo test --test it book::`
//! writes them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::alerts::{Exported, families};

fn docs(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(path)
}

/// Writes or compares a page.
fn assert_page(path: &str, expected: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(docs(path), expected).unwrap();
    }
    let found = fs::read_to_string(docs(path)).unwrap_or_default();
    assert_eq!(found, expected, "UPDATE_EXPECT=1 writes docs/{path}");
}

#[test]
fn the_page_of_metrics_has_every_family() {
    let row = |(name, family): (&String, &Exported)| {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {} | {} |\n", labels.join(", "), family.help)
    };
    let families = families();
    let (coredns, process): (Vec<_>, Vec<_>) =
        families.iter().partition(|(name, _)| name.starts_with("coredns_"));
    let table = |rows: Vec<_>| {
        let rows: String = rows.into_iter().map(row).collect();
        format!("| metric | labels | meaning |\n|---|---|---|\n{rows}")
    };
    assert_page(
        "metrics.md",
        &format!(
            "<!-- Generated from the families in src. Do not edit. -->\n\n# Metrics\n\n\
             The plugin [prometheus](plugins/prometheus.md) serves the metrics of this page. If CoreDNS has \
             a\nmetric, its name, labels and buckets are used. Metrics that CoreDNS no longer has are \
             still here.\nA histogram NAME is three metrics: `NAME_bucket` with the label `le`, \
             `NAME_sum` and `NAME_count`.\n\n{}\n## The process\n\n{}",
            table(coredns),
            table(process)
        ),
    );
}

/// The first heading of a page.
fn title(path: &str) -> String {
    let text = fs::read_to_string(docs(path)).unwrap();
    let heading = text.lines().find_map(|line| line.strip_prefix("# "));
    heading.unwrap_or_else(|| panic!("docs/{path} has no heading")).replace('`', "")
}

/// The entry of a page, and below it those of the other pages of its directory.
fn entry(path: &str) -> String {
    let mut lines = format!("- [{}]({path})\n", title(path));
    let Some(directory) = path.strip_suffix("/README.md") else { return lines };
    let pages = fs::read_dir(docs(directory)).unwrap();
    let names = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> =
        names.filter(|name| name.ends_with(".md") && name != "README.md").collect();
    names.sort();
    for name in names {
        let page = format!("{directory}/{name}");
        lines += &format!("  - [{}]({page})\n", title(&page));
    }
    lines
}

#[test]
fn the_table_of_contents_has_every_page() {
    let chapters = [
        "switch.md",
        "install/README.md",
        "forwarding.md",
        "alerts/README.md",
        "metrics.md",
        "plugins/README.md",
        "explain.md",
        "release.md",
        "decisions/README.md",
    ];
    let entries: String = chapters.into_iter().map(entry).collect();
    assert_page("SUMMARY.md", &format!("# Summary\n\n[Start](README.md)\n\n{entries}"));
    // A new page must be in a chapter, and a chapter must be on the first page.
    let start = fs::read_to_string(docs("README.md")).unwrap();
    for page in fs::read_dir(docs("")).unwrap() {
        let page = page.unwrap();
        let name = page.file_name().into_string().unwrap();
        let chapter = if page.path().is_dir() { format!("{name}/README.md") } else { name };
        if !["README.md", "SUMMARY.md"].contains(&&*chapter) {
            assert!(chapters.contains(&&*chapter), "docs/{chapter} is in no chapter");
            assert!(start.contains(&format!("({chapter})")), "docs/README.md lacks {chapter}");
        }
    }
}
