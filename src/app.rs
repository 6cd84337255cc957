//! Composition: configuration, sources, server, listeners; reloads and the order of the shutdown.
//! Nothing here decides about DNS.
#![expect(clippy::disallowed_methods, reason = "files and clocks are read here")]
#![expect(clippy::print_stderr, reason = "messages for the person at the terminal")]

mod banner;
#[cfg(target_os = "linux")]
mod capability;
mod check;
mod commands;
mod compose;
mod config;
mod database;
mod diff;
mod etcd;
mod explain;
mod facts;
mod listen_config;
mod log_levels;
mod loopback;
mod memory;
mod notify;
mod octets;
mod process;
mod replace_file;
mod resolve;
mod secondaries;
mod senders;
mod serve;
mod signals;
mod signers;
mod snapshot;
mod sources;
mod top;
mod updates;
mod waiting;
mod watch;
mod web_config;
mod zone_files;

use std::process::ExitCode;

/// Prints a line to standard output. A closed output is not an error: `ndots config | head -1`.
macro_rules! print_line {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($line)*);
    }};
}
use print_line;

use crate::{
    cli::{self, Cli, Command, ServerFlags},
    plugin,
    printable::printable_json,
};

use config::Text;

/// CoreDNS's exit codes: 0 success, 1 an error or a wrong Corefile, 2 a wrong flag or a forced end.
const FAILED: u8 = 1;

/// Runs the command.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Some(Command::Serve(flags)) => {
            serve::run(&Text::of_flags(&flags), &cli.server, Some(&flags.zone))
        }
        Some(Command::Config(flags)) => {
            print_line!("{}", flags.corefile().trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Check(flags)) if flags.cluster => return explain::check_cluster(&flags),
        Some(Command::Check(flags)) => check::check(&flags),
        Some(Command::Diff(flags)) => return diff::diff(&flags),
        Some(Command::Explain(flags)) => return explain::explain(&flags),
        Some(Command::Query(flags)) => return explain::query(&flags),
        Some(Command::Top(flags)) => top::run(&flags),
        Some(Command::Plugins { name }) => {
            print_line!("{}", name.map_or_else(plugin::list, plugin::page));
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Version) => {
            print_line!("{}", banner::versions());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Completion { shell }) => {
            print_line!("{}", String::from_utf8_lossy(&cli::completion(shell)).trim_end());
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

/// The JSON of a report, for a terminal, too.
fn json(report: &impl serde::Serialize) -> serde_json::Result<String> {
    Ok(printable_json(&serde_json::to_string_pretty(report)?).into_owned())
}

fn server(flags: &ServerFlags) -> anyhow::Result<ExitCode> {
    if flags.version {
        print_line!("{}", banner::version());
        return Ok(ExitCode::SUCCESS);
    }
    if flags.plugins {
        plugin::available().for_each(|directive| print_line!("dns.{}", directive.name));
        return Ok(ExitCode::SUCCESS);
    }
    serve::run(&Text::of_file(flags.conf.as_deref())?, flags, None)
}
