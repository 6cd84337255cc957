//! `acl [ZONE…] { ACTION [type TYPE…] [net NETWORK…] }`.

use std::{net::IpAddr, sync::Arc};

use crate::{
    chain::{Cx, Flow, Plugin},
    corefile::{Arguments, Token},
    limits,
    metrics::{CounterFamily, Family, IntCounter, Metrics, SeriesCache},
    wire::{Ede, Name, Query, Rcode, Response, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, OptionSpec, OptionTable, PluginContext, PluginSettings,
    Role, ServerLabels, names, network::Network,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "acl",
    about: "Allows, refuses or drops queries by the client's address and the type, or answers them without records.",
    arguments: "[ZONE…]",
    options: &OPTIONS,
    roles: &[Role::ChangesReplies],
    example: ".:53 {\n    acl {\n        allow net 10.0.0.0/8 fd00::/8\n        block\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

const FORM: &str = "[type TYPE…] [net NETWORK…]";

static OPTIONS: OptionTable<Rule> = OptionTable(&[
    OptionSpec::<Rule>::repeated(
        "allow",
        FORM,
        "Passes the query to the next plugin.",
        |rule, option| {
            rule.read(Action::Allow, option);
        },
    )
    .in_any_case(),
    OptionSpec::<Rule>::repeated("block", FORM, "Answers REFUSED.", |rule, option| {
        rule.read(Action::Block, option);
    })
    .in_any_case(),
    OptionSpec::<Rule>::repeated(
        "filter",
        FORM,
        "Answers NOERROR without records.",
        |rule, option| {
            rule.read(Action::Filter, option);
        },
    )
    .in_any_case(),
    OptionSpec::<Rule>::repeated("drop", FORM, "Does not reply.", |rule, option| {
        rule.read(Action::Drop, option);
    })
    .in_any_case(),
]);

const BY_ZONE: [&str; 3] = ["server", "zone", "view"];
static BLOCKED: CounterFamily<3> =
    Family::new("acl_blocked_requests_total", "Queries that `acl` refused.", BY_ZONE);
static FILTERED: CounterFamily<3> = Family::new(
    "acl_filtered_requests_total",
    "Queries that `acl` answered without records.",
    BY_ZONE,
);
static DROPPED: CounterFamily<3> =
    Family::new("acl_dropped_requests_total", "Queries that `acl` dropped.", BY_ZONE);
static ALLOWED: CounterFamily<2> =
    Family::new("acl_allowed_requests_total", "Queries that `acl` passed on.", ["server", "view"]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Allow,
    Block,
    Filter,
    Drop,
}

/// One line of a block.
#[derive(Clone, Debug)]
struct Policy {
    action: Action,
    /// `None` for all types.
    types: Option<Vec<Type>>,
    /// `None` for all clients.
    networks: Option<Vec<Network>>,
}

/// One `acl` of a server block.
#[derive(Clone, Debug, Default)]
struct Rule {
    zones: Vec<Name>,
    policies: Vec<Policy>,
}

#[derive(Clone, Debug)]
struct AclSettings(Vec<Rule>);

struct Acl {
    rules: Vec<Rule>,
    registry: Arc<Metrics>,
    servers: ServerLabels,
    /// The key is the server, the action, and the indexes of the rule and of its zone.
    counters: SeriesCache<(usize, Action, usize, usize), IntCounter>,
}

/// What happens to a query, with the indexes of the rule and of its zone that decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decision {
    action: Action,
    rule: usize,
    zone: usize,
}

impl PluginSettings for AclSettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(Acl {
            rules: self.0.clone(),
            registry: Arc::clone(context.build.metrics),
            servers: context.servers.clone(),
            counters: SeriesCache::new(limits::CACHED_SERIES),
        })])
    }
}

