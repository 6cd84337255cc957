//! A reply as hickory-proto, which has no part in writing it, reads it; in the words that are
//! compared.

use std::{fmt, net::IpAddr};

use hickory_proto::{
    op::Message,
    rr::{RData, Record},
};
use ndots::wire::Rcode;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) octets: usize,
    /// Why it cannot be read, where it cannot.
    pub(crate) broken: Option<String>,
    /// The question's octets as they came back.
    pub(crate) question: Vec<u8>,
    pub(crate) rcode: String,
    /// Of the header, by name.
    pub(crate) flags: [(&'static str, bool); 7],
    pub(crate) truncated: bool,
    /// Answer, authority, additional.
    pub(crate) sections: [Vec<Line>; 3],
    pub(crate) edns: Option<Edns>,
}

/// A record; the serial of an SOA is left out, and where `ns.dns` is the server's own address, it
/// is only called so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) owner: String,
    pub(crate) rtype: String,
    pub(crate) data: String,
    pub(crate) ttl: u32,
}

/// The OPT record, but for the size, which is each server's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    pub(crate) version: u8,
    pub(crate) dnssec_ok: bool,
    pub(crate) options: String,
}

pub(crate) const SECTIONS: [&str; 3] = ["answer", "authority", "additional"];

impl Reply {
    /// `asked` is the packet that it is the reply to: the question comes back octet by octet. `own`
    /// is the server's address.
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
    /// Whether an upstream had a part in it.
    pub(crate) fn is_of_world(&self) -> bool {
        self.sections
            .iter()
            .flatten()
            .any(|line| line.owner == "." || line.owner.to_lowercase().ends_with("example.org."))
    }
}

/// `ns.dns.ZONE`.
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

    /// What a record is found again by in another reply: case and age may differ.
    pub(crate) fn key(&self) -> (String, &str, String) {
        (self.owner.to_lowercase(), &self.rtype, self.data.to_lowercase())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.owner, self.ttl, self.rtype, self.data)
    }
}

/// In dig's form.
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
