//! v1 Endpoints, which EndpointSlices have replaced: read as slices, one a subset.

use serde::Deserialize;

use crate::model::{self, Endpoint};

use super::{
    Meta, address,
    endpointslice::{SlicePort, TargetRef},
    or_default,
};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Endpoints {
    pub metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    subsets: Vec<Subset>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Subset {
    /// The ready ones; `notReadyAddresses` are no answer.
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<SubsetAddress>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<SlicePort>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
struct SubsetAddress {
    #[serde(deserialize_with = "or_default")]
    ip: String,
    hostname: Option<String>,
    node_name: Option<String>,
    target_ref: Option<TargetRef>,
}

impl Endpoints {
    /// The slices that Kubernetes' mirroring controller would make.
    ///
    /// # Errors
    /// A sentence that says which field is wrong.
    pub fn facts(&self) -> Result<Vec<model::EndpointSlice>, String> {
        self.subsets.iter().enumerate().map(|(index, subset)| self.slice(index, subset)).collect()
    }

    fn slice(&self, index: usize, subset: &Subset) -> Result<model::EndpointSlice, String> {
        let endpoint = |it: &SubsetAddress| {
            let hostname = it.hostname.as_deref().filter(|name| !name.is_empty()).map(Into::into);
            let pod = it.target_ref.as_ref().and_then(TargetRef::name);
            Ok(Endpoint {
                address: address(&it.ip)?,
                hostname,
                pod,
                zone: None,
                node: it.node_name.as_deref().map(Into::into),
            })
        };
        Ok(model::EndpointSlice {
            namespace: self.metadata.namespace.as_str().into(),
            name: format!("{}-mirrored-{index}", self.metadata.name).into(),
            service: Some(self.metadata.name.as_str().into()),
            import: None,
            endpoints: subset.addresses.iter().map(endpoint).collect::<Result<_, String>>()?,
            ports: subset.ports.iter().map(SlicePort::fact).collect::<Result<_, _>>()?,
        })
    }
}
