//! `dynupdate [ZONE] { file DBFILE; database PATH; allow KEY NAME TYPE…; … }`: a zone that clients
//! change with UPDATE messages (RFC 2136).

use std::{collections::HashMap, sync::Arc};

use crate::{
    chain::{Back, Commit, Committed, Cx, Flow, Level, LogLine, Nested, Plugin, Reply},
    corefile::{Arguments, Diagnostics},
    limits,
    wire::{Name, Query, Question, Rcode, Response, Transfer, Type, Update},
    zonefile::{self, DynamicError, DynamicZone, UpdateFailure, Zone, ZoneLimits},
};

use super::{
    BuildError, Directive, DirectiveLines, Fallthrough, Lint, LintContext, Need, OptionSpec,
    OptionTable, PluginContext, PluginSettings, Role, UpdatedZone, authoritative::Authoritative,
    names, root::Root, tsig, zone_file,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "dynupdate",
    about: "Answers from a zone that clients change with signed UPDATE messages (RFC 2136), such as those of `nsupdate`, cert-manager and external-dns.",
    arguments: "[ZONE]",
    options: &OPTIONS,
    roles: &[Role::Answers, Role::ReadsFiles, Role::HasZones],
    example: "example.org:53 {\n    tsig {\n        secret update.example.org. NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=\n        require_opcode UPDATE\n    }\n    dynupdate {\n        file /etc/coredns/db.example.org\n        database /var/lib/coredns/example.org.db\n        allow update.example.org. _acme-challenge.example.org. TXT\n    }\n}\n",
    lints: &[Lint::without_errors(check_tsig)],
    read,
};

static OPTIONS: OptionTable<UpdateOptions> = OptionTable(&[
    OptionSpec::new(
        "file",
        "DBFILE",
        "The zone file with the first records of the zone. ndots does not change it.",
        |options, option| {
            let token = option.required("a zone file");
            options.seed = token.map(|token| options.root.path(&token.text));
        },
    ),
    OptionSpec::new(
        "database",
        "PATH",
        "Keeps the changes in this file, which has the same form as in CoreDNS. Without it, a restart loses them, and so does a change of the zone file.",
        |options, option| {
            let token = option.required("the path of a database");
            options.database = token.map(|token| options.root.path(&token.text));
        },
    ),
    OptionSpec::repeated(
        "allow",
        "KEY NAME TYPE…",
        "The TSIG key may change records of these types at this name. `@` is the apex of the zone, the name `*` is every name, the type `*` is every type, and `ANY` allows to delete all records of a name.",
        read_permission,
    ),
    OptionSpec::new(
        "max_records",
        "COUNT",
        "Refuses updates after which the zone has more records; the default is 10000.",
        |options, option| read_bound(&mut options.limits.records, option),
    ),
    OptionSpec::new(
        "max_bytes",
        "OCTETS",
        "Refuses updates after which the records have more octets; the default is 8388608.",
        |options, option| read_bound(&mut options.limits.octets, option),
    ),
    OptionSpec::new(
        "max_update_records",
        "COUNT",
        "Refuses messages with more prerequisites and changes; the default is 1024.",
        |options, option| read_bound(&mut options.message_records, option),
    ),
]);

struct UpdateOptions {
    root: Root,
    origin: Name,
    seed: Option<String>,
    database: Option<String>,
    permissions: Vec<Permission>,
    limits: ZoneLimits,
    message_records: usize,
}

/// What a key may change.
#[derive(Clone, Debug)]
struct Permission {
    key: Name,
    /// `None` for every name of the zone.
    name: Option<Name>,
    /// `None` for every type.
    types: Option<Vec<Type>>,
}

#[derive(Clone, Debug)]
struct UpdateSettings {
    origin: Name,
    seed: String,
    database: Option<String>,
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    permissions: Vec<Permission>,
    limits: ZoneLimits,
    message_records: usize,
}

struct DynUpdate {
    served: Authoritative,
    zone: Arc<DynamicZone>,
    rules: Arc<Rules>,
}

/// A message of a client with a valid signature.
struct PendingUpdate {
    zone: Arc<DynamicZone>,
    rules: Arc<Rules>,
    key: Name,
    update: Update,
}

impl PluginSettings for UpdateSettings {
    fn needs(&self) -> Vec<Need> {
        let (path, origins) = (self.seed.clone(), vec![self.origin.clone()]);
        vec![Need::ZoneFile { path, origins }, Need::Updates]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let zone = self.zone(context)?;
        let notice = context.notice(&self.origin);
        let updated = notice.map(|notice| UpdatedZone { zone: Arc::clone(&zone), notice });
        context.outputs.updated.extend(updated);
        let served = Authoritative {
            name: DIRECTIVE.name,
            zones: HashMap::from([(self.origin.clone(), Arc::clone(zone.slot()))]),
            primaries: HashMap::new(),
            members: None,
            within: vec![Name::root()],
            fallthrough: Fallthrough::default(),
        };
        Ok(vec![Arc::new(DynUpdate { served, zone, rules: Arc::clone(&self.rules) })])
    }
}

