//! `fallthrough [ZONES…]` and other arguments that several plugins share.

use crate::{corefile::Arguments, limits, wire::Name};

/// The zones in which a query for a name that does not exist goes to the next plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallthrough(Vec<Name>);

impl Fallthrough {
    /// Reads the zones after the option's name. Without a zone it holds for all names.
    pub fn read(arguments: &mut Arguments<'_>) -> Self {
        let zones = names(&arguments.zones());
        Self(if zones.is_empty() { vec![Name::root()] } else { zones })
    }

    pub fn includes(&self, name: &Name) -> bool {
        self.0.iter().any(|zone| name.is_within(zone))
    }
}

impl From<Vec<Name>> for Fallthrough {
    fn from(zones: Vec<Name>) -> Self {
        Self(zones)
    }
}

/// Reads a name that is relative to each of the zones, such as `dns` or `ns.kube-system`. The full
/// name leaves space for the label `hostmaster` before it.
pub(super) fn relative_name(
    arguments: &mut Arguments<'_>,
    what: &str,
    zones: &[Name],
) -> Option<Name> {
    let token = arguments.required(what)?;
    let name = token.text.parse::<Name>().ok().filter(|name| !name.is_root());
    let longest = zones.iter().map(|zone| zone.wire().len()).max().unwrap_or(0);
    let fits =
        |name: &Name| name.wire().len() + longest <= limits::NAME_OCTETS - "hostmaster.".len();
    let found = name.filter(fits);
    if found.is_none() {
        let message = format!("`{}` is not a valid name relative to the zone", token.text);
        arguments.error(token.span, &message).help("such as `dns`, or `ns.kube-system`");
    }
    found
}

/// Parses zones that [`Arguments::zones`] has checked already.
pub fn names(zones: &[String]) -> Vec<Name> {
    zones.iter().filter_map(|zone| zone.parse().ok()).collect()
}
