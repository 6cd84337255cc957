//! The plugins: one file for each directive of the Corefile.
//!
//! A file holds the descriptor of its directive, the settings that are read from the Corefile, and
//! the plugin that is built from them. A plugin opens no socket and no file and reads no clock. It
//! declares what it needs from outside as a [`Need`], and gets the result from the
//! [`PluginContext`].
//!
//! A new plugin is a new file and one line in [`ALL`].

mod accepted;
mod acl;
mod any;
mod authoritative;
mod authority;
mod auto;
mod autopath;
mod bind;
mod bufsize;
mod cache;
mod cancel;
mod certificates;
mod chaos;
mod context;
mod debug;
mod directive;
mod dns64;
mod dnssec;
mod dnstap;
mod dnstap_sink;
mod dynupdate;
mod erratic;
mod errors;
mod etcd;
mod etcd_source;
mod expression;
mod fallthrough;
mod file;
mod forward;
mod geoip;
mod grpc;
mod header;
mod health;
mod help;
mod hosts;
mod k8s_external;
mod k8s_gateway;
mod key_files;
mod keyring;
mod kubernetes;
mod lint;
mod listener_counter;
mod loadbalance;
mod local;
mod log;
mod loop_;
mod metadata;
mod minimal;
mod multisocket;
mod nat64;
mod need;
mod network;
mod nsid;
mod on;
mod pattern;
mod prometheus;
mod proxy_policy;
mod proxyproto;
mod readiness;
mod ready;
mod reload;
mod rewrite;
mod role;
mod root;
mod scoped;
mod secondary;
mod served_zone;
mod shed;
mod sign;
mod siit;
mod source;
mod template;
mod timeouts;
mod tls;
mod top;
mod trace;
mod trace_sink;
mod transfer;
mod tsig;
mod upstreams;
mod view;
mod whoami;
mod zone_directory;
mod zone_file;

use std::{fmt, sync::Arc};

use crate::{
    chain::Plugin,
    corefile::{Block, Diagnostics, Line, nearest},
    metrics::{Family, GaugeFamily, Metrics},
    wire::Name,
    zone::{self, outside::GatewaySettings},
};

pub use certificates::{ClientAuth, Tls, TlsFile, UpstreamTls};
pub use context::{
    Awaited, BuildContext, BuildError, FileVersion, Outputs, Page, PageReply, PluginContext,
    ReadFile, ReloadState, ServerLabels, Timed,
};
pub use directive::{
    Directive, DirectiveLines, ListOptions, NO_OPTIONS, OptionHelp, OptionSpec, OptionStatus,
    OptionTable,
};
pub use dnstap_sink::{DnstapSink, Endpoint, ListenerTls, Side};
pub use etcd_source::{EtcdEndpoint, EtcdSource, Password};
pub use fallthrough::{Fallthrough, names};
pub use help::{list, markdown, markdown_index, missing, page};
pub use keyring::{Keyring, NamedKey};
pub use lint::{Lint, LintBlock, LintContext, LintStage, zones};
pub use loop_::numbered_probe;
pub use need::{Command, Event, Host, Monitor, Need, Timeouts};
pub use proxy_policy::{Beginning, ProxiedClient, ProxyPolicy, ProxyReader};
pub use readiness::Readiness;
pub use role::{Role, ZoneArguments};
pub use scoped::{Interface, ScopedAddress};
pub use source::{ClientTls, Origin, Source, Throttle};
pub use top::Top;
pub use trace_sink::{Collector, TraceSink};

pub use served_zone::{
    CatalogZone, EtcdKeys, LoadedZone, SecondaryZone, UpdatedZone, ZoneNotice, ZoneSigner,
};
pub use sign::{signed_zone, why_due};
pub use zone_directory::ZoneDirectory;

use fallthrough::relative_name;

