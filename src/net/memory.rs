//! Returns the memory of a burst to the system. glibc has an arena for each thread, keeps freed
//! memory in it, and returns only the free memory at the end of an arena.
#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "no crate wraps this function of glibc")
)]
#![expect(
    clippy::disallowed_methods,
    reason = "the system's figures of this process are read here"
)]

use std::sync::{Arc, Weak};

use tokio::{task::spawn_blocking, time::sleep};

use crate::limits;

use super::Dispatcher;

/// The state that decides when memory is returned.
#[derive(Debug, Default)]
struct Use {
    /// The memory of the process in octets after the last return.
    resident: u64,
    /// How many times memory must still be returned. After a burst, memory becomes free in several
    /// steps.
    due: u32,
}

impl Use {
    /// Whether memory must be returned now. While many queries wait, ndots would need it again.
    fn is_due(&mut self, waiting: usize, resident: u64) -> bool {
        if waiting > limits::MEMORY_BURST {
            self.due = limits::MEMORY_RETURNS;
            return false;
        }
        if resident > self.resident + limits::MEMORY_GROWTH {
            self.due = limits::MEMORY_RETURNS;
        }
        let due = self.due > 0;
        self.due = self.due.saturating_sub(1);
        due
    }
}

/// Runs until the dispatcher is dropped.
pub async fn give_back(dispatcher: Arc<Dispatcher>) {
    let dispatcher: Weak<Dispatcher> = Arc::downgrade(&dispatcher);
    let mut usage = Use::default();
    loop {
        sleep(limits::MEMORY_INTERVAL).await;
        let Some(waiting) = dispatcher.upgrade().map(|dispatcher| dispatcher.waiting()) else {
            return;
        };
        if usage.is_due(waiting, resident()) {
            let _ = spawn_blocking(trim).await;
            usage.resident = resident();
        }
    }
}

/// Octets of memory that the process has now; 0 if the system does not say.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: malloc_trim(3) has no preconditions, and may run beside any other thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries return memory themselves, or cannot be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_memory_of_this_process_is_known() {
        assert!((1 << 20..1 << 34).contains(&resident()), "{}", resident());
    }

    #[test]
    fn memory_is_given_back_after_a_burst_and_after_growth() {
        let mut usage = Use { resident: 20 << 20, due: 0 };
        let mut due = |waiting, mib: u64| usage.is_due(waiting, mib << 20);
        assert!(!due(0, 20) && !due(0, 21), "nothing has happened");
        assert!(!due(limits::MEMORY_BURST + 1, 90), "the burst goes on");
        let given = (0..10).filter(|_| due(0, 20)).count();
        assert_eq!(given, limits::MEMORY_RETURNS as usize);
        assert!(due(0, 90), "it has grown");
    }
}
