use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::*;
use crate::limits;

/// Files and variables in memory.
#[derive(Default)]
pub(crate) struct Memory {
    files: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
}

impl Memory {
    pub(crate) fn with(files: &[(&str, &str)], env: &[(&str, &str)]) -> Self {
        let owned = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        Self { files: owned(files), env: owned(env) }
    }
}

impl Reader for Memory {
    fn read(&self, path: &str) -> Result<String, String> {
        self.files.get(path).cloned().ok_or_else(|| "no such file".to_owned())
    }

    fn list(&self, directory: &str) -> Vec<String> {
        let rests = self.files.keys().filter_map(|path| path.strip_prefix(directory));
        let names =
            rests.map(|rest| rest.split_inclusive('/').next().unwrap_or_default().to_owned());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }
}

fn read(text: &str, files: &[(&str, &str)]) -> (Corefile, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let corefile = parse("etc/Corefile", text, &Memory::with(files, &[]), &mut diagnostics);
    (corefile, diagnostics)
}

/// Checks that the text is valid and is printed as expected, and that the printed text gives the
/// same blocks.
fn check(text: &str, files: &[(&str, &str)], printed: &str) {
    let (corefile, diagnostics) = read(text, files);
    assert!(!diagnostics.has_errors(), "{text}\n{}", diagnostics.render(false));
    assert_eq!(corefile.to_string(), printed, "{text}");
    assert_eq!(read(printed, &[]).0, corefile, "{printed}");
    round_trip(text);
}

#[test]
fn blocks_are_read_and_printed() {
    let check = |text, printed| check(text, &[], printed);
    check(
        ".:53 {\n errors # a comment\n health {\n lameduck 5s\n }\n}",
        ".:53 {\n    errors\n    health {\n        lameduck 5s\n    }\n}\n",
    );
    check("a {\n log\n log x\n}", "a {\n    log\n    log x\n}\n");
    check("a, b c,\n d:54 {\n}\n tls://e {\n}", "a b c d:54 {\n}\n\ntls://e {\n}\n");
    check("a b {\n}", "a b {\n}\n");
    check("a,b , c {\n}", "a b c {\n}\n");
    check("a\n{\n log\n}", "a {\n    log\n}\n");
    check("a {\n} b {\n}", "a {\n}\n\nb {\n}\n");
    check("\u{feff}. {\r\n whoami\r\n}\r\n", ". {\n    whoami\n}\n");
    check(
        ". {\n log \"{remote} \\\"x\\\"\" \"a b\"\n}",
        ". {\n    log \"{remote} \\\"x\\\"\" \"a b\"\n}\n",
    );
    check(
        ". {\n a {\n b c {\n d\n }\n }\n}",
        ". {\n    a {\n        b c {\n            d\n        }\n    }\n}\n",
    );
    check(
        "10.0.0.0/15:53 2001:db8::/32 {\n}",
        "0.10.in-addr.arpa:53 1.10.in-addr.arpa:53 8.b.d.0.1.0.0.2.ip6.arpa {\n}\n",
    );
}

#[test]
fn braces_may_stand_on_one_line_or_be_left_out() {
    let check = |text, printed| check(text, &[], printed);
    check(".:53 { whoami }", ".:53 {\n    whoami\n}\n");
    check(". { health { lameduck 5s } }", ". {\n    health {\n        lameduck 5s\n    }\n}\n");
    check(
        ". {\n health { lameduck 5s }\n log }",
        ". {\n    health {\n        lameduck 5s\n    }\n    log\n}\n",
    );
    check("a {\n} b { log }", "a {\n}\n\nb {\n    log\n}\n");
    check(
        "example.org, a\nwhoami\nhealth {\n lameduck 5s\n}",
        "example.org a {\n    whoami\n    health {\n        lameduck 5s\n    }\n}\n",
    );
    check("example.org", "example.org {\n}\n");
}

#[test]
fn a_file_without_a_block_means_the_default() {
    let check = |text| check(text, &[], ". {\n    whoami\n    log\n}\n");
    check("");
    check("# nothing\n \r\n");
    check("(unused) {\n log\n}");
    check("import none/*");
}