/// A directive that ndots or CoreDNS knows.
#[derive(Clone, Copy)]
pub enum Entry {
    Here(&'static Directive),
    /// CoreDNS has this plugin and ndots does not have it yet.
    NotYet(&'static str),
    /// CoreDNS has this plugin and ndots refuses it; the sentence says why and what to use.
    Refused(&'static str, &'static str),
    /// An older CoreDNS had this plugin; the text says what to write today.
    Removed(&'static str, &'static str),
}

use Entry::{Here, NotYet, Refused, Removed};

impl Entry {
    pub fn name(self) -> &'static str {
        match self {
            Here(directive) => directive.name,
            NotYet(name) | Refused(name, _) | Removed(name, _) => name,
        }
    }
}

/// All directives of CoreDNS 1.15 in the order in which their plugins are called, whatever the
/// order in the Corefile is.
pub static ALL: &[Entry] = &[
    Here(&root::DIRECTIVE),
    Here(&metadata::DIRECTIVE),
    Here(&geoip::DIRECTIVE),
    Here(&cancel::DIRECTIVE),
    Here(&proxyproto::DIRECTIVE),
    Here(&accepted::QUIC),
    Here(&accepted::GRPC_SERVER),
    Here(&accepted::HTTPS),
    Here(&accepted::HTTPS3),
    Here(&timeouts::DIRECTIVE),
    Here(&multisocket::DIRECTIVE),
    Here(&reload::DIRECTIVE),
    Here(&nsid::DIRECTIVE),
    Here(&bufsize::DIRECTIVE),
    Here(&bind::DIRECTIVE),
    Here(&debug::DIRECTIVE),
    Here(&trace::DIRECTIVE),
    Here(&ready::DIRECTIVE),
    Here(&health::DIRECTIVE),
    Here(&accepted::PPROF),
    Here(&shed::DIRECTIVE),
    Here(&prometheus::DIRECTIVE),
    Here(&errors::DIRECTIVE),
    Here(&log::DIRECTIVE),
    Here(&dnstap::DIRECTIVE),
    Here(&local::DIRECTIVE),
    Here(&dns64::DIRECTIVE),
    Here(&siit::DIRECTIVE),
    Here(&any::DIRECTIVE),
    Here(&chaos::DIRECTIVE),
    Here(&loadbalance::DIRECTIVE),
    Here(&tsig::DIRECTIVE),
    Here(&rewrite::DIRECTIVE),
    Here(&autopath::DIRECTIVE),
    Here(&acl::DIRECTIVE),
    Here(&cache::DIRECTIVE),
    Here(&header::DIRECTIVE),
    Here(&dnssec::DIRECTIVE),
    Here(&tls::DIRECTIVE),
    Here(&minimal::DIRECTIVE),
    Here(&template::DIRECTIVE),
    Here(&transfer::DIRECTIVE),
    Here(&dynupdate::DIRECTIVE),
    Here(&hosts::DIRECTIVE),
    Refused(
        "route53",
        "ndots does not read zones of Amazon Route 53: forward the zone to the resolver of the VPC with `forward ZONE 169.254.169.253`",
    ),
    Refused(
        "azure",
        "ndots does not read zones of Azure DNS: forward the zone to the resolver of Azure with `forward ZONE 168.63.129.16`",
    ),
    Refused(
        "clouddns",
        "ndots does not read zones of Google Cloud DNS: forward the zone to the metadata server with `forward ZONE 169.254.169.254`",
    ),
    // This plugin is not part of CoreDNS; its documentation puts it here in plugin.cfg.
    Here(&k8s_gateway::DIRECTIVE),
    Here(&k8s_external::DIRECTIVE),
    Here(&kubernetes::DIRECTIVE),
    Here(&file::DIRECTIVE),
    Here(&auto::DIRECTIVE),
    Here(&secondary::DIRECTIVE),
    Here(&etcd::DIRECTIVE),
    Here(&loop_::DIRECTIVE),
    Here(&forward::DIRECTIVE),
    Here(&grpc::DIRECTIVE),
    Here(&erratic::DIRECTIVE),
    Here(&whoami::DIRECTIVE),
    Here(&on::DIRECTIVE),
    Here(&sign::DIRECTIVE),
    Here(&view::DIRECTIVE),
    Refused(
        "nomad",
        "ndots does not read services of Nomad: forward the zone to the DNS server of Consul with `forward consul 127.0.0.1:8600`",
    ),
    Removed("proxy", "write `forward FROM TO…` instead, as since CoreDNS 1.5"),
    Removed("federation", "delete this line: Kubernetes has no federation v1 any more"),
    Removed(
        "reverse",
        "use `template` to answer names that contain addresses, as since CoreDNS 1.2",
    ),
];

pub static PLUGIN_ENABLED: GaugeFamily<4> = Family::new(
    "plugin_enabled",
    "Plugins that are in use, by server and zone.",
    ["server", "zone", "view", "name"],
);

/// The directives that ndots has.
pub fn available() -> impl Iterator<Item = &'static Directive> {
    ALL.iter().filter_map(|entry| if let Here(directive) = entry { Some(*directive) } else { None })
}

