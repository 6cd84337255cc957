use crate::wire::{Name, Owner, Question, Rcode, Type};

use super::{Parsed, ZoneError, parse};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn read(text: &str) -> Result<Parsed, ZoneError> {
    let files = |path: &str| match path {
        "/zones/more" => Ok("inside A 192.0.2.9\n$ORIGIN far.\nwww.example.org. A 192.0.2.8\n"),
        "/zones/circle" => Ok("$INCLUDE circle\n"),
        "/zones/broken" => Ok("\nx A 1\n"),
        _ => Err("no such file".to_owned()),
    };
    parse("/zones/db", text, &name("example.org"), &files)
}

const SOA: &str = "@ 60 IN SOA ns hostmaster 1 2 3 4 5\n";

/// The records of the text after an SOA record, as `OWNER TTL TYPE OCTETS`.
fn records(text: &str) -> Vec<String> {
    let parsed = read(&format!("{SOA}{text}")).unwrap_or_else(|error| panic!("{text}: {error}"));
    let zone = std::sync::Arc::new(parsed.zone);
    let mut records = Vec::new();
    for set in zone.transfer().records {
        let Owner::Name(wire) = &set.owner else { panic!("an owner with a name") };
        let owner = Name::from_wire(wire).unwrap();
        records.extend(set.rdatas.iter().map(|rdata| {
            let hex: String = rdata.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("{owner} {} {} {hex}", set.ttl, set.rtype)
        }));
    }
    records
}

#[test]
fn records_may_leave_out_what_the_line_before_has() {
    let check = |text: &str, expected: &[&str]| assert_eq!(records(text), expected, "{text}");
    check("a A 192.0.2.1", &["a.example.org. 60 A c0000201"]);
    check(
        "a 5 A 192.0.2.1\n  A 192.0.2.2",
        &["a.example.org. 5 A c0000201", "a.example.org. 5 A c0000202"],
    );
    check("$TTL 1h\na IN A 192.0.2.1", &["a.example.org. 3600 A c0000201"]);
    check(
        "$ttl 7\na in 1m A 192.0.2.1\nb 2 IN A 192.0.2.1",
        &["a.example.org. 60 A c0000201", "b.example.org. 2 A c0000201"],
    );
    check(
        "$ORIGIN sub\na A 192.0.2.1\n@ A 192.0.2.2",
        &["sub.example.org. 60 A c0000202", "a.sub.example.org. 60 A c0000201"],
    );
    check("a A ( 192.0.2.1 ; (\n )\n", &["a.example.org. 60 A c0000201"]);
    check("a TXT \"x;y\" ( \"z\n\" ) ; c", &["a.example.org. 60 TXT 03783b79027a0a"]);
    check("A.B A 192.0.2.1\r\n\r\n\t\r\n", &["a.b.example.org. 60 A c0000201"]);
    check("*.a\\.b A 192.0.2.1", &["*.a\\.b.example.org. 60 A c0000201"]);
    check(
        "$GENERATE 1-2 h$.$ORIGIN A 192.0.2.$".replace(".$ORIGIN", "").as_str(),
        &["h1.example.org. 60 A c0000201", "h2.example.org. 60 A c0000202"],
    );
    check(
        "$INCLUDE more\nafter A 192.0.2.1",
        &[
            "after.example.org. 60 A c0000201",
            "inside.example.org. 60 A c0000209",
            "www.example.org. 60 A c0000208",
        ],
    );
    check(
        "$INCLUDE /zones/more sub",
        &["inside.sub.example.org. 60 A c0000209", "www.example.org. 60 A c0000208"],
    );
    check("a A 192.0.2.1\na A 192.0.2.1", &["a.example.org. 60 A c0000201"]);
    check(
        "a 9 A 192.0.2.1\na 5 A 192.0.2.2",
        &["a.example.org. 5 A c0000201", "a.example.org. 5 A c0000202"],
    );
    check("a 4294967295 A 192.0.2.1", &["a.example.org. 0 A c0000201"]);
    check("a CLASS1 TYPE1 \\# 4 c0000201", &["a.example.org. 60 A c0000201"]);
    check(
        "in A 192.0.2.1\na in a 192.0.2.1",
        &["a.example.org. 60 A c0000201", "in.example.org. 60 A c0000201"],
    );
}

