//! v1 Namespace.

use k8s_openapi::api::core::v1 as api;
use serde::Deserialize;

use crate::model::{self, Kind, Object};

use super::{
    DnsUse, KindDescriptor, LabelSelector, Meta, Scope, Version, Watched, decode,
    fields::META,
    object::store_as,
    protobuf::{Message, Shape},
};

pub static NAMESPACE: KindDescriptor = KindDescriptor {
    name: "Namespace",
    plural: "namespaces",
    scope: Scope::Cluster,
    versions: &[Version::new("v1")],
    dns: DnsUse::Facts(Watched {
        labels: LabelSelector::Ignored,
        ..Watched::required(Kind::Namespace).encoded(&MESSAGE)
    }),
    decode: |object| {
        decode(object, |it: &Namespace| Ok(Some(Object::Namespace(it.fact()))), |it| it.metadata)
    },
    store: store_as::<api::Namespace>,
};

static MESSAGE: Message = Message(&[(1, "metadata", Shape::Message(&META))]);

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Namespace {
    metadata: Meta,
}

impl Namespace {
    fn fact(&self) -> model::Namespace {
        let labels = self
            .metadata
            .labels
            .iter()
            .map(|(key, value)| (key.as_str().into(), value.as_str().into()));
        model::Namespace { name: self.metadata.name.as_str().into(), labels: labels.collect() }
    }
}
