//! The label of an endpoint in an answer, and its comparison with the label in a question.

use std::{borrow::Cow, net::IpAddr};

use crate::model::EndpointRef;

use super::labels::{address_of_label, dashed, given_label};

/// The label of an endpoint, and in the cluster set the label of its cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EndpointLabel<'e> {
    pub(super) text: Cow<'e, str>,
    pub(super) cluster: Option<&'e str>,
}

/// Compares endpoints with the label in a question, which may stand for an address.
pub(super) struct EndpointMatcher<'q> {
    label: &'q [u8],
    address: Option<IpAddr>,
}

impl<'q> EndpointMatcher<'q> {
    pub(super) fn new(label: &'q [u8]) -> Self {
        let text = std::str::from_utf8(label).unwrap_or_default();
        let address = address_of_label(text).filter(|address| dashed(*address) == text);
        Self { label, address }
    }

    /// The address that the label stands for.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    pub(super) fn is(&self, endpoint: EndpointRef<'_>, pod_names: bool) -> bool {
        match given_label(endpoint, pod_names) {
            Some(given) => given.as_bytes().eq_ignore_ascii_case(self.label),
            None => self.address == Some(endpoint.address),
        }
    }
}

impl EndpointLabel<'_> {
    /// The labels from left to right.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        [Some(&*self.text), self.cluster].into_iter().flatten()
    }
}
