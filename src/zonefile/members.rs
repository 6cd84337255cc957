//! The zones that catalogs add and remove while the server runs.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use crate::{limits, wire::Name};

use super::{
    ZoneSlot,
    catalog::{Catalog, CatalogMember},
};

/// The member zones of all catalogs of a block.
#[derive(Default)]
pub struct Members {
    /// Zones that the Corefile names. No catalog adds or removes them.
    fixed: HashSet<Name>,
    zones: RwLock<Arc<HashMap<Name, Arc<Member>>>>,
    /// The last valid version of each catalog.
    catalogs: Mutex<HashMap<Name, Catalog>>,
}

/// A zone that a catalog names.
pub struct Member {
    pub slot: Arc<ZoneSlot>,
    pub primaries: Vec<SocketAddr>,
    catalog: Name,
    id: Box<[u8]>,
}

/// What a catalog says, and where its members come from.
pub struct CatalogUpdate<'u> {
    pub origin: &'u Name,
    pub catalog: Catalog,
    pub primaries: &'u [SocketAddr],
    /// The zones that the catalog may name, with the zones below them; empty for all zones.
    pub allowed: &'u [Name],
}

/// What a new version of a catalog changes.
#[derive(Default)]
pub struct Changes {
    /// Zones to transfer.
    pub started: Vec<(Name, Arc<Member>)>,
    /// Lines for the log: what has happened, and what was not done.
    pub done: Vec<String>,
    pub skipped: Vec<String>,
}

impl Members {
    pub fn new(fixed: HashSet<Name>) -> Self {
        Self { fixed, ..Self::default() }
    }