impl AclSettings {
    #[cfg(test)]
    fn action(&self, client: &str, name: &str, qtype: Type) -> Action {
        let (client, name) = (client.parse().unwrap(), name.parse().unwrap());
        decide(&self.0, client, &name, qtype).map_or(Action::Allow, |decision| decision.action)
    }
}

/// The first policy that matches, among the rules whose zone contains the name.
fn decide(rules: &[Rule], client: IpAddr, name: &Name, qtype: Type) -> Option<Decision> {
    rules.iter().enumerate().find_map(|(at, rule)| {
        let zones = rule.zones.iter().enumerate().filter(|(_, zone)| name.is_within(zone));
        let (zone, _) = zones.max_by_key(|(_, zone)| zone.wire().len())?;
        let policy = rule.policies.iter().find(|policy| policy.matches(client, qtype))?;
        Some(Decision { action: policy.action, rule: at, zone })
    })
}

impl Policy {
    fn matches(&self, client: IpAddr, qtype: Type) -> bool {
        let contains = |networks: &Vec<Network>| networks.iter().any(|it| it.contains(client));
        self.types.as_ref().is_none_or(|types| types.contains(&qtype))
            && self.networks.as_ref().is_none_or(contains)
    }
}

impl Plugin for Acl {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        let decision = decide(&self.rules, cx.peer.ip(), &question.name, question.qtype);
        self.count(cx, decision);
        let (rcode, ede) = match decision.map_or(Action::Allow, |decision| decision.action) {
            Action::Allow => return Flow::Next,
            Action::Drop => return Flow::Drop,
            Action::Block => (Rcode::REFUSED, Ede::BLOCKED),
            Action::Filter => (Rcode::NOERROR, Ede::FILTERED),
        };
        Flow::Answer(Response { ede: Some(ede), ..Response::of(rcode) })
    }

    fn update(&self, cx: &mut Cx, update: &Query) -> Flow {
        self.query(cx, update)
    }
}

impl Acl {
    fn count(&self, cx: &Cx, decision: Option<Decision>) {
        let decision = decision.filter(|decision| decision.action != Action::Allow);
        let server = self.servers.index(cx);
        let Decision { action, rule, zone } =
            decision.unwrap_or(Decision { action: Action::Allow, rule: 0, zone: 0 });
        let find = || {
            let label = self.servers.label(server);
            let zone = self.rules.get(rule).and_then(|rule| rule.zones.get(zone));
            let labels = [label, &zone.map_or_else(String::new, ToString::to_string), ""];
            match action {
                Action::Allow => ALLOWED.with(&self.registry, [label, ""]),
                Action::Block => BLOCKED.with(&self.registry, labels),
                Action::Filter => FILTERED.with(&self.registry, labels),
                Action::Drop => DROPPED.with(&self.registry, labels),
            }
        };
        self.counters.count((server, action, rule, zone), find, IntCounter::inc);
    }
}

/// The kind of values that follow a keyword.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Types,
    Networks,
}

impl Rule {
    fn read(&mut self, action: Action, option: &mut Arguments<'_>) {
        let (mut types, mut networks, mut section) = (None, None, None);
        let mut last: Option<&Token> = None;
        for token in option.rest() {
            let keyword = match &*token.text.to_ascii_lowercase() {
                "type" => Some(Section::Types),
                "net" => Some(Section::Networks),
                _ => None,
            };
            if keyword.is_some() {
                no_empty_section(option, last);
                (section, last) = (keyword, Some(token));
                continue;
            }
            last = None;
            match section {
                Some(Section::Types) => read_type(option, token, &mut types),
                Some(Section::Networks) => read_network(option, token, &mut networks),
                None => {
                    let text = format!("unexpected token {:?}; expect 'type | net'", token.text);
                    option.error(token.span, &text);
                    break;
                }
            }
        }
        no_empty_section(option, last);
        // `*` stands for everything.
        let types = types.filter(|all: &Vec<Option<Type>>| all.iter().all(Option::is_some));
        let networks =
            networks.filter(|all: &Vec<Option<Network>>| all.iter().all(Option::is_some));
        self.policies.push(Policy {
            action,
            types: types.map(|types| types.into_iter().flatten().collect()),
            networks: networks.map(|networks| networks.into_iter().flatten().collect()),
        });
    }
}

