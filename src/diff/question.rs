//! A question and how its query is sent, and where questions come from: lists of names, and the log
//! of a server.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::wire::{Spelled, Type};

/// A question and how its query is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub name: String,
    pub qtype: Type,
    pub how: How,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    pub tcp: bool,
    pub edns: Option<u16>,
    pub dnssec_ok: bool,
    pub no_recursion: bool,
    pub authentic_data: bool,
    pub checking_disabled: bool,
    /// Some letters are in upper case.
    pub mixed: bool,
}

impl Asked {
    /// A query over UDP without EDNS. A final dot of the name is dropped.
    pub fn new(name: &str, qtype: Type) -> Self {
        let short = name.strip_suffix('.').filter(|short| !short.is_empty());
        Self { name: short.unwrap_or(name).to_owned(), qtype, how: How::default() }
    }

    pub fn packet(&self, id: u16) -> Vec<u8> {
        let How { dnssec_ok, no_recursion, authentic_data, checking_disabled, mixed, edns, .. } =
            self.how;
        let mut packet = id.to_be_bytes().to_vec();
        let flags = [
            u8::from(!no_recursion),
            u8::from(authentic_data) << 5 | u8::from(checking_disabled) << 4,
        ];
        packet.extend_from_slice(&flags);
        packet.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
        let start = packet.len();
        // A name that cannot be queried is replaced by the root.
        let wire = self.name.parse::<Spelled>();
        packet.extend_from_slice(wire.as_ref().map_or(&[0], |name| name.wire()));
        if mixed {
            // The lengths of labels do not change: they are at most 63, and letters begin at 65.
            packet.iter_mut().skip(start + 1).step_by(2).for_each(u8::make_ascii_uppercase);
        }
        packet.extend_from_slice(&self.qtype.0.to_be_bytes());
        packet.extend_from_slice(&[0, 1]);
        if let Some(size) = edns {
            packet.extend_from_slice(&[0, 0, 41]);
            packet.extend_from_slice(&size.to_be_bytes());
            packet.extend_from_slice(&[0, 0, u8::from(dnssec_ok) << 7, 0, 0, 0]);
        }
        packet
    }

    /// The same question over TCP, where almost every answer fits.
    pub fn whole(&self) -> Self {
        Self { how: How { tcp: true, ..self.how }, ..self.clone() }
    }

    /// The maximum size of a reply in octets that the client accepts.
    pub fn room(&self) -> usize {
        if self.how.tcp { 65_535 } else { self.how.edns.unwrap_or(512).max(512).into() }
    }
}

/// The question in the form of dig's arguments.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let How { tcp, edns, dnssec_ok, no_recursion, authentic_data, checking_disabled, mixed } =
            self.how;
        write!(f, "dig {} {}", self.name, self.qtype)?;
        let flags = [
            (tcp, "tcp"),
            (dnssec_ok, "dnssec"),
            (no_recursion, "norec"),
            (checking_disabled, "cd"),
            (mixed, "mixed-case"),
        ];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, word)| write!(f, " +{word}"))?;
        if !authentic_data {
            f.write_str(" +noad")?;
        }
        match edns {
            Some(size) => write!(f, " +bufsize={size} +nocookie"),
            None => f.write_str(" +noedns"),
        }
    }
}

impl Asked {
    /// Whether the query is sent in this way: `udp`, `tcp`, `edns`, `do`, `cd`, `ad`, `norec` or
    /// `mixed`. `None` if there is no such way.
    pub(super) fn is(&self, word: &str) -> Option<bool> {
        Some(match word {
            "udp" => !self.how.tcp,
            "tcp" => self.how.tcp,
            "edns" => self.how.edns.is_some(),
            "do" => self.how.dnssec_ok,
            "cd" => self.how.checking_disabled,
            "ad" => self.how.authentic_data,
            "norec" => self.how.no_recursion,
            "mixed" => self.how.mixed,
            _ => return None,
        })
    }
}

