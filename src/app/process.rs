//! The metrics of the process, with the names of Prometheus' client libraries. Without proc(5) they
//! are 0.
//!
//! CoreDNS's dashboards use `go_goroutines`: here it is the number of tasks and threads.

mod kernel;

use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus::{
    Counter, Gauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use tokio::runtime::Handle;

use kernel::Kernel;

pub(super) struct Process {
    cpu: Counter,
    resident: Gauge,
    virtual_size: Gauge,
    open: Gauge,
    most: Gauge,
    started: Gauge,
    running: Gauge,
    descriptions: Vec<Desc>,
    /// Two pages may be served at once.
    kernel: Mutex<Kernel>,
}

impl Process {
    pub(super) fn new() -> prometheus::Result<Self> {
        let started =
            Gauge::new("process_start_time_seconds", "Unix time at which the process started.")?;
        started.set(
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        );
        let kernel = Kernel::new()?;
        Ok(Self {
            descriptions: kernel.desc().into_iter().cloned().collect(),
            kernel: Mutex::new(kernel),
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "User and system CPU time of the process in seconds.",
            )?,
            resident: Gauge::new(
                "process_resident_memory_bytes",
                "Resident memory of the process in bytes.",
            )?,
            virtual_size: Gauge::new(
                "process_virtual_memory_bytes",
                "Virtual memory of the process in bytes.",
            )?,
            open: Gauge::new("process_open_fds", "Open file descriptors.")?,
            most: Gauge::new("process_max_fds", "Maximum number of open file descriptors.")?,
            started,
            running: Gauge::new("go_goroutines", "Tasks and threads that exist.")?,
        })
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu,
            &self.resident,
            &self.virtual_size,
            &self.open,
            &self.most,
            &self.started,
            &self.running,
        ]
    }

    fn refresh(&self) {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<f64> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0.0))
            .collect();
        // Fields 14, 15, 20, 23 and 24 of proc(5); the two before the `)` are cut off.
        if let [utime, stime, _, _, _, _, threads, _, _, vsize, rss] =
            fields.get(11..22).unwrap_or_default()
        {
            let tasks =
                Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks());
            self.running.set(threads + tasks as f64);
            self.cpu.inc_by(((utime + stime) / ticks - self.cpu.get()).max(0.0));
            self.virtual_size.set(*vsize);
            self.resident.set(rss * rustix::param::page_size() as f64);
        }
        self.open
            .set(std::fs::read_dir("/proc/self/fd").map_or(0.0, |entries| entries.count() as f64));
        self.most.set(rlimit::Resource::NOFILE.get().map_or(0.0, |(soft, _)| soft as f64));
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let own = self.all().into_iter().flat_map(|figure: &dyn Collector| figure.desc());
        own.chain(&self.descriptions).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        let kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner).families();
        self.all().into_iter().flat_map(Collector::collect).chain(kernel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel itself converts pages into KiB there.
    #[test]
    fn the_resident_memory_is_in_octets() {
        let process = Process::new().unwrap();
        process.refresh();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        let ratio = process.resident.get() / (kib * 1024.);
        assert!((0.5..2.).contains(&ratio), "{ratio}");
    }
}
