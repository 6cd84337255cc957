//! Prometheus' text format, read.

use std::collections::BTreeMap;

/// A name with its labels, and the value.
pub(crate) type Series = BTreeMap<(String, Labels), f64>;
pub(crate) type Labels = BTreeMap<String, String>;

/// # Panics
/// Where a line cannot be read.
pub(crate) fn read(page: &str) -> Series {
    page.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| series(line).expect(line))
        .collect()
}

fn series(line: &str) -> Option<((String, Labels), f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series
        .split_once('{')
        .map_or((series, ""), |(name, rest)| (name, rest.trim_end_matches('}')));
    let mut found = Labels::new();
    let mut rest = labels;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        // No value of ours has a quote in it.
        let (value, after) = after.split_once('"')?;
        found.insert(label.trim_start_matches(',').to_owned(), value.to_owned());
        rest = after;
    }
    Some(((name.to_owned(), found), value.parse().ok()?))
}
