//! Writes a man page for each command of ndots: `man DIRECTORY`. The texts are those of `--help`.

use clap::CommandFactory;

fn main() -> std::io::Result<()> {
    let directory = std::env::args_os().nth(1).expect("usage: man DIRECTORY");
    clap_mangen::generate_to(ndots::cli::Cli::command(), directory)
}
