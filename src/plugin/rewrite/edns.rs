//! Rules for EDNS options. They are sent to upstreams only: a client gets none of them back.

use std::net::IpAddr;

use crate::{
    chain::Cx,
    wire::{EdnsOptions, Query},
};

/// The codes of options that have a rule of their own (RFC 5001, RFC 7871).
pub(super) const NSID: u16 = 3;
pub(super) const SUBNET: u16 = 8;

/// `edns0 local|nsid|subnet set|append|replace|unset …`.
#[derive(Clone, Debug)]
pub(super) struct EdnsRule {
    pub(super) code: u16,
    pub(super) action: EdnsAction,
    pub(super) data: EdnsData,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdnsAction {
    /// Replaces the option, or adds it.
    Set,
    /// Adds the option.
    Append,
    /// Replaces the option, if there is one.
    Replace,
    Unset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EdnsData {
    Fixed(Vec<u8>),
    Variable(Variable),
    /// The client's address, cut to this many bits.
    Subnet {
        v4_bits: u8,
        v6_bits: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    QueryName,
    QueryType,
    ClientAddress,
    ClientPort,
    Protocol,
    ServerAddress,
    ServerPort,
    /// The value of a label of the metadata.
    Metadata(String),
}

impl EdnsRule {
    /// The options for upstreams after the rule; `None` if it does not match.
    pub(super) fn apply(&self, cx: &Cx, query: &Query) -> Option<EdnsOptions> {
        let mut options = query.options.clone();
        let asks_nsid = self.code == NSID && query.edns.is_some_and(|edns| edns.nsid);
        let sent = query.client_options.contains(self.code) || asks_nsid;
        let stands = sent || options.contains(self.code);
        match self.action {
            EdnsAction::Unset => {
                options.remove(self.code);
                return Some(options);
            }
            EdnsAction::Replace if !stands => return None,
            // As in CoreDNS, `append` adds a second option only if its data is fixed.
            EdnsAction::Append if stands && !matches!(self.data, EdnsData::Fixed(_)) => {
                return None;
            }
            EdnsAction::Append => {}
            EdnsAction::Set | EdnsAction::Replace => options.remove(self.code),
        }
        options.add(self.code, &self.data.octets(cx, query)?);
        Some(options)
    }
}

impl EdnsData {
    /// `None` if there is no value.
    fn octets(&self, cx: &Cx, query: &Query) -> Option<Vec<u8>> {
        match self {
            Self::Fixed(octets) => Some(octets.clone()),
            Self::Variable(variable) => variable.octets(cx, query),
            Self::Subnet { v4_bits, v6_bits } => Some(subnet(cx.peer.ip(), *v4_bits, *v6_bits)),
        }
    }
}

impl Variable {
    fn octets(&self, cx: &Cx, query: &Query) -> Option<Vec<u8>> {
        Some(match self {
            Self::QueryName => query.question.spelled().to_string().into_bytes(),
            Self::QueryType => query.question.qtype.0.to_be_bytes().to_vec(),
            Self::ClientAddress => octets(cx.peer.ip()),
            Self::ClientPort => cx.peer.port().to_be_bytes().to_vec(),
            Self::Protocol => cx.transport.proto().as_bytes().to_vec(),
            Self::ServerAddress => octets(cx.local.ip()),
            Self::ServerPort => cx.local.port().to_be_bytes().to_vec(),
            Self::Metadata(label) => {
                let value = cx.metadata.get(label).filter(|value| !value.is_empty())?;
                value.as_bytes().to_vec()
            }
        })
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The family, the prefix length, a scope of 0, and the octets of the prefix (RFC 7871 §6).
fn subnet(client: IpAddr, v4_bits: u8, v6_bits: u8) -> Vec<u8> {
    let address = octets(client);
    let (family, bits) = if address.len() == 4 { (1, v4_bits) } else { (2, v6_bits) };
    let mut data = vec![0, family, bits, 0];
    let whole = usize::from(bits).div_ceil(8);
    data.extend_from_slice(address.get(..whole).unwrap_or(&address));
    if let Some(last) = data.last_mut().filter(|_| bits % 8 > 0) {
        *last &= 0xff << (8 - bits % 8);
    }
    data
}