/// Why a line of a list is not a question.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum QuestionError {
    #[error("`{0}` cannot be the name of a query")]
    Name(String),
    #[error("`{0}` is not a record type such as A or SRV")]
    Type(String),
}

/// The questions of one line: `NAME`, which stands for A and AAAA, `NAME TYPE` as for dnsperf, or a
/// line of CoreDNS's log. Comments begin with `#` or `;`.
///
/// # Errors
/// See [`QuestionError`].
pub fn read_line(line: &str) -> Result<Vec<Asked>, QuestionError> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok(Vec::new());
    }
    if let Some(asked) = logged(line) {
        return Ok(vec![asked]);
    }
    let mut words = line.split_whitespace().filter(|word| !word.eq_ignore_ascii_case("IN"));
    let (name, qtype) = (words.next().unwrap_or_default(), words.next());
    if name.parse::<Spelled>().is_err() {
        return Err(QuestionError::Name(name.to_owned()));
    }
    let types = match qtype {
        None => vec![Type::A, Type::AAAA],
        Some(word) => {
            vec![Type::from_str(word).map_err(|_| QuestionError::Type(word.to_owned()))?]
        }
    };
    Ok(types.into_iter().map(|qtype| Asked::new(name, qtype)).collect())
}

/// The query of a line of the log: `… "A IN web.shop.svc.cluster.local. udp 51 true 1232" NOERROR`.
/// A log in JSON has the same words.
fn logged(line: &str) -> Option<Asked> {
    let words: Vec<&str> = line
        .split(|ch: char| ch.is_whitespace() || ch == '"' || ch == '\\')
        .filter(|word| !word.is_empty())
        .collect();
    words.windows(7).find_map(|window| {
        let [qtype, "IN", name, transport, _, dnssec_ok, size] = *window else { return None };
        if !["udp", "tcp"].contains(&transport) || name.parse::<Spelled>().is_err() {
            return None;
        }
        let (dnssec_ok, size) = (dnssec_ok == "true", size.parse::<u16>().ok()?);
        // Without EDNS the log has 512.
        let edns = (dnssec_ok || size > 512).then_some(size);
        let how = How { tcp: transport == "tcp", edns, dnssec_ok, ..How::default() };
        Some(Asked { how, ..Asked::new(name, qtype.parse().ok()?) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_from_lists_and_logs() {
        let asked = |line: &str| {
            let read = read_line(line).unwrap();
            read.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(asked("  # a comment"), none);
        assert_eq!(
            asked("web.shop.svc.cluster.local"),
            [
                "dig web.shop.svc.cluster.local A +noad +noedns",
                "dig web.shop.svc.cluster.local AAAA +noad +noedns"
            ]
        );
        let service = ["dig _http._tcp.web.shop SRV +noad +noedns"];
        assert_eq!(asked("_http._tcp.web.shop. SRV"), service);
        assert_eq!(asked("_http._tcp.web.shop IN srv"), service);
        let line = r#"[INFO] 10.244.0.7:41233 - 5021 "A IN web.shop. udp 51 true 1232" NOERROR qr,aa,rd 106 0.000137s"#;
        let logged = ["dig web.shop A +dnssec +noad +bufsize=1232 +nocookie"];
        assert_eq!(asked(line), logged);
        let json = r#"{"level":"info","msg":"10.0.0.7:41233 - 5 \"A IN web.shop. udp 51 true 1232\" NOERROR"}"#;
        assert_eq!(asked(json), logged);
        let plain =
            r#"2026-01-05T10:00:00Z [INFO] [::1]:4 - 9 "AAAA IN . tcp 17 false 512" NOERROR"#;
        assert_eq!(asked(plain), ["dig . AAAA +tcp +noad +noedns"]);
        for (line, reason) in [
            ("a..b", QuestionError::Name("a..b".to_owned())),
            ("web.shop NONE", QuestionError::Type("NONE".to_owned())),
        ] {
            assert_eq!(read_line(line), Err(reason));
        }
    }
}
