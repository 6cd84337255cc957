use crate::{
    chain::Metadata,
    plugin::expression::{
        Number::{Float, Integer},
        Value::{List, Number, Text as TextValue},
    },
};

use super::*;

/// Renders a template for `ip-10-7.Web.test. A`, as CoreDNS 1.15 does.
fn render(source: &str) -> Result<String, String> {
    let mut question = Question::new("ip-10-7.web.test".parse().unwrap(), Type::A);
    question.caps = crate::wire::Caps::random(&question.name, [1 << 9, 0, 0, 0]);
    let groups = [("0", "ip-10-7."), ("1", "10"), ("2", "7"), ("a", "10")];
    let data = Data {
        zone: "test.".to_owned(),
        name: "ip-10-7.web.test.".to_owned(),
        regex: "^ip-(?P<a>[0-9]+)-([0-9]+)[.]".to_owned(),
        class: "IN".to_owned(),
        rtype: "A".to_owned(),
        matched: ["ip-10-7.", "10", "7"].map(str::to_owned).to_vec(),
        groups: groups.map(|(key, text)| (key.to_owned(), text.to_owned())).into(),
        question: &question,
        remote: "192.0.2.9".to_owned(),
        variables: [
            ("n", Number(Integer(7))),
            ("h", Number(Float(3.5))),
            ("l", List(vec![TextValue("a".to_owned())])),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        metadata: {
            let mut metadata = Metadata::collecting();
            metadata.set("geoip/country/code", "DE");
            metadata
        },
    };
    let text = Text::new(source).map_err(|error| error.to_string())?;
    text.render(&data).map_err(|error| error.to_string())
}

#[test]
fn templates_are_rendered_as_in_go() {
    let check = |source: &str, expected: &str| {
        assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
    };
    check("{{ .Name }} 60 {{.Class}} {{ .Type }}", "ip-10-7.web.test. 60 IN A");
    check(
        "{{ .Zone }}|{{ .Remote }}|{{ .Regex }}",
        "test.|192.0.2.9|^ip-(?P<a>[0-9]+)-([0-9]+)[.]",
    );
    check("{{ .Question.Name }} {{ .Question.Qtype }}", "ip-10-7.Web.test. 1");
    check("{{ index .Match 1 }}.{{ index .Match 2 }}", "10.7");
    check("{{ .Group.a}}{{ index .Group \"2\" }}{{ index .Group \"no\" }}", "107");
    check("{{ .Group.no }}", "<no value>");
    check("{{ .Match }} {{ len .Match }} {{ .Var }}", "[ip-10-7. 10 7] 3 map[h:3.5 l:[a] n:7]");
    check("[{{ .Meta \"x/y\" }}]{{ .Meta \"geoip/country/code\" }}", "[]DE");
    check(
        "{{ .Var.n }}{{ index .Var.l 0 }}{{ range .Var.l }}{{ . }}{{ end }}{{ .Var.no }}",
        "7aa<no value>",
    );
    check("a  {{- /* why */ -}}  b{{- \"c\" }} d", "abc d");
    check("{{ \"a\\\"b\" }}{{ `c\\d` }}{{ true }}{{ -3 }}{{ 0x10 }}", "a\"bc\\dtrue-316");
    check("{{ if eq .Type \"A\" }}a{{ else }}b{{ end }}", "a");
    check("{{ if eq .Type \"B\" \"A\" }}a{{ end }}", "a");
    check("{{ if eq .Type \"B\" }}a{{ else if .Group.no }}b{{ else }}c{{ end }}", "c");
    check("{{ if and (ne .Type \"B\") (lt (len .Match) 4) }}a{{ end }}", "a");
    check("{{ or .Group.no \"x\" }}{{ and .Zone \"\" }}{{ not 0 }}", "xtrue");
    check("{{ if or true (index .Match 9) }}a{{ end }}", "a");
    check("{{ with .Group.a }}{{ . }}{{ $.Zone }}{{ end }}", "10test.");
    check("{{ with .Group.no }}a{{ else }}{{ .Type }}{{ end }}", "A");
    check("{{ range .Match }}<{{ . }}>{{ end }}", "<ip-10-7.><10><7>");
    check("{{ range $i, $m := .Match }}{{ $i }}{{ $m }}{{ end }}", "0ip-10-7.11027");
    check("{{ $x := 1 }}{{ range .Match }}{{ $x = . }}{{ end }}{{ $x }}", "7");
    check("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}", "1");
    check("{{ .Group.a | printf \"%s-%s\" .Type }}", "A-10");
    check("{{ printf \"%d.%03d\" (parseInt .Group.a 10 8) 7 }}", "10.007");
    check("{{ printf \"%x %X %#x %o %b %c\" 255 255 255 8 5 65 }}", "ff FF 0xff 10 101 A");
    check(
        "{{ printf \"%5s|%-5s|%.2s|%q|%v|%%|%t\" \"ab\" \"cd\" \"efg\" \"h\" 1 true }}",
        "   ab|cd   |ef|\"h\"|1|%|true",
    );
    check("{{ printf \"%+d %5d %-5d|%05d\" 1 2 3 -4 }}", "+1     2 3    |-0004");
    check("{{ parseInt \"ff\" 16 8 }} {{ parseInt \"0x1f\" 0 64 }}", "255 31");
    check("{{ slice .Name 0 2 }}{{ len (slice .Match 1) }}", "ip2");
    check("{{ print 1 2 \"a\" 3 }}", "1 2a3");
    check("{{ .Var.h }}{{ printf \" %.0f %v\" .Var.h .Var.h }}", "3.5 4 3.5");
    check("{{ if eq .Var.h .Var.h }}{{ le .Var.h .Var.h }}{{ end }}", "true");
    check("}} {", "}} {");
}

#[test]
fn templates_with_errors_or_missing_features_are_rejected() {
    let check = |source: &str, expected: &str| {
        assert_eq!(render(source), Err(expected.to_owned()), "{source}");
    };
    check("{{ .Name", "an action has no closing }}");
    check("{{ }}", "an action is empty or ends too early");
    check("{{ .Name | }}", "an action is empty or ends too early");
    check("{{ if true }}", "`{{end}}` is missing");
    check("{{ end }}", "`{{end}}` has nothing to end");
    check("{{ else }}", "`{{else}}` has nothing to end");
    check("{{ nope .Name }}", "there is no function `nope`");
    check("{{ $x }}", "there is no variable `$x`");
    check("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "there is no variable `$x`");
    check("{{ \"a }}", "a quoted string does not end, or has an unknown escape");
    check("{{ (.Name }}", "an action is empty or ends too early");
    check("{{ html .Name }}", "ndots does not have `html` of Go's templates");
    check("{{ .Message.Id }}", "ndots does not have `.Message` of Go's templates");
    check("{{ template \"x\" }}", "ndots does not have `template` of Go's templates");
    check("{{ .Rdata }}", "there is no field `Rdata`");
    check("{{ index .Match 3 }}", "`index` cannot take these arguments");
    check("{{ index .Match -1 }}", "`index` cannot take these arguments");
    check("{{ .Name 1 }}", "a value takes no arguments");
    check("{{ eq .Name 1 }}", "values of these kinds cannot be compared");
    check("{{ eq .Var.h 1 }}", "values of these kinds cannot be compared");
    check("{{ parseInt \"256\" 10 8 }}", "`parseInt` cannot take these arguments");
    check("{{ parseInt \"-1\" 10 8 }}", "`parseInt` cannot take these arguments");
    check("{{ printf \"%d\" \"a\" }}", "`printf` cannot take these arguments");
    check("{{ printf \"%999999d\" 1 }}", "`printf` cannot take these arguments");
    let deep = "{{ if true }}".repeat(40);
    check(&deep, "the actions are nested too deeply");
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(40), ")".repeat(40));
    check(&parentheses, "the actions are nested too deeply");
    let mut long = "0123456789".to_owned();
    for _ in 0..9 {
        long = format!("{{{{ range $.Match }}}}{long}{{{{ end }}}}");
    }
    check(&long, "the text is longer than a record can be");
    // It prints nothing, but its variable becomes twice as long each time.
    let doubled = "{{ $x = print $x $x }}";
    let doubling = format!(
        "{{{{ $x := \"{}\" }}}}{{{{ range .Match }}}}{{{{ range $.Match }}}}{doubled}{{{{ end }}}}{{{{ end }}}}",
        "x".repeat(200)
    );
    check(&doubling, "the text is longer than a record can be");
}
