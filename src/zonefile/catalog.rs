//! Catalog zones, whose records name other zones (RFC 9432).

use std::{collections::BTreeMap, sync::Arc};

use thiserror::Error;

use crate::wire::{Name, Owner, Type};

use super::Zone;

/// The zones that a catalog names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    pub(super) members: Vec<CatalogMember>,
}

/// A zone of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CatalogMember {
    /// The label of the member's records.
    pub(super) id: Box<[u8]>,
    pub(super) zone: Name,
    /// The catalog that may take the zone over (RFC 9432 §4.3.1).
    pub(super) new_owner: Option<Name>,
}

/// Why a zone is not a catalog. Then its members stay as they are (RFC 9432 §5.1).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CatalogError {
    #[error("catalog zone {0} has no NS record")]
    NoNs(Name),
    #[error("catalog zone {0} must have exactly one version TXT record")]
    NoVersion(Name),
    #[error("catalog zone {0} has a version other than 2")]
    OtherVersion(Name),
    #[error("catalog member {0} must have exactly one PTR record")]
    Zones(Name),
    #[error("catalog member {0} has more than one coo PTR record")]
    Owners(Name),
    #[error("catalog member zone {0} is listed twice")]
    Twice(Name),
}

impl Catalog {
    /// # Errors
    /// See [`CatalogError`].
    pub fn read(zone: &Arc<Zone>) -> Result<Self, CatalogError> {
        let origin = zone.origin();
        let (mut has_ns, mut versions) = (false, Vec::new());
        let (mut zones, mut owners) = (BTreeMap::new(), BTreeMap::new());
        for set in zone.transfer().records {
            let Owner::Name(owner) = &set.owner else { continue };
            let Some(owner) = Name::from_wire(owner) else { continue };
            let rdatas = || set.rdatas.iter().map(<[u8]>::to_vec);
            let labels: Vec<_> = owner.left_of(origin).map(labels).unwrap_or_default();
            match (set.rtype, &labels[..]) {
                (Type::NS, []) => has_ns = true,
                (Type::TXT, [b"version"]) => versions.extend(rdatas()),
                (Type::PTR, [_, b"zones"]) => drop(zones.insert(owner, names(rdatas()))),
                (Type::PTR, [b"coo", _, b"zones"]) => {
                    drop(owners.insert(owner.parent(), names(rdatas())));
                }
                _ => {}
            }
        }
        if !has_ns {
            return Err(CatalogError::NoNs(origin.clone()));
        }
        match &versions[..] {
            [version] if version == b"\x012" => {}
            [_] => return Err(CatalogError::OtherVersion(origin.clone())),
            _ => return Err(CatalogError::NoVersion(origin.clone())),
        }
        let mut catalog = Self::default();
        for (owner, zones) in zones {
            let [zone] = &zones[..] else { return Err(CatalogError::Zones(owner)) };
            let new_owner = match owners.get(&Some(owner.clone())).map_or(&[][..], |all| all) {
                [] => None,
                [new_owner] => Some(new_owner.clone()),
                _ => return Err(CatalogError::Owners(owner)),
            };
            if catalog.member(zone).is_some() {
                return Err(CatalogError::Twice(zone.clone()));
            }
            let id = owner.labels().next().unwrap_or_default().into();
            catalog.members.push(CatalogMember { id, zone: zone.clone(), new_owner });
        }
        Ok(catalog)
    }

    pub(super) fn member(&self, zone: &Name) -> Option<&CatalogMember> {
        self.members.iter().find(|member| member.zone == *zone)
    }
}

/// The labels of a name in wire form, or of a part of it.
fn labels(mut wire: &[u8]) -> Vec<&[u8]> {
    let mut labels = Vec::new();
    while let Some((length, rest)) = wire.split_first() {
        let Some((label, tail)) = rest.split_at_checked(usize::from(*length)) else { break };
        if !label.is_empty() {
            labels.push(label);
        }
        wire = tail;
    }
    labels
}

fn names(rdatas: impl Iterator<Item = Vec<u8>>) -> Vec<Name> {
    rdatas.filter_map(|rdata| Name::from_wire(&rdata)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "@ 0 SOA invalid. invalid. 1 3600 600 604800 0\n@ 0 NS invalid.\n";

    fn read(text: &str) -> Result<Catalog, CatalogError> {
        let origin = "catalog.example".parse().unwrap();
        let none = |_: &str| Err(String::new());
        Catalog::read(&Arc::new(crate::zonefile::parse("db", text, &origin, &none).unwrap().zone))
    }

    #[test]
    fn members_are_read() {
        let text = format!(
            "{HEAD}version 0 TXT 2\nb.zones 0 PTR Example.NET.\na.zones 0 PTR example.com.\n\
             group.a.zones 0 TXT unsigned\ncoo.b.zones 0 PTR other.example.\nignored 0 TXT x\n\
             a.b.zones 0 PTR deeper.example.\nzones 0 PTR none.example.\n"
        );
        let member = |id: &str, zone: &str, new_owner: Option<&str>| CatalogMember {
            id: id.as_bytes().into(),
            zone: zone.parse().unwrap(),
            new_owner: new_owner.map(|name| name.parse().unwrap()),
        };
        let members = vec![
            member("a", "example.com", None),
            member("b", "example.net", Some("other.example")),
        ];
        assert_eq!(read(&text), Ok(Catalog { members }));
        assert_eq!(read(&format!("{HEAD}version 0 TXT 2\n")), Ok(Catalog::default()));
    }

    #[test]
    fn a_broken_catalog_is_rejected() {
        let check = |text: &str, expected: &str| {
            assert_eq!(read(text).unwrap_err().to_string(), expected, "{text}");
        };
        let soa = HEAD.lines().next().unwrap();
        check(
            &format!("{soa}\nversion 0 TXT 2\n"),
            "catalog zone catalog.example. has no NS record",
        );
        let one_version = "catalog zone catalog.example. must have exactly one version TXT record";
        check(HEAD, one_version);
        check(&format!("{HEAD}version 0 TXT 2\nversion 0 TXT 3\n"), one_version);
        check(
            &format!("{HEAD}version 0 TXT 1\n"),
            "catalog zone catalog.example. has a version other than 2",
        );
        let head = format!("{HEAD}version 0 TXT 2\na.zones 0 PTR example.com.\n");
        check(
            &format!("{head}a.zones 0 PTR example.net.\n"),
            "catalog member a.zones.catalog.example. must have exactly one PTR record",
        );
        check(
            &format!("{head}b.zones 0 PTR example.com.\n"),
            "catalog member zone example.com. is listed twice",
        );
        check(
            &format!("{head}coo.a.zones 0 PTR x.example.\ncoo.a.zones 0 PTR y.example.\n"),
            "catalog member a.zones.catalog.example. has more than one coo PTR record",
        );
    }
}
