//! `log [ZONE…] [FORMAT] { class CLASS… }`, with CoreDNS's format strings.

use std::{fmt::Write, sync::Arc};

use crate::{
    chain::{Cx, Level, LogLine, LoggedQuery, Plugin, Sent},
    corefile::Arguments,
    limits,
    wire::{Name, Query, Rcode},
};

use super::{
    BuildError, Directive, DirectiveLines, OptionSpec, OptionTable, PluginContext, PluginSettings,
    Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "log",
    about: "Logs a line for each query and its reply.",
    arguments: "[ZONE…] [FORMAT]",
    options: &OPTIONS,
    roles: &[Role::Observes],
    example: ".:53 {\n    log . {\n        class denial error\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<Vec<Class>> = OptionTable(&[OptionSpec::repeated(
    "class",
    "all|success|denial|error…",
    "Logs only replies of these classes; the default is `all`.",
    |classes, option| {
        classes.extend(option.one_of("class", &CLASSES));
        while !option.is_empty() {
            classes.extend(option.one_of("class", &CLASSES));
        }
    },
)]);

const COMMON: &str = r#"{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" {rcode} {>rflags} {rsize} {duration}"#;

#[derive(Clone, Debug)]
struct LogSettings {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    zones: Vec<Name>,
    format: String,
    classes: Vec<Class>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    All,
    Success,
    Denial,
    Error,
}

const CLASSES: [(&str, Class); 4] = [
    ("all", Class::All),
    ("success", Class::Success),
    ("denial", Class::Denial),
    ("error", Class::Error),
];

impl PluginSettings for LogSettings {
    fn build(&self, _context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(self.clone())])
    }
}

impl Plugin for LogSettings {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn sent(&self, cx: &mut Cx, query: &Query, sent: &Sent) {
        if cx.metadata.collects() {
            let (class, kind) = described(query, sent);
            cx.metadata.set("log/class", class.name());
            cx.metadata.set("log/type", kind);
        }
        let name = &query.question.name;
        let Some(rule) =
            self.rules.iter().find(|rule| rule.zones.iter().any(|zone| name.is_within(zone)))
        else {
            return;
        };
        let class = described(query, sent).0;
        if rule.classes.iter().any(|it| [Class::All, class].contains(it)) {
            let (text, duration_at) = formatted(&rule.format, cx, query, Some(sent));
            let logged = LoggedQuery {
                peer: cx.peer,
                transport: cx.transport,
                query: query.clone(),
                sent: *sent,
                started: cx.started,
                duration_at,
            };
            let query = Some(Box::new(logged));
            cx.lines.push(LogLine { query, ..LogLine::new(Level::Info, "log", text) });
        }
    }
}

impl Class {
    fn name(self) -> &'static str {
        CLASSES.iter().find(|(_, class)| *class == self).map_or("", |(name, _)| name)
    }
}

/// Replaces each `{label}` by its value. A label without a value becomes `-`, as do the labels of
/// the reply if `sent` is `None`. Returns the text and the places in it where the duration belongs:
/// the duration is not known before the line is written.
pub(super) fn formatted(
    format: &str,
    cx: &Cx,
    query: &Query,
    sent: Option<&Sent>,
) -> (String, Vec<usize>) {
    let (mut line, mut duration_at) = (String::with_capacity(160), Vec::new());
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('{') {
        line.push_str(before);
        let Some((label, after)) = after.split_once('}') else {
            line.push('{');
            rest = after;
            continue;
        };
        if label == "duration" && sent.is_some() {
            duration_at.push(line.len());
        } else {
            // Writing to a String does not fail.
            let _ = write_value(&mut line, label, cx, query, sent);
        }
        rest = after;
    }
    (line + rest, duration_at)
}

fn write_value(
    line: &mut String,
    label: &str,
    cx: &Cx,
    query: &Query,
    sent: Option<&Sent>,
) -> std::fmt::Result {
    let address = |address: std::net::IpAddr| match address.to_canonical() {
        std::net::IpAddr::V6(v6) => format!("[{v6}]"),
        std::net::IpAddr::V4(v4) => v4.to_string(),
    };
    if let Some(sent) = sent {
        match label {
            "size" => return write!(line, "{}", sent.request_octets),
            "rcode" => return write!(line, "{}", sent.rcode),
            "rsize" => return write!(line, "{}", sent.reply_octets),
            ">rflags" => return line.write_str(&flags(sent.flags)),
            _ => {}
        }
    }
    match label {
        "remote" => line.write_str(&address(cx.peer.ip())),
        "local" => line.write_str(&address(cx.local.ip())),
        "port" => write!(line, "{}", cx.peer.port()),
        "type" => write!(line, "{}", query.question.qtype),
        "class" => write!(line, "{}", query.question.class),
        "name" => write!(line, "{}", query.question.name),
        "proto" => line.write_str(cx.transport.proto()),
        "size" => write!(line, "{}", cx.request_octets),
        ">id" => write!(line, "{}", query.id),
        ">do" => write!(line, "{}", query.dnssec_ok()),
        ">bufsize" => {
            write!(line, "{}", query.edns.map_or(limits::UDP_OCTETS_PLAIN, |edns| edns.size))
        }
        ">opcode" => write!(line, "{}", query.opcode.number()),
        _ => {
            let value = label.strip_prefix('/').and_then(|label| cx.metadata.get(label));
            line.write_str(value.filter(|value| !value.is_empty()).unwrap_or("-"))
        }
    }
}