impl UpdateSettings {
    /// The zone. Its records stay through a reload.
    fn zone(&self, context: &mut PluginContext<'_>) -> Result<Arc<DynamicZone>, BuildError> {
        let (origin, limits) = (&self.origin, self.rules.limits);
        let identity = match &self.database {
            Some(path) => format!("{path} {origin}"),
            None => {
                let content = zone_file::content(&self.seed, context);
                format!("{} {origin} {content:x}", self.seed)
            }
        };
        let zone = match context.build.previous.updated.get(&identity) {
            Some(zone) => {
                zone.check(limits).map_err(|error| BuildError(error.to_string()))?;
                Arc::clone(zone)
            }
            None => {
                let file = self.database.as_deref().map(context.build.database);
                let seed = || self.seed(context);
                Arc::new(DynamicZone::open(origin, file, limits, seed)?)
            }
        };
        context.outputs.reload_state.updated.insert(identity, Arc::clone(&zone));
        Ok(zone)
    }

    /// The records of the zone file.
    fn seed(&self, context: &PluginContext<'_>) -> Result<Arc<Zone>, BuildError> {
        let path = &self.seed;
        let text = context.file(path).map_err(|reason| {
            BuildError(format!("the zone file {path} cannot be read: {reason}"))
        })?;
        let parsed = zonefile::parse(path, text, &self.origin, &|path| context.file(path));
        let parsed = parsed.map_err(|error| BuildError(error.to_string()))?;
        // A record that a file may lose quietly would be lost for ever here.
        match parsed.problems.first() {
            Some(problem) => Err(BuildError(problem.to_string())),
            None => Ok(Arc::new(parsed.zone)),
        }
    }
}

impl From<DynamicError> for BuildError {
    fn from(error: DynamicError) -> Self {
        Self(error.to_string())
    }
}

impl Plugin for DynUpdate {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        self.served.query(cx, query)
    }

    fn nested_reply(&self, cx: &mut Cx, query: &Query, nested: Nested<'_>, reply: Reply) -> Back {
        self.served.nested_reply(cx, query, nested, reply)
    }

    fn transfer(&self, question: &Question) -> Option<Result<Transfer, Response>> {
        self.served.transfer(question)
    }

    fn update(&self, cx: &mut Cx, update: &Query) -> Flow {
        match self.accept(cx, update) {
            Ok(pending) => Flow::Commit(Arc::new(pending)),
            Err(rcode) => Flow::Answer(Response::authoritative(rcode)),
        }
    }
}

impl DynUpdate {
    /// # Errors
    /// The code of the reply to a message that is not accepted.
    fn accept(&self, cx: &mut Cx, update: &Query) -> Result<PendingUpdate, Rcode> {
        let question = &update.question;
        if question.qtype != Type::SOA {
            return Err(Rcode::FORMERR);
        }
        if question.name != *self.zone.origin() {
            return Err(Rcode::NOTAUTH);
        }
        // `tsig` has checked the signature. Without it there is no chain.
        let (Some(chain), Some(message)) = (&cx.signing, &update.signature) else {
            let line = format!(
                "refusing UPDATE for {} without a validated TSIG identity",
                self.zone.origin()
            );
            cx.log(Level::Debug, DIRECTIVE.name, line);
            return Err(Rcode::REFUSED);
        };
        let key = chain.key().clone();
        if !self.rules.permissions.iter().any(|permission| permission.key == key) {
            return Err(Rcode::REFUSED);
        }
        let update = Update::parse(message.octets()).map_err(|_| Rcode::FORMERR)?;
        if update.prerequisites.len() + update.changes.len() > self.rules.message_records {
            return Err(Rcode::REFUSED);
        }
        let (zone, rules) = (Arc::clone(&self.zone), Arc::clone(&self.rules));
        Ok(PendingUpdate { zone, rules, key, update })
    }
}

impl Commit for PendingUpdate {
    fn commit(&self) -> Committed {
        let allows = |owner: &Name, rtype| {
            self.rules.permissions.iter().any(|it| it.allows(&self.key, owner, rtype))
        };
        let (rcode, reason) = match self.zone.update(&self.update, self.rules.limits, &allows) {
            Ok(()) => (Rcode::NOERROR, None),
            Err(UpdateFailure { rcode, reason }) => (rcode, reason),
        };
        let line = |reason| {
            let text = format!("UPDATE for {} failed: {reason}", self.zone.origin());
            LogLine::new(Level::Error, DIRECTIVE.name, text)
        };
        let lines = reason.map(line).into_iter().collect();
        Committed { response: Response::authoritative(rcode), lines }
    }
}

