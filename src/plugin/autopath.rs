//! `autopath [ZONES…] FILE | @kubernetes`: walks a client's search list for it. A resolver with
//! `ndots:5` asks `example.com.ns.svc.cluster.local` before `example.com`; it gets the last answer
//! to its first question, behind an alias.
//!
//! With `@kubernetes` the list is that of the Pod which has the client's address, if it is the only
//! one that has.

use std::{net::IpAddr, sync::Arc};

use smallvec::smallvec;

use crate::{
    chain::{Ask, Back, Cx, From, Nested, Plugin, Reply},
    corefile::Arguments,
    limits,
    metrics::{CounterFamily, Family, IntCounter, Metrics, SeriesCache},
    wire::{Class, Name, Owner, Query, Question, Rcode, Rdatas, RecordSet, Response, Sets, Type},
    zone::{self, PodMode, Zone},
};

use super::{
    Need, PluginContext, Reading, Servers, Settings, Source, kubernetes::Kubernetes, names,
};

static SUCCESSES: CounterFamily<1> = Family::new(
    "autopath_success_total",
    "Queries for which a name of the search list exists.",
    ["server"],
);

/// The machine's own search list follows on that of a Pod: kubelet gives Pods both.
const RESOLV_CONF: &str = "/etc/resolv.conf";

#[derive(Clone, Debug)]
struct Written {
    zones: Vec<Name>,
    list: List,
}

#[derive(Clone, Debug)]
enum List {
    File(String),
    Pods(Source, Box<zone::Settings>),
}

/// `autopath` at work.
struct Autopath {
    zones: Vec<Name>,
    /// Where the first domains of a list depend on who asks.
    pods: Option<Zone>,
    /// The domains that follow on them, or are all there are.
    domains: Vec<Name>,
    metrics: Arc<Metrics>,
    servers: Servers,
    /// By the number of the server.
    successes: SeriesCache<usize, IntCounter>,
}

impl Settings for Written {
    fn needs(&self) -> Vec<Need> {
        match &self.list {
            List::File(file) => vec![Need::File(file.clone())],
            List::Pods(source, view) => {
                vec![
                    Need::Source { source: source.clone(), kinds: view.kinds().collect() },
                    Need::File(RESOLV_CONF.to_owned()),
                ]
            }
        }
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let (file, pods) = match &self.list {
            List::File(file) => (&**file, None),
            List::Pods(source, view) => {
                let store = context.stores.get(source).cloned().unwrap_or_default();
                (RESOLV_CONF, Some(Zone::new(store, zone::Settings::clone(view))))
            }
        };
        let domains = match context.files.get(file) {
            Some(Ok(text)) => search_list(text),
            // A machine needs no list of its own.
            Some(Err(_)) | None if pods.is_some() => Vec::new(),
            Some(Err(reason)) => {
                return Err(format!("plugin/autopath: failed to parse \"{file}\": {reason}"));
            }
            None => {
                return Err(format!(
                    "plugin/autopath: failed to parse \"{file}\": it was not read"
                ));
            }
        };
        let (metrics, servers) = (Arc::clone(context.metrics), context.servers.clone());
        Ok(vec![Arc::new(Autopath {
            zones: self.zones.clone(),
            pods,
            domains,
            metrics,
            servers,
            successes: SeriesCache::new(limits::CACHED_SERIES),
        })])
    }
}

/// The domains that the last `search` or `domain` line names.
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
        "autopath"
    }

    /// The step of a nested question is the index of the candidate that it asks for. Candidate 0 is
    /// the client's own question, which the plugins below have answered already.
    fn response(
        &self,
        cx: &mut Cx,
        query: &Query,
        nested: Option<Nested<'_>>,
        reply: Reply,
    ) -> Back {
        let Ok(response) = reply else { return Back::Up(reply) };
        let step = nested.map_or(0, |nested| nested.step);
        if step == FIRST_AGAIN || cx.refresh {
            return Back::Up(Ok(response));
        }
        let Some(candidates) = self.candidates(&query.question, cx.peer.ip()) else {
            return Back::Up(Ok(response));
        };
        let tried = step as usize;
        if response.rcode != Rcode::NXDOMAIN {
            self.count_success(cx);
            return Back::Up(Ok(match candidates.get(tried) {
                Some(name) if tried > 0 => behind_alias(response, name),
                _ => response,
            }));
        }
        let ask = |question, step| Back::Ask(Ask { question, from: From::Below, step });
        match candidates.get(tried + 1).and_then(|wire| Name::from_wire(wire)) {
            Some(name) => ask(Question::new(name, query.question.qtype), step + 1),
            None if tried == 0 => Back::Up(Ok(response)),
            // Nothing exists, so the client goes on by itself: from the answer to what it has
            // asked.
            None => ask(query.question.clone(), FIRST_AGAIN),
        }
    }
}

