//! How each kind is asked of an API server.

use serde::de::DeserializeOwned;

use crate::model::{Key, Kind, Object};

use super::{
    EndpointSlice, Gateway, Ingress, Meta, Namespace, Node, Pod, Route, Service, ServiceImport,
};

/// A collection of an API server.
pub struct Resource {
    pub kind: Kind,
    /// Its paths under the server's root, of the versions that it is served in, the newest first.
    pub paths: &'static [&'static str],
    /// As RBAC and `kubectl` name it.
    pub name: &'static str,
    /// Whether clusters do without it, or do not let it be read: that is told once.
    pub is_optional: bool,
    /// Whether `labels` of the Corefile chooses among its objects.
    pub is_labelled: bool,
    pub field_selector: Option<&'static str>,
    read: fn(&str) -> serde_json::Result<Seen>,
}

/// What an object says of itself.
pub struct Seen {
    pub meta: Meta,
    /// `None` for an object that DNS does not show, such as a Pod without an address.
    pub fact: Result<Option<Object>, String>,
}

/// Every kind that is read from an API server.
pub static ALL: &[Resource] = &[
    Resource {
        kind: Kind::Namespace,
        paths: &["/api/v1/namespaces"],
        name: "namespaces",
        is_optional: false,
        is_labelled: false,
        field_selector: None,
        read: |text| {
            seen(text, |it: &Namespace| Ok(Some(Object::Namespace(it.fact()))), |it| it.metadata)
        },
    },
    Resource {
        kind: Kind::Service,
        paths: &["/api/v1/services"],
        name: "services",
        is_optional: false,
        is_labelled: true,
        field_selector: None,
        read: |text| {
            seen(
                text,
                |it: &Service| it.fact().map(|fact| Some(Object::Service(fact))),
                |it| it.metadata,
            )
        },
    },
    Resource {
        kind: Kind::EndpointSlice,
        paths: &["/apis/discovery.k8s.io/v1/endpointslices"],
        name: "endpointslices.discovery.k8s.io",
        is_optional: false,
        is_labelled: true,
        field_selector: None,
        read: |text| {
            seen(
                text,
                |it: &EndpointSlice| Ok(it.fact()?.map(Object::EndpointSlice)),
                |it| it.metadata,
            )
        },
    },
    Resource {
        kind: Kind::Pod,
        paths: &["/api/v1/pods"],
        name: "pods",
        is_optional: false,
        is_labelled: true,
        // A Pod that is finished has given its address back.
        field_selector: Some("status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"),
        read: |text| seen(text, |it: &Pod| Ok(it.fact()?.map(Object::Pod)), |it| it.metadata),
    },
    Resource {
        kind: Kind::Node,
        paths: &["/api/v1/nodes"],
        name: "nodes",
        is_optional: true,
        is_labelled: false,
        field_selector: None,
        read: |text| {
            seen(text, |it: &Node| it.fact().map(|fact| Some(Object::Node(fact))), |it| it.metadata)
        },
    },
    Resource {
        kind: Kind::Ingress,
        paths: &["/apis/networking.k8s.io/v1/ingresses"],
        name: "ingresses.networking.k8s.io",
        is_optional: true,
        is_labelled: false,
        field_selector: None,
        read: |text| {
            seen(
                text,
                |it: &Ingress| it.fact().map(|fact| Some(Object::Ingress(fact))),
                |it| it.metadata,
            )
        },
    },
    Resource {
        kind: Kind::Gateway,
        paths: &[
            "/apis/gateway.networking.k8s.io/v1/gateways",
            "/apis/gateway.networking.k8s.io/v1beta1/gateways",
        ],
        name: "gateways.gateway.networking.k8s.io",
        is_optional: true,
        is_labelled: false,
        field_selector: None,
        read: |text| {
            seen(
                text,
                |it: &Gateway| it.fact().map(|fact| Some(Object::Gateway(fact))),
                |it| it.metadata,
            )
        },
    },
    Resource {
        kind: Kind::HttpRoute,
        paths: &[
            "/apis/gateway.networking.k8s.io/v1/httproutes",
            "/apis/gateway.networking.k8s.io/v1beta1/httproutes",
        ],
        name: "httproutes.gateway.networking.k8s.io",
        is_optional: true,
        is_labelled: false,
        field_selector: None,
        read: |text| {
            seen(
                text,
                |it: &Route| Ok(Some(Object::Route(it.fact(Kind::HttpRoute)))),
                |it| it.metadata,
            )
        },
    },
    Resource {
        kind: Kind::TlsRoute,
        paths: &[
            "/apis/gateway.networking.k8s.io/v1/tlsroutes",
            "/apis/gateway.networking.k8s.io/v1alpha3/tlsroutes",
            "/apis/gateway.networking.k8s.io/v1alpha2/tlsroutes",
        ],
        name: "tlsroutes.gateway.networking.k8s.io",
        is_optional: true,
        is_labelled: false,
        field_selector: None,
        read: |text| {
            seen(
                text,
                |it: &Route| Ok(Some(Object::Route(it.fact(Kind::TlsRoute)))),
                |it| it.metadata,
            )
        },
    },
    Resource {
        kind: Kind::GrpcRoute,
        paths: &[
            "/apis/gateway.networking.k8s.io/v1/grpcroutes",
            "/apis/gateway.networking.k8s.io/v1alpha2/grpcroutes",
        ],
        name: "grpcroutes.gateway.networking.k8s.io",
        is_optional: true,
        is_labelled: false,
        field_selector: None,
        read: |text| {
            seen(
                text,
                |it: &Route| Ok(Some(Object::Route(it.fact(Kind::GrpcRoute)))),
                |it| it.metadata,
            )
        },
    },
    Resource {
        kind: Kind::ServiceImport,
        paths: &["/apis/multicluster.x-k8s.io/v1alpha1/serviceimports"],
        name: "serviceimports.multicluster.x-k8s.io",
        is_optional: true,
        is_labelled: false,
        field_selector: None,
        read: |text| {
            seen(
                text,
                |it: &ServiceImport| it.fact().map(|fact| Some(Object::ServiceImport(fact))),
                |it| it.metadata,
            )
        },
    },
];

impl Resource {
    /// How a kind is read.
    pub fn of(kind: Kind) -> &'static Self {
        ALL.iter().find(|it| it.kind == kind).expect("every kind has its line in the table")
    }

    /// Reads an object of the kind from JSON. One that is odd is still known by its name.
    ///
    /// # Errors
    /// Where it has no readable `metadata`.
    pub fn read(&self, text: &str) -> serde_json::Result<Seen> {
        (self.read)(text).or_else(|fault| {
            let Named { metadata } = serde_json::from_str(text)?;
            Ok(Seen { meta: metadata, fact: Err(fault.to_string()) })
        })
    }

    pub fn key(&self, meta: &Meta) -> Key {
        Key::new(self.kind, &meta.namespace, &meta.name)
    }
}

#[derive(serde::Deserialize)]
struct Named {
    metadata: Meta,
}

fn seen<T: DeserializeOwned>(
    text: &str,
    fact: fn(&T) -> Result<Option<Object>, String>,
    meta: fn(T) -> Meta,
) -> serde_json::Result<Seen> {
    let object: T = serde_json::from_str(text)?;
    Ok(Seen { fact: fact(&object), meta: meta(object) })
}
