//! The memory limit of a container, for a process of a test.

use std::{fs, io::Write, path::PathBuf};

use super::{child::status, requirements::require_root};

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
    /// Limits the memory of a process, with the kernel's memory for its sockets. Without root, or on
    /// a machine whose control groups cannot be changed, the process has no limit, and a line says
    /// so. With CI=true the test must run as root.
    pub(crate) fn limit(process: u32, octets: u64) -> Option<Self> {
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            require_root();
        }
        let mut reasons = Vec::new();
        for files in &VERSIONS {
            match Self::create(process, files) {
                Ok(group) => {
                    group.limit_to(octets);
                    return Some(group);
                }
                Err(reason) => reasons.push(format!("{}: {reason}", files.root)),
            }
        }
        // The test harness would hide a line of `eprintln!`.
        let line = format!("NOT TESTED: the memory limit of a container ({})", reasons.join("; "));
        let _ = writeln!(std::io::stderr(), "{line}");
        None
    }

    /// A group without a process and without a limit. An error says why there can be none.
    fn create(process: u32, files: &'static Files) -> Result<Self, String> {
        let root = PathBuf::from(files.root);
        let group = root.join(format!("ndots-test-{process}"));
        fs::create_dir(&group).map_err(|error| error.to_string())?;
        // From here on, dropping it removes the directory.
        let limited = Self { root, group, files, process, before: anonymous(process) };
        let (limit, peak) = files.tcp.unzip();
        for name in [Some(files.limit), Some(files.peak), limit, peak].into_iter().flatten() {
            if !limited.group.join(name).exists() {
                return Err(format!("this kernel has no {name}"));
            }
        }
        Ok(limited)
    }

    fn limit_to(&self, octets: u64) {
        let write = |name: &str, value: u64| {
            let written = fs::write(self.group.join(name), value.to_string());
            written.unwrap_or_else(|error| panic!("{name} of {}: {error}", self.group.display()));
        };
        write(self.files.limit, octets);
        if let Some((limit, _)) = self.files.tcp {
            write(limit, octets);
        }
        write("cgroup.procs", self.process.into());
    }

    /// An upper bound of the highest use so far, in octets. It adds up figures of different times:
    /// what the process had before the group, the peak of the group, and the peak of TCP sockets.
    pub(crate) fn peak(&self) -> u64 {
        let read = |name| -> u64 {
            fs::read_to_string(self.group.join(name)).unwrap().trim().parse().unwrap()
        };
        self.before + read(self.files.peak) + self.files.tcp.map_or(0, |(_, peak)| read(peak))
    }
}

/// The octets of a process's memory that are not backed by a file.
fn anonymous(process: u32) -> u64 {
    status(process, "RssAnon").unwrap_or(0) << 10
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::write(self.root.join("cgroup.procs"), self.process.to_string());
        let _ = fs::remove_dir(&self.group);
    }
}
