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

/// How much memory is resident, but not in use.
#[derive(Debug, Default)]
struct Slack {
    /// The octets that were left after the last return. Some free memory stays between pieces that
    /// are in use.
    rest: u64,
}

impl Slack {
    /// Whether memory must be returned now. While many queries wait, ndots would need it again.
    fn is_due(&self, waiting: usize, slack: u64) -> bool {
        waiting <= limits::MEMORY_BURST && slack > self.rest + limits::MEMORY_GROWTH
    }
}

/// Runs until the dispatcher is dropped.
pub async fn give_back(dispatcher: Arc<Dispatcher>) {
    let dispatcher: Weak<Dispatcher> = Arc::downgrade(&dispatcher);
    let mut slack = Slack::default();
    loop {
        sleep(limits::MEMORY_INTERVAL).await;
        let Some(dispatcher) = dispatcher.upgrade() else { return };
        dispatcher.exchanger.free_ended();
        let waiting = dispatcher.waiting();
        drop(dispatcher);
        // With much free memory, the allocator needs milliseconds to count it.
        let Ok(now) = spawn_blocking(unused).await else { return };
        // The slack can become smaller, too, when free memory is used.
        slack.rest = slack.rest.min(now);
        if slack.is_due(waiting, now) {
            let _ = spawn_blocking(trim).await;
            slack.rest = unused();
        }
    }
}

/// Octets that the process has, but does not use.
fn unused() -> u64 {
    resident().saturating_sub(used())
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

/// Octets that the program has allocated.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn used() -> u64 {
    // SAFETY: mallinfo2(3) has no preconditions, and may run beside any other thread.
    let found = unsafe { libc::mallinfo2() };
    (found.uordblks + found.hblkhd) as u64
}

/// Other C libraries return memory themselves, or cannot be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn used() -> u64 {
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_memory_of_this_process_is_known() {
        assert!((1 << 20..1 << 34).contains(&resident()), "{}", resident());
    }

    #[test]
    fn memory_is_given_back_when_much_is_free_and_few_queries_wait() {
        let slack = Slack { rest: 20 << 20 };
        let due = |waiting, mib: u64| slack.is_due(waiting, mib << 20);
        assert!(!due(0, 20) && !due(0, 21), "there is not more than after the last return");
        assert!(!due(limits::MEMORY_BURST + 1, 90), "the burst goes on");
        assert!(due(0, 90));
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn allocated_memory_is_in_use() {
        let before = used();
        let memory = vec![1_u8; 64 << 20];
        let during = used();
        assert!(during > before + (60 << 20), "{before} {during} {}", memory.len());
    }
}
