//! Waits for files, host names and interfaces that the Corefile names and that could not be used at
//! the start or at the last reload.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use crate::{limits, plugin::Awaited};

use super::{compose, resolve};

/// The files, host names and interfaces that a reload would use as soon as they can be used.
pub(super) struct Waiting {
    /// A file has the content that the configuration in use was built from.
    awaited: Vec<(Awaited, Option<String>)>,
    task: JoinSet<()>,
}

impl Waiting {
    pub(super) fn start(awaited: Vec<(Awaited, Option<String>)>) -> Self {
        let mut waiting = Self { awaited, task: JoinSet::new() };
        waiting.again(Duration::ZERO);
        waiting
    }

    /// Waits again, because the reload failed. The pause limits how often a reload fails.
    pub(super) fn again(&mut self, pause: Duration) {
        let awaited = self.awaited.clone();
        if !awaited.is_empty() && self.task.is_empty() {
            self.task.spawn(async move {
                sleep(pause).await;
                wait(&awaited).await;
            });
        }
    }

    /// `Some` when a file has changed, a host name has an address, or an interface exists. `None`
    /// if no wait is in progress.
    pub(super) async fn arrived(&mut self) -> Option<()> {
        self.task.join_next().await.map(drop)
    }
}

async fn wait(awaited: &[(Awaited, Option<String>)]) {
    let mut looks = interval(limits::RELOAD_INTERVAL);
    let mut pause = limits::HOST_RETRY_FIRST;
    let mut next_lookup = Instant::now() + pause;
    loop {
        looks.tick().await;
        let arrived = |(awaited, before): &(Awaited, Option<String>)| match awaited {
            Awaited::File(path) => std::fs::read_to_string(path).ok() != *before,
            Awaited::Interface(zone) => is_interface(zone),
            Awaited::Host(_) => false,
        };
        if awaited.iter().any(arrived) {
            return;
        }
        if Instant::now() < next_lookup {
            continue;
        }
        for (host, _) in awaited {
            if let Awaited::Host(host) = host
                && resolve::addresses(host).await.is_ok_and(|found| !found.is_empty())
            {
                return;
            }
        }
        pause = limits::HOST_RETRY_LONGEST.min(2 * pause);
        next_lookup = Instant::now() + pause;
    }
}

/// Whether this is the name or the index of an interface that exists.
fn is_interface(zone: &str) -> bool {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    compose::indexed(&interfaces).iter().any(|interface| interface.is(zone))
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_changes_and_an_interface_that_exists_end_the_wait() {
        let file = std::env::temp_dir().join(format!("ndots-waiting-{}", std::process::id()));
        let path = file.display().to_string();
        let interface = |name: &str| (Awaited::Interface(name.to_owned()), None);
        let missing = (Awaited::File(path.clone()), None);
        let mut waiting = Waiting::start(vec![missing, interface("none")]);
        let long = 10 * limits::RELOAD_INTERVAL;
        assert!(timeout(long, waiting.arrived()).await.is_err());
        std::fs::write(&file, "nameserver 192.0.2.1").unwrap();
        assert_eq!(timeout(long, waiting.arrived()).await, Ok(Some(())));
        assert_eq!(waiting.arrived().await, None);
        // It arrived after it was read, and before the wait began.
        waiting.again(limits::AWAITED_PAUSE);
        assert_eq!(timeout(10 * limits::AWAITED_PAUSE, waiting.arrived()).await, Ok(Some(())));
        let content = Some("nameserver 192.0.2.1".to_owned());
        let mut waiting = Waiting::start(vec![(Awaited::File(path), content)]);
        assert!(timeout(long, waiting.arrived()).await.is_err(), "it is the file that was read");
        std::fs::remove_file(file).unwrap();
        assert_eq!(timeout(long, waiting.arrived()).await, Ok(Some(())));
        let mut waiting = Waiting::start(vec![interface("lo")]);
        assert_eq!(timeout(long, waiting.arrived()).await, Ok(Some(())));
        waiting.again(long);
        assert!(timeout(long / 2, waiting.arrived()).await.is_err());
        assert_eq!(timeout(long, waiting.arrived()).await, Ok(Some(())));
    }
}