impl Permission {
    fn allows(&self, key: &Name, owner: &Name, rtype: Type) -> bool {
        self.key == *key
            && self.name.as_ref().is_none_or(|name| name == owner)
            && self.types.as_ref().is_none_or(|types| types.contains(&rtype))
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let (root, mut block) = (Root::of(lines), lines.zones.to_vec());
    block.sort_unstable();
    block.dedup();
    let mut settings: Option<UpdateSettings> = None;
    lines.once(|arguments| settings = read_line(arguments, &root, &block));
    settings.map(|settings| Box::new(settings) as Box<dyn PluginSettings>)
}

fn read_line(arguments: &mut Arguments<'_>, root: &Root, block: &[Name]) -> Option<UpdateSettings> {
    let span = arguments.span();
    let named = !arguments.is_empty();
    let zones = if named { names(&arguments.zones()) } else { block.to_vec() };
    let [origin] = &zones[..] else {
        let problem = if named { "exactly one zone is allowed" } else { "the zone is missing" };
        arguments
            .error(span, problem)
            .help("write `dynupdate ZONE`; another zone needs a server block of its own");
        arguments.skip();
        return None;
    };
    let mut options = UpdateOptions {
        root: root.clone(),
        origin: origin.clone(),
        seed: None,
        database: None,
        permissions: Vec::new(),
        limits: ZoneLimits { records: limits::UPDATED_RECORDS, octets: limits::UPDATED_OCTETS },
        message_records: limits::UPDATE_RECORDS,
    };
    OPTIONS.read(arguments, &mut options);
    let UpdateOptions { origin, seed, database, permissions, limits, message_records, .. } =
        options;
    if seed.is_none() {
        arguments.error(span, "file is required").help("write `file DBFILE`, with a zone file");
    }
    if permissions.is_empty() {
        arguments
            .error(span, "at least one allow rule is required")
            .help("such as `allow update-key.example.org. _acme-challenge.example.org. TXT`");
    }
    let rules = Arc::new(Rules { permissions, limits, message_records });
    Some(UpdateSettings { origin, seed: seed?, database, rules })
}

fn read_bound(bound: &mut usize, option: &mut Arguments<'_>) {
    if let Some(number) = option.number("the bound", 1, u32::MAX) {
        *bound = number as usize;
    }
}

fn read_permission(options: &mut UpdateOptions, option: &mut Arguments<'_>) {
    let Some(key) = option.required("the name of a key of `tsig`") else { return };
    let Some(name) = option.required("a name of the zone, `@` or `*`") else { return };
    let Some(first) = option.required("a record type, `ANY` or `*`") else { return };
    let key_name = match &*key.text {
        "*" | "@" => None,
        text => text.parse::<Name>().ok(),
    };
    if key_name.is_none() {
        option.error(key.span, &format!("`{}` is not the name of a key", key.text));
    }
    let name_in_zone = match &*name.text {
        "*" => None,
        "@" => Some(options.origin.clone()),
        text => text.parse::<Name>().ok().filter(|name| name.is_within(&options.origin)),
    };
    if name_in_zone.is_none() && name.text != "*" {
        let message = format!("allow name \"{}\" is outside zone {}", name.text, options.origin);
        option.error(name.span, &message).help("write the whole name, `@` for the apex, or `*`");
    }
    let (mut types, mut every_type) = (Vec::new(), false);
    let rest = option.rest();
    for token in [first].into_iter().chain(rest) {
        match token.text.parse::<Type>() {
            _ if token.text == "*" && rest.is_empty() => every_type = true,
            Ok(rtype) if token.text != "*" && zonefile::may_be_updated(rtype) => types.push(rtype),
            _ => {
                let message = format!("invalid RR type \"{}\" in allow rule", token.text);
                option.error(token.span, &message).help("a type such as TXT, `ANY`, or `*` alone");
            }
        }
    }
    let types = (!every_type).then_some(types);
    options.permissions.extend(key_name.map(|key| Permission { key, name: name_in_zone, types }));
}

/// Without `tsig` no UPDATE message has a key.
fn check_tsig(context: &LintContext<'_>, diagnostics: &mut Diagnostics) {
    let block = context.block;
    if let Some(line) = block.lines(DIRECTIVE.name).next()
        && !block.has(tsig::DIRECTIVE.name)
    {
        diagnostics
            .warning(line.name.span, "every update is refused: the block has no `tsig`")
            .help("add `tsig` with `secret KEY SECRET`; `tsig-keygen KEY` makes a secret");
    }
}
