//! networking.k8s.io Ingress, and its forebear in extensions/v1beta1: what is read stands in both
//! alike.

use serde::Deserialize;

use crate::model;

use super::{LoadBalancer, Meta, hosts, or_default};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Ingress {
    pub metadata: Meta,
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
    /// # Errors
    /// A sentence that says which field is wrong.
    pub fn fact(&self) -> Result<model::Ingress, String> {
        let rules = self.spec.rules.iter().filter_map(|rule| rule.host.as_ref());
        let class = self.spec.ingress_class_name.as_ref().or(self
            .metadata
            .annotations
            .ingress_class
            .as_ref());
        Ok(model::Ingress {
            namespace: self.metadata.namespace.as_str().into(),
            name: self.metadata.name.as_str().into(),
            class: class.map_or_else(Box::default, |class| class.as_str().into()),
            hosts: hosts(
                &self.metadata,
                rules.chain(self.spec.tls.iter().flat_map(|tls| &tls.hosts)),
            ),
            points: self.status.load_balancer.points()?,
        })
    }
}
