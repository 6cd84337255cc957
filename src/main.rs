//! The binary: reads the command line and runs the command.

use std::process::ExitCode;

fn main() -> ExitCode {
    match ndots::cli::Cli::from_args(std::env::args_os()) {
        Ok(cli) => ndots::app::run(cli),
        Err(code) => code.into(),
    }
}
