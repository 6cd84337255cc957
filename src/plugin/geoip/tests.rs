use std::time::Instant;

use super::*;
use crate::{
    chain::Transport,
    wire::{EdnsOptions, Question, Type},
};

/// The fields of a database (MaxMind DB file format 2.0).
fn text(text: &str) -> Vec<u8> {
    let length = text.len() as u8;
    let head = if length < 29 { vec![0x40 | length] } else { vec![0x40 | 29, length - 29] };
    [&head, text.as_bytes()].concat()
}

fn number(number: u32) -> Vec<u8> {
    [&[0xc4], number.to_be_bytes().as_slice()].concat()
}

fn double(number: f64) -> Vec<u8> {
    [&[0x68], number.to_be_bytes().as_slice()].concat()
}

fn map(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let fields = fields.iter().map(|(key, value)| [text(key), value.clone()].concat());
    let count = [0xe0 | fields.len() as u8];
    [count.to_vec()].into_iter().chain(fields).collect::<Vec<_>>().concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [&[items.len() as u8, 4], items.concat().as_slice()].concat()
}

const TRUE: [u8; 2] = [1, 7];

/// A database in which one IPv4 network has data.
fn database(database_type: &str, network: [u8; 3], data: &[u8]) -> Arc<[u8]> {
    const NODES: u32 = 24;
    let bits = network.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1));
    let mut tree = Vec::new();
    for (node, bit) in (1..=NODES).zip(bits) {
        let next = if node == NODES { NODES + 16 } else { node };
        let records = if bit == 0 { [next, NODES] } else { [NODES, next] };
        records.iter().for_each(|record| tree.extend_from_slice(&record.to_be_bytes()[1..]));
    }
    let metadata = map(&[
        ("node_count", number(NODES)),
        ("record_size", vec![0xa2, 0, 24]),
        ("ip_version", vec![0xa2, 0, 4]),
        ("database_type", text(database_type)),
        ("languages", list(&[text("en")])),
        ("binary_format_major_version", vec![0xa2, 0, 2]),
        ("binary_format_minor_version", vec![0xa2, 0, 0]),
        ("build_epoch", [&[4, 2], 1_700_000_000_u32.to_be_bytes().as_slice()].concat()),
        ("description", map(&[])),
    ]);
    [&tree, &[0; 16][..], data, b"\xab\xcd\xefMaxMind.com", &metadata].concat().into()
}

fn geoip(octets: Arc<[u8]>, by_subnet: bool) -> Geoip {
    let reader = Reader::from_source(octets).unwrap();
    let contents = contents(&reader.metadata().database_type).unwrap();
    Geoip { reader, contents, by_subnet }
}

fn query(subnet: Option<&[u8]>) -> Query {
    let question = Question::new("example.org".parse().unwrap(), Type::A);
    let mut query = Query::internal(question);
    let mut options = EdnsOptions::default();
    subnet.iter().for_each(|data| options.add(SUBNET, data));
    query.client_options = options;
    query
}

fn labels(geoip: &Geoip, client: &str, subnet: Option<&[u8]>) -> Metadata {
    let (peer, local) = (format!("{client}:4000").parse().unwrap(), "[::1]:53".parse().unwrap());
    #[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
    let cx = Cx::new(Instant::now(), 1, peer, local, Transport::Udp);
    let mut metadata = Metadata::collecting();
    geoip.metadata(&cx, &query(subnet), &mut metadata);
    metadata
}

fn city() -> Arc<[u8]> {
    let names = |name: &str| ("names", map(&[("en", text(name))]));
    let data = map(&[
        ("city", map(&[names("Example")])),
        ("continent", map(&[("code", text("EU")), names("Europe")])),
        (
            "country",
            map(&[
                ("iso_code", text("DE")),
                ("is_in_european_union", TRUE.to_vec()),
                names("Germany"),
            ]),
        ),
        (
            "location",
            map(&[
                ("latitude", double(51.5)),
                ("longitude", double(-0.25)),
                ("time_zone", text("Europe/Berlin")),
            ]),
        ),
        ("postal", map(&[("code", text("10115"))])),
        (
            "subdivisions",
            list(&[map(&[("iso_code", text("BE"))]), map(&[("iso_code", text("X"))])]),
        ),
    ]);
    database("GeoLite2-City", [198, 51, 100], &data)
}

#[test]
fn the_labels_of_a_city_are_those_of_coredns() {
    let labels = labels(&geoip(city(), false), "198.51.100.7", None);
    for (label, expected) in [
        ("city/name", "Example"),
        ("continent/code", "EU"),
        ("continent/name", "Europe"),
        ("country/code", "DE"),
        ("country/name", "Germany"),
        ("country/is_in_european_union", "true"),
        ("latitude", "51.5"),
        ("longitude", "-0.25"),
        ("timezone", "Europe/Berlin"),
        ("postalcode", "10115"),
        ("subdivisions/code", "BE,X"),
    ] {
        assert_eq!(labels.get(&format!("geoip/{label}")), Some(expected), "{label}");
    }
    assert_eq!(labels.get("geoip/asn/number"), None);
}

#[test]
fn an_unknown_address_has_empty_labels() {
    let labels = labels(&geoip(city(), false), "192.0.2.1", None);
    assert_eq!(labels.get("geoip/country/code"), Some(""));
    assert_eq!(labels.get("geoip/country/is_in_european_union"), Some("false"));
}

#[test]
fn the_subnet_counts_only_with_the_option() {
    let subnet: &[u8] = &[0, 1, 24, 0, 198, 51, 100];
    let code = |by_subnet| {
        let found = labels(&geoip(city(), by_subnet), "192.0.2.1", Some(subnet));
        found.get("geoip/country/code").map(str::to_owned)
    };
    assert_eq!(code(true).as_deref(), Some("DE"));
    assert_eq!(code(false).as_deref(), Some(""));
}

#[test]
fn networks_have_a_number_and_an_owner() {
    let data = map(&[
        ("autonomous_system_number", number(64496)),
        ("autonomous_system_organization", text("Example Networks")),
    ]);
    let octets = database("GeoLite2-ASN", [198, 51, 100], &data);
    let labels = labels(&geoip(octets, false), "198.51.100.7", None);
    assert_eq!(labels.get("geoip/asn/number"), Some("64496"));
    assert_eq!(labels.get("geoip/asn/org"), Some("Example Networks"));
    assert_eq!(labels.get("geoip/country/code"), None);
}

#[test]
fn the_subnet_of_a_query_is_an_address() {
    let check = |data: &[u8], expected: Option<&str>| {
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(subnet(&query(Some(data))), expected, "{data:?}");
    };
    check(&[0, 1, 24, 0, 81, 2, 69], Some("81.2.69.0"));
    check(&[0, 2, 32, 0, 0x20, 1, 0x0d, 0xb8], Some("2001:db8::"));
    check(&[0, 1, 0, 0], Some("0.0.0.0"));
    check(&[0, 3, 0, 0], None);
    check(&[0, 1, 40, 0, 1, 2, 3, 4, 5], None);
    check(&[0, 1], None);
}

#[test]
fn the_type_of_a_database_tells_its_contents() {
    let check = |name: &str, expected| assert_eq!(contents(name), expected, "{name}");
    check("GeoLite2-City", Some(Contents::Cities));
    check("GeoIP2-Country", Some(Contents::Cities));
    check("GeoLite2-ASN", Some(Contents::Networks));
    check("GeoIP2-ISP", Some(Contents::Networks));
    check("DBIP-ISP (compat=Enterprise)", Some(Contents::Cities));
    check("Other", None);
}
