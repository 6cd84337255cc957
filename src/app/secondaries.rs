//! Keeps secondary zones up to date (RFC 1034 §4.3.5).

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    limits,
    net::zone_transfer::{Fetched, fetch},
    plugin::{CatalogZone, SecondaryZone, ZoneNotice},
    wire::Name,
    zonefile::{Catalog, CatalogUpdate, Changes, Member, Members, Timers, Zone},
};

use super::notify;

/// The tasks of the secondary zones, one for each.
#[derive(Default)]
pub(super) struct Secondaries {
    /// The key is a text of the zone, its primary servers and its secondary servers.
    running: HashMap<String, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Secondaries {
    pub(super) fn run_new(zones: Vec<SecondaryZone>) -> Self {
        let mut secondaries = Self::default();
        secondaries.run(zones);
        secondaries
    }

    /// Runs a task for each of these zones, and ends all other tasks.
    pub(super) fn run(&mut self, zones: Vec<SecondaryZone>) {
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.running);
        for zone in zones {
            let keys = [&zone.key, &zone.notice.as_ref().and_then(|notice| notice.key.clone())];
            let secrets = keys.map(|key| Some(key.as_ref()?.find()?.fingerprint()));
            let notice = zone.notice.as_ref().map(|notice| (&notice.to, notice.source));
            let catalog = zone.catalog.as_ref().map(|catalog| {
                (Arc::as_ptr(&catalog.members), &catalog.allowed, format!("{:?}", catalog.notices))
            });
            let (origin, primaries) = (&zone.origin, &zone.primaries);
            let identity = format!("{origin} {primaries:?} {notice:?} {secrets:?} {catalog:?}");
            let task = before.remove(&identity).or_else(|| self.running.remove(&identity));
            let task = task.unwrap_or_else(|| self.tasks.spawn(follow(zone, None)));
            self.running.insert(identity, task);
        }
        before.into_values().for_each(|task| task.abort());
    }
}

/// Checks and transfers a zone, when the timers of its SOA record say so. A member of a catalog ends
/// when the catalog does not name it any more, and other zones never end.
async fn follow(zone: SecondaryZone, membership: Option<Membership>) {
    let SecondaryZone { origin, slot, .. } = &zone;
    let mut back_off = limits::TRANSFER_RETRY_FIRST;
    let (mut confirmed, mut told) = (Instant::now(), JoinSet::new());
    // They end together with their catalog.
    let mut members = JoinSet::new();
    if let Some(catalog) = &zone.catalog {
        resume(&zone, catalog, &mut members);
    }
    loop {
        let known = slot.get();
        let outcome = {
            let mut transferring = pin!(transfer(&zone, known.as_ref(), &mut members));
            let expiry = known.as_ref().map(|zone| confirmed + zone.timers().expire);
            tokio::select! {
                biased;
                outcome = &mut transferring => outcome,
                () = until(expiry) => {
                    expire(&zone, "a transfer is not complete");
                    transferring.await
                }
            }
        };
        while told.try_join_next().is_some() {}
        while members.try_join_next().is_some() {}
        if let Ok(Some(notice)) = &outcome {
            told.spawn(notify::tell(notice.clone()));
        }
        let timers = slot.get().map(|zone| zone.timers());
        let pause = match (outcome, timers) {
            (Ok(_), Some(Timers { refresh, .. })) => {
                (confirmed, back_off) = (Instant::now(), limits::TRANSFER_RETRY_FIRST);
                refresh + jitter(refresh)
            }
            (Err(reason), Some(Timers { retry, expire, .. })) => {
                if confirmed.elapsed() >= expire {
                    self::expire(&zone, &reason);
                    continue;
                }
                tracing::warn!(
                    plugin = "secondary",
                    "the zone {origin} could not be checked, and the next attempt is in {} s: {reason}",
                    retry.as_secs()
                );
                (retry + jitter(retry)).min(expire.saturating_sub(confirmed.elapsed()))
            }
            (Ok(_), None) => back_off,
            (Err(reason), None) => {
                let pause = back_off;
                back_off = (back_off * 2).min(limits::TRANSFER_RETRY_MAX);
                tracing::warn!(
                    plugin = "secondary",
                    "All '{origin}' masters failed to transfer, retrying in {pause:?}: {reason}"
                );
                pause
            }
        };
        if wait(&zone, pause, membership.as_ref()).await == Next::End {
            return;
        }
    }
}

/// Waits until this moment, or for ever.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// From now on, queries for the zone fail.
fn expire(zone: &SecondaryZone, reason: &str) {
    tracing::error!(plugin = "secondary", "Zone {} is expired: {reason}", zone.origin);
    zone.slot.set(None);
}

/// A member of a catalog.
struct Membership {
    members: Arc<Members>,
    member: Arc<Member>,
}

/// What a zone does after its pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Check,
    End,
}

