//! A reply as hickory-proto parses it, in the form that is compared. ndots does not encode replies
//! with hickory-proto, so the two are independent.

use std::{fmt, net::IpAddr};

use hickory_proto::{
    op::Message,
    rr::{RData, Record},
};

use crate::wire::Rcode;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub octets: usize,
    /// The parse error, if the reply cannot be parsed.
    pub broken: Option<String>,
    /// The octets of the question section.
    pub question: Vec<u8>,
    pub rcode: String,
    /// The header's fields by name.
    pub flags: [(&'static str, bool); 7],
    pub truncated: bool,
    /// The answer, authority and additional sections.
    pub sections: [Vec<Line>; 3],
    pub edns: Option<Edns>,
}

/// A record. The serial of an SOA record is left out, and the server's own address behind `ns.dns`
/// is replaced by a word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub owner: String,
    pub rtype: String,
    pub data: String,
    pub ttl: u32,
}

/// The OPT record without the size, which differs by design.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edns {
    pub version: u8,
    pub dnssec_ok: bool,
    pub options: String,
}

pub(super) const SECTIONS: [&str; 3] = ["answer", "authority", "additional"];

impl Reply {
    /// `asked` is the packet of the query, whose question must come back octet for octet. `own` is
    /// the address of the server.
    pub fn read(packet: &[u8], asked: &[u8], own: IpAddr) -> Self {
        let question_octets = asked
            .get(12..)
            .unwrap_or_default()
            .iter()
            .position(|octet| *octet == 0)
            .map_or(0, |root| root + 5);
        let mut reply = Self { octets: packet.len(), ..Self::default() };
        reply.question = packet.get(12..12 + question_octets).unwrap_or_default().to_vec();
        let message = match Message::from_vec(packet) {
            Ok(message) => message,
            Err(error) => return Self { broken: Some(format!("{error}: {packet:02x?}")), ..reply },
        };
        let meta = &message.metadata;
        reply.rcode = Rcode(meta.response_code.into()).to_string();
        reply.truncated = meta.truncation;
        let zero = packet.get(3).is_some_and(|flags| flags & 0x40 != 0);
        reply.flags = [
            ("aa", meta.authoritative),
            ("tc", meta.truncation),
            ("rd", meta.recursion_desired),
            ("ra", meta.recursion_available),
            ("ad", meta.authentic_data),
            ("cd", meta.checking_disabled),
            ("z", zero),
        ];
        reply.sections = [&message.answers, &message.authorities, &message.additionals]
            .map(|section| section.iter().map(|record| Line::of(record, own)).collect());
        reply.edns = message.edns.as_ref().map(|edns| Edns {
            version: edns.version(),
            dnssec_ok: edns.flags().dnssec_ok,
            options: edns
                .options()
                .as_ref()
                .iter()
                .map(|(code, option)| format!("{code:?}={option:?}"))
                .collect(),
        });
        reply
    }
}

impl Reply {
    pub(super) fn is_authoritative(&self) -> bool {
        self.flags.iter().any(|(name, set)| *name == "aa" && *set)
    }
}

/// Whether the record is `ns.dns.ZONE`.
fn is_name_server(record: &Record) -> bool {
    record.name.to_string().to_lowercase().starts_with("ns.dns.")
}

impl Line {
    fn of(record: &Record, own: IpAddr) -> Self {
        let data = match &record.data {
            RData::A(address) if IpAddr::from(address.0) == own && is_name_server(record) => {
                "OWN-ADDRESS".to_owned()
            }
            RData::SOA(soa) => {
                let [mname, rname] = [&soa.mname, &soa.rname].map(ToString::to_string);
                format!(
                    "{mname} {rname} SERIAL {} {} {} {}",
                    soa.refresh, soa.retry, soa.expire, soa.minimum
                )
            }
            data => data.to_string(),
        };
        Self {
            owner: record.name.to_string(),
            rtype: record.record_type().to_string(),
            data,
            ttl: record.ttl,
        }
    }

    /// The key that finds the same record in the other reply. Case and TTL may differ.
    pub fn key(&self) -> (String, &str, String) {
        (self.owner.to_lowercase(), &self.rtype, self.data.to_lowercase())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.owner, self.ttl, self.rtype, self.data)
    }
}

/// Prints the reply in the style of dig.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(broken) = &self.broken {
            return writeln!(f, "      cannot be read: {broken}");
        }
        let flags: Vec<_> =
            self.flags.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
        writeln!(
            f,
            "      status: {}, flags: qr {}; {} octets",
            self.rcode,
            flags.join(" "),
            self.octets
        )?;
        if let Some(edns) = &self.edns {
            let dnssec = if edns.dnssec_ok { " do" } else { "" };
            writeln!(f, "      EDNS: version: {}, flags:{dnssec}; {}", edns.version, edns.options)?;
        }
        for (name, section) in SECTIONS.iter().zip(&self.sections) {
            section.iter().take(6).try_for_each(|line| writeln!(f, "      {name}: {line}"))?;
            if section.len() > 6 {
                writeln!(f, "      {name}: and {} more", section.len() - 6)?;
            }
        }
        Ok(())
    }
}
