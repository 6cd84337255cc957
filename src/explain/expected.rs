//! The answers that follow from the objects, computed by the code that serves queries.

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::{
    limits,
    model::{Change, Kind, Object},
    wire::{Name, Query, Question, Rcode, Response, Room, Sets, Type},
    zone::{Found, Index, Namespaces, PodMode, Settings, Store, Zone},
};

use crate::explain::{
    Answer,
    answer::Record,
    cluster_name::{ClusterName, take_apart},
    corefile::ClusterView,
};

/// The cluster's zone, built from the objects that were read.
pub struct ExpectedZone {
    zone: Zone,
    /// The zone for namespaces whose endpoints were not read; `None` if all were.
    without_endpoints: Option<Zone>,
    view: ClusterView,
    store: Arc<Store>,
    coverage: Coverage,
}

/// Which objects were read.
#[derive(Clone, Debug, Default)]
pub(in crate::explain) struct Coverage {
    /// The namespaces whose Services were read; `None` for all.
    pub services: Option<BTreeSet<String>>,
    /// The namespaces whose EndpointSlices were read; `None` for all.
    pub endpoints: Option<BTreeSet<String>>,
    /// The namespaces whose Pods were read; `None` for all.
    pub pods: Option<BTreeSet<String>>,
    /// The namespaces that exist; `None` if they were not read.
    pub namespaces: Option<BTreeSet<String>>,
    /// Namespace and name of each EndpointSlice that could not be decoded.
    pub undecoded: BTreeSet<(String, String)>,
}

impl Coverage {
    /// Whether the Services of a namespace are known. If it does not exist, it has none.
    fn has_services(&self, namespace: &str) -> bool {
        let was_read = self.services.as_ref().is_none_or(|all| all.contains(namespace));
        was_read || self.namespaces.as_ref().is_some_and(|all| !all.contains(namespace))
    }

    fn has_pods(&self, namespace: &str) -> bool {
        self.pods.as_ref().is_none_or(|all| all.contains(namespace))
    }

    fn has_endpoints(&self, namespace: &str, service: &str) -> bool {
        let were_read = self.endpoints.as_ref().is_none_or(|all| all.contains(namespace));
        were_read && self.undecoded_slice(namespace, service).is_none()
    }

    /// The EndpointSlice of the Service that could not be decoded. Its name begins with that of the
    /// Service.
    pub(in crate::explain) fn undecoded_slice(
        &self,
        namespace: &str,
        service: &str,
    ) -> Option<&str> {
        let is_of = |name: &str| {
            let rest = name.strip_prefix(service);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let mut all = self.undecoded.iter();
        all.find(|(there, name)| there == namespace && is_of(name)).map(|(_, name)| name.as_str())
    }
}

/// The expected answer for a name and a type, with the CNAMEs that lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedAnswer {
    pub records: Vec<Record>,
    pub end: ExpectedEnd,
}

/// How the look-up ends after its CNAMEs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedEnd {
    Records,
    NoData,
    NoName,
    /// The CNAMEs lead to a name outside of the cluster, which the upstream answers.
    Outside(String),
    /// The answer depends on objects that could not be read.
    Unread,
    AliasLoop,
}

impl ExpectedZone {
    pub(in crate::explain) fn new(
        changes: Vec<Change>,
        view: ClusterView,
        coverage: Coverage,
    ) -> Self {
        let store = |changes: Vec<Change>| {
            let mut index = Index::default();
            changes.into_iter().for_each(|change| index.stage(change));
            index.publish_staged(1);
            index.store()
        };
        let zone = |store: Arc<Store>| Zone::new(store, view.settings.clone());
        let is_partial = coverage.endpoints.is_some()
            || coverage.pods.is_some()
            || !coverage.undecoded.is_empty();
        let without_endpoints = is_partial.then(|| {
            zone(store(changes.iter().filter(|it| !is_of_endpoints(it)).cloned().collect()))
        });
        let store = store(changes);
        let zone = zone(Arc::clone(&store));
        Self { zone, without_endpoints, view, store, coverage }
    }

    /// The facts that were decoded from the objects.
    pub(in crate::explain) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What the DNS server shows of the objects.
    pub(in crate::explain) fn view(&self) -> &ClusterView {
        &self.view
    }

    pub(in crate::explain) fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// The records at a name, without following aliases.
    fn find(&self, question: &Question) -> Found {
        let asked = take_apart(&question.name.to_string(), &self.view.zone);
        let is_partial = match &asked {
            Some(ClusterName::Service { namespace, service, .. }) => {
                if !self.coverage.has_services(namespace) {
                    return Found::Unsynced;
                }
                !self.coverage.has_endpoints(namespace, service)
            }
            Some(ClusterName::Pod { namespace, .. }) => !self.coverage.has_pods(namespace),
            Some(ClusterName::Other) | None => false,
        };
        let partial = self.without_endpoints.as_ref().filter(|_| is_partial);
        partial.unwrap_or(&self.zone).find(question)
    }

