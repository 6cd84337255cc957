//! The tables of SkyDNS's rules: keys, wildcards, groups and leases.
#![expect(clippy::disallowed_methods, reason = "any time will do")]

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::*;
use crate::wire::Name;

const BOUNDS: LeaseBounds = LeaseBounds { min: 30, max: 3600 };

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn entry(host: &str, group: &str) -> Entry {
    let service = Service { host: host.to_owned(), group: group.to_owned(), ..Service::default() };
    Entry { service: Ok(service), lease: 0 }
}

fn store(keys: &[(&str, &str, &str)]) -> SkydnsStore {
    let store = SkydnsStore::default();
    let entries =
        keys.iter().map(|(key, host, group)| ((*key).to_owned(), entry(host, group))).collect();
    store.load(entries, 7);
    store
}

fn hosts(store: &SkydnsStore, of: &str, scope: Scope) -> Result<Vec<String>, LookupError> {
    let path = KeyPath::new("/skydns/", &name(of)).unwrap();
    let found = store.services(&path, scope, false, (Instant::now(), BOUNDS))?;
    Ok(found.into_iter().map(|found| found.service.host).collect())
}

#[test]
fn a_key_is_the_path_of_the_labels_and_back() {
    let key = |prefix, of| KeyPath::new(prefix, &name(of)).map(|path| path.key);
    assert_eq!(key("skydns", "www.Example.org").as_deref(), Some("/skydns/org/example/www"));
    assert_eq!(key("/a//b/", "x.y").as_deref(), Some("/a/b/y/x"));
    assert_eq!(key("", "x.y").as_deref(), Some("/y/x"));
    assert_eq!(key("skydns", ".").as_deref(), Some("/skydns"));
    assert_eq!(key("skydns", "a.*.y").as_deref(), Some("/skydns/y"));
    // These must not lead to another directory.
    for odd in [r"a/\046\046/secret.y", r"\046\046.y", r"a\032b.y", "/.y"] {
        assert_eq!(key("skydns", odd), None, "{odd}");
    }
    let back = |prefix, key| domain(prefix, key).map(|name| name.to_string());
    assert_eq!(back("/skydns", "/skydns/org/example/www").as_deref(), Some("www.example.org."));
    assert_eq!(back("a/b", "/a/b/org/example/").as_deref(), Some("example.org."));
    assert_eq!(back("skydns", "/skydns/org//x").as_deref(), Some("x.org."));
}

#[test]
fn a_name_has_the_keys_below_it_or_its_own() {
    let store = store(&[
        ("/skydns/org/a", "192.0.2.1", ""),
        ("/skydns/org/a/x", "192.0.2.2", ""),
        ("/skydns/org/a/x/deep", "192.0.2.3", ""),
        ("/skydns/org/ab", "192.0.2.4", ""),
        ("/skydns/org/b", "192.0.2.5", ""),
    ]);
    let check = |of, scope, expected: Result<&[&str], LookupError>| {
        let expected =
            expected.map(|all| all.iter().map(|last| format!("192.0.2.{last}")).collect());
        assert_eq!(hosts(&store, of, scope), expected, "{of} {scope:?}");
    };
    check("a.org", Scope::Below, Ok(&["2", "3"]));
    check("a.org", Scope::Exact, Ok(&["1"]));
    check("x.a.org", Scope::Below, Ok(&["3"]));
    check("deep.x.a.org", Scope::Below, Ok(&["3"]));
    check("b.org", Scope::Below, Ok(&["5"]));
    check("c.org", Scope::Below, Err(LookupError::NoName));
    check("org", Scope::Below, Ok(&["1", "2", "3", "4", "5"]));
    check("org", Scope::Exact, Err(LookupError::NoName));
    check("*.org", Scope::Below, Ok(&["1", "2", "3", "4", "5"]));
    check("any.a.org", Scope::Below, Ok(&["2", "3"]));
    check("deep.*.a.org", Scope::Below, Ok(&["3"]));
    check("other.*.a.org", Scope::Below, Ok(&[]));
}

#[test]
fn values_that_are_not_services_do_not_hide_others() {
    let entries = BTreeMap::from([
        ("/skydns/org/a/1".to_owned(), entry("192.0.2.1", "")),
        ("/skydns/org/a/2".to_owned(), Entry { service: Err("odd".to_owned()), lease: 0 }),
        ("/skydns/org/b".to_owned(), Entry { service: Err("odd".to_owned()), lease: 0 }),
    ]);
    let store = SkydnsStore::default();
    assert_eq!(hosts(&store, "a.org", Scope::Below), Err(LookupError::NotLoaded));
    store.load(entries, 1);
    assert_eq!(hosts(&store, "a.org", Scope::Below).unwrap(), ["192.0.2.1"]);
    assert_eq!(hosts(&store, "b.org", Scope::Below), Err(LookupError::Malformed));
    assert!(store.change(vec![("/skydns/org/b".to_owned(), None)], 2));
    assert_eq!(hosts(&store, "b.org", Scope::Below), Err(LookupError::NoName));
    assert_eq!(store.revision(), 2);
}