#[test]
fn snippets_and_files_are_imported() {
    let files = [
        ("etc/a.conf", "log"),
        ("etc/more/b.override", "import c.inc"),
        ("etc/more/c.inc", "errors"),
        ("etc/s.server", "x:1 { whoami }"),
        ("etc/t.server", "(late) { cache }\ny { import late }"),
        ("/abs/body", "lameduck 1s"),
    ];
    let check = |text, printed| check(text, &files, printed);
    check("(s) {\n cache 30\n}\n. {\n import s\n}", ". {\n    cache 30\n}\n");
    check(
        "(s) { cache 30 }\n. {\n log\n import s\n errors\n}",
        ". {\n    log\n    cache 30\n    errors\n}\n",
    );
    check("(s)\n{\n cache 30\n}\n. { import s }", ". {\n    cache 30\n}\n");
    check(". {\n import a.conf\n import ./a.conf\n}", ". {\n    log\n    log\n}\n");
    check(". {\n import more/*.override\n}", ". {\n    errors\n}\n");
    check("import *.server", "x:1 {\n    whoami\n}\n\ny {\n    cache\n}\n");
    check("import t.server\n. {\n import late\n}", "y {\n    cache\n}\n\n. {\n    cache\n}\n");
    check(
        ". {\n health {\n import /abs/body\n }\n}",
        ". {\n    health {\n        lameduck 1s\n    }\n}\n",
    );
    check(
        "(s) {\n health {\n import a\n }\n}\n(a) {\n lameduck 2s\n}\n. {\n import s\n}",
        ". {\n    health {\n        lameduck 2s\n    }\n}\n",
    );
    check(". {\n rewrite import x\n}", ". {\n    rewrite \"import\" x\n}\n");
    check(". {\n \"import\" x\n}", ". {\n    \"import\" x\n}\n");
}

#[test]
fn variables_are_replaced_everywhere() {
    let env = [
        ("ZONE", "example.org"),
        ("PORT", "5300"),
        ("NAME", "log"),
        ("FILE", "a.conf"),
        ("TWO", "a b"),
    ];
    let mut diagnostics = Diagnostics::default();
    let reader = Memory::with(&[("a.conf", "errors {%TWO%}")], &env);
    let text = "{$ZONE}:{$PORT} {\n {$NAME} \"x {$TWO}\" {$NONE}\n import {$FILE}\n}";
    let corefile = parse("Corefile", text, &reader, &mut diagnostics);
    assert!(!diagnostics.has_errors(), "{}", diagnostics.render(false));
    assert_eq!(
        corefile.to_string(),
        "example.org:5300 {\n    log \"x a b\" \"\"\n    errors \"a b\"\n}\n"
    );
}

#[test]
fn recovery_keeps_what_can_be_trusted() {
    let check = |text: &str, errors: usize, printed: &str| {
        let (corefile, diagnostics) = read(text, &[]);
        let found = diagnostics.iter().filter(|it| it.severity == Severity::Error).count();
        assert_eq!(
            (found, &*corefile.to_string()),
            (errors, printed),
            "{text}\n{}",
            diagnostics.render(false)
        );
    };
    check("a {\n log\nb {\n errors\n}", 1, "a {\n    log\n}\n\nb {\n    errors\n}\n");
    check("a {\n log\n health {\n  x\n errors\n}\nb {\n}", 1, "a {\n    log\n}\n\nb {\n}\n");
    check("a {\n log\n}\n}\nb {\n}", 1, "a {\n    log\n}\n\nb {\n}\n");
    check("a {\n log\n }\n errors\n}\nb {\n}", 1, "a {\n    log\n}\n\nb {\n}\n");
    check("a {\n log\n }\n c {\n  x\n }\n}\nb {\n}", 1, "a {\n    log\n}\n\nb {\n}\n");
    check("a {\n}\nb\n log\n}\nc {\n}", 0, "a {\n}\n\nb {\n    log\n}\n\nc {\n}\n");
    check("a {\n}\nb\nc {\n}", 0, "a {\n}\n\nb {\n    c\n}\n");
    check("a {\n log {\n  x\n }\n", 0, "a {\n    log {\n        x\n    }\n}\n");
    check("a {\n log\n", 1, "a {\n    log\n}\n");
    check(
        "a {\n health\n {\n  x\n }\n log\n}",
        1,
        "a {\n    health {\n        x\n    }\n    log\n}\n",
    );
    check("a..b c {\n log\n}", 1, "c {\n    log\n}\n");
    check("a {\n health{\n  x\n }\n}", 1, "a {\n    health {\n        x\n    }\n}\n");
}