    /// Why the name does not exist although an object has it: an option of `kubernetes` in the
    /// Corefile, in words. `None` if no option is the reason.
    pub(in crate::explain) fn hidden_by(&self, name: &str, types: &[Type]) -> Option<HiddenBy> {
        let name: Name = name.parse().ok()?;
        let exists = |settings: Settings| {
            let zone = Zone::new(Arc::clone(&self.store), settings);
            types.iter().any(|qtype| {
                let found = zone.find(&Question::new(name.clone(), *qtype));
                matches!(found, Found::Records { .. } | Found::Alias { .. })
            })
        };
        let settings = &self.view.settings;
        if exists(settings.clone()) {
            return None;
        }
        HIDING.iter().find_map(|(relax, why)| {
            let mut relaxed = settings.clone();
            relax(&mut relaxed);
            (relaxed != *settings && exists(relaxed)).then_some(*why)
        })
    }

    pub fn ask(&self, name: &str, qtype: Type) -> ExpectedAnswer {
        let Ok(mut name) = name.parse::<Name>() else {
            return ExpectedAnswer { records: Vec::new(), end: ExpectedEnd::NoName };
        };
        let mut records = Vec::new();
        for _ in 0..limits::CNAME_HOPS {
            let question = Question::new(name.clone(), qtype);
            let end = match self.find(&question) {
                Found::Records { answer, .. } => {
                    records.extend(printed(question, answer));
                    ExpectedEnd::Records
                }
                Found::Alias { cname, target } => {
                    records.extend(printed(question, [cname].into_iter().collect()));
                    name = target;
                    continue;
                }
                Found::NoData => ExpectedEnd::NoData,
                Found::NoName => ExpectedEnd::NoName,
                Found::Unsynced => ExpectedEnd::Unread,
                Found::NotInZone => ExpectedEnd::Outside(name.to_string()),
            };
            return ExpectedAnswer { records, end };
        }
        ExpectedAnswer { records, end: ExpectedEnd::AliasLoop }
    }
}

/// Which option of `kubernetes` hides a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::explain) enum HiddenBy {
    Pods,
    PodsVerified,
    Namespaces,
    EmptyService,
    NoEndpoints,
    PodNames,
    Labels,
}

/// Takes an option back.
type TakeBack = fn(&mut Settings);

/// How an option is taken back, and the option.
const HIDING: [(TakeBack, HiddenBy); 6] = [
    (
        |it| {
            if it.pods == PodMode::Disabled {
                it.pods = PodMode::Insecure;
            }
        },
        HiddenBy::Pods,
    ),
    (|it| it.pods = PodMode::Insecure, HiddenBy::PodsVerified),
    (|it| it.namespaces = Namespaces::All, HiddenBy::Namespaces),
    (|it| it.ignore_empty_service = false, HiddenBy::EmptyService),
    (|it| it.no_endpoints = false, HiddenBy::NoEndpoints),
    (|it| it.endpoint_pod_names = false, HiddenBy::PodNames),
];

/// Whether the change is about endpoints or Pods.
fn is_of_endpoints(change: &Change) -> bool {
    match change {
        Change::Upsert(object) => matches!(object, Object::EndpointSlice(_) | Object::Pod(_)),
        Change::Synced(kind) => [Kind::EndpointSlice, Kind::Pod].contains(kind),
        _ => false,
    }
}

fn printed(question: Question, answer: Sets) -> Vec<Record> {
    let mut response = Response::of(Rcode::NOERROR);
    response.answer = answer;
    let mut message = Vec::new();
    response.encode(&Query::internal(question), Room::stream(limits::UDP_OCTETS), &mut message);
    Answer::decode(&message).map(|answer| answer.records).unwrap_or_default()
}

impl ExpectedAnswer {
    pub fn data(&self, rtype: Type) -> Vec<&str> {
        let rtype = rtype.to_string();
        let mut data: Vec<_> =
            self.records.iter().filter(|it| it.rtype == rtype).map(|it| it.data.as_str()).collect();
        data.sort_unstable();
        data
    }

    pub fn exists(&self) -> bool {
        !matches!(self.end, ExpectedEnd::NoName | ExpectedEnd::Outside(_) | ExpectedEnd::Unread)
            || !self.records.is_empty()
    }
}

/// `10.96.0.1`, `NXDOMAIN`, `CNAME my.database.example.com.`.
impl fmt::Display for ExpectedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = Vec::new();
        for record in self.records.iter().filter(|record| record.rtype == "CNAME") {
            if !printed.contains(&&record.data) {
                write!(f, "CNAME {} → ", record.data)?;
                printed.push(&record.data);
            }
        }
        match &self.end {
            ExpectedEnd::Records => {
                let others: Vec<_> = self
                    .records
                    .iter()
                    .filter(|record| record.rtype != "CNAME")
                    .map(|record| record.data.as_str())
                    .collect();
                f.write_str(&others.join(", "))
            }
            ExpectedEnd::NoData => f.write_str("no such records"),
            ExpectedEnd::NoName => f.write_str("NXDOMAIN"),
            ExpectedEnd::Outside(_) => f.write_str("not a cluster name: forwarded to the upstream"),
            ExpectedEnd::Unread => f.write_str("depends on objects that could not be read"),
            ExpectedEnd::AliasLoop => f.write_str("a loop of aliases"),
        }
    }
}
