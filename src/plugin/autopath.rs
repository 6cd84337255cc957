//! `autopath [ZONE…] FILE|@kubernetes|@search`: tries the names of a client's search list on the
//! server.
//!
//! A resolver with `ndots:5` asks for `example.com.ns.svc.cluster.local` before `example.com`. The
//! reply to the first query has the final answer, behind a CNAME record.
//!
//! With `@kubernetes` the search list is that of the Pod with the client's address, if only one Pod
//! has this address.
//!
//! With `@search` ndots does not know the Pods. The first name that a Pod tries contains the Pod's
//! namespace, so ndots derives the search list from the question. In two cases the reply is the
//! same as without `autopath`: an object of the cluster could have the first name, or a later name
//! of the list is in the cluster. Then the client continues its search itself. So it never gets an
//! address that it would not have found without `autopath`.

use std::{net::IpAddr, sync::Arc};

use smallvec::smallvec;

use crate::{
    chain::{Ask, Back, Cx, From, Nested, Plugin, QueryError, Reply},
    corefile::{Arguments, Diagnostics, Line},
    limits,
    metrics::{CounterFamily, Family},
    wire::{Class, Name, Owner, Query, Question, Rcode, Rdatas, RecordSet, Response, Sets, Type},
    zone::{self, PodMode, Zone},
};

use super::{
    BuildError, Directive, DirectiveLines, Lint, LintContext, NO_OPTIONS, Need, PluginContext,
    PluginSettings, Role, Source,
    kubernetes::{self, KubernetesSettings},
    listener_counter::ListenerCounter,
    names,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "autopath",
    about: "Tries the names of a client's search list on the server, so that one query is enough. `@search` watches no Pods; do not use it if Pods have search domains of their own (`dnsConfig.searches`).",
    arguments: "[ZONE…] FILE|@kubernetes|@search",
    options: &NO_OPTIONS,
    roles: &[Role::ChangesReplies, Role::ReadsFiles],
    example: ".:53 {\n    autopath @kubernetes\n    kubernetes cluster.local {\n        pods verified\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[Lint::without_errors(pods_verified_is_unused)],
    read,
};

static SUCCESSES: CounterFamily<1> = Family::new(
    "autopath_success_total",
    "Queries for which a name of the search list exists.",
    ["server"],
);

/// The file with the search list of this machine. kubelet appends this list to that of a Pod.
const RESOLV_CONF: &str = "/etc/resolv.conf";

#[derive(Clone, Debug)]
struct AutopathSettings {
    zones: Vec<Name>,
    list: SearchList,
}

#[derive(Clone, Debug)]
enum SearchList {
    File(String),
    Kubernetes(Origin, Source, Box<zone::Settings>),
}

/// How the first domains of a search list are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The Pod with the client's address.
    Pod,
    /// The name of the question.
    Question,
}

/// The names to try.
struct Candidates {
    /// In wire form and in the client's spelling: first the name of the question, last the name
    /// without a domain.
    names: Vec<Vec<u8>>,
    /// The number of names after the first one that are not answered here. If one of them exists,
    /// the client must find it itself.
    left_to_client: usize,
}

struct Autopath {
    zones: Vec<Name>,
    /// Gives the first domains of the list.
    cluster: Option<(Origin, Zone)>,
    /// The domains after those of `cluster`; all domains if there is no `cluster`.
    domains: Vec<Name>,
    successes: ListenerCounter,
}

impl PluginSettings for AutopathSettings {
    fn needs(&self) -> Vec<Need> {
        match &self.list {
            SearchList::File(file) => vec![Need::File(file.clone())],
            SearchList::Kubernetes(_, source, view) => {
                vec![
                    Need::Source {
                        source: source.clone(),
                        kinds: view.kinds().collect(),
                        endpoint_fields: view.endpoint_fields(),
                    },
                    Need::File(RESOLV_CONF.to_owned()),
                ]
            }
        }
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let (file, cluster) = match &self.list {
            SearchList::File(file) => (&**file, None),
            SearchList::Kubernetes(origin, source, view) => {
                let store = context.store(source);
                (RESOLV_CONF, Some((*origin, Zone::new(store, zone::Settings::clone(view)))))
            }
        };
        let domains = match context.file(file) {
            Ok(text) => search_list(text),
            // A machine may have no search list.
            Err(_) if cluster.is_some() => Vec::new(),
            Err(reason) => return Err(BuildError(format!("failed to parse \"{file}\": {reason}"))),
        };
        Ok(vec![Arc::new(Autopath {
            zones: self.zones.clone(),
            cluster,
            domains,
            successes: ListenerCounter::new(&SUCCESSES, context),
        })])
    }
}

