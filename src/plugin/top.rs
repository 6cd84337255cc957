//! The option `top`: which clients, names and namespaces are frequent. The memory is bounded,
//! whatever clients ask.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    chain::{Cx, Sent},
    metrics::{CounterFamily, Family, IntCounter, Metrics},
    wire::{Name, Query, Rcode},
};

static NAMESPACES: CounterFamily<1> = Family::new(
    "dns_namespace_responses_total",
    "Positive replies for names of a namespace, with the option `top`.",
    ["namespace"],
);

/// The value of the label `namespace` for the namespaces above the bound.
const OTHERS: &str = "other namespaces";

/// The counts since the start, for all blocks with the option.
#[derive(Debug)]
pub struct Top {
    metrics: Arc<Metrics>,
    size: usize,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    clients: Frequent<IpAddr>,
    names: Frequent<Name>,
    /// The series of namespaces.
    namespaces: BTreeMap<Box<str>, IntCounter>,
}

impl Top {
    pub(super) fn new(metrics: &Arc<Metrics>, size: usize) -> Self {
        Self { metrics: Arc::clone(metrics), size, counted: Mutex::default() }
    }

    /// How many clients and names are counted at most.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Counts a reply. While another thread counts, a reply is not counted, so that no answer
    /// waits. This does not change the shares of clients and names.
    pub(super) fn count(&self, cx: &Cx, query: &Query, sent: &Sent) {
        let Ok(mut counted) = self.counted.try_lock() else { return };
        counted.clients.count(&cx.peer.ip().to_canonical(), self.size);
        counted.names.count(&query.question.name, self.size);
        if sent.rcode != Rcode::NOERROR || cx.answered_by() != "kubernetes" {
            return;
        }
        let Some(namespace) = namespace(&query.question.name) else { return };
        if let Some(series) = counted.namespaces.get(&*namespace) {
            return series.inc();
        }
        let label = if counted.namespaces.len() < self.size { &*namespace } else { OTHERS };
        let series = counted.namespaces.entry(label.into());
        series.or_insert_with(|| NAMESPACES.with(&self.metrics, [label])).inc();
    }

    /// The page `/top`: a line for each client and name, the most frequent first.
    pub(super) fn page(&self) -> String {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (client, count) in counted.clients.sorted() {
            // Writing to a String does not fail.
            let _ = writeln!(text, "client {client} {count}");
        }
        for (name, count) in counted.names.sorted() {
            let _ = writeln!(text, "name {name} {count}");
        }
        text
    }
}

/// `shop` for `web.shop.svc.cluster.local`. Only names that exist are looked at, so the label
/// before `svc` is a namespace.
fn namespace(name: &Name) -> Option<String> {
    let labels: Vec<&[u8]> = name.labels().collect();
    let at = labels.iter().rposition(|label| label.eq_ignore_ascii_case(b"svc"))?;
    let label = labels.get(at.checked_sub(1)?)?;
    Some(std::str::from_utf8(label).ok()?.to_ascii_lowercase())
}

/// Counts the most frequent keys. If it is full, a new key takes the place of the least frequent
/// one and continues its count ("Space-Saving", Metwally 2005). So a key that is more frequent than
/// one in `size` is never missing, and no count is too high by more than that share.
#[derive(Debug)]
struct Frequent<K>(BTreeMap<K, u64>);

impl<K> Default for Frequent<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Clone + Ord> Frequent<K> {
    fn count(&mut self, key: &K, size: usize) {
        if let Some(count) = self.0.get_mut(key) {
            *count += 1;
            return;
        }
        let least = self.0.iter().min_by_key(|(_, count)| **count).map(|(key, _)| key.clone());
        let before = least.filter(|_| self.0.len() >= size).and_then(|key| self.0.remove(&key));
        self.0.insert(key.clone(), before.unwrap_or_default() + 1);
    }

    fn sorted(&self) -> Vec<(&K, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|(key, count)| (key, *count)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn frequent_keys_outlive_any_number_of_rare_ones() {
        let mut frequent = Frequent::default();
        for number in 0..10_000_u32 {
            frequent.count(&(number + 100), 20);
            frequent.count(&(number % 3), 20);
        }
        let found = frequent.sorted();
        assert_eq!(frequent.0.len(), 20);
        let first: BTreeSet<u32> = found.iter().take(3).map(|(key, _)| **key).collect();
        assert_eq!(first, BTreeSet::from([0, 1, 2]));
        for (_, count) in found.iter().take(3) {
            assert!((3333..3333 + 20_000 / 20).contains(count), "{count}");
        }
    }

    #[test]
    fn the_namespace_stands_before_svc() {
        for (name, expected) in [
            ("web.shop.svc.cluster.local.", Some("shop")),
            ("_http._tcp.web.Shop.svc.cluster.local.", Some("shop")),
            ("svc.svc.svc.cluster.local.", Some("svc")),
            ("web.shop.SVC.cluster.local.", Some("shop")),
            ("svc.cluster.local.", None),
            ("10-1-2-3.shop.pod.cluster.local.", None),
            ("example.org.", None),
        ] {
            assert_eq!(namespace(&name.parse().unwrap()).as_deref(), expected, "{name}");
        }
    }
}
