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
            while let Some(left) = self.interval.checked_sub(before.0.elapsed()) {
                if !event::poll(left)? {
                    break;
                }
                match event::read()? {
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

fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Esc | KeyCode::Char('q'))
        || control && key.code == KeyCode::Char('c')
}