/// The directive with this name, if ndots has it.
pub fn find(name: &str) -> Option<&'static Directive> {
    available().find(|directive| directive.name == name)
}

/// Registers the metrics that CoreDNS exposes even if their plugin is not in use.
pub fn declare_metrics(metrics: &Metrics) {
    hosts::declare_metrics(metrics);
}

/// The settings of a directive, read from the Corefile and checked. Settings are equal if their
/// `Debug` output is equal. A reload keeps the state that belongs to equal settings.
pub trait PluginSettings: fmt::Debug + Send + Sync {
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }

    /// The settings of a plugin that answers hosts for clients outside of the cluster; `None` for
    /// all other plugins.
    fn outside_view(&self) -> Option<&GatewaySettings> {
        None
    }

    /// What `kubernetes` shows of the cluster, and its selector for objects.
    fn cluster_view(&self) -> Option<(&zone::Settings, Option<&str>)> {
        None
    }

    /// Builds the plugins: none for a directive that only has needs.
    ///
    /// # Errors
    /// If a file, name or socket that the plugin needs is not usable.
    fn build(&self, _context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(Vec::new())
    }
}

/// The settings of all directives of a block, in the order of [`ALL`].
#[derive(Debug)]
pub struct Checked {
    pub directives: Vec<CheckedDirective>,
}

pub struct CheckedDirective {
    pub directive: &'static Directive,
    pub settings: Box<dyn PluginSettings>,
}

impl fmt::Debug for CheckedDirective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.directive.name, self.settings)
    }
}

impl Checked {
    pub fn needs(&self) -> impl Iterator<Item = Need> {
        self.directives.iter().flat_map(|checked| checked.settings.needs())
    }
}

/// Reads the directives of a block. Errors and warnings go to `diagnostics`.
pub fn check(block: &Block, zones: &[Name], diagnostics: &mut Diagnostics) -> Checked {
    for line in &block.directives {
        check_name(line, diagnostics);
    }
    let mut directives = Vec::new();
    for directive in available() {
        let settings = DirectiveLines::new(directive, block, zones, diagnostics)
            .and_then(|mut lines| (directive.read)(&mut lines));
        directives.extend(settings.map(|settings| CheckedDirective { directive, settings }));
    }
    Checked { directives }
}

fn check_name(line: &Line, diagnostics: &mut Diagnostics) {
    let (name, span) = (&line.name.text, line.name.span);
    let unknown = || format!("Unknown directive '{name}'");
    match ALL.iter().find(|entry| entry.name() == name) {
        Some(Here(_)) => {}
        Some(NotYet(_)) => {
            let message = format!("ndots does not have the plugin `{name}` of CoreDNS yet");
            diagnostics.error(span, message).label("not supported yet");
        }
        Some(Refused(_, sentence)) => {
            diagnostics.error(span, *sentence).label("not supported");
        }
        Some(Removed(_, instead)) => {
            diagnostics.error(span, unknown()).label("removed from CoreDNS").help(*instead);
        }
        None => {
            let error = diagnostics.error(span, unknown());
            match suggestion(name) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.label("no plugin has this name"),
            };
        }
    }
}

/// The plugin name that a mistyped name most likely stands for.
pub fn suggestion(name: &str) -> Option<&'static str> {
    let known = ALL.iter().filter(|entry| !matches!(entry, Removed(..)));
    nearest(name, &known.map(|entry| entry.name()).collect::<Vec<_>>())
}
