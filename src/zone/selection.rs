//! The part of a Service that a name selects.

use crate::model::Protocol;

/// The part of a Service that a name selects.
#[derive(Clone, Copy)]
pub(super) enum Selection<'q> {
    Service,
    /// Labels without underscores. An empty label matches every value.
    Port {
        port: &'q [u8],
        protocol: &'q [u8],
    },
    /// The label of an endpoint, and in the cluster set the label of its cluster.
    Endpoint {
        label: &'q [u8],
        cluster: Option<&'q [u8]>,
    },
    /// The endpoints in a topology zone. `zone` is its name, which may have dots, as labels in wire
    /// form.
    Zonal {
        zone: &'q [u8],
        preference: ZonePreference,
    },
}

/// The answer for a topology zone without endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZonePreference {
    /// `TZ.pin._zone`: no records.
    Pin,
    /// `TZ.prefer._zone`: the endpoints of all zones.
    Prefer,
}

impl<'q> Selection<'q> {
    /// The selection by two labels. `_._` stands for every port, and so for the Service.
    pub(super) fn port(port: &'q [u8], protocol: &'q [u8]) -> Self {
        match (without_underscore(port), without_underscore(protocol)) {
            (b"", b"") => Self::Service,
            (port, protocol) => Self::Port { port, protocol },
        }
    }

    pub(super) fn has_port(self, name: &str, protocol: Protocol) -> bool {
        let matches = |wanted: &[u8], is: &str| {
            wanted.is_empty() || is.as_bytes().eq_ignore_ascii_case(wanted)
        };
        match self {
            Self::Port { port, protocol: wanted } => {
                matches(port, name) && matches(wanted, protocol.label())
            }
            Self::Service | Self::Endpoint { .. } | Self::Zonal { .. } => true,
        }
    }
}

/// `_http` and `http` both name the port `http`. `_` names every port.
fn without_underscore(label: &[u8]) -> &[u8] {
    label.strip_prefix(b"_").unwrap_or(label)
}