/// The class of a reply, and its kind in the words of CoreDNS.
fn described(query: &Query, sent: &Sent) -> (Class, &'static str) {
    match sent.rcode {
        _ if query.question.qtype.is_transfer() => (Class::Error, "META"),
        Rcode::NOERROR if sent.answers > 0 => (Class::Success, "NOERROR"),
        Rcode::NOERROR if sent.has_soa => (Class::Denial, "NODATA"),
        Rcode::NOERROR if sent.has_name_servers => (Class::Success, "DELEGATION"),
        Rcode::NOERROR => (Class::Success, "NOERROR"),
        Rcode::NXDOMAIN if sent.answers == 0 => (Class::Denial, "NXDOMAIN"),
        Rcode::SERVFAIL | Rcode::NOTIMP => (Class::Error, "SERVERERROR"),
        _ => (Class::Error, "OTHERERROR"),
    }
}

fn flags(word: u16) -> String {
    const FLAGS: [(u16, &str); 7] = [
        (0x8000, "qr"),
        (0x400, "aa"),
        (0x200, "tc"),
        (0x100, "rd"),
        (0x80, "ra"),
        (0x20, "ad"),
        (0x10, "cd"),
    ];
    FLAGS
        .iter()
        .filter(|(bit, _)| word & bit != 0)
        .map(|(_, name)| *name)
        .collect::<Vec<_>>()
        .join(",")
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut rules = Vec::new();
    lines.each(|arguments| rules.push(read_rule(arguments)));
    Some(Box::new(LogSettings { rules }))
}

fn read_rule(arguments: &mut Arguments<'_>) -> Rule {
    let (mut format, mut zones) = (COMMON.to_owned(), Vec::new());
    let tokens = arguments.rest();
    for (at, token) in tokens.iter().enumerate() {
        if at > 0 && at + 1 == tokens.len() && token.text.contains('{') {
            format = token
                .text
                .replace("{common}", COMMON)
                .replace("{combined}", &format!("{COMMON} \"{{>opcode}}\""));
            continue;
        }
        if let Some(help) = not_a_scope(&token.text) {
            let message = format!("`{}` is read as a zone", token.text);
            arguments.warning(token.span, &message).help(help);
        }
        // As in CoreDNS, an empty scope, such as an unset environment variable, has all names.
        let scope = if token.text.is_empty() { "." } else { &token.text };
        match scope.parse::<Name>() {
            Ok(zone) => zones.push(zone),
            Err(reason) => {
                let message = format!("`{}` is not a zone: {reason}", token.text);
                arguments.error(token.span, &message);
            }
        }
    }
    let mut classes = Vec::new();
    OPTIONS.read(arguments, &mut classes);
    if classes.is_empty() {
        classes.push(Class::All);
    }
    if zones.is_empty() {
        zones.push(Name::root());
    }
    Rule { zones, format, classes }
}

/// What to write instead of a word that is a name, but not meant as one.
fn not_a_scope(text: &str) -> Option<&'static str> {
    if text.contains('{') {
        return Some("a format is one word after the zones: `log . \"{combined} {/view/name}\"`");
    }
    if CLASSES.iter().any(|(name, _)| *name == text) {
        return Some("write the class between braces, after the option `class`");
    }
    let is_stream = ["stdout", "stderr"].contains(&text);
    is_stream.then_some("delete it: the log is always written to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Question, Type};

    #[test]
    fn replies_have_the_classes_of_coredns() {
        for (rcode, answers, has_soa, has_name_servers, class, kind) in [
            (Rcode::NOERROR, 1, false, true, "success", "NOERROR"),
            (Rcode::NOERROR, 0, false, false, "success", "NOERROR"),
            (Rcode::NOERROR, 0, false, true, "success", "DELEGATION"),
            (Rcode::NOERROR, 0, true, true, "denial", "NODATA"),
            (Rcode::NXDOMAIN, 0, true, false, "denial", "NXDOMAIN"),
            (Rcode::NXDOMAIN, 0, false, false, "denial", "NXDOMAIN"),
            (Rcode::NXDOMAIN, 1, true, false, "error", "OTHERERROR"),
            (Rcode::SERVFAIL, 0, false, false, "error", "SERVERERROR"),
            (Rcode::NOTIMP, 0, false, false, "error", "SERVERERROR"),
            (Rcode::REFUSED, 0, false, false, "error", "OTHERERROR"),
        ] {
            let sent = Sent {
                rcode,
                flags: 0,
                answers,
                has_soa,
                has_name_servers,
                request_octets: 0,
                reply_octets: 0,
            };
            let described = |qtype| {
                let name = "a.example.".parse().unwrap();
                let (class, kind) = described(&Query::internal(Question::new(name, qtype)), &sent);
                (class.name(), kind)
            };
            assert_eq!(described(Type::A), (class, kind), "{sent:?}");
            assert_eq!(described(Type::AXFR), ("error", "META"), "{sent:?}");
        }
    }
}
