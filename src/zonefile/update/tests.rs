//! Each line of an update is `CLASS NAME TYPE TTL DATA`, without data where none belongs. `+` adds a
//! record, and `?` begins a prerequisite.

use crate::wire::{Entries, Update, UpdateRecord};

use super::*;

const ZONE: &[&str] = &[
    "@ 60 IN SOA ns hostmaster 10 60 60 60 60",
    "@ 60 IN NS ns",
    "ns 60 IN A 192.0.2.53",
    "www 60 IN A 192.0.2.1",
    "www 60 IN A 192.0.2.2",
    "www 60 IN TXT \"one\"",
    "alias 60 IN CNAME www",
];

fn origin() -> Name {
    "example.org".parse().unwrap()
}

fn record(line: &str) -> ZoneRecord {
    let entry = Entries::new(line).next().unwrap().unwrap();
    let owner = Name::relative(entry.words[0].text, &origin()).unwrap();
    let words: Vec<_> = entry.words.iter().filter(|word| word.text != "IN").copied().collect();
    let (ttl, rtype) = (words[1].text.parse().unwrap(), words[2].text.parse::<Type>().unwrap());
    let data = &words[3..];
    let rdata = if data.is_empty() { Vec::new() } else { rtype.rdata(data, &origin()).unwrap() };
    ZoneRecord { owner, rtype, ttl, rdata }
}

fn of_class(class: Class, line: &str) -> UpdateRecord {
    UpdateRecord { class, record: record(line) }
}

fn zone(lines: &[&str]) -> Vec<ZoneRecord> {
    lines.iter().map(|line| record(line)).collect()
}

fn text(records: &[ZoneRecord]) -> Vec<String> {
    let line = |it: &ZoneRecord| format!("{} {} {} {:?}", it.owner, it.ttl, it.rtype, it.rdata);
    let mut lines: Vec<_> = records.iter().map(line).collect();
    lines.sort_unstable();
    lines
}

/// Applies the changes to [`ZONE`]. `None` in the result: nothing has changed.
fn apply(changes: &[UpdateRecord]) -> Result<Option<Vec<ZoneRecord>>, Rcode> {
    let update = Update { prerequisites: Vec::new(), changes: changes.to_vec() };
    updated(&origin(), &zone(ZONE), &update, &|_, _| true)
}

/// The changes leave the lines of [`ZONE`] without `removed` and with `added`.
#[track_caller]
fn check_apply(changes: &[UpdateRecord], removed: &[&str], added: &[&str]) {
    let left = ZONE.iter().filter(|line| !removed.contains(line));
    let expected: Vec<_> = left.chain(added).copied().collect();
    assert!(removed.iter().all(|line| ZONE.contains(line)));
    let found = apply(changes).unwrap().map(|records| text(&records));
    assert_eq!(found, Some(text(&zone(&expected))), "{changes:?}");
}

const SOA: &str = "@ 60 IN SOA ns hostmaster 10 60 60 60 60";
const NEXT: &str = "@ 60 IN SOA ns hostmaster 11 60 60 60 60";

#[test]
fn records_are_added_and_removed_and_the_serial_rises() {
    let (add, any, none) = (
        |line| of_class(Class::IN, line),
        |line| of_class(Class::ANY, line),
        |line| of_class(Class::NONE, line),
    );
    check_apply(&[add("new 30 A 192.0.2.9")], &[SOA], &[NEXT, "new 30 IN A 192.0.2.9"]);
    check_apply(
        &[any("www 0 A")],
        &[SOA, "www 60 IN A 192.0.2.1", "www 60 IN A 192.0.2.2"],
        &[NEXT],
    );
    let www = ["www 60 IN A 192.0.2.1", "www 60 IN A 192.0.2.2", "www 60 IN TXT \"one\""];
    check_apply(&[any("www 0 ANY")], &[&[SOA][..], &www].concat(), &[NEXT]);
    check_apply(&[none("www 0 A 192.0.2.1")], &[SOA, "www 60 IN A 192.0.2.1"], &[NEXT]);
    // Data is compared without case, and a new TTL is a change.
    check_apply(&[none("alias 0 CNAME WWW")], &[SOA, "alias 60 IN CNAME www"], &[NEXT]);
    check_apply(
        &[add("www 90 TXT one")],
        &[SOA, "www 60 IN TXT \"one\""],
        &[NEXT, "www 90 IN TXT \"one\""],
    );
    // A name has one alias.
    check_apply(
        &[add("alias 60 CNAME ns")],
        &[SOA, "alias 60 IN CNAME www"],
        &[NEXT, "alias 60 IN CNAME ns"],
    );
    // Several changes raise the serial once.
    let moved = ["www 60 IN A 192.0.2.1", "www 60 IN A 192.0.2.2"];
    check_apply(
        &[any("www 0 A"), add("www 60 A 192.0.2.7")],
        &[&[SOA][..], &moved].concat(),
        &[NEXT, "www 60 IN A 192.0.2.7"],
    );
    // The client may set the serial.
    let given = "@ 60 IN SOA ns hostmaster 77 60 60 60 60";
    check_apply(
        &[add(given), add("new 30 A 192.0.2.9")],
        &[SOA],
        &[given, "new 30 IN A 192.0.2.9"],
    );
    // The apex loses one of two NS records, and keeps the last one.
    check_apply(
        &[add("@ 60 NS ns2"), none("@ 0 NS ns"), none("@ 0 NS ns2")],
        &[SOA, "@ 60 IN NS ns"],
        &[NEXT, "@ 60 IN NS ns2"],
    );
}

