//! Programs that the plugin `on` runs. A failure is logged, and the server goes on.

use std::{process, thread};

use tokio::{sync::oneshot, time::timeout};

use crate::{
    corefile::go_duration,
    limits,
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
    /// background. If the future is dropped, no further program starts.
    pub(super) fn run(&self, event: Event) -> impl Future<Output = ()> + Send + use<> {
        let commands = self.0.iter().filter(|command| command.event == event);
        let commands: Vec<_> = commands.cloned().collect();
        async move {
            for command in commands {
                run(command).await;
            }
        }
    }
}

/// Messages contain only the name of the program: its arguments may be secrets.
async fn run(command: Command) {
    let Command { words, background, .. } = command;
    let Some(program) = words.first().cloned() else { return };
    tracing::info!(plugin = "on", "running \"{program}\"");
    let (ended, end) = oneshot::channel();
    let started = thread::Builder::new().name("on".to_owned()).spawn(move || {
        run_to_its_end(&words);
        // Nothing waits for a program in the background.
        let _ = ended.send(());
    });
    if let Err(error) = started {
        return tracing::error!(plugin = "on", "cannot run {program}: {error}");
    }
    if !background && timeout(limits::COMMAND_TIME, end).await.is_err() {
        let time = go_duration(limits::COMMAND_TIME);
        tracing::warn!(plugin = "on", "\"{program}\" still runs after {time}: ndots goes on");
    }
}

fn run_to_its_end(words: &[String]) {
    let Some((program, arguments)) = words.split_first() else { return };
    match process::Command::new(program).args(arguments).status() {
        Ok(status) if status.success() => {}
        Ok(status) => tracing::error!(plugin = "on", "\"{program}\" ended with {status}"),
        Err(error) => tracing::error!(plugin = "on", "cannot run {program}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(lines: &[(&[&str], bool)]) -> Commands {
        let command = |(words, background): &(&[&str], bool)| Command {
            event: Event::Shutdown,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            background: *background,
        };
        Commands(lines.iter().map(command).collect())
    }

    /// With the clock paused, time passes only while nothing else can happen.
    #[tokio::test(start_paused = true)]
    async fn a_program_that_hangs_delays_for_a_limited_time() {
        let start = tokio::time::Instant::now();
        commands(&[(&["/bin/sleep", "5"], false), (&["/bin/sleep", "5"], true)])
            .run(Event::Shutdown)
            .await;
        assert_eq!(start.elapsed().as_secs(), limits::COMMAND_TIME.as_secs());
        commands(&[(&["/bin/sleep", "5"], true)]).run(Event::Startup).await;
        commands(&[(&["/no/such/program"], true)]).run(Event::Shutdown).await;
    }

    #[tokio::test]
    async fn programs_run_in_their_order() {
        let path = std::env::temp_dir().join(format!("ndots-commands-{}", process::id()));
        let file = path.join("file").display().to_string();
        let path = path.display().to_string();
        commands(&[(&["/bin/mkdir", &path], false), (&["/usr/bin/touch", &file], false)])
            .run(Event::Shutdown)
            .await;
        let made = std::path::Path::new(&file).exists();
        let _ = std::fs::remove_dir_all(&path);
        assert!(made);
    }
}
