//! `secondary [ZONE…] { transfer from ADDRESS…; … }`: zones that are transferred from primary
//! servers.

use std::{collections::HashMap, sync::Arc};

use crate::{chain::Plugin, corefile::Arguments, transport::Scheme, wire::Name};

use super::{
    BuildError, Directive, DirectiveLines, Fallthrough, OptionSpec, OptionTable, PluginContext,
    PluginSettings, Role, ScopedAddress, authoritative::Authoritative, keyring::read_key, names,
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
    OptionSpec::not_yet("catalog"),
]);

#[derive(Default)]
struct SecondaryOptions {
    from: Vec<ScopedAddress>,
    key: Option<Name>,
    fallthrough: Option<Fallthrough>,
}

/// The zones of one line, and where they come from.
#[derive(Debug)]
struct Source {
    zones: Vec<Name>,
    from: Vec<ScopedAddress>,
    key: Option<Name>,
}

#[derive(Debug)]
struct SecondarySettings {
    lines: Vec<Source>,
    fallthrough: Fallthrough,
}

impl PluginSettings for SecondarySettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let (mut zones, mut addresses) = (HashMap::new(), HashMap::new());
        for Source { zones: origins, from, key } in &self.lines {
            let resolved = from.iter().filter_map(|host| context.resolve(DIRECTIVE.name, host));
            let primaries: Vec<_> = resolved.collect();
            for origin in origins {
                let of_zone = primaries.iter().map(|primary| primary.ip().to_canonical());
                addresses.insert(origin.clone(), of_zone.collect());
                zones.insert(origin.clone(), context.secondary(origin, &primaries, key.as_ref()));
            }
        }
        let (within, fallthrough) = (vec![Name::root()], self.fallthrough.clone());
        Ok(vec![Arc::new(Authoritative {
            name: DIRECTIVE.name,
            zones,
            primaries: addresses,
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
        settings.lines.push(Source { zones, from: options.from, key: options.key });
        settings.fallthrough = options.fallthrough.unwrap_or(settings.fallthrough.clone());
    });
    Some(Box::new(settings))
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
