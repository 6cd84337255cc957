//! The OPT record of messages that this server sends (RFC 6891).

use super::{
    Cookie, Ede, Edns, Response, Type,
    query::{DO, OPTION_COOKIE, OPTION_KEEPALIVE},
    room::Room,
};

pub(super) const OPTION_EDE: u16 = 15;

#[derive(Clone, Copy, Default)]
pub(super) struct Opt<'r> {
    size: u16,
    dnssec_ok: bool,
    /// The upper eight bits of the response code.
    rcode: u8,
    cookie: Option<Cookie>,
    keepalive: Option<u16>,
    ede: Option<&'r Ede>,
}

impl<'r> Opt<'r> {
    /// The OPT record of a query to an upstream.
    pub(super) fn of_question(edns: Edns) -> Self {
        Self { size: edns.size, dnssec_ok: edns.dnssec_ok, ..Self::default() }
    }

    /// The OPT record of a reply whose header and question take `used` octets. The extended error is
    /// left out if there is no room for it.
    pub(super) fn of_reply(response: &'r Response, edns: Edns, room: Room, used: usize) -> Self {
        let Room { limit, advertise: size, cookie, keepalive } = room;
        let opt = Self {
            size,
            dnssec_ok: edns.dnssec_ok,
            rcode: (response.rcode.0 >> 4) as u8,
            cookie,
            keepalive,
            ede: response.ede.as_ref(),
        };
        if used + opt.len() > limit { Self { ede: None, ..opt } } else { opt }
    }

    pub(super) fn len(&self) -> usize {
        // Root, type, class, TTL and length. Each option has a code and a length, too.
        11 + self.options_len()
    }

    fn options_len(&self) -> usize {
        let cookie = self.cookie.map_or(0, |cookie| 4 + cookie.len());
        let keepalive = self.keepalive.map_or(0, |_| 4 + 2);
        cookie + keepalive + self.ede.map_or(0, |ede| 4 + 2 + ede.text.len())
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(0);
        for word in [Type::OPT.0, self.size] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        let flags = u32::from(self.rcode) << 24 | if self.dnssec_ok { DO } else { 0 };
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&(self.options_len() as u16).to_be_bytes());
        if let Some(cookie) = &self.cookie {
            option(OPTION_COOKIE, &[cookie], out);
        }
        if let Some(keepalive) = self.keepalive {
            option(OPTION_KEEPALIVE, &[&keepalive.to_be_bytes()], out);
        }
        if let Some(ede) = self.ede {
            option(OPTION_EDE, &[&ede.code.to_be_bytes(), &ede.text], out);
        }
    }
}

fn option(code: u16, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    for word in [code, length as u16] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
