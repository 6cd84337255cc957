//! Runs `ndots top`: reads the servers, waits for keys, draws.

mod pages;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers},
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    cli::Top,
    top::{self, Sample, Summary},
};

use super::print_line;
use pages::Servers;

/// The width of a summary without a terminal.
const WIDTH: u16 = 100;

/// # Errors
/// If no server can be read at the start.
pub(super) fn run(flags: &Top) -> anyhow::Result<ExitCode> {
    let runtime =
        Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let servers = runtime.block_on(Servers::find(flags))?;
    let mut view = View { runtime, servers, interval: flags.interval };
    let first = view.read();
    if let Some(why) = first.of_no_server() {
        anyhow::bail!("no server can be read: {why}");
    }
    if flags.once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let begun = Instant::now();
        std::thread::sleep(flags.interval);
        let second = view.read();
        let summary = Summary::between(&first, &second, begun.elapsed());
        print_line!("{}", top::text(&summary, WIDTH).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    ratatui::run(|terminal| view.watch(terminal, first))?;
    Ok(ExitCode::SUCCESS)
}

struct View {
    runtime: Runtime,
    servers: Servers,
    interval: Duration,
}

impl View {
    fn read(&mut self) -> Sample {
        self.runtime.block_on(self.servers.read())
    }

    /// Draws a summary after each interval, until the user ends it.
    fn watch(&mut self, terminal: &mut DefaultTerminal, first: Sample) -> io::Result<()> {
        let mut before = (Instant::now(), first);
        let mut summary = Summary::default();
        loop {
            let show = |frame: &mut ratatui::Frame<'_>| {
                top::draw(&summary, frame.area(), frame.buffer_mut());
            };
            terminal.draw(show)?;
            let due = before.0 + self.interval;
            while let Some(event) = next_event(due, next_of_terminal)? {
                match event {
                    Event::Key(key) if ends(key) => return Ok(()),
                    Event::Resize(..) => {
                        terminal.draw(|frame| {
                            top::draw(&summary, frame.area(), frame.buffer_mut());
                        })?;
                    }
                    _ => {}
                }
            }
            let now = (Instant::now(), self.read());
            summary = Summary::between(&before.1, &now.1, now.0 - before.0);
            before = now;
        }
    }
}

/// The next event up to a moment. If the moment has passed, events that have arrived still count:
/// otherwise no key would work while each read takes as long as the interval.
fn next_event<E>(
    due: Instant,
    within: impl FnOnce(Duration) -> io::Result<Option<E>>,
) -> io::Result<Option<E>> {
    within(due.saturating_duration_since(Instant::now()))
}

fn next_of_terminal(wait: Duration) -> io::Result<Option<Event>> {
    if event::poll(wait)? { event::read().map(Some) } else { Ok(None) }
}

fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Esc | KeyCode::Char('q'))
        || control && key.code == KeyCode::Char('c')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_count_after_a_slow_read() {
        let key = |wait: Duration| Ok((wait < Duration::from_secs(2)).then_some('q'));
        let now = Instant::now();
        for due in [now, now.checked_sub(Duration::from_secs(1)).unwrap()] {
            assert_eq!(next_event(due, key).unwrap(), Some('q'));
        }
        assert_eq!(next_event(now + Duration::from_secs(9), key).unwrap(), None);
    }
}
