//! A parser of the Prometheus text format.

use std::collections::BTreeMap;

/// The value of each metric, by name and labels.
pub(crate) type Series = BTreeMap<(String, Labels), f64>;
pub(crate) type Labels = BTreeMap<String, String>;

/// # Panics
/// If a line does not parse.
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
        // No label value contains a quote.
        let (value, after) = after.split_once('"')?;
        found.insert(label.trim_start_matches(',').to_owned(), value.to_owned());
        rest = after;
    }
    Some(((name.to_owned(), found), value.parse().ok()?))
}