#[test]
fn an_answer_has_one_group() {
    let of = |keys: &[(&str, &str, &str)]| hosts(&store(keys), "org", Scope::Below).unwrap();
    // The rows of SkyDNS's own table.
    let two = [("/skydns/org/a", "1", "g1"), ("/skydns/org/b", "2", "g2")];
    assert_eq!(of(&two), ["1", "2"]);
    let deeper = [("/skydns/org/a", "1", "g1"), ("/skydns/org/b/c", "2", "g2")];
    assert_eq!(of(&deeper), ["1"]);
    let without = [("/skydns/org/a", "1", "g1"), ("/skydns/org/b", "2", "")];
    assert_eq!(of(&without), ["1", "2"]);
    let none = [("/skydns/org/a", "1", ""), ("/skydns/org/b/c", "2", "g2")];
    assert_eq!(of(&none), ["1", "2"]);
}

#[test]
fn a_lease_limits_the_ttl() {
    let (now, store) = (Instant::now(), SkydnsStore::default());
    let with = |ttl, lease| {
        let service = Service { host: "192.0.2.1".to_owned(), ttl, ..Service::default() };
        Entry { service: Ok(service), lease }
    };
    let entries = [(0, 0), (60, 0), (0, 1), (60, 1), (9000, 1), (0, 2), (0, 3), (0, 4)];
    let entries = entries
        .iter()
        .zip(0..)
        .map(|((ttl, lease), at)| (format!("/skydns/x/{at}"), with(*ttl, *lease)));
    store.load(entries.collect(), 1);
    assert_eq!(store.leases(), [1, 2, 3, 4]);
    let ends = |seconds| now + Duration::from_secs(seconds);
    store.set_expiry(HashMap::from([(1, ends(200)), (2, ends(5)), (3, ends(100_000))]));
    let path = KeyPath::new("skydns", &name("x")).unwrap();
    let found = store.services(&path, Scope::Below, false, (now, BOUNDS)).unwrap();
    let ttls: Vec<_> = found.iter().map(|found| found.service.ttl).collect();
    assert_eq!(ttls, [300, 60, 200, 60, 200, 30, 3600, 300]);
}

/// Wildcards find keys behind any number of others.
#[test]
fn a_wildcard_finds_keys_among_many() {
    let store = SkydnsStore::default();
    let mut entries = BTreeMap::new();
    for at in 0..9000 {
        entries.insert(format!("/skydns/org/n{at:05}/db/x"), entry("192.0.2.1", ""));
        entries.insert(format!("/skydns/org/n{at:05}/www-x/y"), entry("192.0.2.2", ""));
    }
    for key in ["n08999/www/z", "n08999/www", "m/www", "a/b/www", "n-x/www", "n-x"] {
        entries.insert(format!("/skydns/org/{key}"), entry(key, ""));
    }
    store.load(entries, 1);
    let found = |of| {
        let mut found = hosts(&store, of, Scope::Below)?;
        found.sort();
        Ok::<_, LookupError>(found)
    };
    assert_eq!(found("www.*.org").unwrap(), ["m/www", "n-x/www", "n08999/www", "n08999/www/z"]);
    assert_eq!(found("z.www.any.org").unwrap(), ["n08999/www/z"]);
    assert_eq!(found("www.*.*.org").unwrap(), ["a/b/www"]);
    assert_eq!(found("nothing.*.org").unwrap(), [""; 0]);
    assert_eq!(found("x.*.gone.org"), Err(LookupError::NoName));
    // More records do not fit into a message.
    assert_eq!(found("y.www-x.*.org").unwrap().len(), crate::limits::ETCD_SERVICES);
}

#[test]
fn a_wildcard_ends_after_a_number_of_keys() {
    let store = SkydnsStore::default();
    let keys = (0..=crate::limits::ETCD_LOOKED_AT).map(|at| format!("/skydns/org/n{at:05}/x"));
    store.load(keys.map(|key| (key, entry("192.0.2.1", ""))).collect(), 1);
    assert_eq!(hosts(&store, "www.*.org", Scope::Below), Err(LookupError::TooMany));
    assert_eq!(hosts(&store, "x.n00001.org", Scope::Below).unwrap(), ["192.0.2.1"]);
}