#[test]
fn ignored_lines_are_reported() {
    let check = |text: &str, kept: usize, expected: &str| {
        let parsed = read(&format!("{SOA}{text}")).unwrap();
        let [problem] = &parsed.problems[..] else { panic!("{text}: {:?}", parsed.problems) };
        assert_eq!(parsed.zone.len(), 1 + kept, "{text}");
        assert_eq!(problem.to_string(), format!("/zones/db:{expected}"), "{text}");
    };
    check(
        "a.other. A 192.0.2.1",
        0,
        "2: a.other. A: it is not in the zone, and the record is ignored",
    );
    check("a CH A 192.0.2.1", 0, "2: class CH is not served, and the record is ignored");
    check(
        "a CNAME b\na A 192.0.2.1",
        2,
        "3: a.example.org. A: it has a CNAME record and other records; only the CNAME record is answered",
    );
    check(
        "a CNAME b\na CNAME c",
        1,
        "3: a.example.org. CNAME: it has two CNAME records; only the first one is answered",
    );
}

#[test]
fn errors_have_a_place_and_a_cure() {
    let check = |text: &str, expected: &str| {
        let error = read(text).expect_err(text).to_string();
        assert_eq!(error, expected, "{text}");
    };
    let after = |text: &str| format!("{SOA}{text}");
    check(
        "",
        "/zones/db: the zone example.org. has no SOA record; add one such as `@ 3600 IN SOA ns.example.org. hostmaster.example.org. 1 7200 3600 1209600 3600`",
    );
    check(
        &after("a A 192.0.2.256"),
        "/zones/db:2: a.example.org. A: `192.0.2.256` is not an IPv4 address",
    );
    check(
        &after("a MX mail"),
        "/zones/db:2: a.example.org. MX: `mail` is not a number from 0 to 65535",
    );
    check(&after("a A"), "/zones/db:2: a.example.org. A: an IPv4 address is missing");
    check(&after("a"), "/zones/db:2: the record has no type");
    check(&after("a 60 IN BOGUS x"), "/zones/db:2: `BOGUS` is not a TTL, a class or a record type");
    check(&after("a..b A 192.0.2.1"), "/zones/db:2: `a..b` is not a domain name");
    check(&after("\n\na TXT \"x"), "/zones/db:4: the quote that begins here is not closed");
    check(&after("a MX (\n 1 a"), "/zones/db:2: the parenthesis that opens here is not closed");
    check(&after("a A 192.0.2.1 )"), "/zones/db:2: `)` closes a parenthesis that was not opened");
    check(&after("$INCLUDE"), "/zones/db:2: a file is missing after the directive");
    check(&after("$INCLUDE gone"), "/zones/db:2: /zones/gone cannot be read: no such file");
    check(&after("$INCLUDE circle"), "/zones/circle:1: files include each other more than 7 deep");
    check(
        &after("$INCLUDE broken"),
        "/zones/broken:2: x.example.org. A: `1` is not an IPv4 address",
    );
    check(&after("$TTL x"), "/zones/db:2: `x` is not a TTL such as 3600 or 1h");
    check(
        &after("$GENERATE 5-1 a$ A 192.0.2.$"),
        "/zones/db:2: `5-1` is not a range such as `1-254` or `0-100/10`",
    );
    check(
        " A 192.0.2.1",
        "/zones/db:1: the first record has no name; begin the line with one, such as `@`",
    );
    check(
        "a A 192.0.2.1",
        "/zones/db:1: the record a.example.org. A has no TTL; put a line such as `$TTL 3600` before it",
    );
    check(
        &after("a NSEC3PARAM 1 0 0 -"),
        "/zones/db:2: the zone is signed with NSEC3, which is not supported; sign it with NSEC",
    );
}

/// The order of RFC 4034 §6.1, in which each name follows the ones above it.
#[test]
fn names_are_in_canonical_order() {
    let order = [
        "@",
        "a",
        "yljkjljk.a",
        "Z.a",
        "zABC.a.EXAMPLE.org.",
        "a-b",
        "z",
        "\\001.z",
        "*.z",
        "\\200.z",
    ];
    let text: String = order.iter().rev().map(|name| format!("{name} A 192.0.2.1\n")).collect();
    let owners: Vec<_> =
        records(&text).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    let expected: Vec<_> = order
        .iter()
        .map(|text| Name::relative(text, &name("example.org")).unwrap().to_string())
        .collect();
    assert_eq!(owners, expected);
}

#[test]
fn a_name_that_becomes_too_long_is_an_error() {
    let long = format!("{0}.{0}.{0}", "x".repeat(60));
    let zone = read(&format!("{SOA}d DNAME {long}\n")).unwrap().zone;
    let question = Question::new(name(&format!("{0}.{0}.d.example.org", "y".repeat(40))), Type::A);
    assert_eq!(zone.answer(&question, false).response.rcode, Rcode::YXDOMAIN);
}
