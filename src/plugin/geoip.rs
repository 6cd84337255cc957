//! `geoip DATABASE { edns-subnet }`: where clients are, as metadata.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use maxminddb::{
    Reader,
    geoip2::{Asn, City},
};

use crate::{
    chain::{Cx, Metadata, Plugin},
    corefile::Diagnostics,
    wire::Query,
};

use super::{
    BuildError, Directive, DirectiveLines, Lint, LintContext, Need, OptionSpec, OptionTable,
    PluginContext, PluginSettings, Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "geoip",
    about: "Looks up the address of the client in a MaxMind database of cities or networks (ASN). With `metadata`, other plugins can use the result as labels. A database of cities gives `geoip/city/name`, `geoip/subdivisions/code` and `geoip/postalcode`; `geoip/country/code`, `geoip/country/name` and `geoip/country/is_in_european_union`; `geoip/continent/code` and `geoip/continent/name`; `geoip/latitude`, `geoip/longitude` and `geoip/timezone`. One of networks gives `geoip/asn/number` and `geoip/asn/org`.",
    arguments: "DATABASE",
    options: &OPTIONS,
    roles: &[Role::Informs, Role::ReadsFiles],
    example: ".:53 {\n    metadata\n    geoip /etc/coredns/GeoLite2-City.mmdb\n    view europe {\n        expr metadata('geoip/continent/code') == 'EU'\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[Lint::without_errors(nothing_collects)],
    read,
};

static OPTIONS: OptionTable<GeoipSettings> = OptionTable(&[OptionSpec::new(
    "edns-subnet",
    "",
    "Looks up the network that the client's resolver sends in the option Client Subnet (RFC 7871), if it does.",
    |geoip, _| geoip.by_subnet = true,
)]);

/// The code of the option Client Subnet.
const SUBNET: u16 = 8;

#[derive(Clone, Debug)]
struct GeoipSettings {
    path: String,
    by_subnet: bool,
}

struct Geoip {
    reader: Reader<Arc<[u8]>>,
    contents: Contents,
    by_subnet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    Cities,
    Networks,
}

impl PluginSettings for GeoipSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Octets(self.path.clone())]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let failed = |reason: String| {
            BuildError(format!("failed to open database file: {}: {reason}", self.path))
        };
        let octets = context.octets(&self.path).map_err(failed)?;
        let reader = Reader::from_source(octets).map_err(|error| failed(error.to_string()))?;
        let contents = contents(&reader.metadata().database_type).ok_or_else(|| {
            failed("it does not provide any supported schema (city, asn)".to_owned())
        })?;
        Ok(vec![Arc::new(Geoip { reader, contents, by_subnet: self.by_subnet })])
    }
}

/// What a database of this type contains.
fn contents(database_type: &str) -> Option<Contents> {
    let has = |word: &str| database_type.contains(word);
    if has("City") || has("Country") || has("Enterprise") {
        Some(Contents::Cities)
    } else if has("ASN") || has("ISP") {
        Some(Contents::Networks)
    } else {
        None
    }
}

impl Plugin for Geoip {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn metadata(&self, cx: &Cx, query: &Query, metadata: &mut Metadata) {
        let subnet = if self.by_subnet { subnet(query) } else { None };
        let address = subnet.unwrap_or(cx.peer.ip()).to_canonical();
        match self.contents {
            Contents::Cities => self.city(address, metadata),
            Contents::Networks => self.network(address, metadata),
        }
    }
}

impl Geoip {
    /// Sets the labels of a city. They are empty for an address that is not in the database.
    fn city(&self, address: IpAddr, metadata: &mut Metadata) {
        let Ok(found) = self.reader.lookup(address) else { return };
        let Ok(city) = found.decode::<City<'_>>() else { return };
        let City { city, continent, country, location, postal, subdivisions, .. } =
            city.unwrap_or_default();
        let codes: Vec<_> =
            subdivisions.iter().map(|region| region.iso_code.unwrap_or("")).collect();
        let degrees = |value: Option<f64>| value.map_or_else(String::new, |it| it.to_string());
        let european = country.is_in_european_union.unwrap_or(false);
        metadata.set("geoip/city/name", city.names.english.unwrap_or(""));
        metadata.set("geoip/country/name", country.names.english.unwrap_or(""));
        metadata.set("geoip/country/code", country.iso_code.unwrap_or(""));
        metadata.set("geoip/country/is_in_european_union", european.to_string());
        metadata.set("geoip/continent/name", continent.names.english.unwrap_or(""));
        metadata.set("geoip/continent/code", continent.code.unwrap_or(""));
        metadata.set("geoip/subdivisions/code", codes.join(","));
        metadata.set("geoip/latitude", degrees(location.latitude));
        metadata.set("geoip/longitude", degrees(location.longitude));
        metadata.set("geoip/timezone", location.time_zone.unwrap_or(""));
        metadata.set("geoip/postalcode", postal.code.unwrap_or(""));
    }

    fn network(&self, address: IpAddr, metadata: &mut Metadata) {
        let Ok(found) = self.reader.lookup(address) else { return };
        let Ok(network) = found.decode::<Asn<'_>>() else { return };
        let number = network.as_ref().and_then(|it| it.autonomous_system_number).unwrap_or(0);
        let owner = network.and_then(|it| it.autonomous_system_organization).unwrap_or("");
        metadata.set("geoip/asn/number", number.to_string());
        metadata.set("geoip/asn/org", owner);
    }
}

/// The address of the option Client Subnet, with zeros after its prefix (RFC 7871 §6).
fn subnet(query: &Query) -> Option<IpAddr> {
    let (_, data) = query.client_options.iter().find(|(code, _)| *code == SUBNET)?;
    let (&[_, family, ..], prefix) = data.split_first_chunk::<4>()?;
    let octets = |address: &mut [u8]| {
        address.get_mut(..prefix.len()).map(|place| place.copy_from_slice(prefix))
    };
    match family {
        1 => {
            let mut address = [0; 4];
            octets(&mut address).map(|()| Ipv4Addr::from(address).into())
        }
        2 => {
            let mut address = [0; 16];
            octets(&mut address).map(|()| Ipv6Addr::from(address).into())
        }
        _ => None,
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut geoip: Option<GeoipSettings> = None;
    lines.each(|arguments| {
        let Some(token) = arguments.required("the file of a database") else {
            return arguments.skip();
        };
        if geoip.is_some() {
            arguments.error(token.span, "configuring multiple databases is not supported");
        }
        let mut line = GeoipSettings { path: token.text.clone(), by_subnet: false };
        OPTIONS.read(arguments, &mut line);
        geoip.get_or_insert(line);
    });
    geoip.map(|geoip| Box::new(geoip) as Box<dyn PluginSettings>)
}

fn nothing_collects(context: &LintContext<'_>, diagnostics: &mut Diagnostics) {
    let block = context.block;
    if let Some(line) = block.lines(DIRECTIVE.name).next().filter(|_| !block.has("metadata")) {
        diagnostics
            .warning(line.name.span, "`geoip` has no effect: the block has no `metadata`")
            .help("add the line `metadata` to the block");
    }
}

#[cfg(test)]
mod tests;
