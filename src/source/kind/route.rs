//! gateway.networking.k8s.io HTTPRoute, TLSRoute and GRPCRoute. The fields that ndots reads are the
//! same in all of them.

use serde::Deserialize;

use crate::model::{self, Kind, Object};

use super::{
    Decoded, DnsUse, Encoded, FieldError, KindDescriptor, Meta, Scope, Version, Watched, decode,
    fields::{hosts, or_default},
    gateway_api,
    object::store_as,
};

pub static HTTP_ROUTE: KindDescriptor = KindDescriptor {
    name: "HTTPRoute",
    plural: "httproutes",
    scope: Scope::Namespaced,
    versions: &[
        Version::new("gateway.networking.k8s.io/v1"),
        Version::new("gateway.networking.k8s.io/v1beta1"),
        Version::new("gateway.networking.k8s.io/v1alpha2"),
    ],
    dns: DnsUse::Facts(Watched::optional(Kind::HttpRoute)),
    decode: |object| decode_route(object, Kind::HttpRoute),
    store: store_as::<gateway_api::Route>,
};

pub static TLS_ROUTE: KindDescriptor = KindDescriptor {
    name: "TLSRoute",
    plural: "tlsroutes",
    scope: Scope::Namespaced,
    versions: &[
        Version::new("gateway.networking.k8s.io/v1"),
        Version::new("gateway.networking.k8s.io/v1alpha3"),
        Version::new("gateway.networking.k8s.io/v1alpha2"),
    ],
    dns: DnsUse::Facts(Watched::optional(Kind::TlsRoute)),
    decode: |object| decode_route(object, Kind::TlsRoute),
    store: store_as::<gateway_api::Route>,
};

pub static GRPC_ROUTE: KindDescriptor = KindDescriptor {
    name: "GRPCRoute",
    plural: "grpcroutes",
    scope: Scope::Namespaced,
    versions: &[
        Version::new("gateway.networking.k8s.io/v1"),
        Version::new("gateway.networking.k8s.io/v1alpha2"),
    ],
    dns: DnsUse::Facts(Watched::optional(Kind::GrpcRoute)),
    decode: |object| decode_route(object, Kind::GrpcRoute),
    store: store_as::<gateway_api::Route>,
};

fn decode_route(object: Encoded<'_>, kind: Kind) -> Result<Decoded, FieldError> {
    decode(object, |it: &Route| Ok(Some(Object::Route(it.fact(kind)?))), |it| it.metadata)
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Route {
    metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    hostnames: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    parent_refs: Vec<ParentRef>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct ParentRef {
    /// `Gateway` if it is absent.
    kind: Option<String>,
    namespace: Option<String>,
    #[serde(deserialize_with = "or_default")]
    name: String,
}

impl Route {
    fn fact(&self, kind: Kind) -> Result<model::Route, FieldError> {
        let own = self.metadata.namespace.as_str();
        let is_gateway = |it: &&ParentRef| it.kind.as_deref().is_none_or(|kind| kind == "Gateway");
        let gateway = |it: &ParentRef| {
            (it.namespace.as_deref().unwrap_or(own).into(), it.name.as_str().into())
        };
        Ok(model::Route {
            kind,
            namespace: own.into(),
            name: self.metadata.name.as_str().into(),
            created: self.metadata.creation_timestamp,
            hosts: hosts(&self.metadata, self.spec.hostnames.iter().map(String::as_str))?,
            gateways: self.spec.parent_refs.iter().filter(is_gateway).map(gateway).collect(),
        })
    }
}
