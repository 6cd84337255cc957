//! Composition: configuration, sources, zones, chains, listeners; reload and the order of shutdown.
//! Decides nothing about DNS.
#![expect(clippy::disallowed_methods, reason = "files and clocks are read here")]
#![expect(clippy::print_stderr, reason = "what the person at the terminal asked for")]

mod banner;
mod compose;
mod config;
mod explain;
mod listen_config;
mod process;
mod resolve;
mod said;
mod serve;
mod signals;
mod sources;
mod watch;

use std::process::ExitCode;

/// Prints a line for the person at the terminal, who may have left: `ndots config | head -1` is no
/// error.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($line)*);
    }};
}
use say;

use crate::{
    cli::{Cli, Command, ServerFlags},
    plugin,
};

use config::Text;

/// Exit codes, as CoreDNS has them: 0 all well, 1 cannot run or a wrong Corefile, 2 a wrong flag or
/// an end that was forced.
const FAILED: u8 = 1;

/// Runs what the command line says.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Some(Command::Serve(flags)) => {
            serve::run(&Text::of_flags(&flags), &cli.server, Some(&flags.zone))
        }
        Some(Command::Config(flags)) => {
            say!("{}", flags.corefile().trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Check { file }) => check(&file),
        Some(Command::Explain(flags)) => return explain::explain(&flags),
        Some(Command::Query(flags)) => return explain::query(&flags),
        Some(Command::Plugins { name }) => {
            say!("{}", name.map_or_else(plugin::list, plugin::page));
            Ok(ExitCode::SUCCESS)
        }
        None => server(&cli.server),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ndots: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn server(flags: &ServerFlags) -> anyhow::Result<ExitCode> {
    if flags.version {
        say!("{}", banner::version());
        return Ok(ExitCode::SUCCESS);
    }
    if flags.plugins {
        plugin::available().for_each(|directive| say!("dns.{}", directive.name));
        return Ok(ExitCode::SUCCESS);
    }
    serve::run(&Text::of_file(flags.conf.as_deref())?, flags, None)
}

fn check(file: &str) -> anyhow::Result<ExitCode> {
    let text = Text::of_file(Some(file))?;
    let checked = config::check(&text, 53)?;
    checked.print_warnings();
    let blocks = checked.blocks.len();
    say!("{file}: {blocks} server block{}, no mistakes", if blocks == 1 { "" } else { "s" });
    Ok(ExitCode::SUCCESS)
}
