//! `shed`: a query that cannot wait for upstreams gets no reply. A resolver that gets no reply
//! queries another server, while SERVFAIL may end its search.
//!
//! CoreDNS needs the plugin to survive: it starts a goroutine for each query, and sheds queries
//! while the replies of its socket do not leave. Here every query that waits holds a permit, with
//! and without the plugin, so the plugin only decides what happens to a query that gets no permit.

use std::sync::Arc;

use crate::{
    chain::{Back, Cx, Plugin, QueryError, Reply},
    corefile::{Diagnostics, Key},
    metrics::{CounterFamily, Family, IntCounter},
    transport::{Scheme, Transport},
    wire::Query,
};

use super::{
    BuildError, Directive, DirectiveLines, Lint, LintContext, NO_OPTIONS, PluginContext,
    PluginSettings, Role, ServerLabels,
};

static DROPPED: CounterFamily<2> = Family::new(
    "shed_dropped_total",
    "Queries that got no reply because too many others wait.",
    ["server", "reason"],
);

pub(super) static DIRECTIVE: Directive = Directive {
    name: "shed",
    about: "Drops UDP queries that cannot wait for upstreams, instead of answering SERVFAIL.",
    arguments: "",
    options: &NO_OPTIONS,
    roles: &[Role::ChangesReplies],
    example: ".:53 {\n    shed\n    forward . 192.0.2.53\n}\n",
    lints: &[Lint::always(check_schemes)],
    read,
};

#[derive(Debug)]
struct ShedSettings;

struct Shed {
    servers: ServerLabels,
    dropped: Vec<IntCounter>,
}

impl PluginSettings for ShedSettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let (metrics, servers) = (context.build.metrics, context.servers.clone());
        let dropped =
            servers.labels().map(|server| DROPPED.with(metrics, [server, "query"])).collect();
        Ok(vec![Arc::new(Shed { servers, dropped })])
    }
}

impl Plugin for Shed {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn response(&self, cx: &mut Cx, _query: &Query, reply: Reply) -> Back {
        if cx.transport != Transport::Udp || !matches!(reply, Err(QueryError::Overloaded)) {
            return Back::Up(reply);
        }
        if let Some(dropped) = self.dropped.get(self.servers.index(cx)) {
            dropped.inc();
        }
        Back::Drop
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    lines.each(|_| {});
    Some(Box::new(ShedSettings))
}

fn check_schemes(context: &LintContext<'_>, diagnostics: &mut Diagnostics) {
    let Some(line) = context.block.lines(DIRECTIVE.name).next() else { return };
    let other = |key: &&Key| key.scheme != Scheme::Dns;
    if let Some(key) = context.block.block.keys.iter().find(other) {
        let message = format!("`shed` has no effect on `{}://`: it is for UDP", key.scheme.name());
        diagnostics
            .error(line.name.span, message)
            .help("move `shed` to a server block whose keys have no scheme");
    }
}
