//! How much memory the objects of an API server may take.
#![expect(clippy::disallowed_methods, reason = "the system's limit of this process is read here")]

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use crate::{limits, model::Kind};

/// Octets of memory for the facts of all kinds of a server.
pub struct Budget {
    /// What the known facts of each kind take.
    known: [AtomicUsize; Kind::ALL.len()],
    /// One bit for each kind of which objects were left out.
    incomplete: AtomicU32,
    most: AtomicUsize,
    read_most: fn() -> usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(|| share(memory_limit()))
    }
}

impl Budget {
    pub(super) fn of(read_most: fn() -> usize) -> Self {
        Self {
            known: Default::default(),
            incomplete: AtomicU32::new(0),
            most: AtomicUsize::new(read_most()),
            read_most,
        }
    }

    /// Says how many octets the known facts of a kind take now.
    pub fn set_known(&self, kind: Kind, octets: usize) {
        self.known[kind as usize].store(octets, Ordering::Relaxed);
    }

    pub(super) fn known(&self, kind: Kind) -> usize {
        self.known[kind as usize].load(Ordering::Relaxed)
    }

    /// What the known facts of all kinds take.
    pub(super) fn used(&self) -> usize {
        Kind::ALL.iter().map(|kind| self.known(*kind)).sum()
    }

    /// How many octets all facts may take.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Reads the bound again, because Kubernetes can change the limit of a running container.
    pub fn refresh(&self) {
        self.most.store((self.read_most)(), Ordering::Relaxed);
    }

    /// Notes that objects of the kind were left out.
    pub fn leave_out(&self, kind: Kind) {
        self.incomplete.fetch_or(bit(kind), Ordering::Relaxed);
    }

    /// Whether all objects of the kind are known.
    pub(super) fn is_complete(&self, kind: Kind) -> bool {
        self.incomplete.load(Ordering::Relaxed) & bit(kind) == 0
    }

    /// Whether objects of the kind were left out, and an eighth of the memory is free again. The
    /// kind then counts as complete, because its objects are listed again.
    pub(super) fn may_complete(&self, kind: Kind) -> bool {
        let may = !self.is_complete(kind) && self.used() <= self.most() / 8 * 7;
        if may {
            self.incomplete.fetch_and(!bit(kind), Ordering::Relaxed);
        }
        may
    }
}

/// What is wrong, and what an operator can do.
impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the objects of the cluster need more than {} MiB, which are three eighths of the \
             memory limit; raise the limit",
            self.most() >> 20
        )
    }
}

fn bit(kind: Kind) -> u32 {
    1 << kind as u32
}

/// The share of a memory limit. 170 MiB, as in kubeadm's Deployment, leave 63 MiB.
fn share(limit: Option<u64>) -> usize {
    let octets = limit.and_then(|limit| usize::try_from(limit / 8 * 3).ok());
    octets.unwrap_or(limits::API_FACTS_OCTETS).min(limits::API_FACTS_OCTETS)
}

/// The memory limit of the process's control group. `None` if there is none, or if the system does
/// not say.
fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().find_map(|line| {
        // `0::/path` is version 2, and `7:memory:/path` version 1.
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let (root, own) = (Path::new(root), path.trim_start_matches('/'));
        // In a container, the root may be the container's own group, although the path is that of
        // the node.
        let text = fs::read_to_string(root.join(own).join(file))
            .or_else(|_| fs::read_to_string(root.join(file)));
        text.ok()?.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_follows_the_limit() {
        for (limit, expected) in [
            (Some(170 << 20), 66_846_720),
            (Some(1 << 30), 3 << 27),
            (Some(u64::MAX), limits::API_FACTS_OCTETS),
            (None, limits::API_FACTS_OCTETS),
        ] {
            assert_eq!(share(limit), expected, "{limit:?}");
        }
    }
}