/// The domains of the last `search` or `domain` line in a resolv.conf.
fn search_list(text: &str) -> Vec<Name> {
    let list = text.lines().rev().find_map(|line| {
        let mut arguments = line.split_whitespace();
        match arguments.next()? {
            "search" => Some(arguments.collect()),
            "domain" => Some(arguments.take(1).collect::<Vec<_>>()),
            _ => None,
        }
    });
    list.unwrap_or_default().into_iter().filter_map(|domain| domain.parse().ok()).collect()
}

impl Plugin for Autopath {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn response(&self, cx: &mut Cx, query: &Query, reply: Reply) -> Back {
        self.next(cx, query, 0, reply)
    }

    fn nested_reply(&self, cx: &mut Cx, query: &Query, nested: Nested<'_>, reply: Reply) -> Back {
        self.next(cx, query, nested.step, reply)
    }
}

/// The step of the client's own question when it is repeated after all other names.
const CLIENT_QUESTION: u32 = u32::MAX;

impl Autopath {
    /// Continues after the reply for the name with the index `step`. Index 0 is the client's own
    /// question, which the plugins below have answered already.
    fn next(&self, cx: &mut Cx, query: &Query, step: u32, reply: Reply) -> Back {
        // If no plugin below answers a name of the search list, the name counts as nonexistent.
        // Plugins below answered the names before it, so SERVFAIL would be wrong. It would also end
        // the client's search: musl gives up at SERVFAIL.
        let leaves_block = step > 0 && matches!(reply, Err(QueryError::NoNextPlugin(_)));
        let reply = if leaves_block { Ok(Response::of(Rcode::NXDOMAIN)) } else { reply };
        let Ok(response) = reply else { return Back::Up(reply) };
        if step == CLIENT_QUESTION || cx.refresh {
            return Back::Up(Ok(response));
        }
        let Some(candidates) = self.candidates(&query.question, cx.peer.ip()) else {
            return Back::Up(Ok(response));
        };
        let tried = step as usize;
        let ask = |question, step| Back::Ask(Ask { question, from: From::Below, step });
        if response.rcode != Rcode::NXDOMAIN {
            if (1..=candidates.left_to_client).contains(&tried) {
                return ask(query.question.clone(), CLIENT_QUESTION);
            }
            self.successes.count(cx);
            return Back::Up(Ok(match candidates.names.get(tried) {
                Some(name) if tried > 0 => behind_alias(response, name),
                _ => response,
            }));
        }
        match candidates.names.get(tried + 1).and_then(|wire| Name::from_wire(wire)) {
            Some(name) => ask(Question::new(name, query.question.qtype), step + 1),
            None if tried == 0 => Back::Up(Ok(response)),
            // None of the names exists: the client gets the reply to its own question and tries the
            // next domain itself.
            None => ask(query.question.clone(), CLIENT_QUESTION),
        }
    }

    /// `None` if the question does not use a search list.
    fn candidates(&self, question: &Question, client: IpAddr) -> Option<Candidates> {
        let name = &question.name;
        if question.class != Class::IN || !self.zones.iter().any(|zone| name.is_within(zone)) {
            return None;
        }
        let (first, left_to_client) = match &self.cluster {
            Some((Origin::Pod, zone)) => (zone.search(name, client)?.to_vec(), 0),
            Some((Origin::Question, zone)) => (zone.search_of_name(name)?.to_vec(), 2),
            None => (Vec::new(), 0),
        };
        let root = [Name::root()];
        let mut domains: Vec<&Name> = Vec::new();
        for domain in first.iter().chain(&self.domains).chain(&root) {
            if !domains.contains(&domain) {
                domains.push(domain);
            }
        }
        let base = name.left_of(domains[0]).map(<[u8]>::len).filter(|length| *length > 0)?;
        let spelled = question.spelled();
        let names = domains
            .iter()
            .take(limits::SEARCH_DOMAINS)
            .map(|domain| [&spelled.wire()[..base], domain.wire()].concat());
        // A name that is too long cannot exist.
        let names = names.filter(|wire| wire.len() <= limits::NAME_OCTETS).collect();
        Some(Candidates { names, left_to_client })
    }
}