/// The step of the client's own question, asked once more after all candidates.
const FIRST_AGAIN: u32 = u32::MAX;

impl Autopath {
    fn count_success(&self, cx: &Cx) {
        let server = self.servers.index(cx);
        let find = || SUCCESSES.with(&self.metrics, [self.servers.label(server)]);
        self.successes.count(server, find, IntCounter::inc);
    }

    /// What the question stands for, from the question itself to the name alone, in wire form and
    /// with the name as the client spelled it; `None` where it does not stand for others.
    fn candidates(&self, question: &Question, client: IpAddr) -> Option<Vec<Vec<u8>>> {
        let name = &question.name;
        if question.class != Class::IN || !self.zones.iter().any(|zone| name.is_within(zone)) {
            return None;
        }
        let of_pod = match &self.pods {
            Some(pods) => pods.search(name, client)?.to_vec(),
            None => Vec::new(),
        };
        let root = [Name::root()];
        let mut domains: Vec<&Name> = Vec::new();
        for domain in of_pod.iter().chain(&self.domains).chain(&root) {
            if !domains.contains(&domain) {
                domains.push(domain);
            }
        }
        let base = name.left_of(domains[0]).map(<[u8]>::len).filter(|length| *length > 0)?;
        let spelled = question.spelled();
        let candidates = domains
            .iter()
            .take(limits::SEARCH_DOMAINS)
            .map(|domain| [&spelled.wire()[..base], domain.wire()].concat());
        // A domain with which the name is too long has no such name.
        Some(candidates.filter(|wire| wire.len() <= limits::NAME_OCTETS).collect())
    }
}

/// A reply to `name`, as one to what stands for it.
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
        // Nobody has signed the alias.
        response = Response { answer, authentic_data: false, ..response };
    }
    response
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let kubernetes = Kubernetes::beside(reading);
    let (block, mut written) = (reading.zones.to_vec(), None);
    reading.each(|arguments| {
        let span = arguments.span();
        if written.is_some() {
            arguments
                .warning(span, "`autopath` is written twice")
                .label("only the last one counts");
        }
        written = read_line(arguments, kubernetes.as_ref(), &block);
    });
    written.map(|written| Box::new(written) as Box<dyn Settings>)
}

fn read_line(
    arguments: &mut Arguments<'_>,
    kubernetes: Option<&Kubernetes>,
    block: &[Name],
) -> Option<Written> {
    let span = arguments.span();
    let Some((list, zones)) = arguments.rest().split_last() else {
        arguments
            .error(span, "no resolv-conf specified")
            .help("`autopath @kubernetes` has the search lists of Pods");
        return None;
    };
    let zones: Vec<_> = zones.iter().flat_map(|zone| arguments.zones_of(zone)).collect();
    let zones = if zones.is_empty() { block.to_vec() } else { names(&zones) };
    arguments.no_body();
    let list = match (list.text.strip_prefix('@'), kubernetes) {
        (None, _) => List::File(list.text.clone()),
        (Some("kubernetes"), Some(kubernetes)) => {
            if kubernetes.view.pods != PodMode::Verified {
                arguments
                    .warning(list.span, "this does nothing without `pods verified` in `kubernetes`")
                    .help(
                        "who asks is told by the addresses of Pods, and only then they are known",
                    );
            }
            List::Pods(kubernetes.source.clone(), Box::new(kubernetes.view.clone()))
        }
        (Some("kubernetes"), None) => {
            arguments.warning(list.span, "this does nothing: `kubernetes` is not in this block");
            return None;
        }
        (Some(name), _) => {
            arguments
                .error(list.span, &format!("{name} does not implement the AutoPather interface"))
                .help("`@kubernetes` does");
            return None;
        }
    };
    Some(Written { zones, list })
}
