//! A Corefile's every key and directive, read, and set against each other: all of its mistakes in
//! one run.

use crate::{
    corefile::{self, Corefile, Diagnostics, Key, Scheme, Span},
    plugin::{self, Checked, Need},
    transport::Encryption,
    wire::Name,
};

use super::lint;

/// A server block that is read. What is wrong with it stands in the diagnostics.
pub struct CheckedBlock {
    /// Every one with its port.
    pub keys: Vec<(Name, Key)>,
    pub checked: Checked,
}

impl CheckedBlock {
    pub fn needs(&self) -> impl Iterator<Item = Need> {
        self.checked.settings.iter().flat_map(|(_, settings)| settings.needs())
    }
}

/// Reads every block; `port` is that of DNS keys that name none. Mistakes, and what is surely not
/// meant, go to `diagnostics`.
pub fn check(corefile: &Corefile, port: u16, diagnostics: &mut Diagnostics) -> Vec<CheckedBlock> {
    let checked: Vec<_> =
        corefile.blocks.iter().map(|block| check_block(block, port, diagnostics)).collect();
    let sites: Vec<_> = corefile
        .blocks
        .iter()
        .zip(&checked)
        .map(|(block, checked)| lint::PlacedBlock::new(block, &checked.keys))
        .collect();
    defined_twice(&sites, diagnostics);
    if !diagnostics.has_errors() {
        // Of what is wrong, half would be consequences.
        lint::warn(&sites, diagnostics);
    }
    checked
}

fn check_block(block: &corefile::Block, port: u16, diagnostics: &mut Diagnostics) -> CheckedBlock {
    let mut keys = Vec::new();
    for key in &block.keys {
        if key.scheme.sockets().is_none() {
            let message = format!(
                "`{}://` server blocks are known to CoreDNS, not here yet",
                key.scheme.name()
            );
            diagnostics.error(key.span, message);
        }
        match key.zone.parse::<Name>() {
            Ok(zone) => keys.push((zone, Key { port: Some(key.port_or(port)), ..key.clone() })),
            Err(reason) => {
                diagnostics.error(key.span, format!("`{}` is no zone: {reason}", key.zone));
            }
        }
    }
    let zones: Vec<_> = keys.iter().map(|(zone, _)| zone.clone()).collect();
    check_encryption(block, diagnostics);
    CheckedBlock { checked: plugin::check(block, &zones, diagnostics), keys }
}

/// Encryption without a certificate, or the other way round.
fn check_encryption(block: &corefile::Block, diagnostics: &mut Diagnostics) {
    let encrypted = |key: &&Key| can_be_encrypted(key.scheme);
    if let Some(tls) = block.directives.iter().find(|line| line.name.text == "tls") {
        if !block.keys.iter().any(|key| encrypted(&key)) {
            let warning = diagnostics.warning(
                tls.name.span,
                "`tls` has no effect here: none of the block's keys is encrypted",
            );
            warning.help(format!("such keys begin with {}", encrypted_schemes()));
        }
        return;
    }
    for key in block.keys.iter().filter(encrypted) {
        let name = key.scheme.name();
        let diagnostic = match key.scheme.encryption() {
            Encryption::Always => diagnostics.error(
                key.span,
                format!("`{name}://` needs a certificate: QUIC is always encrypted"),
            ),
            Encryption::Never | Encryption::Optional => diagnostics.warning(
                key.span,
                format!("nothing is encrypted at this `{name}://`: the block has no `tls`"),
            ),
        };
        diagnostic
            .help("`tls CERT KEY` in the block names the files of a certificate and of its key");
    }
}

fn can_be_encrypted(scheme: Scheme) -> bool {
    scheme.sockets().is_some() && scheme.encryption() != Encryption::Never
}

/// "`tls://`, `https://` or `quic://`".
fn encrypted_schemes() -> String {
    let mut names: Vec<_> = Scheme::all()
        .filter(|scheme| can_be_encrypted(*scheme))
        .map(|scheme| format!("`{}://`", scheme.name()))
        .collect();
    let last = names.pop().unwrap_or_default();
    format!("{} or {last}", names.join(", "))
}

/// Two keys that claim the same zone at the same place. Where interfaces are bound, it shows once
/// their addresses are known.
fn defined_twice(sites: &[lint::PlacedBlock<'_>], diagnostics: &mut Diagnostics) {
    let mut before: Vec<(&lint::PlacedBlock<'_>, &Key)> = Vec::new();
    let mut told: Vec<Span> = Vec::new();
    for site in sites {
        for (zone, key) in site.keys {
            let same = |other: &&(&lint::PlacedBlock<'_>, &Key)| {
                *other.1 == *key && other.0.may_meet(site)
            };
            if let Some((_, first)) = before.iter().find(same)
                && !told.contains(&key.span)
            {
                // An address block may stand for hundreds of zones.
                told.push(key.span);
                let (scheme, port) = (key.scheme.name(), key.port.unwrap_or_default());
                let error = diagnostics.error(
                    key.span,
                    format!("cannot serve {scheme}://{zone}:{port} - it is already defined"),
                );
                error.label("the second one").related(first.span, "the first one is here");
            }
            before.push((site, key));
        }
    }
}
