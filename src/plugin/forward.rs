//! `forward FROM TO… { … }`.

mod addresses;
mod check;
mod designated;
mod options;
mod targets;

use std::{net::SocketAddr, sync::Arc};

use crate::{
    chain::{Back, Cx, Flow, Plugin, Reply},
    corefile::Arguments,
    upstream::{Group, GroupSettings, HttpMethod, Target, TlsClientSettings},
    wire::{Query, Rcode, Response},
};

use super::{
    BuildError, Directive, DirectiveLines, Lint, Need, PluginContext, PluginSettings, Role,
    ScopedAddress, UpstreamTls, ZoneArguments,
    root::Root,
    upstreams::{ForwardedNames, client_tls, forwarded, tls_needs, upstreams, usable},
};

use addresses::check_source;
use designated::DesignatedResolvers;
use options::OPTIONS;
use targets::ForwardTarget;

pub(super) static DIRECTIVE: Directive = Directive {
    name: "forward",
    about: "Forwards queries to upstreams.",
    arguments: "FROM TO…",
    options: &OPTIONS,
    roles: &[
        Role::Answers,
        Role::AsksUpstreams,
        Role::DecidesCacheContents,
        Role::ReadsFiles,
        Role::TakesZones(ZoneArguments::First),
    ],
    example: ".:53 {\n    forward . 192.0.2.53 tls://9.9.9.9 {\n        tls_servername dns.quad9.net\n        policy sequential\n        max_concurrent 1000\n    }\n    cache\n}\n",
    lints: &[Lint::without_errors(check::forwards_to_itself)],
    read,
};

/// The metadata label that holds the upstream of the query.
pub(super) const UPSTREAM: &str = "forward/upstream";

/// All `forward` lines of a block in the order of the file. The first line whose zone has the name
/// gets the query.
#[derive(Debug)]
struct ForwardLines(Vec<ForwardSettings>);

/// One `forward` line.
#[derive(Clone, Debug)]
struct ForwardSettings {
    names: ForwardedNames,
    to: Vec<ForwardTarget>,
    /// The resolvers for host names in `to`.
    resolvers: Vec<SocketAddr>,
    /// Response codes after which the next `forward` line gets the query.
    next: Vec<Rcode>,
    /// Whether the next `forward` line gets the query after a reply with the code NOERROR and no
    /// records in its answer section.
    next_on_nodata: bool,
    tls: UpstreamTls,
    /// The name that the certificates of encrypted upstreams must have.
    server_name: Option<String>,
    /// How queries are sent to upstreams over HTTPS; `None` without `doh_method`.
    http_method: Option<HttpMethod>,
    source: Option<ScopedAddress>,
    /// The directory of the TLS files.
    root: Root,
    settings: GroupSettings,
}

struct Forward {
    settings: ForwardSettings,
    /// Answers a zone whose names are not forwarded.
    designated: DesignatedResolvers,
    group: Arc<Group>,
    /// The `forward` lines below this one.
    later: Vec<ForwardSettings>,
}

impl PluginSettings for ForwardLines {
    fn needs(&self) -> Vec<Need> {
        self.0.iter().flat_map(ForwardSettings::needs).chain([Need::AnyClass]).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
        for (at, line) in self.0.iter().enumerate() {
            let targets = line.targets(context)?;
            let source = line.source.as_ref().map(|source| check_source(source, context));
            let settings = GroupSettings { targets, source, ..line.settings.clone() };
            let group = context.group(settings);
            let later = self.0[at + 1..].to_vec();
            let designated = DesignatedResolvers::new(&line.names.from);
            plugins.push(Arc::new(Forward { settings: line.clone(), designated, group, later }));
        }
        Ok(plugins)
    }
}

impl ForwardSettings {
    fn new(names: ForwardedNames, root: Root) -> Self {
        Self {
            names,
            to: Vec::new(),
            resolvers: Vec::new(),
            next: Vec::new(),
            next_on_nodata: false,
            tls: UpstreamTls::default(),
            server_name: None,
            http_method: None,
            source: None,
            root,
            settings: GroupSettings::default(),
        }
    }

    fn needs(&self) -> Vec<Need> {
        let targets = self.to.iter().flat_map(|to| to.needs(&self.resolvers));
        targets.chain(tls_needs(DIRECTIVE.name, &self.tls)).collect()
    }

    /// Whether the next `forward` line gets the query after this response.
    fn passes_on(&self, response: &Response) -> bool {
        self.next.contains(&response.rcode)
            || self.next_on_nodata && response.rcode == Rcode::NOERROR && response.answer.is_empty()
    }

    fn targets(&self, context: &mut PluginContext<'_>) -> Result<Vec<Target>, BuildError> {
        let tls = client_tls(&self.tls, context)?;
        let tls = TlsClientSettings { server_name: self.server_name.clone(), ..tls };
        let mut targets = Vec::new();
        for to in &self.to {
            targets.extend(to.targets(context, self, &tls));
        }
        usable(targets, &self.names.from, DIRECTIVE.name, context)
    }
}

impl Plugin for Forward {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        if !self.settings.names.include(&query.question.name) {
            return Flow::Next;
        }
        if let Some(response) = self.designated.answer(&query.question) {
            return Flow::Answer(response);
        }
        forwarded(query, &self.group)
    }

    fn response(&self, cx: &mut Cx, query: &Query, reply: Reply) -> Back {
        let name = &query.question.name;
        if self.settings.names.include(name)
            && cx.answered_by() == DIRECTIVE.name
            && let Some(upstream) = cx.upstream.take()
        {
            cx.metadata.set_with(UPSTREAM, || upstream.to_string());
        }
        let passes = |response: &Response| {
            self.settings.names.include(name) && self.settings.passes_on(response)
        };
        let goes_on = || self.later.iter().any(|line| line.names.include(name));
        if reply.as_ref().is_ok_and(passes) && goes_on() {
            return Back::PassOn;
        }
        Back::Up(reply)
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let (mut forwards, root) = (ForwardLines(Vec::new()), Root::of(lines));
    lines.each(|arguments| {
        let Some(line) = read_line(arguments, &root) else { return arguments.skip() };
        warn_if_hidden(&forwards.0, &line, arguments);
        forwards.0.push(line);
    });
    Some(Box::new(forwards))
}

fn warn_if_hidden(
    before: &[ForwardSettings],
    line: &ForwardSettings,
    arguments: &mut Arguments<'_>,
) {
    let Some(before) = before.iter().find(|before| before.hides(line)) else { return };
    let message = format!(
        "an earlier `forward {}` gets every query for `{}`",
        before.names.from, line.names.from
    );
    let help = if before.names.from == line.names.from {
        "name all upstreams in one line, or add the option `next` to the first line"
    } else {
        "the order of the lines counts, not the length of the zone: write this line above that one"
    };
    let span = arguments.span();
    arguments.warning(span, &message).label("gets no queries").help(help);
}

fn read_line(arguments: &mut Arguments<'_>, root: &Root) -> Option<ForwardSettings> {
    let mut line = ForwardSettings::new(ForwardedNames::read(arguments)?, root.clone());
    for token in upstreams(arguments)? {
        line.to.extend(targets::read(arguments, token));
    }
    OPTIONS.read(arguments, &mut line);
    line.check(arguments);
    line.check_tls(arguments);
    Some(line)
}
