//! `secondary [ZONE…] { transfer from ADDRESS…; … }`: zones that are transferred from primary
//! servers.

use std::{collections::HashMap, sync::Arc};

use crate::{chain::Plugin, corefile::Arguments, transport::Scheme, wire::Name};

use super::{
    BuildError, CatalogZone, Directive, DirectiveLines, Fallthrough, OptionSpec, OptionTable,
    PluginContext, PluginSettings, Role, ScopedAddress, authoritative::Authoritative,
    keyring::read_key, names,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "secondary",
    about: "Answers from zones that are transferred from primary servers with AXFR and IXFR.",
    arguments: "[ZONE…]",
    options: &OPTIONS,
    roles: &[Role::Answers, Role::HasZones],
    example: "example.org:53 {\n    secondary {\n        transfer from 192.0.2.1 192.0.2.2\n    }\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<SecondaryOptions> = OptionTable(&[
    OptionSpec::repeated(
        "transfer",
        "from ADDRESS…",
        "Transfers the zone from these servers; the next one is tried if one fails.",
        read_transfer,
    ),
    OptionSpec::new(
        "fallthrough",
        "[ZONE…]",
        "Passes names that do not exist to the next plugin.",
        |options, option| options.fallthrough = Some(Fallthrough::read(option)),
    ),
    OptionSpec::new(
        "key",
        "NAME",
        "Signs the queries with this key of `tsig` (RFC 8945), and requires signed replies.",
        |options, option| options.key = read_key(option),
    ),
    OptionSpec::repeated(
        "catalog",
        "[ZONE…]",
        "The zone is a catalog (RFC 9432): the zones that it names are transferred from the same servers, and served as long as it names them. If zones are given, the catalog may name only them and the zones below them.",
        read_catalog,
    ),
]);

#[derive(Default)]
struct SecondaryOptions {
    from: Vec<ScopedAddress>,
    key: Option<Name>,
    fallthrough: Option<Fallthrough>,
    catalog: Option<Vec<Name>>,
}

/// The zones of one line, and where they come from.
#[derive(Debug)]
struct Source {
    zones: Vec<Name>,
    from: Vec<ScopedAddress>,
    key: Option<Name>,
    /// The zones that the catalog may name; empty for all zones. `None`: the zones are no catalogs.
    catalog: Option<Vec<Name>>,
}

#[derive(Debug)]
struct SecondarySettings {
    lines: Vec<Source>,
    fallthrough: Fallthrough,
}

impl PluginSettings for SecondarySettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let (mut zones, mut addresses) = (HashMap::new(), HashMap::new());
        let members = self.lines.iter().any(|line| line.catalog.is_some()).then(|| {
            let fixed = self.lines.iter().flat_map(|line| line.zones.iter().cloned());
            context.members(format!("{:?}", self.lines), fixed.collect())
        });
        for Source { zones: origins, from, key, catalog } in &self.lines {
            let resolved = from.iter().filter_map(|host| context.resolve(DIRECTIVE.name, host));
            let primaries: Vec<_> = resolved.collect();
            for origin in origins {
                let of_zone = primaries.iter().map(|primary| primary.ip().to_canonical());
                addresses.insert(origin.clone(), of_zone.collect());
                let catalog = catalog.clone().zip(members.clone());
                let catalog = catalog.map(|(allowed, members)| CatalogZone {
                    members,
                    allowed,
                    notices: context.notices.clone(),
                });
                let slot = context.secondary(origin, &primaries, key.as_ref(), catalog);
                zones.insert(origin.clone(), slot);
            }
        }
        let (within, fallthrough) = (vec![Name::root()], self.fallthrough.clone());
        Ok(vec![Arc::new(Authoritative {
            name: DIRECTIVE.name,
            zones,
            primaries: addresses,
            members,
            within,
            fallthrough,
        })])
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let block = lines.zones.to_vec();
    let mut settings = SecondarySettings { lines: Vec::new(), fallthrough: Fallthrough::default() };
    lines.each(|arguments| {
        let zones = if arguments.is_empty() { block.clone() } else { names(&arguments.zones()) };
        let (mut options, span) = (SecondaryOptions::default(), arguments.span());
        OPTIONS.read(arguments, &mut options);
        if options.from.is_empty() {
            arguments
                .error(span, "secondary zones require a transfer from property")
                .help("such as `transfer from 192.0.2.1`, with the address of the primary server");
        }
        let SecondaryOptions { from, key, fallthrough, catalog } = options;
        settings.lines.push(Source { zones, from, key, catalog });
        settings.fallthrough = fallthrough.unwrap_or(settings.fallthrough.clone());
    });
    Some(Box::new(settings))
}

/// A line without zones allows all zones, whatever other lines say.
fn read_catalog(options: &mut SecondaryOptions, option: &mut Arguments<'_>) {
    let all = option.is_empty();
    let zones = names(&option.zones());
    options.catalog = match options.catalog.take() {
        Some(before) if before.is_empty() => Some(before),
        _ if all => Some(Vec::new()),
        before => Some([before.unwrap_or_default(), zones].concat()),
    };
}

fn read_transfer(options: &mut SecondaryOptions, option: &mut Arguments<'_>) {
    let Some(word) = option.required("the word `from`") else { return };
    if word.text != "from" {
        option
            .error(word.span, &format!("`transfer {}` is not known here", word.text))
            .help("write `transfer from ADDRESS…`; `transfer` outside of `secondary` sends zones");
        option.rest();
        return;
    }
    let Some(first) = option.required("the address of a primary server") else { return };
    for token in [first].into_iter().chain(option.rest()) {
        match ScopedAddress::parse(&token.text, Scheme::Dns.port()) {
            Some(address) => options.from.push(address),
            None => drop(
                option
                    .error(token.span, &format!("can't use '{}' in transfer from", token.text))
                    .help("such as `192.0.2.1`, `192.0.2.1:5353` or `[2001:db8::1]:53`"),
            ),
        }
    }
}
