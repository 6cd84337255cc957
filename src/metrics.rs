//! The mechanism behind `/metrics`. A metric family is a `static` beside the code that counts in
//! it; it registers itself at its first use. If CoreDNS has the family, its names, labels and
//! buckets are used, so that dashboards and alerts for CoreDNS keep working.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    marker::PhantomData,
    sync::{Mutex, OnceLock, PoisonError},
};

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};

pub use prometheus::{Gauge, Histogram, IntCounter, IntGauge};

/// The registry of a process: its families live through reloads.
#[derive(Default)]
pub struct Metrics {
    registry: Registry,
    /// The registered families, by name. Each value is a [`Series::Family`].
    families: Mutex<HashMap<&'static str, Box<dyn Any + Send>>>,
}

/// A metric family with `N` labels, named without the namespace `coredns_`.
///
/// A series appears on the page when it is first asked for; a family without labels is one series.
#[derive(Debug)]
pub struct Family<S, const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    /// The upper bounds of a histogram's buckets; other families have none.
    buckets: fn() -> Vec<f64>,
    series: PhantomData<fn() -> S>,
}

pub type CounterFamily<const N: usize> = Family<IntCounter, N>;
pub type GaugeFamily<const N: usize> = Family<IntGauge, N>;
pub type HistogramFamily<const N: usize> = Family<Histogram, N>;

impl<S: Series, const N: usize> Family<S, N> {
    /// A family of counters or gauges.
    pub const fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Self {
        Self { name, help, labels, buckets: Vec::new, series: PhantomData }
    }

    /// The series whose labels have these values, in the order of the family's labels.
    pub fn with(&self, metrics: &Metrics, values: [&str; N]) -> S {
        S::series(&self.registered(metrics), &values)
    }

    /// Removes the series whose labels have these values.
    pub fn remove(&self, metrics: &Metrics, values: [&str; N]) {
        S::remove(&self.registered(metrics), &values);
    }

    /// Removes all series.
    pub fn reset(&self, metrics: &Metrics) {
        S::reset(&self.registered(metrics));
    }

    fn registered(&self, metrics: &Metrics) -> S::Family {
        let mut families = metrics.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(self.name).or_insert_with(|| {
            let opts = Opts::new(self.name, self.help).namespace("coredns");
            let family = S::family(opts, &self.labels, (self.buckets)())
                .expect("names and labels of families are well formed");
            metrics.register(Box::new(family.clone()));
            Box::new(family)
        });
        family.downcast_ref::<S::Family>().expect("a name has one family").clone()
    }
}

impl<const N: usize> HistogramFamily<N> {
    /// A family of histograms. `buckets` gives the upper bounds, in the unit of the observed values
    /// (seconds for times).
    pub const fn histogram(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        buckets: fn() -> Vec<f64>,
    ) -> Self {
        Self { buckets, ..Self::new(name, help, labels) }
    }
}

/// One series of a family: a counter, a gauge or a histogram.
pub trait Series: Sized + 'static {
    /// The type of the crate prometheus that holds all series of one family.
    type Family: Collector + Clone + Send + 'static;

    /// An empty family. Only histograms use `buckets`, the upper bounds.
    ///
    /// # Errors
    /// If a name or a label is not well formed.
    fn family(opts: Opts, labels: &[&str], buckets: Vec<f64>) -> prometheus::Result<Self::Family>;
    /// The series whose labels have these values. It is created if it does not exist.
    fn series(family: &Self::Family, values: &[&str]) -> Self;
    /// Removes the series whose labels have these values, if it exists.
    fn remove(family: &Self::Family, values: &[&str]);
    /// Removes all series.
    fn reset(family: &Self::Family);
}

macro_rules! series {
    ($series:ty, $family:ty, $make:expr) => {
        impl Series for $series {
            type Family = $family;

            fn family(
                opts: Opts,
                labels: &[&str],
                buckets: Vec<f64>,
            ) -> prometheus::Result<Self::Family> {
                let make: fn(Opts, &[&str], Vec<f64>) -> prometheus::Result<Self::Family> = $make;
                make(opts, labels, buckets)
            }

            fn series(family: &Self::Family, values: &[&str]) -> Self {
                family.with_label_values(values)
            }

            fn remove(family: &Self::Family, values: &[&str]) {
                // A series that does not exist is removed already.
                let _ = family.remove_label_values(values);
            }

            fn reset(family: &Self::Family) {
                family.reset();
            }
        }
    };
}

