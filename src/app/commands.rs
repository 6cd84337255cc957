//! Programs that the plugin `on` runs. A failure is logged, and the server goes on.

use std::process::Child;

use crate::{
    plugin::{Command, Event, Need},
    server::CheckedBlock,
};

use super::config::Configuration;

/// The programs of the configuration in force.
pub(super) struct Commands(Vec<Command>);

impl Commands {
    pub(super) fn of(configuration: &Configuration) -> Self {
        let needs = configuration.blocks.iter().flat_map(CheckedBlock::needs);
        let command = |need| if let Need::Command(command) = need { Some(command) } else { None };
        Self(needs.filter_map(command).collect())
    }

    /// Runs the programs of an event in their order, and waits for those that are not in the
    /// background.
    pub(super) fn run(&self, event: Event) {
        for command in self.0.iter().filter(|command| command.event == event) {
            tokio::task::block_in_place(|| run(command));
        }
    }
}

fn run(command: &Command) {
    let Some((program, arguments)) = command.words.split_first() else { return };
    let line = command.words.join(" ");
    tracing::info!(plugin = "on", "running \"{line}\"");
    let mut child = match std::process::Command::new(program).args(arguments).spawn() {
        Ok(child) => child,
        Err(error) => return tracing::error!(plugin = "on", "cannot run {program}: {error}"),
    };
    let wait = move |child: &mut Child| match child.wait() {
        Ok(status) if status.success() => {}
        Ok(status) => tracing::error!(plugin = "on", "\"{line}\" ended with {status}"),
        Err(error) => tracing::error!(plugin = "on", "\"{line}\": {error}"),
    };
    if command.background {
        tokio::task::spawn_blocking(move || wait(&mut child));
    } else {
        wait(&mut child);
    }
}
