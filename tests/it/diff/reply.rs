//! A reply as hickory-proto parses it, in the form that is compared. ndots does not encode replies
//! with hickory-proto, so the two are independent.

use std::{fmt, net::IpAddr};

use hickory_proto::{
    op::Message,
    rr::{RData, Record},
};
use ndots::wire::Rcode;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) octets: usize,
    /// The parse error, if the reply cannot be parsed.
    pub(crate) broken: Option<String>,
    /// The octets of the question section.
    pub(crate) question: Vec<u8>,
    pub(crate) rcode: String,
    /// The header's fields by name.
    pub(crate) flags: [(&'static str, bool); 7],
    pub(crate) truncated: bool,
    /// The answer, authority and additional sections.
    pub(crate) sections: [Vec<Line>; 3],
    pub(crate) edns: Option<Edns>,
}

/// A record. The serial of an SOA record is left out, and the server's own address behind `ns.dns`
/// is replaced by a word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) owner: String,
    pub(crate) rtype: String,
    pub(crate) data: String,
    pub(crate) ttl: u32,
}

/// The OPT record without the size, which differs by design.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    pub(crate) version: u8,
    pub(crate) dnssec_ok: bool,
    pub(crate) options: String,
}

pub(crate) const SECTIONS: [&str; 3] = ["answer", "authority", "additional"];

impl Reply {
    /// `asked` is the packet of the query, whose question must come back octet for octet. `own` is
    /// the address of the server.
    pub(crate) fn read(packet: &[u8], asked: &[u8], own: IpAddr) -> Self {
        let question_octets =
            asked[12..].iter().position(|octet| *octet == 0).map_or(0, |root| root + 5);
        let mut reply = Self { octets: packet.len(), ..Self::default() };
        reply.question = packet.get(12..12 + question_octets).unwrap_or_default().to_vec();
        let message = match Message::from_vec(packet) {
            Ok(message) => message,
            Err(error) => return Self { broken: Some(format!("{error}: {packet:02x?}")), ..reply },
        };
        let meta = &message.metadata;
        reply.rcode = Rcode(meta.response_code.into()).to_string();
        reply.truncated = meta.truncation;
        let zero = packet[3] & 0x40 != 0;
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
    /// Whether records in the reply come from an upstream.
    pub(crate) fn is_of_world(&self) -> bool {
        self.sections
            .iter()
            .flatten()
            .any(|line| line.owner == "." || line.owner.to_lowercase().ends_with("example.org."))
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
    pub(crate) fn key(&self) -> (String, &str, String) {
        (self.owner.to_lowercase(), &self.rtype, self.data.to_lowercase())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.owner, self.ttl, self.rtype, self.data)
    }
}

/// Prints the record in dig's form.
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
