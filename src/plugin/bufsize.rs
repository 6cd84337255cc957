//! `bufsize [SIZE]`: the size limit of UDP replies, which is also the EDNS size that ndots
//! advertises (RFC 6891 §6.2.5).

use crate::limits;

use super::{Directive, DirectiveLines, NO_OPTIONS, Need, PluginSettings, Role};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "bufsize",
    about: "Limits the size of UDP replies, in octets; the default is 1232.",
    arguments: "[SIZE]",
    options: &NO_OPTIONS,
    roles: &[Role::Configures],
    example: ".:53 {\n    bufsize 1232\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

#[derive(Debug)]
struct BufsizeSettings(u16);

impl PluginSettings for BufsizeSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::UdpOctets(self.0)]
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut size = limits::UDP_OCTETS;
    lines.each(|arguments| {
        if !arguments.is_empty() {
            size = arguments.number("the size", 512, 4096).unwrap_or(size);
        }
    });
    Some(Box::new(BufsizeSettings(size)))
}