#[test]
fn long_and_deep_texts_end_at_a_limit() {
    let told = |text: &str, files: &[(&str, &str)]| {
        let (_, diagnostics) = read(text, files);
        assert!(diagnostics.iter().count() <= limits::DIAGNOSTICS);
        diagnostics
            .iter()
            .map(|it| it.message.to_string())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join("; ")
    };
    // Each of 40 snippets imports the one before it twice.
    let doubling: String = (1..40)
        .map(|n| format!("(s{n}) {{\n import s{}\n import s{}\n}}\n", n - 1, n - 1))
        .collect();
    assert_eq!(
        told(&format!("(s0) {{\n log\n}}\n{doubling}. {{\n import s30\n}}"), &[]),
        "too many imports"
    );
    assert_eq!(
        told(&format!("(s0) {{\n}}\n{doubling}. {{\n import s39\n}}"), &[]),
        "imports are nested too deeply"
    );
    let long = "log ".repeat(20_000);
    assert_eq!(
        told(&format!("(s) {{\n{long}\n}}\n. {{\n{}\n}}", "import s\n".repeat(10)), &[]),
        "the Corefile and its imports have too many words"
    );
    let comment = "#".repeat(limits::COREFILE_OCTETS - 100);
    assert_eq!(
        told("import a\nimport b", &[("etc/a", &comment), ("etc/b", &comment)]),
        "the Corefile and its imports are too long"
    );
    assert_eq!(
        told("import a\nimport a\nimport a", &[("etc/a", &comment)]),
        "",
        "a file is read once"
    );
    assert_eq!(told(&". {\n".repeat(50_000), &[]), "this `{` is never closed");
    let snippets: String = (0..20_000).map(|n| format!("(s{n}) {{\n x\n")).collect();
    assert_eq!(told(&snippets, &[]), "this `{` is never closed");
    assert_eq!(
        told(&format!(". {}{}", "{ x ".repeat(1000), "} ".repeat(1000)), &[]),
        "braces are nested too deeply"
    );
    assert_eq!(
        told(&format!("x\n{}{}", "y {\n".repeat(1000), "}\n".repeat(1000)), &[]),
        "braces are nested too deeply"
    );
    assert_eq!(told(&"}\n".repeat(50_000), &[]), "unexpected `}`: no block is open here");
    assert_eq!(told(&"a {\n}\n".repeat(16_000), &[]), "");
    assert_eq!(
        told(&format!("a {{\n}}\n{}", "b\n".repeat(50_000)), &[]),
        "expected `{` after the zones of a server block"
    );
    told(&format!(". {{\n{}\n}}", "\"a\\".repeat(50_000)), &[]);
    told(&"{$".repeat(100_000), &[]);
    told(&format!("{}{}", "{$a".repeat(100_000), "}".repeat(100_000)), &[]);
}

#[test]
fn whatever_is_read_prints_as_itself() {
    let pieces = [
        "a",
        "b.c",
        ".",
        ":53",
        "log",
        "import ",
        "(s) ",
        "\"",
        "\\",
        "\\\"",
        "{",
        "}",
        "{$",
        "{%",
        "%}",
        "{$=}",
        "{%=%}",
        "=",
        "$",
        ",",
        "#",
        " ",
        " ",
        "\n",
        "\n",
        "\r",
        "\u{feff}",
        "é",
        "/8",
        "10.0.0.0/15",
        "tls://",
        "x {\n",
        "\n}\n",
        " {\n",
        "\t",
    ];
    // A linear congruential generator: the same texts in every run.
    let mut state = 1_u64;
    for _ in 0..5_000 {
        let mut next = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let body: String = (0..next(12)).map(|_| pieces[next(pieces.len())]).collect();
        round_trip(&body);
        round_trip(&format!("a {{\nx {body}\n}}\n"));
    }
}

/// A directive that exists only here, to test [`Arguments`].
#[derive(Debug, Default, PartialEq)]
struct Example {
    port: u16,
    zones: Vec<String>,
    ttl: Option<u32>,
    wait: Option<Duration>,
    policy: Option<u8>,
    share: Option<u8>,
    net: Option<(std::net::IpAddr, u8)>,
}

