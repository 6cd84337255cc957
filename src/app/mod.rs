//! Composition: configuration, sources, zones, chains, listeners; reload and the order of shutdown. Decides nothing about DNS.
#![expect(clippy::disallowed_methods, reason = "files and clocks are read here")]
#![expect(clippy::print_stderr, reason = "what the person at the terminal asked for")]

mod build;
mod config;
mod openings;
mod process;
mod resolve;
mod said;
mod serve;
mod sources;
mod watch;
mod welcome;

use std::process::ExitCode;

/// Prints a line for the person at the terminal, who may have left: `ndots config | head -1` is no error.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($line)*);
    }};
}
use say;

use anyhow::Context;

use crate::{
    cli::{Cli, Command, ServerFlags},
    plugin,
};

use config::Text;

/// Exit codes: 0 all well, 1 cannot run or a wrong Corefile (as in CoreDNS), 2 a wrong command line (clap's own).
const FAILED: u8 = 1;

/// Runs what the command line says.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Some(Command::Serve(flags)) => serve::run(&Text::of_flags(&flags), &cli.server, Some(&flags.zone)),
        Some(Command::Config(flags)) => {
            say!("{}", flags.corefile().trim_end());
            Ok(())
        }
        Some(Command::Check { file }) => check(&file),
        None => server(&cli.server),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ndots: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn server(flags: &ServerFlags) -> anyhow::Result<()> {
    if flags.version {
        say!("ndots-{}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    if flags.plugins {
        plugin::ALL.iter().filter(|entry| entry.is_here()).for_each(|entry| say!("dns.{}", entry.name));
        return Ok(());
    }
    if let Some(file) = &flags.pidfile {
        std::fs::write(file, format!("{}\n", std::process::id())).with_context(|| format!("cannot write {}", file.display()))?;
    }
    serve::run(&Text::of_file(flags.conf.as_deref())?, flags, None)
}

fn check(file: &str) -> anyhow::Result<()> {
    let text = Text::of_file(Some(file))?;
    let checked = config::check(&text, 53)?;
    let blocks = checked.blocks.len();
    say!("{file}: {blocks} server block{}, no mistakes", if blocks == 1 { "" } else { "s" });
    Ok(())
}
