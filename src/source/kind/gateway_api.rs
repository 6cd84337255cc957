//! The kinds of the Gateway API with the fields that `explain` checks. DNS reads fewer fields of
//! Gateway and the routes, see `gateway` and `route`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, ObjectMeta};
use serde::Deserialize;

use super::{
    DnsUse, KindDescriptor, Scope, Version, decode_name, fields::or_default, object::store_as,
};

/// The group of the API.
pub const GROUP: &str = "gateway.networking.k8s.io";

pub static TCP_ROUTE: KindDescriptor = only_explained("TCPRoute", "tcproutes");
pub static UDP_ROUTE: KindDescriptor = only_explained("UDPRoute", "udproutes");
pub static REFERENCE_GRANT: KindDescriptor = KindDescriptor {
    versions: SINCE_BETA1,
    store: store_as::<ReferenceGrant>,
    ..only_explained("ReferenceGrant", "referencegrants")
};
pub static GATEWAY_CLASS: KindDescriptor = KindDescriptor {
    scope: Scope::Cluster,
    versions: SINCE_BETA1,
    store: store_as::<GatewayClass>,
    ..only_explained("GatewayClass", "gatewayclasses")
};

const SINCE_ALPHA2: &[Version] = &[
    Version::new("gateway.networking.k8s.io/v1"),
    Version::new("gateway.networking.k8s.io/v1alpha2"),
];
const SINCE_BETA1: &[Version] = &[
    Version::new("gateway.networking.k8s.io/v1"),
    Version::new("gateway.networking.k8s.io/v1beta1"),
    Version::new("gateway.networking.k8s.io/v1alpha2"),
];

const fn only_explained(name: &'static str, plural: &'static str) -> KindDescriptor {
    KindDescriptor {
        name,
        plural,
        scope: Scope::Namespaced,
        versions: SINCE_ALPHA2,
        dns: DnsUse::None,
        decode: decode_name,
        store: store_as::<Route>,
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct GatewayClass {
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    pub status: Conditions,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Conditions {
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Gateway {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: GatewaySpec,
    /// `None` in a manifest that was never applied.
    pub status: Option<GatewayStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    pub gateway_class_name: String,
    #[serde(deserialize_with = "or_default")]
    pub listeners: Vec<Listener>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    pub name: String,
    pub hostname: Option<String>,
    pub port: i32,
    pub protocol: String,
    pub tls: Option<ListenerTls>,
    #[serde(deserialize_with = "or_default")]
    pub allowed_routes: AllowedRoutes,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerTls {
    pub mode: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub certificate_refs: Vec<ObjectRef>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AllowedRoutes {
    #[serde(deserialize_with = "or_default")]
    pub namespaces: AllowedNamespaces,
    #[serde(deserialize_with = "or_default")]
    pub kinds: Vec<ObjectRef>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AllowedNamespaces {
    /// `Same` if it is absent.
    pub from: Option<String>,
    pub selector: Option<LabelSelector>,
}

/// A reference to an object; which fields it has depends on its place.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    pub group: Option<String>,
    pub kind: Option<String>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub section_name: Option<String>,
    pub port: Option<i32>,
    pub weight: Option<i32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GatewayStatus {
    #[serde(deserialize_with = "or_default")]
    pub addresses: Vec<GatewayAddress>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    pub listeners: Vec<ListenerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GatewayAddress {
    pub value: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListenerStatus {
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

/// HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or UDPRoute.
#[derive(Clone, Debug, Deserialize)]
pub struct Route {
    pub kind: String,
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: RouteSpec,
    #[serde(default, deserialize_with = "or_default")]
    pub status: RouteStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteSpec {
    #[serde(deserialize_with = "or_default")]
    pub parent_refs: Vec<ObjectRef>,
    #[serde(deserialize_with = "or_default")]
    pub hostnames: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub rules: Vec<RouteRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteRule {
    #[serde(deserialize_with = "or_default")]
    pub matches: Vec<RouteMatch>,
    #[serde(deserialize_with = "or_default")]
    pub filters: Vec<RouteFilter>,
    #[serde(deserialize_with = "or_default")]
    pub backend_refs: Vec<ObjectRef>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteMatch {
    pub path: Option<PathMatch>,
    /// A string in HTTPRoute, an object in GRPCRoute.
    pub method: Option<serde_json::Value>,
    #[serde(deserialize_with = "or_default")]
    pub headers: Vec<serde_json::Value>,
    #[serde(deserialize_with = "or_default")]
    pub query_params: Vec<serde_json::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PathMatch {
    /// `PathPrefix` if it is absent.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `/` if it is absent.
    pub value: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RouteFilter {
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RouteStatus {
    #[serde(deserialize_with = "or_default")]
    pub parents: Vec<ParentStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParentStatus {
    pub parent_ref: ObjectRef,
    pub controller_name: String,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ReferenceGrant {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: ReferenceGrantSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReferenceGrantSpec {
    #[serde(deserialize_with = "or_default")]
    pub from: Vec<ObjectRef>,
    #[serde(deserialize_with = "or_default")]
    pub to: Vec<ObjectRef>,
}

/// Implements the traits of k8s-openapi for a type of this file, so that `explain` reads its
/// metadata with the functions that it has for the types of k8s-openapi.
macro_rules! has_metadata {
    ($type:ident, $kind:literal, $plural:literal) => {
        impl k8s_openapi::Resource for $type {
            const API_VERSION: &'static str = "gateway.networking.k8s.io/v1";
            const GROUP: &'static str = GROUP;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = "v1";
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = k8s_openapi::NamespaceResourceScope;
        }

        impl k8s_openapi::Metadata for $type {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

has_metadata!(GatewayClass, "GatewayClass", "gatewayclasses");
has_metadata!(Gateway, "Gateway", "gateways");
has_metadata!(Route, "HTTPRoute", "httproutes");
has_metadata!(ReferenceGrant, "ReferenceGrant", "referencegrants");
