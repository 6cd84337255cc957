//! Checks of a `forward` line: its options against each other, and the line against its block and
//! the other blocks.

use std::net::SocketAddr;

use crate::{
    corefile::{Arguments, Diagnostics, Key, Line, Scheme, go_duration},
    wire::Name,
};

use super::{
    super::{LintContext, ScopedAddress, UpstreamTls, lint::zones},
    DIRECTIVE, ForwardSettings,
    targets::{ForwardTarget, TargetHost, plain_address},
};

impl ForwardSettings {
    /// Checks options that depend on each other.
    pub(super) fn check(&self, arguments: &mut Arguments<'_>) {
        let (span, settings) = (arguments.span(), &self.settings);
        if let Some(age) = settings.max_age.filter(|age| *age < settings.expire) {
            let message = format!(
                "max_age ({}) must not be less than expire ({})",
                go_duration(age),
                go_duration(settings.expire)
            );
            arguments.error(span, &message);
        }
        if let Some(ScopedAddress { address: source, .. }) = &self.source {
            let other = |host: &&TargetHost| matches!(host, TargetHost::Address(to) if to.address.is_ipv4() != source.is_ipv4());
            if let Some(TargetHost::Address(to)) = self.to.iter().map(|to| &to.host).find(other) {
                let message = format!(
                    "the source address {} cannot reach {}: one is IPv4, the other IPv6",
                    source.ip(),
                    to.address
                );
                arguments.warning(span, &message).label("this upstream never answers");
            }
        }
    }

    /// Checks that the TLS options apply to an upstream and do not contradict each other.
    pub(super) fn check_tls(&self, arguments: &mut Arguments<'_>) {
        let span = arguments.span();
        // CoreDNS ignores the name of an upstream over HTTPS.
        let others = self.to.iter().filter(|to| to.scheme != Scheme::Https);
        let named = others.filter_map(|to| to.server_name.as_ref()).next();
        if let (Some(line), Some(upstream)) = (&self.server_name, named) {
            arguments.error(
                span,
                &format!(
                    "both forward ('{line}') and proxy level ('{upstream}') TLS servernames are set"
                ),
            );
        }
        if (self.server_name.is_some() || self.tls != UpstreamTls::default())
            && !self.to.iter().any(ForwardTarget::is_encrypted)
        {
            let warning = arguments
                .warning(span, "`tls` and `tls_servername` have no effect: no upstream uses TLS");
            warning.help("an encrypted upstream begins with `tls://`, `https://` or `quic://`");
        }
        if self.http_method.is_some() && !self.to.iter().any(|to| to.scheme == Scheme::Https) {
            arguments
                .warning(span, "`doh_method` has no effect: no upstream uses HTTPS")
                .help("an upstream over HTTPS begins with `https://`");
        }
    }

    /// Whether a later line never gets a query because of this one.
    pub(super) fn hides(&self, later: &Self) -> bool {
        let passes = self.next_on_nodata || !self.next.is_empty();
        later.names.from.is_within(&self.names.from)
            && !passes
            && !self
                .names
                .except
                .iter()
                .any(|zone| zone.is_within(&later.names.from) || later.names.from.is_within(zone))
    }
}

/// Warns of a `forward` line whose upstream is an address at which the same block answers.
pub(super) fn forwards_to_itself(context: &LintContext<'_>, diagnostics: &mut Diagnostics) {
    for line in context.block.lines(DIRECTIVE.name) {
        check_line(context, line, diagnostics);
    }
}

fn check_line(context: &LintContext<'_>, line: &Line, diagnostics: &mut Diagnostics) {
    let Some((from, targets)) = line.arguments.split_first() else { return };
    let Some(from) = zones(from).into_iter().next() else { return };
    for token in targets {
        let Some(target) = plain_address(&token.text) else { continue };
        if returns_to_block(context, &from, target) {
            let message = format!(
                "plugin/forward: {target} is this server: queries that are forwarded there return to this block"
            );
            diagnostics
                .warning(token.span, message)
                .label("forwards to itself")
                .help("name a server that resolves external names");
        }
    }
}

fn returns_to_block(context: &LintContext<'_>, from: &Name, target: SocketAddr) -> bool {
    let listening =
        |key: &&(Name, Key)| key.1.scheme == Scheme::Dns && key.1.port == Some(target.port());
    let block = context.block;
    let Some((_, at)) = context
        .blocks
        .iter()
        .filter(|other| other.receives(target.ip()))
        .flat_map(|other| other.keys)
        .find(listening)
    else {
        return false;
    };
    let zones = || block.keys.iter().map(|(zone, _)| zone);
    let name = if zones().any(|zone| from.is_within(zone)) {
        Some(from)
    } else {
        zones().find(|zone| zone.is_within(from))
    };
    name.and_then(|name| context.block_for(name, at, |other| other.receives(target.ip())))
        .is_some_and(|other| other.is(block))
}
