//! Labels of endpoints and addresses.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use smallvec::SmallVec;

use crate::{limits, model::EndpointRef};

use super::key::label_offsets;

/// The label of an endpoint from its host name or its Pod's name. A text that is not one label (too
/// long, or several labels) is ignored, and the label comes from the address.
pub(super) fn given_label(endpoint: EndpointRef<'_>, pod_names: bool) -> Option<&str> {
    let is_label =
        |text: &&str| (1..=limits::LABEL_OCTETS).contains(&text.len()) && !text.contains('.');
    let pod = || endpoint.pod().filter(|_| pod_names);
    endpoint.hostname().filter(is_label).or_else(|| pod().filter(is_label))
}

/// The label of an address: `10-1-2-3`, `fd00--1`. A label that would end in a dash gets a `0`:
/// `fd00--0`.
pub(super) fn dashed(address: IpAddr) -> String {
    let mut text = String::with_capacity(40);
    // Writing to a String does not fail.
    let _ = write!(text, "{address}");
    let mut text = text.replace(['.', ':'], "-");
    if text.ends_with('-') {
        text.push('0');
    }
    text
}

/// The address that a label such as `10-1-2-3` stands for, in the name of a Pod or an endpoint.
pub(super) fn address_of_label(label: &str) -> Option<IpAddr> {
    let dashes = label.bytes().filter(|octet| *octet == b'-').count();
    if dashes == 3 && !label.contains("--") {
        label.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4)
    } else {
        label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    }
}

/// The labels, which are in wire form, with dots between them.
pub(super) fn dotted(labels: &[u8]) -> SmallVec<[u8; 64]> {
    let mut text: SmallVec<[u8; 64]> = SmallVec::new();
    for at in label_offsets(labels) {
        let end = at + 1 + usize::from(labels[at]);
        text.extend_from_slice(labels.get(at + 1..end).unwrap_or_default());
        text.push(b'.');
    }
    text.pop();
    text
}

/// Whether `labels`, in wire form, are the labels of the text.
pub(super) fn is_labels(text: &str, mut labels: &[u8]) -> bool {
    text.split('.').all(|part| {
        let Some((length, rest)) = labels.split_first() else { return false };
        let Some((label, rest)) = rest.split_at_checked(usize::from(*length)) else { return false };
        labels = rest;
        label.eq_ignore_ascii_case(part.as_bytes())
    }) && labels.is_empty()
}