/// Makes a reply for `name` the reply to the client's question, with a CNAME record to `name`.
fn behind_alias(mut response: Response, name: &[u8]) -> Response {
    for sets in response.sections_mut() {
        for set in sets {
            set.owner = set.owner.clone().named(name);
        }
    }
    if let Some(first) = response.answer.first() {
        let alias = RecordSet::new(Owner::Question, Type::CNAME, first.ttl, Rdatas::one(name));
        let mut answer: Sets = smallvec![alias];
        answer.append(&mut response.answer);
        // The CNAME record is not signed.
        response = Response { answer, authentic_data: false, ..response };
    }
    response
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let kubernetes = KubernetesSettings::of_block(lines);
    let (block, mut autopath) = (lines.zones.to_vec(), None);
    lines.each(|arguments| {
        let span = arguments.span();
        if autopath.is_some() {
            arguments
                .warning(span, "`autopath` is written twice")
                .label("only the last one has an effect");
        }
        autopath = read_line(arguments, kubernetes.as_ref(), &block);
    });
    autopath.map(|autopath| Box::new(autopath) as Box<dyn PluginSettings>)
}

fn read_line(
    arguments: &mut Arguments<'_>,
    kubernetes: Option<&KubernetesSettings>,
    block: &[Name],
) -> Option<AutopathSettings> {
    let span = arguments.span();
    let Some((list, zones)) = arguments.rest().split_last() else {
        arguments
            .error(span, "no resolv-conf specified")
            .help("write `autopath @kubernetes` for the search lists of Pods");
        return None;
    };
    let zones: Vec<_> = zones.iter().flat_map(|zone| arguments.zones_of(zone)).collect();
    let zones = if zones.is_empty() { block.to_vec() } else { names(&zones) };
    let list = match (list.text.strip_prefix('@'), kubernetes) {
        (None, _) => SearchList::File(list.text.clone()),
        (Some("kubernetes"), Some(kubernetes)) => {
            if kubernetes.view.pods != PodMode::Verified {
                arguments
                    .warning(list.span, "this has no effect without `pods verified` in `kubernetes`")
                    .help("only `pods verified` loads the addresses of Pods, which identify the client");
            }
            kubernetes_list(Origin::Pod, kubernetes)
        }
        (Some("search"), Some(kubernetes)) => kubernetes_list(Origin::Question, kubernetes),
        (Some("kubernetes" | "search"), None) => {
            arguments.warning(list.span, "this has no effect: the block has no `kubernetes`");
            return None;
        }
        (Some(name), _) => {
            arguments
                .error(list.span, &format!("{name} does not implement the AutoPather interface"))
                .help("`@kubernetes` does, and `@search` follows the search list without watching Pods");
            return None;
        }
    };
    Some(AutopathSettings { zones, list })
}

fn kubernetes_list(origin: Origin, kubernetes: &KubernetesSettings) -> SearchList {
    SearchList::Kubernetes(origin, kubernetes.source.clone(), Box::new(kubernetes.view.clone()))
}

/// `pods verified` loads every Pod. Without `autopath` that serves only the names of Pods.
fn pods_verified_is_unused(context: &LintContext<'_>, diagnostics: &mut Diagnostics) {
    let verified = |line: &&Line| {
        line.name.text == "pods"
            && line.arguments.first().is_some_and(|mode| mode.text == "verified")
    };
    let block = context.block;
    let option = block.lines(kubernetes::DIRECTIVE.name).flat_map(|line| &line.body).find(verified);
    if let Some(option) = option.filter(|_| !block.has(DIRECTIVE.name)) {
        let message = "plugin/kubernetes: `pods verified` without `autopath` watches every Pod, for names that few clients use";
        diagnostics.warning(option.name.span, message).help(
            "`pods insecure` answers these names without watching Pods, `pods disabled` does not answer them",
        );
    }
}