/// Waits for the time, or until a primary server says that the zone has changed.
async fn wait(zone: &SecondaryZone, time: Duration, membership: Option<&Membership>) -> Next {
    let end = Instant::now() + time;
    while !zone.slot.take_check() {
        if membership.is_some_and(|it| !it.members.has(&zone.origin, &it.member)) {
            return Next::End;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        sleep(left.min(limits::NOTIFY_LOOK)).await;
    }
    Next::Check
}

/// Transfers the zones that a new version of a catalog adds.
fn apply(zone: &SecondaryZone, catalog: &CatalogZone, version: Catalog, tasks: &mut JoinSet<()>) {
    let update = CatalogUpdate {
        origin: &zone.origin,
        catalog: version,
        primaries: &zone.primaries,
        allowed: &catalog.allowed,
    };
    let Changes { started, done, skipped } = catalog.members.apply(update);
    done.iter().for_each(|line| tracing::info!(plugin = "secondary", "{line}"));
    skipped.iter().for_each(|line| tracing::warn!(plugin = "secondary", "{line}"));
    start(zone, catalog, started, tasks);
}

/// Continues with what is known from before a reload.
fn resume(zone: &SecondaryZone, catalog: &CatalogZone, tasks: &mut JoinSet<()>) {
    start(zone, catalog, catalog.members.of(&zone.origin), tasks);
    let known = zone.slot.get().and_then(|known| Catalog::read(&known).ok());
    if let Some(version) = known {
        apply(zone, catalog, version, tasks);
    }
}

fn start(
    zone: &SecondaryZone,
    catalog: &CatalogZone,
    members: Vec<(Name, Arc<Member>)>,
    tasks: &mut JoinSet<()>,
) {
    for (origin, member) in members {
        let notice = ZoneNotice::find(&catalog.notices, &origin);
        let secondary = SecondaryZone {
            origin,
            primaries: member.primaries.clone(),
            key: zone.key.clone(),
            slot: Arc::clone(&member.slot),
            notice,
            catalog: None,
        };
        let members = Arc::clone(&catalog.members);
        tasks.spawn(follow_member(secondary, Membership { members, member }));
    }
}

/// Boxed, because [`follow`] starts it.
fn follow_member(
    zone: SecondaryZone,
    membership: Membership,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(follow(zone, Some(membership)))
}

/// Transfers the zone from the first primary server that has it. After a change, returns the notice
/// for the secondary servers.
///
/// # Errors
/// If every server fails, with the reason for each.
async fn transfer(
    zone: &SecondaryZone,
    known: Option<&Arc<Zone>>,
    members: &mut JoinSet<()>,
) -> Result<Option<ZoneNotice>, String> {
    let key = zone.key.as_ref().map(|key| key.find().ok_or_else(|| notify::unknown_key(key)));
    let key = key.transpose()?;
    let mut reasons = Vec::new();
    for primary in &zone.primaries {
        match fetch(*primary, &zone.origin, known, key.as_deref()).await {
            Ok(Fetched::Current) => return Ok(None),
            Ok(Fetched::Zone(new)) => {
                let new = Arc::new(*new);
                if let Some(catalog) = &zone.catalog {
                    match Catalog::read(&new) {
                        Ok(version) => apply(zone, catalog, version, members),
                        Err(error) => {
                            reasons.push(format!("{primary}: {error}"));
                            continue;
                        }
                    }
                }
                let line = transferred(zone, *primary, new.serial());
                zone.slot.set(Some(new));
                tracing::info!(plugin = "secondary", "{line}");
                return Ok(zone.notice.clone());
            }
            Err(error) => reasons.push(format!("{primary}: {error}")),
        }
    }
    Err(reasons.join("; "))
}

fn transferred(zone: &SecondaryZone, primary: SocketAddr, serial: u32) -> String {
    format!("Transferred: {} from {primary} with {serial} SOA serial", zone.origin)
}

/// A random delay of at most a tenth of the time and at most five seconds, so that not all zones
/// are checked at the same moment.
fn jitter(time: Duration) -> Duration {
    (time / 10).min(Duration::from_secs(5)).mul_f64(rand::random())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        net::zone_transfer::scripted::{Pace, Primary, origin},
        zonefile::ZoneSlot,
    };

    /// Waits until the zone has this serial, or none.
    async fn serial_is(slot: &ZoneSlot, expected: Option<u32>, within: Duration) {
        let end = Instant::now() + within;
        while slot.get().map(|zone| zone.serial()) != expected {
            assert!(Instant::now() < end, "the serial is not {expected:?} after {within:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_zone_expires_during_a_slow_transfer_and_the_next_server_is_tried() {
        let slow = Primary::start(Pace::fast(1)).await;
        let other = Primary::start(Pace::fast(2)).await;
        let slot: Arc<ZoneSlot> = Arc::default();
        let primaries = vec![slow.address, other.address];
        let zone = SecondaryZone {
            origin: origin(),
            primaries,
            key: None,
            slot: Arc::clone(&slot),
            notice: None,
            catalog: None,
        };
        let mut secondaries = Secondaries::run_new(vec![zone]);
        serial_is(&slot, Some(1), Duration::from_secs(10)).await;
        let pause = Duration::from_secs(9);
        *slow.pace.lock().unwrap() = Pace { records: 10_000, piece: 100, pause, ..Pace::fast(2) };
        // Its SOA record has an expiry of 4 s. The clock of the test may advance by a whole pause.
        serial_is(&slot, None, Duration::from_secs(25)).await;
        serial_is(&slot, Some(2), 2 * limits::TRANSFER_IN_GRACE).await;
        secondaries.run(Vec::new());
    }
}
