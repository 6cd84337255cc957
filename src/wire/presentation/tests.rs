use super::*;

/// The words of a text, split at white space; a word between quotes is quoted.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let quoted = rest.starts_with('"');
        let body = if quoted { &rest[1..] } else { rest };
        let end = if quoted { body.find('"') } else { body.find(' ') }.unwrap_or(body.len());
        words.push(Word { text: &body[..end], quoted });
        rest = body.get(end + 1..).unwrap_or_default().trim_start();
    }
    words
}

fn read(rtype: &str, text: &str) -> Result<Vec<u8>, RdataError> {
    let origin = "example.org.".parse().unwrap();
    rtype.parse::<Type>().unwrap().rdata(&words(text), &origin)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn data_is_read() {
    let check = |rtype: &str, text: &str, expected: &str| {
        let got = read(rtype, text).unwrap_or_else(|error| panic!("{rtype} {text}: {error}"));
        assert_eq!(hex(&got), expected.replace(' ', ""), "{rtype} {text}");
    };
    let name = "03777777 076578616d706c65 036f7267 00";
    check("A", "192.0.2.1", "c0000201");
    check("AAAA", "2001:db8::1", "20010db8000000000000000000000001");
    check("CNAME", "www", name);
    check("CNAME", "www.example.org.", name);
    check("CNAME", "@", "076578616d706c65 036f7267 00");
    check("CNAME", r"a\.", "02612e 076578616d706c65 036f7267 00");
    check("DNAME", "b.", "016200");
    check("MX", "10 b.", "000a 016200");
    check("SRV", "1 2 3 .", "0001 0002 0003 00");
    check(
        "SOA",
        "a. b. 1 1h 15m 1w 1d",
        "016100 016200 00000001 00000e10 00000384 00093a80 00015180",
    );
    check("TXT", r#""a b" c \"\100"#, "03612062 0163 022264");
    check("TXT", r#""""#, "00");
    check("HINFO", "PC Linux", "025043 054c696e7578");
    check("RP", "a. b.", "016100 016200");
    check("NAPTR", r#"1 2 "S" "x" "" ."#, "0001 0002 0153 0178 00 00");
    check("CAA", r#"0 issue "ca.test""#, "00 05 6973737565 63612e74657374");
    check("URI", r#"10 1 "ftp://a""#, "000a 0001 6674703a2f2f61");
    check("SSHFP", "1 1 ab CD", "01 01 abcd");
    check("TLSA", "3 1 1 abcd", "03 01 01 abcd");
    check("DS", "1 RSASHA256 2 ab", "0001 08 02 ab");
    check("DNSKEY", "257 3 13 AQ ID BA==", "0101 03 0d 01020304");
    check(
        "RRSIG",
        "A 8 2 3600 20300101000000 20260101000000 1 a. AQ==",
        "0001 08 02 00000e10 70dbd880 6955b900 0001 016100 01",
    );
    check(
        "NSEC",
        "b. A MX RRSIG TYPE1234",
        "016200 0006 400100000002 041b 000000000000000000000000000000000000000000000000000020",
    );
    check(
        "NSEC3",
        "1 0 5 AB 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR A",
        "01 00 0005 01 ab 14 174eb2409fe28bcb4887a1836f957f0a8425e27b 0001 40",
    );
    check("NSEC3PARAM", "1 0 0 -", "01 00 0000 00");
    check("SVCB", "0 b.", "0000 016200");
    check("HTTPS", r#"1 . port=53 alpn="h2,h3""#, "0001 00 0001 0006 026832 026833 0003 0002 0035");
    check(
        "HTTPS",
        r"1 . alpn=h2 ipv4hint=192.0.2.1 key9999=a\000",
        "0001 00 0001 0003 026832 0004 0004 c0000201 270f 0002 6100",
    );
    check("LOC", "42 21 54.5 N 71 06 18 W -24m 30m", "00 33 16 13 89172fc4 70be15f0 00988d20");
    check("TYPE731", r"\# 3 abcd ef", "abcdef");
    check("A", r"\# 4 c0000201", "c0000201");
    check("TYPE731", r"\# 0", "");
}

#[test]
fn other_words_are_rejected() {
    let long = format!("\"{}\"", "x".repeat(256));
    for (rtype, text) in [
        ("A", ""),
        ("A", "192.0.2.256"),
        ("A", "192.0.2.1 192.0.2.2"),
        ("A", r"\# 3 c00002"),
        ("CNAME", "a..b"),
        ("CNAME", r"\# 2 0161"),
        ("MX", "b."),
        ("MX", "70000 b."),
        ("SOA", "a. b. 1 1x 1 1 1"),
        ("TXT", ""),
        ("TXT", &long),
        ("TXT", r"\25"),
        ("DNSKEY", "257 3 13 A"),
        ("DS", "1 8 2 abc"),
        ("RRSIG", "A 8 2 3600 20301301000000 20260101000000 1 a. AQ=="),
        ("NSEC", "b. BOGUS"),
        ("CAA", r#"0 "" x"#),
        ("HTTPS", "1 . port=x"),
        ("HTTPS", "1 . port=1 port=2"),
        ("LOC", "91 N 0 E 0m"),
        ("TYPE731", "x"),
        ("TYPE731", r"\# 2 ab"),
    ] {
        assert!(read(rtype, text).is_err(), "{rtype} {text}");
    }
}