    /// All members at this moment.
    pub fn all(&self) -> Arc<HashMap<Name, Arc<Member>>> {
        Arc::clone(&self.zones.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The members of one catalog.
    pub fn of(&self, catalog: &Name) -> Vec<(Name, Arc<Member>)> {
        let all = self.all();
        let of_catalog = all.iter().filter(|(_, member)| member.catalog == *catalog);
        of_catalog.map(|(zone, member)| (zone.clone(), Arc::clone(member))).collect()
    }

    /// Whether this member is still the one of its zone.
    pub fn has(&self, zone: &Name, member: &Arc<Member>) -> bool {
        self.all().get(zone).is_some_and(|current| Arc::ptr_eq(current, member))
    }

    /// Adds, replaces and removes the members of one catalog.
    pub fn apply(&self, update: CatalogUpdate<'_>) -> Changes {
        let mut catalogs = self.catalogs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut zones = HashMap::clone(&self.all());
        let mut changes = Changes::default();
        let CatalogUpdate { origin, catalog, allowed, .. } = &update;
        let is_allowed = |zone: &Name| {
            allowed.is_empty() || allowed.iter().any(|allowed| zone.is_within(allowed))
        };
        let (wanted, rejected): (Vec<_>, Vec<_>) =
            catalog.members.iter().partition(|member| is_allowed(&member.zone));
        for member in wanted.iter().take(limits::CATALOG_MEMBERS) {
            match self.decide(member, origin, &zones, &catalogs) {
                Decision::Keep => {}
                Decision::Skip => changes.skipped.push(format!(
                    "Skipping catalog member zone {} from {origin}: zone already exists",
                    member.zone
                )),
                Decision::Start(slot, line) => {
                    let new = Arc::new(Member {
                        slot,
                        primaries: update.primaries.to_vec(),
                        catalog: (*origin).clone(),
                        id: member.id.clone(),
                    });
                    changes.done.push(line);
                    changes.started.push((member.zone.clone(), Arc::clone(&new)));
                    zones.insert(member.zone.clone(), new);
                }
            }
        }
        let named: HashSet<_> = wanted.iter().map(|member| &member.zone).collect();
        zones.retain(|zone, member| {
            let stays = member.catalog != **origin || named.contains(zone);
            if !stays {
                changes
                    .done
                    .push(format!("Removed catalog member zone {zone} from catalog {origin}"));
            }
            stays
        });
        if !rejected.is_empty() {
            changes.skipped.push(format!(
                "Skipped {} member zones from catalog {origin}: outside configured member zones",
                rejected.len()
            ));
        }
        if let Some(more) = wanted.len().checked_sub(limits::CATALOG_MEMBERS).filter(|it| *it > 0) {
            changes.skipped.push(format!(
                "Skipped {more} member zones from catalog {origin}: it has more than {}",
                limits::CATALOG_MEMBERS
            ));
        }
        *self.zones.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(zones);
        catalogs.insert((*origin).clone(), update.catalog);
        changes
    }

    /// Two catalogs may name one zone. The first one keeps it, unless it gives the zone away
    /// (RFC 9432 §4.3.1). A new id means that the zone begins anew (§5.6).
    fn decide(
        &self,
        member: &CatalogMember,
        origin: &Name,
        zones: &HashMap<Name, Arc<Member>>,
        catalogs: &HashMap<Name, Catalog>,
    ) -> Decision {
        let zone = &member.zone;
        if self.fixed.contains(zone) {
            return Decision::Skip;
        }
        let Some(known) = zones.get(zone) else {
            let line = format!("Added catalog member zone {zone} from catalog {origin}");
            return Decision::Start(Arc::default(), line);
        };
        if known.catalog == *origin {
            if known.id == member.id {
                return Decision::Keep;
            }
            let line =
                format!("Reset catalog member zone {zone} from {origin}: its id has changed");
            return Decision::Start(Arc::default(), line);
        }
        let before = &known.catalog;
        let given = catalogs.get(before).and_then(|catalog| catalog.member(zone));
        let given = given.filter(|given| given.new_owner.as_ref() == Some(origin));
        let Some(given) = given else { return Decision::Skip };
        // The records stay if all sides mean the same member.
        let same = known.id == given.id && given.id == member.id;
        let slot = if same { Arc::new(ZoneSlot::new(known.slot.get())) } else { Arc::default() };
        let line = format!("Migrated catalog member zone {zone} from catalog {before} to {origin}");
        Decision::Start(slot, line)
    }
}

/// What happens to a member.
enum Decision {
    Keep,
    Skip,
    /// Its records come to this place; the line is for the log.
    Start(Arc<ZoneSlot>, String),
}

impl Member {
    /// Whether a NOTIFY message from this address is about the zone.
    pub fn comes_from(&self, client: IpAddr) -> bool {
        self.primaries.iter().any(|primary| primary.ip().to_canonical() == client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// Members as `ID ZONE [NEW-OWNER]`.
    fn catalog(members: &[&str]) -> Catalog {
        let member = |text: &&str| {
            let words: Vec<_> = text.split(' ').collect();
            CatalogMember {
                id: words[0].as_bytes().into(),
                zone: name(words[1]),
                new_owner: words.get(2).map(|owner| name(owner)),
            }
        };
        Catalog { members: members.iter().map(member).collect() }
    }

    /// Applies a catalog, and returns the zones that start, the number of lines, and all members.
    fn apply(
        members: &Members,
        origin: &str,
        named: &[&str],
        allowed: &[&str],
    ) -> [Vec<String>; 3] {
        let allowed: Vec<_> = allowed.iter().map(|zone| name(zone)).collect();
        let changes = members.apply(CatalogUpdate {
            origin: &name(origin),
            catalog: catalog(named),
            primaries: &[],
            allowed: &allowed,
        });
        let text = |zone: &Name| zone.to_string().trim_end_matches('.').to_owned();
        let started = changes.started.iter().map(|(zone, _)| text(zone)).collect();
        let mut all: Vec<_> = members.all().keys().map(text).collect();
        all.sort_unstable();
        [started, changes.skipped, all]
    }

    #[track_caller]
    fn check(found: [Vec<String>; 3], started: &[&str], skipped: usize, all: &[&str]) {
        let [found_started, lines, found_all] = found;
        assert_eq!(
            (found_started, found_all),
            (
                started.iter().map(ToString::to_string).collect::<Vec<_>>(),
                all.iter().map(ToString::to_string).collect::<Vec<_>>(),
            )
        );
        assert_eq!(lines.len(), skipped, "{lines:?}");
    }

    #[test]
    fn catalogs_add_replace_and_remove_zones() {
        let members = Members::new(HashSet::from([name("fixed.example")]));
        let (a, b) = ("a.catalog", "b.catalog");
        let found = apply(&members, a, &["1 one.example", "2 two.example", "3 fixed.example"], &[]);
        check(found, &["one.example", "two.example"], 1, &["one.example", "two.example"]);
        let first = members.all()[&name("one.example")].clone();
        // The same again, and another id.
        let found = apply(&members, a, &["1 one.example", "9 two.example"], &[]);
        check(found, &["two.example"], 0, &["one.example", "two.example"]);
        assert!(members.has(&name("one.example"), &first));
        // Another catalog does not take a zone, and restricted ones do not add it.
        let found = apply(&members, b, &["1 one.example", "3 three.example"], &["example.net"]);
        check(found, &[], 1, &["one.example", "two.example"]);
        let found = apply(&members, b, &["1 one.example", "3 three.example"], &["example"]);
        check(found, &["three.example"], 1, &["one.example", "three.example", "two.example"]);
        // The first catalog gives the zone away.
        apply(&members, a, &["1 one.example b.catalog"], &[]);
        let found = apply(&members, b, &["1 one.example"], &[]);
        check(found, &["one.example"], 0, &["one.example"]);
        assert!(!members.has(&name("one.example"), &first));
        // It is not removed with the catalog that had it before.
        check(apply(&members, a, &[], &[]), &[], 0, &["one.example"]);
        assert_eq!(members.of(&name(b)).len(), 1);
        check(apply(&members, b, &[], &[]), &[], 0, &[]);
    }
}
