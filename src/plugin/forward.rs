//! `forward FROM TO… { … }`.

mod addresses;
mod check;
mod designated;
mod options;
mod targets;

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use crate::{
    chain::{Back, Cx, Exchange, Flow, Plugin, Reply},
    corefile::Arguments,
    limits,
    upstream::{Group, GroupSettings, HttpMethod, Target, TlsClientSettings},
    wire::{Ede, Name, Query, Rcode, Response},
};

use super::{
    BuildError, Directive, DirectiveLines, Lint, Need, PluginContext, PluginSettings, Role,
    ScopedAddress, UpstreamTls, ZoneArguments, names, root::Root,
};

use addresses::check_source;
pub(super) use addresses::name_server;
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
    from: Name,
    except: Vec<Name>,
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
            let designated = DesignatedResolvers::new(&line.from);
            plugins.push(Arc::new(Forward { settings: line.clone(), designated, group, later }));
        }
        Ok(plugins)
    }
}

impl ForwardSettings {
    fn new(from: Name, root: Root) -> Self {
        Self {
            from,
            except: Vec::new(),
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
        let mut needs: Vec<_> = self.to.iter().flat_map(|to| to.needs(&self.resolvers)).collect();
        let files: Vec<_> = self.tls.files().map(|file| Need::File(file.path.clone())).collect();
        if !files.is_empty() {
            // Upstreams reject an expired certificate.
            needs.extend([Need::WatchFiles, Need::UpstreamTls(self.tls.clone())]);
        }
        needs.extend(files);
        needs
    }

    /// Whether this line forwards queries for the name.
    fn takes(&self, name: &Name) -> bool {
        let excepted = self.except.iter().any(|zone| *zone != self.from && name.is_within(zone));
        name.is_within(&self.from) && !excepted
    }

    /// Whether the next `forward` line gets the query after this response.
    fn passes_on(&self, response: &Response) -> bool {
        self.next.contains(&response.rcode)
            || self.next_on_nodata && response.rcode == Rcode::NOERROR && response.answer.is_empty()
    }

    fn targets(&self, context: &mut PluginContext<'_>) -> Result<Vec<Target>, BuildError> {
        let tls = self
            .tls
            .read(context.build.files)
            .map_err(|(file, reason)| BuildError(format!("cannot use {}: {reason}", file.path)))?;
        let tls = TlsClientSettings { server_name: self.server_name.clone(), ..tls };
        let mut targets = Vec::new();
        for to in &self.to {
            targets.extend(to.targets(context, self, &tls));
        }
        let mut seen = HashSet::new();
        targets.retain(|target| seen.insert(target.clone()));
        if targets.is_empty() {
            if context.replaces_upstreams() {
                return Err(BuildError("no valid upstream addresses found".to_owned()));
            }
            let text = format!(
                "no upstream of `forward {}` can be used: names that would be forwarded get SERVFAIL, all others are served",
                self.from
            );
            context.warn(DIRECTIVE.name, text);
        }
        Ok(targets)
    }
}

/// What a plugin does with a query that it forwards.
pub(super) fn forwarded(query: &Query, group: &Arc<Group>) -> Flow {
    if !query.recursion_desired {
        // Forwarding is recursion, which the client does not want. Only the cache may answer.
        return Flow::Answer(Response {
            ede: Some(Ede::NOT_AUTHORITATIVE),
            ..Response::of(Rcode::REFUSED)
        });
    }
    // The cache may give the reply to any client, so AD is always asked for (RFC 6840 §5.7). A
    // client gets AD only if it set AD or DO.
    let query = Query { authentic_data: true, ..query.clone() };
    Flow::Forward(Exchange { query, group: Arc::clone(group) })
}

impl Plugin for Forward {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        if !self.settings.takes(&query.question.name) {
            return Flow::Next;
        }
        if let Some(response) = self.designated.answer(&query.question) {
            return Flow::Answer(response);
        }
        forwarded(query, &self.group)
    }

    fn response(&self, cx: &mut Cx, query: &Query, reply: Reply) -> Back {
        let name = &query.question.name;
        if self.settings.takes(name)
            && cx.answered_by() == DIRECTIVE.name
            && let Some(upstream) = cx.upstream.take()
        {
            cx.metadata.set_with(UPSTREAM, || upstream.to_string());
        }
        let passes =
            |response: &Response| self.settings.takes(name) && self.settings.passes_on(response);
        if reply.as_ref().is_ok_and(passes) && self.later.iter().any(|line| line.takes(name)) {
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
    let message =
        format!("an earlier `forward {}` gets every query for `{}`", before.from, line.from);
    let help = if before.from == line.from {
        "name all upstreams in one line, or add the option `next` to the first line"
    } else {
        "the order of the lines counts, not the length of the zone: write this line above that one"
    };
    let span = arguments.span();
    arguments.warning(span, &message).label("gets no queries").help(help);
}

fn read_line(arguments: &mut Arguments<'_>, root: &Root) -> Option<ForwardSettings> {
    let zone = arguments.required("the zone to forward and the upstreams")?;
    let zones = names(&arguments.zones_of(zone));
    let from = zones.first()?.clone();
    if zones.len() > 1 {
        let message =
            format!("`{}` is {} zones, and only `{from}` is forwarded", zone.text, zones.len());
        arguments
            .warning(zone.span, &message)
            .help("write a `forward` line for each of them, or use a larger address block");
    }
    let mut line = ForwardSettings::new(from, root.clone());
    let first = arguments.required("an upstream")?;
    let targets: Vec<_> = [first].into_iter().chain(arguments.rest()).collect();
    if let Some(extra) = targets.get(limits::FORWARD_TARGETS) {
        arguments.error(
            extra.span,
            &format!("more than {} TOs configured: {}", limits::FORWARD_TARGETS, targets.len()),
        );
    }
    for token in targets {
        line.to.extend(targets::read(arguments, token));
    }
    OPTIONS.read(arguments, &mut line);
    line.check(arguments);
    line.check_tls(arguments);
    Some(line)
}
