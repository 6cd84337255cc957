//! The addresses of the upstreams of a `forward` line. They are found when the server is built,
//! from host names, files and interfaces.
//!
//! An upstream that cannot be used yet is left out with a warning, so that it does not prevent the
//! start. ndots uses it as soon as it can.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    plugin::{Awaited, Host, PluginContext, ScopedAddress, upstreams::name_servers},
    transport::Scheme,
    upstream::{Protocol, Target, TlsClientSettings},
};

use super::{
    DIRECTIVE, ForwardSettings,
    targets::{DNS, ForwardTarget, TargetHost},
};

impl ForwardTarget {
    /// The addresses of this upstream. `tls` has the settings for all upstreams of the line.
    pub(super) fn targets(
        &self,
        context: &mut PluginContext<'_>,
        line: &ForwardSettings,
        tls: &TlsClientSettings,
    ) -> Vec<Target> {
        let addresses = match &self.host {
            TargetHost::Address(address) => {
                context.resolve(DIRECTIVE.name, address).into_iter().collect()
            }
            TargetHost::File(path) => name_servers(path, DIRECTIVE.name, context),
            TargetHost::NameOrFile(path) if context.file(path).is_ok() => {
                name_servers(path, DIRECTIVE.name, context)
            }
            TargetHost::Name { name, .. } | TargetHost::NameOrFile(name) => {
                self.addresses_of_host(name, context, &line.resolvers)
            }
        };
        let tls = || Arc::new(self.tls(tls));
        let protocol = match self.scheme {
            Scheme::Tls => Protocol::Tls(tls()),
            Scheme::Https => Protocol::Https(tls(), line.http_method.unwrap_or_default()),
            Scheme::Quic => Protocol::Quic(tls()),
            Scheme::Dns | Scheme::Grpc | Scheme::Https3 => Protocol::Dns,
        };
        let target = |address| Target { address, protocol: protocol.clone() };
        addresses.into_iter().map(target).collect()
    }

    fn addresses_of_host(
        &self,
        name: &str,
        context: &mut PluginContext<'_>,
        resolvers: &[SocketAddr],
    ) -> Vec<SocketAddr> {
        let port = if let TargetHost::Name { port, .. } = self.host { port } else { DNS };
        let host = Host { name: name.to_owned(), resolvers: resolvers.to_vec() };
        match context.addresses(&host) {
            Ok(found) => found.iter().map(|address| SocketAddr::new(*address, port)).collect(),
            Err(reason) => {
                let text = format!(
                    "failed to resolve \"{name}\": {reason}; this upstream is left out until the name can be \
                     resolved; ndots tries again"
                );
                context.warn(DIRECTIVE.name, text);
                context.outputs.awaited.push(Awaited::Host(host));
                Vec::new()
            }
        }
    }

    /// The TLS settings. The server name is that of the line, else that of the upstream, else the
    /// host name.
    fn tls(&self, line: &TlsClientSettings) -> TlsClientSettings {
        let host = || {
            if let TargetHost::Name { name, .. } = &self.host {
                Some(name.trim_end_matches('.').to_owned())
            } else {
                None
            }
        };
        let own_name = || self.server_name.clone();
        let server_name = line.server_name.clone().or_else(own_name).or_else(host);
        TlsClientSettings { server_name, ..line.clone() }
    }
}

/// Returns the address of `source_address`. An interface in it that does not exist is logged and
/// awaited.
pub(super) fn check_source(source: &ScopedAddress, context: &mut PluginContext<'_>) -> IpAddr {
    if source.is_link_local() && source.zone.is_some() {
        context.resolve(DIRECTIVE.name, source);
    }
    source.address.ip()
}
