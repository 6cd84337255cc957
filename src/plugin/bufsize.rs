//! `bufsize [SIZE]`: the largest datagram that is sent, and the EDNS size that is told (RFC 6891
//! §6.2.5).

use crate::limits;

use super::{Need, Reading, Settings};

#[derive(Debug)]
struct Bufsize(u16);

impl Settings for Bufsize {
    fn needs(&self) -> Vec<Need> {
        vec![Need::UdpOctets(self.0)]
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let mut size = limits::UDP_OCTETS;
    reading.each(|arguments| {
        if !arguments.is_empty() {
            size = arguments.number("the size", 512, 4096).unwrap_or(size);
        }
        arguments.end();
        arguments.no_body();
    });
    Some(Box::new(Bufsize(size)))
}
