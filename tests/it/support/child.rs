//! Child processes of a test.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    ops::{Deref, DerefMut},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use super::lab::until;

/// The longest time for a program to start on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(60);

/// A child process. It is killed when this is dropped.
pub(crate) struct OwnedChild(Child);

impl OwnedChild {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Starts a program, and returns the lines of its standard output. A thread reads them, so that
    /// the pipe never fills.
    pub(crate) fn with_lines(command: &mut Command) -> (Self, Receiver<String>) {
        let mut child = Self::spawn(command.stdout(Stdio::piped()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (send, receive) = channel();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        (child, receive)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits until the server takes connections at this address. Panics if the process ends.
    pub(crate) fn wait_until_it_listens(&mut self, address: SocketAddr) {
        until(&format!("a server that listens at {address}"), START, || {
            assert!(self.is_running(), "the server for {address} has ended");
            TcpStream::connect(address).ok()
        });
    }
}

impl Deref for OwnedChild {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for OwnedChild {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A number in `/proc/PROCESS/status`, such as `VmRSS` in KiB. `None` if the process has ended.
pub(crate) fn status(process: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    value.trim().trim_end_matches(" kB").parse().ok()
}

/// Kills all processes that this process has started, directly or not. The processes of another
/// process group stay, because they clean up.
pub(crate) fn kill_all() {
    // The process and its parent; both are in the group of this process.
    let parents: HashMap<u32, u32> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, parent_in_own_group(process)?)))
        .collect();
    let own = std::process::id();
    let is_ours = |process: &u32| {
        let mut ancestors = std::iter::successors(parents.get(process), |it| parents.get(it));
        ancestors.any(|it| *it == own)
    };
    let started: Vec<_> = parents.keys().filter(|it| is_ours(it)).map(u32::to_string).collect();
    let _ = Command::new("kill").args(["-s", "KILL"]).args(started).status();
}

/// The parent of a process in the process group of this process (proc(5)).
fn parent_in_own_group(process: u32) -> Option<u32> {
    let fields = |process: u32| -> Option<[u32; 2]> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(1);
        Some([fields.next()?.parse().ok()?, fields.next()?.parse().ok()?])
    };
    let [parent, group] = fields(process)?;
    (group == fields(std::process::id())?[1]).then_some(parent)
}