#[test]
fn changes_without_an_effect_keep_the_serial() {
    for change in [
        of_class(Class::IN, "www 60 A 192.0.2.1"),
        of_class(Class::IN, "alias 60 CNAME www"),
        // Beside an alias, and an alias beside other records.
        of_class(Class::IN, "alias 60 A 192.0.2.1"),
        of_class(Class::IN, "www 60 CNAME ns"),
        of_class(Class::IN, "@ 60 CNAME ns"),
        // An older serial, the same one, and one that is half of all numbers away.
        of_class(Class::IN, "@ 60 SOA ns hostmaster 9 60 60 60 60"),
        of_class(Class::IN, SOA),
        of_class(Class::IN, "@ 60 SOA ns hostmaster 2147483658 60 60 60 60"),
        of_class(Class::ANY, "@ 0 SOA"),
        of_class(Class::ANY, "@ 0 NS"),
        of_class(Class::ANY, "@ 0 ANY"),
        of_class(Class::ANY, "www 0 AAAA"),
        of_class(Class::NONE, "@ 0 NS ns"),
        of_class(Class::NONE, "@ 0 SOA ns hostmaster 10 60 60 60 60"),
        of_class(Class::NONE, "www 0 A 192.0.2.9"),
    ] {
        assert_eq!(apply(std::slice::from_ref(&change)), Ok(None), "{change:?}");
    }
}

#[test]
fn changes_that_cannot_be_made_have_their_codes() {
    let outside = |class| {
        let owner = "www.example.net".parse().unwrap();
        UpdateRecord { class, record: ZoneRecord { owner, ..record("www 0 A") } }
    };
    for (change, code) in [
        (outside(Class::ANY), Rcode::NOTZONE),
        (of_class(Class::CH, "www 60 A 192.0.2.1"), Rcode::FORMERR),
        (of_class(Class::IN, "www 60 ANY"), Rcode::FORMERR),
        (of_class(Class::IN, "www 60 AXFR"), Rcode::FORMERR),
        (of_class(Class::IN, "www 60 SOA ns hostmaster 11 60 60 60 60"), Rcode::FORMERR),
        (of_class(Class::IN, "@ 60 SOA ns hostmaster 0 60 60 60 60"), Rcode::FORMERR),
        (of_class(Class::ANY, "www 1 A"), Rcode::FORMERR),
        (of_class(Class::ANY, "www 0 A 192.0.2.1"), Rcode::FORMERR),
        (of_class(Class::NONE, "www 1 A 192.0.2.1"), Rcode::FORMERR),
        (of_class(Class::NONE, "www 0 ANY"), Rcode::FORMERR),
        (of_class(Class::ANY, "www 0 DS"), Rcode::NOTIMP),
        (of_class(Class::ANY, "@ 0 DNSKEY"), Rcode::NOTIMP),
    ] {
        let first = of_class(Class::IN, "new 60 A 192.0.2.9");
        assert_eq!(apply(&[first, change.clone()]), Err(code), "{change:?}");
    }
}

