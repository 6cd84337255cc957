//! The binary: reads the command line, and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ndots::app::run(ndots::cli::Cli::from_args(std::env::args_os()))
}