series!(IntCounter, IntCounterVec, |opts, labels, _| IntCounterVec::new(opts, labels));
series!(IntGauge, IntGaugeVec, |opts, labels, _| IntGaugeVec::new(opts, labels));
series!(Gauge, GaugeVec, |opts, labels, _| GaugeVec::new(opts, labels));
series!(Histogram, HistogramVec, |opts, labels, buckets| {
    HistogramVec::new(HistogramOpts::from(opts).buckets(buckets), labels)
});

/// The bucket bounds, in seconds, that CoreDNS uses for the time of a query.
pub fn query_seconds() -> Vec<f64> {
    exponential_buckets(0.000_25, 2., 16)
}

/// `count` bounds, each `factor` times the one before.
pub fn exponential_buckets(start: f64, factor: f64, count: i32) -> Vec<f64> {
    (0..count).map(|exponent| start * factor.powi(exponent)).collect()
}

/// The default bucket bounds of Prometheus' client libraries, in seconds.
pub fn default_seconds() -> Vec<f64> {
    prometheus::DEFAULT_BUCKETS.to_vec()
}

impl Metrics {
    /// Adds a collector that computes its own figures, such as those of the process.
    ///
    /// # Panics
    /// If a family of the same name is registered already.
    pub fn register(&self, collector: Box<dyn Collector>) {
        self.registry.register(collector).expect("a name has one family");
    }

    /// The page in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for family in self.registry.gather() {
            let before = text.len();
            // The encoder stops at the first error, so each family is written on its own: one that
            // cannot be written does not affect the others.
            if TextEncoder::new().encode_utf8(&[family], &mut text).is_err() {
                text.truncate(before);
            }
        }
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Series that are counted for every query, by a small key. A lookup needs no lock and no hashing
/// of labels.
#[derive(Debug)]
pub struct SeriesCache<K, S>(Box<[OnceLock<(K, S)>]>);

impl<K: Copy + PartialEq, S> SeriesCache<K, S> {
    /// A cache of at most `size` series. Other series are still counted, but looked up each time.
    pub fn new(size: usize) -> Self {
        Self((0..size).map(|_| OnceLock::new()).collect())
    }

    /// Counts in the series of this key; `find` looks it up the first time, or each time when the
    /// cache is full.
    pub fn count(&self, key: K, find: impl Fn() -> S, count: impl FnOnce(&S)) {
        let mut slots = self.0.iter().map(|slot| slot.get_or_init(|| (key, find())));
        match slots.find(|(cached, _)| *cached == key) {
            Some((_, series)) => count(series),
            None => count(&find()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static HITS: CounterFamily<2> = Family::new("hits_total", "Hits.", ["server", "type"]);
    static SECONDS: HistogramFamily<0> =
        Family::histogram("seconds", "A time.", [], || vec![1., 2.]);

    #[test]
    fn a_series_is_on_the_page_from_its_first_use() {
        let metrics = Metrics::default();
        assert_eq!(metrics.render(), "");
        HITS.with(&metrics, ["dns://:53", "A"]).inc();
        HITS.with(&metrics, ["dns://:53", "A"]).inc();
        SECONDS.with(&metrics, []).observe(1.5);
        let page = metrics.render();
        let expected = "# HELP coredns_hits_total Hits.\n# TYPE coredns_hits_total counter\n\
                        coredns_hits_total{server=\"dns://:53\",type=\"A\"} 2\n";
        assert!(page.starts_with(expected), "{page}");
        assert!(page.contains("coredns_seconds_bucket{le=\"1\"} 0\n"), "{page}");
        assert!(page.contains("coredns_seconds_sum 1.5\ncoredns_seconds_count 1\n"), "{page}");
        HITS.reset(&metrics);
        assert!(!metrics.render().contains("hits"));
    }

    #[test]
    fn a_full_cache_still_counts() {
        let (metrics, cache) = (Metrics::default(), SeriesCache::new(5));
        let keys = 0..10;
        for _ in 0..3 {
            for key in keys.clone() {
                let find = || HITS.with(&metrics, ["", &key.to_string()]);
                cache.count(key, find, IntCounter::inc);
            }
        }
        for key in keys {
            assert_eq!(HITS.with(&metrics, ["", &key.to_string()]).get(), 3);
        }
    }
}
