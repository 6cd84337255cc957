//! The kernel's figures about this process: datagrams that the kernel dropped, and time that
//! threads waited because of the CPU quota of the cgroup. Without the files of Linux all figures
//! are 0.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use prometheus::{
    Counter, IntCounter,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Figures that only grow.
pub(super) struct Kernel {
    dropped: IntCounter,
    /// The drops of each open socket at the last look, by inode. Sockets close at reloads.
    drops: BTreeMap<u64, u64>,
    periods: IntCounter,
    throttled: IntCounter,
    throttled_seconds: Counter,
}

impl Kernel {
    pub(super) fn new() -> prometheus::Result<Self> {
        Ok(Self {
            dropped: IntCounter::new(
                "coredns_udp_dropped_datagrams_total",
                "Datagrams that the kernel dropped because the buffer of a socket was full.",
            )?,
            drops: BTreeMap::new(),
            periods: IntCounter::new(
                "coredns_cpu_periods_total",
                "Periods of the CPU quota of the cgroup.",
            )?,
            throttled: IntCounter::new(
                "coredns_cpu_throttled_periods_total",
                "Periods in which the CPU quota of the cgroup was used up.",
            )?,
            throttled_seconds: Counter::new(
                "coredns_cpu_throttled_seconds_total",
                "Time that threads waited because the CPU quota of the cgroup was used up.",
            )?,
        })
    }

    pub(super) fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    pub(super) fn families(&mut self) -> Vec<MetricFamily> {
        self.count_drops(&sockets());
        if let Some(usage) = read_quota() {
            raise(&self.periods, usage.periods);
            raise(&self.throttled, usage.throttled);
            let more = usage.throttled_seconds - self.throttled_seconds.get();
            self.throttled_seconds.inc_by(more.max(0.));
        }
        self.all().into_iter().flat_map(Collector::collect).collect()
    }

    fn all(&self) -> [&dyn Collector; 4] {
        [&self.dropped, &self.periods, &self.throttled, &self.throttled_seconds]
    }

    /// Adds what was dropped since the last look.
    fn count_drops(&mut self, sockets: &BTreeMap<u64, u64>) {
        for (inode, drops) in sockets {
            let before = self.drops.get(inode).copied().unwrap_or_default();
            self.dropped.inc_by(drops.saturating_sub(before));
        }
        self.drops.clone_from(sockets);
    }
}

fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

/// The UDP sockets of this process with the datagrams that were dropped, by inode.
fn sockets() -> BTreeMap<u64, u64> {
    let own = |entry: fs::DirEntry| {
        let link = fs::read_link(entry.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    let own: BTreeSet<u64> = fs::read_dir("/proc/self/fd")
        .map(|entries| entries.flatten().filter_map(own).collect())
        .unwrap_or_default();
    let mut found = BTreeMap::new();
    for table in ["/proc/self/net/udp", "/proc/self/net/udp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        found.extend(text.lines().filter_map(socket).filter(|(inode, _)| own.contains(inode)));
    }
    found
}

/// The inode and the drops in a line of `/proc/net/udp`.
fn socket(line: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    Some((fields.get(9)?.parse().ok()?, fields.get(12)?.parse().ok()?))
}

#[derive(Debug, Default, PartialEq)]
struct QuotaUsage {
    periods: u64,
    throttled: u64,
    throttled_seconds: f64,
}

fn read_quota() -> Option<QuotaUsage> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    stat_files(&cgroups).iter().find_map(|file| fs::read_to_string(file).ok()).map(|it| usage(&it))
}

/// Where `cpu.stat` of this process may be, for the text of `/proc/self/cgroup`. In a container the
/// path may be that of the node, whose root is mounted as the container's own directory.
fn stat_files(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let mount = match controllers {
            "" => "/sys/fs/cgroup".to_owned(),
            _ if controllers.split(',').any(|it| it == "cpu") => {
                format!("/sys/fs/cgroup/{controllers}")
            }
            _ => continue,
        };
        for directory in [path, ""] {
            files.push(PathBuf::from(format!(
                "{mount}{}/cpu.stat",
                directory.trim_end_matches('/')
            )));
        }
    }
    files
}

/// `throttled_usec` is of cgroup v2, and `throttled_time` in nanoseconds of v1.
fn usage(stat: &str) -> QuotaUsage {
    let mut usage = QuotaUsage::default();
    for (name, value) in stat.lines().filter_map(|line| line.split_once(' ')) {
        let value: u64 = value.trim().parse().unwrap_or_default();
        match name {
            "nr_periods" => usage.periods = value,
            "nr_throttled" => usage.throttled = value,
            "throttled_usec" => usage.throttled_seconds = value as f64 / 1e6,
            "throttled_time" => usage.throttled_seconds = value as f64 / 1e9,
            _ => {}
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_those_of_the_last_column() {
        let head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
        assert_eq!(socket(head), None);
        let line = "  511: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000 65532        0 48813 2 0000000000000000 17";
        assert_eq!(socket(line), Some((48813, 17)));
        let line = " 1101: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 20231 2 0000000000000000 0";
        assert_eq!(socket(line), Some((20231, 0)));
    }

    #[test]
    fn drops_of_closed_sockets_stay_counted() {
        let mut kernel = Kernel::new().unwrap();
        kernel.count_drops(&BTreeMap::from([(1, 5), (2, 1)]));
        kernel.count_drops(&BTreeMap::from([(2, 4)]));
        kernel.count_drops(&BTreeMap::from([(2, 4), (3, 0)]));
        assert_eq!(kernel.dropped.get(), 9);
    }

    #[test]
    fn the_quota_of_both_versions_of_cgroups_is_found() {
        let path = |text: &str| {
            stat_files(text).iter().map(|file| file.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(path("0::/\n"), ["/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu.stat"]);
        assert_eq!(
            path("12:memory:/a\n4:cpu,cpuacct:/kubepods/pod1\n0::/kubepods\n"),
            [
                "/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/cpu.stat",
                "/sys/fs/cgroup/cpu,cpuacct/cpu.stat",
                "/sys/fs/cgroup/kubepods/cpu.stat",
                "/sys/fs/cgroup/cpu.stat",
            ]
        );
        let v2 = "usage_usec 9\nnr_periods 70\nnr_throttled 7\nthrottled_usec 1500000\n";
        let v1 = "nr_periods 70\nnr_throttled 7\nthrottled_time 1500000000\n";
        let expected = QuotaUsage { periods: 70, throttled: 7, throttled_seconds: 1.5 };
        assert_eq!([usage(v2), usage(v1)], [expected, QuotaUsage { ..usage(v2) }]);
        assert_eq!(usage("usage_usec 9\n"), QuotaUsage::default());
    }
}
