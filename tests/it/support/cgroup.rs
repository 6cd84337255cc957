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
}

/// The names of the files in a version of control groups.
struct Files {
    root: &'static str,
    limit: &'static str,
    peak: &'static str,
}

const VERSIONS: [Files; 2] = [
    Files {
        root: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        peak: "memory.max_usage_in_bytes",
    },
    Files { root: "/sys/fs/cgroup", limit: "memory.max", peak: "memory.peak" },
];

impl MemoryGroup {
    /// Limits the memory of a process, with the kernel's memory for its sockets. `None` where this
    /// machine does not let the test do so.
    pub(crate) fn limit(process: u32, octets: u64) -> Option<Self> {
        VERSIONS.iter().find_map(|files| {
            let root = Path::new(files.root);
            let group = root.join(format!("ndots-test-{process}"));
            fs::create_dir(&group).ok()?;
            // From here on, dropping it removes the directory.
            let limited = Self { root: root.to_owned(), group, files, process };
            fs::metadata(limited.group.join(files.limit)).ok()?;
            fs::write(limited.group.join(files.limit), octets.to_string()).ok()?;
            fs::write(limited.group.join("cgroup.procs"), process.to_string()).ok()?;
            Some(limited)
        })
    }

    /// The highest use so far, in octets.
    pub(crate) fn peak(&self) -> Option<u64> {
        fs::read_to_string(self.group.join(self.files.peak)).ok()?.trim().parse().ok()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::write(self.root.join("cgroup.procs"), self.process.to_string());
        let _ = fs::remove_dir(&self.group);
    }
}
