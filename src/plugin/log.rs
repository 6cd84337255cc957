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
            let (class, kind) = described(sent);
            cx.metadata.set("log/class", class);
            cx.metadata.set("log/type", kind);
        }
        let name = &query.question.name;
        let Some(rule) =
            self.rules.iter().find(|rule| rule.zones.iter().any(|zone| name.is_within(zone)))
        else {
            return;
        };
        if rule.classes.iter().any(|class| class.includes(sent)) {
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
    fn includes(self, sent: &Sent) -> bool {
        match self {
            Self::All => true,
            Self::Success => sent.rcode == Rcode::NOERROR && sent.answers > 0,
            Self::Denial => {
                sent.rcode == Rcode::NXDOMAIN || sent.rcode == Rcode::NOERROR && sent.answers == 0
            }
            Self::Error => ![Rcode::NOERROR, Rcode::NXDOMAIN].contains(&sent.rcode),
        }
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
        ">opcode" => line.write_str("0"),
        _ => {
            let value = label.strip_prefix('/').and_then(|label| cx.metadata.get(label));
            line.write_str(value.filter(|value| !value.is_empty()).unwrap_or("-"))
        }
    }
}

/// The class of a reply, and its kind in the words of CoreDNS.
fn described(sent: &Sent) -> (&'static str, &'static str) {
    match sent.rcode {
        Rcode::NOERROR if sent.answers > 0 => ("success", "NOERROR"),
        Rcode::NOERROR => ("denial", "NODATA"),
        Rcode::NXDOMAIN => ("denial", "NXDOMAIN"),
        Rcode::SERVFAIL => ("error", "SERVERERROR"),
        _ => ("error", "OTHERERROR"),
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