fn example(line: &Line, diagnostics: &mut Diagnostics) -> Example {
    let mut words = Arguments::new("example", line, diagnostics);
    let mut read = Example {
        port: words.number("the port", 1, u16::MAX).unwrap_or_default(),
        zones: words.zones(),
        ..Example::default()
    };
    words.options(|option| match option.name() {
        "ttl" => {
            option.once();
            read.ttl = option.number("ttl", 0, 3600);
        }
        "wait" => {
            read.wait = option.duration_between(
                "the time",
                Duration::from_secs(1),
                Duration::from_hours(24),
            );
        }
        "policy" => read.policy = option.one_of("policy", &[("random", 0), ("sequential", 1)]),
        "share" => read.share = option.percentage("percentage", 10, 90),
        "net" => read.net = option.network("net"),
        "tsig" => option.not_yet(),
        _ => option.unknown(&["ttl", "wait", "policy", "share", "net", "tsig"], &[]),
    });
    read
}

fn read_example(directive: &str) -> (Example, Vec<String>) {
    let (corefile, mut diagnostics) = read(&format!(". {{\n{directive}\n}}"), &[]);
    let example = example(&corefile.blocks[0].directives[0], &mut diagnostics);
    let said = diagnostics.iter().map(|it| {
        let help = it.help.as_deref().map_or(String::new(), |help| format!(" ({help})"));
        format!(
            "{} {}{help}",
            diagnostics.files.place(it.span),
            it.message.trim_start_matches("plugin/example: ")
        )
    });
    (example, said.collect())
}

#[test]
fn a_directive_is_read_word_by_word() {
    let directive = "example 53 a.org 10.0.0.0/15 {\n ttl 30\n wait 1m30s\n policy random\n share 10%\n net fd00::/8\n}";
    let zones =
        ["a.org.", "0.10.in-addr.arpa.", "1.10.in-addr.arpa."].map(ToOwned::to_owned).to_vec();
    let net = Some(("fd00::".parse().unwrap(), 8));
    let expected = Example {
        port: 53,
        zones,
        ttl: Some(30),
        wait: Some(Duration::from_secs(90)),
        policy: Some(0),
        share: Some(10),
        net,
    };
    assert_eq!(read_example(directive), (expected, Vec::new()));
}

#[test]
fn errors_in_arguments_are_reported() {
    let check = |directive: &str, expected: &[&str]| {
        assert_eq!(read_example(directive).1, expected, "{directive}");
    };
    check("example", &["etc/Corefile:2:1 `example` needs the port"]);
    check("example 0", &["etc/Corefile:2:9 the port must be in range [1, 65535]: 0"]);
    check(
        "example 65536 a..b",
        &[
            "etc/Corefile:2:9 the port must be in range [1, 65535]: 65536",
            "etc/Corefile:2:15 `a..b` is not a zone: a label is empty",
        ],
    );
    let option =
        |option: &str, expected: &[&str]| check(&format!("example 1 {{\n{option}\n}}"), expected);
    option("ttl 1 2", &["etc/Corefile:3:7 `ttl` takes no more arguments"]);
    option("ttl", &["etc/Corefile:3:1 `ttl` needs ttl"]);
    option("ttl 1 {\n x\n}", &["etc/Corefile:4:2 `ttl` takes no block"]);
    option("ttl 1\nttl 2", &["etc/Corefile:4:1 `ttl` is written twice"]);
    option(
        "wait 5",
        &["etc/Corefile:3:6 the time is not a duration: 5 (a number needs its unit: `5s`?)"],
    );
    option("wait 500ms", &["etc/Corefile:3:6 the time must be in range [1s, 24h0m0s]: 500ms"]);
    option(
        "wait -1s",
        &["etc/Corefile:3:6 the time is not a duration: -1s (a time cannot be negative here)"],
    );
    option(
        "policy randon",
        &[
            "etc/Corefile:3:8 wrong value for policy: randon,  must be one of: random, sequential (did you mean `random`?)",
        ],
    );
    option("policy", &["etc/Corefile:3:1 `policy` needs one of: random, sequential"]);
    option(
        "share 9",
        &["etc/Corefile:3:7 percentage should fall in range [10, 90]: 9 (such as `10%`)"],
    );
    option(
        "net 10.0.0.0",
        &[
            "etc/Corefile:3:5 net is not an address block: 10.0.0.0 (such as `10.0.0.0/8` or `fd00::/8`)",
        ],
    );
    option("tsig a b {\n c\n}", &["etc/Corefile:3:1 ndots does not have CoreDNS's `tsig` yet"]);
    option("polcy x", &["etc/Corefile:3:1 unknown property 'polcy' (did you mean `policy`?)"]);
    option(
        "xyzzy",
        &[
            "etc/Corefile:3:1 unknown property 'xyzzy' (valid options: ttl, wait, policy, share, net, tsig)",
        ],
    );
}
