//! The levels of the log: `-log-level` for our own lines, `RUST_LOG` for those of all crates.

use tracing::level_filters::LevelFilter;

use crate::{cli::LogLevel, net::log::Levels};

/// A wrong `RUST_LOG` does not stop a DNS server, since other programs use the variable, too.
pub(super) fn levels(flag: Option<LogLevel>) -> Levels {
    let rust_log = std::env::var("RUST_LOG").unwrap_or_default();
    let others = match rust_log.trim() {
        "" => Default::default(),
        text => text.parse().unwrap_or_else(|_| {
            eprintln!(
                "warning: RUST_LOG is ignored: `{text}` is not a list of LEVEL or TARGET=LEVEL, such as \
                 `hyper=debug,kube=info`; levels are off, error, warn, info, debug, trace"
            );
            Default::default()
        }),
    };
    let own = flag.map(|level| match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    });
    Levels { own, others }
}