fn no_empty_section(option: &mut Arguments<'_>, keyword: Option<&Token>) {
    if let Some(token) = keyword {
        let text = format!("no token specified in {:?} section", token.text);
        option.error(token.span, &text).label("expected a value after this");
    }
}

fn read_type(option: &mut Arguments<'_>, token: &Token, types: &mut Option<Vec<Option<Type>>>) {
    let qtype = (token.text != "*").then(|| token.text.parse::<Type>()).transpose();
    match qtype {
        Ok(qtype) => types.get_or_insert_default().push(qtype),
        Err(_) => {
            let text = format!("unexpected token {:?}; expect legal QTYPE", token.text);
            option.error(token.span, &text).help("such as `A`, `AAAA` or `ANY`");
        }
    }
}

fn read_network(
    option: &mut Arguments<'_>,
    token: &Token,
    networks: &mut Option<Vec<Option<Network>>>,
) {
    let network = (token.text != "*").then(|| token.text.parse::<Network>()).transpose();
    match network {
        Ok(network) => networks.get_or_insert_default().push(network),
        Err(_) => {
            let text = format!("illegal CIDR notation {:?}", token.text);
            option.error(token.span, &text).help("such as `10.0.0.0/8`, `fd00::/8` or `10.0.0.1`");
        }
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let (mut rules, block) = (Vec::new(), lines.zones.to_vec());
    lines.each(|arguments| {
        let zones = if arguments.is_empty() { block.clone() } else { names(&arguments.zones()) };
        let mut rule = Rule { zones, policies: Vec::new() };
        OPTIONS.read(arguments, &mut rule);
        if rule.policies.is_empty() {
            let span = arguments.span();
            arguments
                .warning(span, "`acl` without a rule allows every query")
                .help("such as `block net 192.0.2.0/24` in braces");
        }
        rules.push(rule);
    });
    Some(Box::new(AclSettings(rules)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(action: Action, types: &[Type], networks: &[&str]) -> Policy {
        let networks = networks.iter().map(|text| text.parse().unwrap());
        Policy {
            action,
            types: (!types.is_empty()).then(|| types.to_vec()),
            networks: (networks.len() > 0).then(|| networks.collect()),
        }
    }

    #[test]
    fn the_first_match_decides() {
        let zone = |text: &str| text.parse::<Name>().unwrap();
        let rules = AclSettings(vec![
            Rule {
                zones: vec![zone("a.example.org")],
                policies: vec![policy(Action::Drop, &[], &["192.168.1.0/24"])],
            },
            Rule {
                zones: vec![Name::root()],
                policies: vec![
                    policy(Action::Allow, &[], &["192.168.0.0/16", "fd00::/8"]),
                    policy(Action::Filter, &[Type::TXT], &[]),
                    policy(Action::Block, &[], &["0.0.0.0/0"]),
                ],
            },
        ]);
        let check = |client: &str, name: &str, qtype, expected| {
            assert_eq!(rules.action(client, name, qtype), expected, "{client} {name} {qtype}");
        };
        check("192.168.1.7", "a.example.org", Type::A, Action::Drop);
        check("192.168.1.7", "x.a.example.org", Type::A, Action::Drop);
        check("192.168.1.7", "example.org", Type::A, Action::Allow);
        check("192.168.2.7", "a.example.org", Type::A, Action::Allow);
        check("10.0.0.1", "example.org", Type::A, Action::Block);
        check("10.0.0.1", "example.org", Type::TXT, Action::Filter);
        check("fd00::1", "example.org", Type::TXT, Action::Allow);
        check("2001:db8::1", "example.org", Type::A, Action::Allow);
    }
}
