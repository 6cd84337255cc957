//! The numbers of servers at one time, and what was added to them since another time.

use std::{collections::BTreeMap, str::Chars};

/// The series of the page `/top`. Its table has a limited size.
const FREQUENT: [&str; 2] = ["client", "name"];

/// The numbers of one server.
#[derive(Clone, Debug, Default)]
pub struct Page {
    values: BTreeMap<Series, f64>,
}

/// The numbers of all servers by their addresses, or why a server's numbers are not known.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub servers: BTreeMap<String, Result<Page, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    name: String,
    labels: Vec<(String, String)>,
}

impl Series {
    /// The value of a label; empty without it.
    pub(super) fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Page {
    /// Reads the page `/metrics`, which has Prometheus' text format. Lines that do not have it are
    /// left out.
    pub fn read(metrics: &str) -> Self {
        Self { values: metrics.lines().filter_map(series).collect() }
    }

    /// Adds the page `/top`. Its lines become series that are called `client` and `name`, with the
    /// label `of`.
    #[must_use]
    pub fn with_top(mut self, top: &str) -> Self {
        let line = |line: &str| {
            let (kind, rest) = line.split_once(' ')?;
            let (of, count) = rest.rsplit_once(' ')?;
            let labels = vec![("of".to_owned(), of.to_owned())];
            Some((Series { name: kind.to_owned(), labels }, count.parse().ok()?))
        };
        self.values.extend(top.lines().filter_map(line));
        self
    }
}

/// A line such as `coredns_dns_responses_total{rcode="NOERROR"} 7`.
fn series(line: &str) -> Option<(Series, f64)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let end_of_name = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end_of_name);
    let mut chars = rest.chars();
    let mut labels = Vec::new();
    if rest.starts_with('{') {
        chars.next();
        while let Some(label) = label(&mut chars)? {
            labels.push(label);
        }
    }
    // A time stamp may follow the value.
    let value = chars.as_str().split_whitespace().next()?.parse().ok()?;
    Some((Series { name: name.to_owned(), labels }, value))
}

