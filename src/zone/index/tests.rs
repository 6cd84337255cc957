use super::*;
use crate::model::{Endpoint, EndpointDetails, Protocol};

fn service() -> Service {
    Service {
        namespace: "ns".into(),
        name: "web".into(),
        addressing: Addressing::ClusterIps(Box::new([[10, 96, 0, 1].into()])),
        ports: Arc::default(),
        outside: None,
    }
}

#[test]
fn many_slices_of_a_service_are_published_once() {
    let slice = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Change::Upsert(Object::EndpointSlice(EndpointSlice {
            service: Some("web".into()),
            endpoints: [Endpoint::new([10, 1, high, low].into())].into(),
            ..EndpointSlice::new("ns", &format!("web-{number}"))
        }))
    };
    let headless = Service { addressing: Addressing::Headless, ..service() };
    let (mut one, mut other) = (Index::default(), Index::default());
    for index in [&mut one, &mut other] {
        index.apply(Change::Upsert(Object::Service(headless.clone())), 1);
    }
    // The same slices in another order, each published alone.
    for number in (0..1000).rev() {
        other.apply(slice(number), 1);
    }
    for number in 0..1000 {
        assert!(Index::may_wait(&slice(number)));
        one.stage(slice(number));
    }
    assert_eq!(one.store.by_endpoint([10, 1, 0, 1].into()).len(), 0, "nothing is published");
    one.publish_drafts();
    assert_eq!(one.batch.services_published(), 1);
    let v4 = |index: &Index| index.store.service(b"\x03web\x02ns").unwrap().v4.clone();
    assert_eq!((v4(&one).iter().count(), v4(&one)), (1000, v4(&other)));
    let found = |index: &Index, last: u8| index.store.by_endpoint([10, 1, 0, last].into()).len();
    assert_eq!((found(&one, 7), found(&other, 7)), (1, 1));
    // One of two slices with the same address is removed.
    let twin = EndpointSlice { name: "twin".into(), ..of(slice(7)) };
    for index in [&mut one, &mut other] {
        index.apply(Change::Upsert(Object::EndpointSlice(twin.clone())), 1);
        index.apply(Change::Remove(Key::new(Kind::EndpointSlice, "ns", "web-7")), 1);
        index.apply(Change::Remove(Key::new(Kind::EndpointSlice, "ns", "web-8")), 1);
        assert_eq!((found(index, 7), found(index, 8)), (1, 0));
    }
}

