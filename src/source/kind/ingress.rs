//! networking.k8s.io Ingress, and its predecessor in extensions/v1beta1.

use k8s_openapi::api::networking::v1 as api;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::{self, Kind, Object};

use super::{
    DnsUse, FieldError, KindDescriptor, Meta, Scope, Version, Watched, decode,
    fields::{LOAD_BALANCER_STATUS, LoadBalancer, META, hosts, or_default},
    object::store_as,
    protobuf::{Message, Shape},
};

pub static INGRESS: KindDescriptor = KindDescriptor {
    name: "Ingress",
    plural: "ingresses",
    scope: Scope::Namespaced,
    versions: &[
        Version::new("networking.k8s.io/v1"),
        Version::converted("networking.k8s.io/v1beta1", from_v1beta1),
        Version::converted("extensions/v1beta1", from_v1beta1),
    ],
    dns: DnsUse::Facts(Watched::optional(Kind::Ingress).encoded(&MESSAGE)),
    decode: |object| {
        decode(object, |it: &Ingress| Ok(Some(Object::Ingress(it.fact()?))), |it| it.metadata)
    },
    store: store_as::<api::Ingress>,
};

static MESSAGE: Message = Message(&[
    (1, "metadata", Shape::Message(&META)),
    (2, "spec", Shape::Message(&SPEC)),
    (3, "status", Shape::Message(&LOAD_BALANCER_STATUS)),
]);
static SPEC: Message = Message(&[
    (2, "tls", Shape::Messages(&TLS)),
    (3, "rules", Shape::Messages(&RULE)),
    (4, "ingressClassName", Shape::Text),
]);
static TLS: Message = Message(&[(1, "hosts", Shape::Texts)]);
static RULE: Message = Message(&[(1, "host", Shape::Text)]);

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Ingress {
    metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
    #[serde(deserialize_with = "or_default")]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    ingress_class_name: Option<String>,
    #[serde(deserialize_with = "or_default")]
    rules: Vec<Rule>,
    #[serde(deserialize_with = "or_default")]
    tls: Vec<Tls>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Rule {
    host: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Tls {
    #[serde(deserialize_with = "or_default")]
    hosts: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    load_balancer: LoadBalancer,
}

impl Ingress {
    fn fact(&self) -> Result<model::Ingress, FieldError> {
        let rules = self.spec.rules.iter().filter_map(|rule| rule.host.as_ref());
        let class = self.spec.ingress_class_name.as_ref().or(self
            .metadata
            .annotations
            .ingress_class
            .as_ref());
        let tls = self.spec.tls.iter().flat_map(|tls| &tls.hosts);
        Ok(model::Ingress {
            namespace: self.metadata.namespace.as_str().into(),
            name: self.metadata.name.as_str().into(),
            class: class.map_or_else(Box::default, |class| class.as_str().into()),
            created: self.metadata.creation_timestamp,
            hosts: hosts(&self.metadata, rules.chain(tls).map(String::as_str))?,
            points: self.status.load_balancer.points()?,
        })
    }
}

/// v1beta1 has `backend`, `serviceName` and `servicePort` where v1 has `defaultBackend` and
/// `service`, and `pathType` may be absent.
fn from_v1beta1(fields: &mut Map<String, Value>) {
    let Some(Value::Object(spec)) = fields.get_mut("spec") else { return };
    if let Some(backend) = spec.remove("backend") {
        spec.insert("defaultBackend".to_owned(), backend_from_v1beta1(backend));
    }
    let rules = spec.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten();
    let paths = rules
        .filter_map(|rule| rule.pointer_mut("/http/paths")?.as_array_mut())
        .flatten()
        .filter_map(Value::as_object_mut);
    for path in paths {
        path.entry("pathType").or_insert_with(|| "ImplementationSpecific".into());
        if let Some(backend) = path.remove("backend") {
            path.insert("backend".to_owned(), backend_from_v1beta1(backend));
        }
    }
}

fn backend_from_v1beta1(mut backend: Value) -> Value {
    if let Some(fields) = backend.as_object_mut()
        && let Some(name) = fields.remove("serviceName")
    {
        let port = match fields.remove("servicePort") {
            Some(Value::String(port)) => json!({ "name": port }),
            port => json!({ "number": port }),
        };
        fields.insert("service".to_owned(), json!({ "name": name, "port": port }));
    }
    backend
}