/// The next label and its value; `Some(None)` after the last one.
fn label(chars: &mut Chars<'_>) -> Option<Option<(String, String)>> {
    let text = chars.as_str().trim_start_matches([',', ' ']);
    if let Some(rest) = text.strip_prefix('}') {
        *chars = rest.chars();
        return Some(None);
    }
    let (name, quoted) = text.split_once("=\"")?;
    *chars = quoted.chars();
    let mut value = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(Some((name.to_owned(), value))),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

/// Values of series, added up over all servers.
#[derive(Debug, Default)]
pub(super) struct Values(BTreeMap<Series, f64>);

impl Sample {
    fn pages(&self) -> impl Iterator<Item = (&String, &Page)> {
        self.servers.iter().filter_map(|(server, page)| Some((server, page.as_ref().ok()?)))
    }

    /// Why no server could be read; `None` if one could.
    pub fn of_no_server(&self) -> Option<String> {
        let reasons = self
            .servers
            .iter()
            .map(|(server, page)| page.as_ref().err().map(|why| format!("{server}: {why}")));
        reasons.collect::<Option<Vec<_>>>().map(|reasons| reasons.join("; "))
    }

    /// The values of all servers, added up.
    pub(super) fn values(&self) -> Values {
        let mut sum = Values::default();
        for (series, value) in self.pages().flat_map(|(_, page)| &page.values) {
            *sum.0.entry(series.clone()).or_default() += value;
        }
        sum
    }

    /// The largest value that a server has of a metric.
    pub(super) fn largest(&self, name: &str) -> f64 {
        let series = self.pages().flat_map(|(_, page)| &page.values);
        series.filter(|(series, _)| series.name == name).map(|(_, value)| *value).fold(0., f64::max)
    }

    /// The smallest value of a metric that a server has, by one of its labels.
    pub(super) fn least(&self, name: &str, label: &str) -> BTreeMap<&str, f64> {
        let mut least = BTreeMap::new();
        for (series, value) in self.pages().flat_map(|(_, page)| &page.values) {
            if series.name == name {
                let known = least.entry(series.label(label)).or_insert(*value);
                *known = value.min(*known);
            }
        }
        least
    }

    /// What was added to each counter since an earlier sample. A counter that has become less
    /// started again from 0. A server, client or name that was not in the earlier sample is left
    /// out. A server may have counted for a long time; a client or name may have replaced another
    /// one in the table and continued its count.
    pub(super) fn since(&self, before: &Self) -> Values {
        let mut sum = Values::default();
        for (server, page) in self.pages() {
            let Some(Ok(earlier)) = before.servers.get(server) else { continue };
            for (series, now) in &page.values {
                let then = match earlier.values.get(series) {
                    Some(then) => *then,
                    None if FREQUENT.contains(&series.name.as_str()) => *now,
                    None => 0.,
                };
                let added = if *now < then { *now } else { now - then };
                *sum.0.entry(series.clone()).or_default() += added;
            }
        }
        sum
    }
}

impl Values {
    fn named(&self, name: &str) -> impl Iterator<Item = (&Series, f64)> {
        let first = Series { name: name.to_owned(), labels: Vec::new() };
        self.0
            .range(first..)
            .take_while(move |(series, _)| series.name == name)
            .map(|(series, value)| (series, *value))
    }

    pub(super) fn sum(&self, name: &str) -> f64 {
        self.named(name).map(|(_, value)| value).sum()
    }

    /// The values of a metric by one of its labels.
    pub(super) fn by(&self, name: &str, label: &str) -> BTreeMap<&str, f64> {
        let mut sums = BTreeMap::new();
        for (series, value) in self.named(name) {
            *sums.entry(series.label(label)).or_default() += value;
        }
        sums
    }

    /// The sum of a metric's series that `keep` accepts.
    pub(super) fn sum_of(&self, name: &str, keep: impl Fn(&Series) -> bool) -> f64 {
        self.named(name).filter(|(series, _)| keep(series)).map(|(_, value)| value).sum()
    }

    /// The upper bounds below which these parts of a histogram's observations lie, in the unit of
    /// the histogram. `None` without an observation. Only the series that `keep` accepts count.
    pub(super) fn quantiles<const N: usize>(
        &self,
        histogram: &str,
        keep: impl Fn(&Series) -> bool,
        parts: [f64; N],
    ) -> Option<[f64; N]> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (series, count) in self.named(&format!("{histogram}_bucket")) {
            if !keep(series) {
                continue;
            }
            let Ok(bound) = series.label("le").parse::<f64>() else { continue };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        }
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let all = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.)?;
        Some(parts.map(|part| {
            let reached = buckets.iter().find(|(_, count)| *count >= part * all);
            reached.map_or(f64::INFINITY, |(bound, _)| *bound)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(metrics: &str) -> Sample {
        let servers = [("a".to_owned(), Ok(Page::read(metrics)))].into_iter().collect();
        Sample { servers }
    }

    #[test]
    fn lines_of_the_text_format_are_read() {
        let values = sample(
            "# TYPE t counter\nt 1\nt{a=\"x\"} 2\nt{a=\"y\",b=\"q \\\" } \\\\ \\n\",} 3 1700000000\nbroken{a=\"\nu NaN\n",
        )
        .values();
        assert_eq!(values.sum("t"), 6.);
        assert_eq!(values.by("t", "a"), [("", 1.), ("x", 2.), ("y", 3.)].into());
        assert_eq!(values.by("t", "b").keys().max(), Some(&"q \" } \\ \n"));
        assert_eq!(values.sum("broken"), 0.);
    }

    #[test]
    fn counters_that_begin_again_count_from_0() {
        let added = |before, now: &str| {
            sample(now).since(&sample(before)).sum(&now[..now.find(['{', ' ']).unwrap()])
        };
        assert_eq!(added("t 5", "t 7"), 2.);
        assert_eq!(added("t 5", "t 1"), 1.);
        assert_eq!(added("", "t 4"), 4.);
        assert_eq!(sample("t 4").since(&Sample::default()).sum("t"), 0.);
        assert_eq!(added("name{of=\"a\"} 9", "name{of=\"b\"} 10"), 0.);
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let values = sample(
            "h_bucket{le=\"0.1\",to=\"a\"} 50\nh_bucket{le=\"0.5\",to=\"a\"} 98\nh_bucket{le=\"+Inf\",to=\"a\"} 100\nh_bucket{le=\"0.1\",to=\"b\"} 0\nh_bucket{le=\"+Inf\",to=\"b\"} 0\n",
        )
        .values();
        let of = |server: &'static str| move |series: &Series| series.label("to") == server;
        let parts = [0.5, 0.9, 0.99];
        let quantiles = values.quantiles("h", of("a"), parts);
        assert_eq!(quantiles, Some([0.1, 0.5, f64::INFINITY]));
        assert_eq!(values.quantiles("h", of("b"), parts), None);
        assert_eq!(values.quantiles("other", of("a"), parts), None);
    }
}
