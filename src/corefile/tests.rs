use std::collections::BTreeMap;

use super::*;

/// Files and variables in memory.
#[derive(Default)]
struct Memory(BTreeMap<&'static str, &'static str>);

impl Reader for Memory {
    fn read(&self, path: &str) -> Result<String, String> {
        self.0.get(path).map(|text| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
        self.0.keys().filter(|path| path.starts_with(before) && path.ends_with(after)).map(|path| (*path).to_owned()).collect()
    }

    fn env(&self, name: &str) -> Option<String> {
        (name == "PORT").then(|| "5300 x".to_owned())
    }
}

fn read(text: &str, files: &[(&'static str, &'static str)]) -> (Corefile, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let corefile = parse("etc/Corefile", text, &Memory(files.iter().copied().collect()), &mut diagnostics);
    (corefile, diagnostics)
}

fn check(text: &str, printed: &str) {
    let (corefile, diagnostics) = read(text, &[]);
    assert!(!diagnostics.has_errors(), "{text}\n{}", diagnostics.render(false));
    assert_eq!(corefile.to_string(), printed);
    let (again, _) = read(printed, &[]);
    assert_eq!(again, corefile);
}

#[test]
fn blocks_are_read_and_printed() {
    check(
        ".:53 {\n errors # a comment\n health {\n lameduck 5s\n }\n}",
        ".:53 {\n    errors\n    health {\n        lameduck 5s\n    }\n}\n",
    );
    check(".:53 { whoami }", ".:53 {\n    whoami\n}\n");
    check("a.example, b.example\n {\n log\n}", "a.example b.example {\n    log\n}\n");
    check("example.org\nwhoami\nlog", "example.org {\n    whoami\n    log\n}\n");
    check("\u{feff}. {\r\n whoami\r\n}\r\n", ". {\n    whoami\n}\n");
    check(". {\n log \"{remote} \\\"x\\\"\" \"a b\"\n}", ". {\n    log \"{remote} \\\"x\\\"\" \"a b\"\n}\n");
    check(". {\n log {$PORT} {%PORT%}x {$NONE} {$}\n}", ". {\n    log \"5300 x\" \"5300 xx\" \"\" {$}\n}\n");
    check("10.0.0.0/15:53 {\n whoami\n}", "0.10.in-addr.arpa.:53 1.10.in-addr.arpa.:53 {\n    whoami\n}\n");
    check("", ".:53 {\n    whoami\n    log\n}\n");
    check("# nothing\n", ".:53 {\n    whoami\n    log\n}\n");
}

#[test]
fn snippets_and_files_are_put_in() {
    let files =
        [("etc/a.conf", "log"), ("etc/more/b.override", "import c.inc"), ("etc/more/c.inc", "errors"), ("etc/s.server", "x:1 { whoami }")];
    let text = "(common) {\n cache 30\n}\n.:53 {\n import common\n import a.conf\n import more/*.override\n import none/*.conf\n}\nimport *.server";
    let (corefile, diagnostics) = read(text, &files);
    assert_eq!(corefile.to_string(), ".:53 {\n    cache 30\n    log\n    errors\n}\n\nx:1 {\n    whoami\n}\n");
    let warnings: Vec<_> = diagnostics.iter().map(|it| (it.severity, it.message.as_str())).collect();
    assert_eq!(warnings, [(Severity::Warning, "no files match the import pattern: none/*.conf")]);
}

#[test]
fn mistakes_are_told_all_at_once_with_their_places() {
    let check = |text: &str, expected: &[&str]| {
        let (_, diagnostics) = read(text, &[("etc/loop", "import loop"), ("/etc/secret", "}")]);
        let found: Vec<_> = diagnostics.iter().map(|it| format!("{} {}", diagnostics.files.place(it.span), it.message)).collect();
        assert_eq!(found, expected, "{text}");
    };
    check(". {\n whoami\n}\n}\n", &["etc/Corefile:4:1 unexpected `}`: no block is open here"]);
    check(". {\n forward . 1.1.1.1\n", &["etc/Corefile:1:3 this `{` is never closed"]);
    check(
        "a, {\n}\nb:x:99999 {\n}",
        &[
            "etc/Corefile:1:1 expected another zone after this comma, but found `{`",
            "etc/Corefile:3:1 `99999` is no port: ports are 0 to 65535",
        ],
    );
    check(
        "dnss://a {\n}\na..b {\n}",
        &["etc/Corefile:1:1 unknown scheme `dnss://`", "etc/Corefile:3:1 `a..b` is no zone: a label is empty"],
    );
    check(".:{$NONE} {\n}", &["etc/Corefile:1:1 expected a port after the last colon"]);
    check(
        ". {\n import\n import x y\n import none\n import loop\n}",
        &[
            "etc/Corefile:2:2 `import` takes one argument, not 0",
            "etc/Corefile:3:2 `import` takes one argument, not 2",
            "etc/Corefile:4:9 file to import not found: none",
            "etc/loop:1:8 `loop` imports itself",
        ],
    );
    check(". {\n}\nb\nc {\n}", &["etc/Corefile:3:1 expected `{` after the zones of a server block"]);
    check("(a) {\n log\n}\n(a) {\n}\n. {\n}", &["etc/Corefile:4:1 the snippet `a` is defined twice"]);
}

#[test]
fn files_from_elsewhere_are_not_quoted() {
    let (_, diagnostics) = read("import /etc/secret", &[("/etc/secret", "root:hash {\n")]);
    assert!(diagnostics.has_errors());
    assert!(!diagnostics.render(false).contains("hash"), "{}", diagnostics.render(false));
}

#[test]
fn a_message_shows_the_line() {
    let (_, diagnostics) = read(". {\n whoami\n", &[]);
    let expected = "error: this `{` is never closed\n --> etc/Corefile:1:3\n  |\n1 | . {\n  |   ^ opened here\n  |\n  = help: add a `}` on a line of its own\n\n";
    assert_eq!(diagnostics.render(false), expected);
}

#[test]
fn address_blocks_are_cut_at_labels() {
    let check = |text: &str, expected: &[&str]| assert_eq!(reverse_zones(text).unwrap(), expected, "{text}");
    check("10.0.0.0/8", &["10.in-addr.arpa."]);
    check(
        "10.96.0.0/12",
        &(96..112).map(|octet| format!("{octet}.10.in-addr.arpa.")).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>(),
    );
    check("192.168.1.0/24", &["1.168.192.in-addr.arpa."]);
    check("fd00::/8", &["d.f.ip6.arpa."]);
    check("0.0.0.0/0", &["in-addr.arpa."]);
    assert_eq!(reverse_zones("10.0.0.0/33"), None);
    assert_eq!(reverse_zones("cluster.local"), None);
}
