//! How much memory the objects of an API server may take.
#![expect(clippy::disallowed_methods, reason = "the system's limit of this process is read here")]

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::limits;

/// Octets of memory for the facts of all kinds of a server.
pub(super) struct Budget {
    used: AtomicUsize,
    most: fn() -> usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(|| share(memory_limit()))
    }
}

impl Budget {
    pub(super) fn of(most: fn() -> usize) -> Self {
        Self { used: AtomicUsize::new(0), most }
    }

    pub(super) fn add(&self, octets: usize) {
        self.used.fetch_add(octets, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, octets: usize) {
        self.used.fetch_sub(octets, Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The bound now: Kubernetes can change the limit of a running container.
    pub(super) fn most(&self) -> usize {
        (self.most)()
    }
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
