//! The memory limit of a container, for a process of a test.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The limit of CoreDNS's container in kubeadm's Deployment: 170 MiB.
pub(crate) const KUBEADM: u64 = 170 << 20;

/// A control group with one process. It is removed when this is dropped.
pub(crate) struct MemoryGroup {
    root: PathBuf,
    group: PathBuf,
    files: &'static Files,
    process: u32,
    /// Octets that the process had before it joined the group. The group does not count them.
    before: u64,
}

/// The names of the files in a version of control groups.
struct Files {
    root: &'static str,
    limit: &'static str,
    peak: &'static str,
    /// Version 1 counts the memory of TCP sockets apart, and only if it has a limit.
    tcp: Option<(&'static str, &'static str)>,
}

const VERSIONS: [Files; 2] = [
    Files {
        root: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        peak: "memory.max_usage_in_bytes",
        tcp: Some(("memory.kmem.tcp.limit_in_bytes", "memory.kmem.tcp.max_usage_in_bytes")),
    },
    Files { root: "/sys/fs/cgroup", limit: "memory.max", peak: "memory.peak", tcp: None },
];

impl MemoryGroup {
    /// Limits the memory of a process, with the kernel's memory for its sockets. `None` if this
    /// machine does not permit that.
    pub(crate) fn limit(process: u32, octets: u64) -> Option<Self> {
        VERSIONS.iter().find_map(|files| {
            let root = Path::new(files.root);
            let group = root.join(format!("ndots-test-{process}"));
            fs::create_dir(&group).ok()?;
            // From here on, dropping it removes the directory.
            let (root, before) = (root.to_owned(), anonymous(process));
            let limited = Self { root, group, files, process, before };
            fs::metadata(limited.group.join(files.limit)).ok()?;
            fs::write(limited.group.join(files.limit), octets.to_string()).ok()?;
            if let Some((limit, _)) = files.tcp {
                fs::write(limited.group.join(limit), octets.to_string()).ok()?;
            }
            fs::write(limited.group.join("cgroup.procs"), process.to_string()).ok()?;
            Some(limited)
        })
    }

    /// An upper bound of the highest use so far, in octets. It adds up figures of different times:
    /// what the process had before the group, the peak of the group, and the peak of TCP sockets.
    pub(crate) fn peak(&self) -> Option<u64> {
        let read = |name| -> Option<u64> {
            fs::read_to_string(self.group.join(name)).ok()?.trim().parse().ok()
        };
        let tcp = self.files.tcp.map_or(Some(0), |(_, peak)| read(peak))?;
        Some(self.before + read(self.files.peak)? + tcp)
    }
}

/// The octets of a process's memory that are not backed by a file.
fn anonymous(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::write(self.root.join("cgroup.procs"), self.process.to_string());
        let _ = fs::remove_dir(&self.group);
    }
}