fn of(change: Change) -> EndpointSlice {
    match change {
        Change::Upsert(Object::EndpointSlice(slice)) => slice,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_reports_the_zones_that_it_alters() {
    let mut index = Index::default();
    let mut check = |change: Change, cluster, cluster_set, outside| {
        let expected = Changed { cluster, cluster_set, outside };
        assert_eq!(index.apply(change.clone(), 1), expected, "{change:?}");
    };
    let namespace = || Object::Namespace(Namespace { name: "ns".into(), labels: Box::default() });
    check(Change::Upsert(namespace()), true, true, false);
    check(Change::Upsert(namespace()), false, false, false);
    check(Change::Upsert(Object::Service(service())), true, false, false);
    check(Change::Upsert(Object::ServiceImport(service())), false, true, false);
    check(Change::Synced(Kind::Service), true, false, true);
    check(Change::Synced(Kind::ServiceImport), false, true, true);
    check(Change::Synced(Kind::ServiceImport), false, false, false);
    check(Change::Remove(Key::new(Kind::Service, "ns", "web")), true, false, false);
    check(Change::Remove(Key::new(Kind::Service, "ns", "web")), false, false, false);
    // A new list without the Namespace and the ServiceImport.
    check(Change::Relist(Kind::Namespace), false, false, false);
    check(Change::Synced(Kind::Namespace), true, true, true);
    check(Change::Forget(Kind::ServiceImport), false, true, false);
}

#[test]
fn only_the_needed_details_of_endpoints_are_kept() {
    let address = [10, 244, 0, 1].into();
    let details = EndpointDetails {
        hostname: Some("h".into()),
        pod: Some("p".into()),
        zone: Some("z".into()),
        node: Some("n".into()),
    };
    let slice = EndpointSlice {
        service: Some("web".into()),
        endpoints: [Endpoint::with(address, details)].into(),
        ..EndpointSlice::new("ns", "web-1")
    };
    let kept = |index: &Index| {
        let mut seen = Vec::new();
        index.each_object(Kind::EndpointSlice, |object| {
            let Object::EndpointSlice(slice) = object else { panic!("{object:?}") };
            let it = slice.endpoints.iter().next().unwrap();
            let has = [it.hostname().is_some(), it.pod().is_some(), it.zone().is_some()];
            seen.push((has, it.node().is_some()));
        });
        seen
    };
    let fields = |pods, zones, nodes| EndpointFields { pods, zones, nodes };
    let mut index = Index::default();
    index.keep_endpoint_fields(fields(false, false, false));
    let upsert = || Change::Upsert(Object::EndpointSlice(slice.clone()));
    assert!(index.apply(upsert(), 1).cluster);
    assert_eq!(kept(&index), [([true, false, false], false)]);
    assert!(!index.apply(upsert(), 1).cluster, "nothing has changed");
    index.keep_endpoint_fields(fields(true, false, true));
    assert!(index.apply(upsert(), 1).cluster);
    assert_eq!(kept(&index), [([true, true, false], true)]);
}

#[test]
fn without_room_known_objects_stay_and_do_not_grow() {
    let mut index = Index::default();
    let named = |name: &str, ports: u16| {
        let port = |number| ServicePort::new("p", Protocol::Tcp, number);
        Service { name: name.into(), ports: (1..=ports).map(port).collect(), ..service() }
    };
    let apply = |index: &mut Index, change: Change| {
        index.apply(change, 1);
        index.take_left_out()
    };
    let upsert = |service: &Service| Change::Upsert(Object::Service(service.clone()));
    let octets = named("web", 2).octets();
    // The source itself bounds the first list.
    index.bound_octets(octets);
    let first = [Change::Relist(Kind::Service), upsert(&named("web", 2)), upsert(&named("db", 1))];
    for change in first {
        assert_eq!(apply(&mut index, change), None);
    }
    assert_eq!(index.octets(Kind::Service), octets + named("db", 1).octets());
    apply(&mut index, Change::Synced(Kind::Service));
    let left_out = |name: &str| {
        let last = Key::new(Kind::Service, "ns", name);
        Some(LeftOut { kinds: vec![Kind::Service], count: 1, last })
    };
    let known = |index: &Index, name: &str| index.services.get("ns", name).map(|it| it.ports.len());
    for (change, expected) in [
        (named("new", 1), left_out("new")),
        (named("db", 2), left_out("db")),
        (named("web", 2), None),
        (named("web", 1), None),
    ] {
        assert_eq!(apply(&mut index, upsert(&change)), expected, "{change:?}");
    }
    assert_eq!(
        (known(&index, "new"), known(&index, "db"), known(&index, "web")),
        (None, Some(1), Some(1))
    );
    // An object that cannot grow is still in the list.
    for change in [Change::Relist(Kind::Service), upsert(&named("db", 9))] {
        apply(&mut index, change);
    }
    apply(&mut index, Change::Synced(Kind::Service));
    assert_eq!((known(&index, "db"), known(&index, "web")), (Some(1), None));
    // Now there is room.
    assert_eq!(apply(&mut index, upsert(&named("web", 2))), left_out("web"));
    apply(&mut index, Change::Remove(Key::new(Kind::Service, "ns", "db")));
    assert_eq!(apply(&mut index, upsert(&named("web", 2))), None);
}

#[test]
fn only_a_kind_that_was_never_synced_is_abandoned() {
    let mut index = Index::default();
    let known = |index: &Index| index.services.get("ns", "web").is_some();
    for (synced, expected) in [(false, false), (true, true)] {
        index.apply(Change::Upsert(Object::Service(service())), 1);
        if synced {
            index.apply(Change::Synced(Kind::Service), 1);
        }
        index.apply(Change::Abandon(Kind::Service), 1);
        assert_eq!(known(&index), expected);
        assert_eq!(index.octets(Kind::Service) > 0, expected);
    }
}