#[test]
fn prerequisites_decide() {
    let check = |lines: &[(Class, &str)], expected: Result<(), Rcode>| {
        let prerequisites: Vec<_> =
            lines.iter().map(|(class, line)| of_class(*class, line)).collect();
        let found = check_prerequisites(&origin(), &zone(ZONE), &prerequisites);
        assert_eq!(found, expected, "{lines:?}");
    };
    check(&[(Class::ANY, "www 0 ANY"), (Class::ANY, "www 0 A")], Ok(()));
    check(&[(Class::NONE, "new 0 ANY"), (Class::NONE, "www 0 AAAA")], Ok(()));
    check(&[(Class::ANY, "new 0 ANY")], Err(Rcode::NXDOMAIN));
    check(&[(Class::ANY, "www 0 AAAA")], Err(Rcode::NXRRSET));
    check(&[(Class::NONE, "www 0 ANY")], Err(Rcode::YXDOMAIN));
    check(&[(Class::NONE, "www 0 A")], Err(Rcode::YXRRSET));
    // The whole set, in any order and letter case.
    let set = [(Class::IN, "WWW 0 A 192.0.2.2"), (Class::IN, "www 0 A 192.0.2.1")];
    check(&set, Ok(()));
    check(&set[..1], Err(Rcode::NXRRSET));
    check(&[&set[..], &[(Class::IN, "www 0 A 192.0.2.3")]].concat(), Err(Rcode::NXRRSET));
    check(&[(Class::IN, "new 0 A 192.0.2.3")], Err(Rcode::NXRRSET));
    check(&[(Class::IN, "alias 0 CNAME WWW")], Ok(()));
    // Malformed ones.
    check(&[(Class::ANY, "www 1 A")], Err(Rcode::FORMERR));
    check(&[(Class::ANY, "www 0 A 192.0.2.1")], Err(Rcode::FORMERR));
    check(&[(Class::CH, "www 0 A 192.0.2.1")], Err(Rcode::FORMERR));
    check(&[(Class::IN, "www 0 ANY")], Err(Rcode::FORMERR));
    check(&[(Class::ANY, "www 0 DS")], Err(Rcode::NOTIMP));
}

#[test]
fn a_key_needs_permission_for_every_change_and_prerequisites_come_first() {
    let update = |prerequisites: &[UpdateRecord]| Update {
        prerequisites: prerequisites.to_vec(),
        changes: vec![of_class(Class::IN, "new 60 A 192.0.2.9"), of_class(Class::ANY, "www 0 TXT")],
    };
    let addresses_only = |_: &Name, rtype| rtype == Type::A;
    let refused = updated(&origin(), &zone(ZONE), &update(&[]), &addresses_only);
    assert_eq!(refused, Err(Rcode::REFUSED));
    let failing = update(&[of_class(Class::NONE, "www 0 ANY")]);
    let failed = updated(&origin(), &zone(ZONE), &failing, &addresses_only);
    assert_eq!(failed, Err(Rcode::YXDOMAIN));
}

#[test]
fn the_serial_passes_over_zero() {
    let mut lines = ZONE.to_vec();
    lines[0] = "@ 60 IN SOA ns hostmaster 4294967295 60 60 60 60";
    let update = Update {
        prerequisites: Vec::new(),
        changes: vec![of_class(Class::IN, "new 60 A 192.0.2.9")],
    };
    let records = updated(&origin(), &zone(&lines), &update, &|_, _| true).unwrap().unwrap();
    let soa = records.iter().find(|it| it.rtype == Type::SOA).unwrap();
    assert_eq!(soa_serial(&soa.rdata), Some(1));
}

#[test]
fn records_that_cannot_be_updated_are_named() {
    let check_line = |line: &str, expected: &str| {
        let records = zone(&[ZONE, &[line]].concat());
        assert_eq!(check(&origin(), &records).unwrap_err().to_string(), expected);
    };
    assert_eq!(check(&origin(), &zone(ZONE)), Ok(()));
    let name = |label: &str| format!("{label}.example.org.");
    check_line(
        "www 60 IN DS 1 8 2 00",
        &format!(
            "{} DS: updates would make records of this type invalid; remove them",
            name("www")
        ),
    );
    check_line(
        "www 60 IN CNAME ns",
        &format!(
            "{}: the name has a CNAME record and other records; remove one of them",
            name("www")
        ),
    );
    check_line(NEXT, "the zone needs one SOA record at its apex, and it has 2");
    let mut records = zone(ZONE);
    records.remove(0);
    assert_eq!(check(&origin(), &records), Err(RecordsError::Soa(0)));
    records.push(record("@ 60 IN SOA ns hostmaster 0 60 60 60 60"));
    assert_eq!(check(&origin(), &records), Err(RecordsError::NoSerial));
    let limits = ZoneLimits { records: 2, octets: 150 };
    assert_eq!(limits.check(&zone(&ZONE[..2])), Ok(()));
    assert_eq!(limits.check(&zone(&ZONE[..3])), Err(RecordsError::TooMany(2)));
    let limits = ZoneLimits { records: 9, octets: 150 };
    assert_eq!(limits.check(&zone(&ZONE[..4])), Err(RecordsError::TooLarge(150)));
}
