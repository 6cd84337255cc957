//! The integration tests, one module for each subject, in one binary.
//!
//! `cargo test --test it` runs them all; `cargo test --test it answer::` runs one module.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests read clocks and files, open sockets, start threads, print figures, and may panic"
)]

mod alerts;
mod alike;
mod answer;
mod apiserver;
mod book;
mod capability;
mod catalog;
mod check_cluster;
mod cli;
mod cluster;
mod compat;
mod consistency;
mod corefile;
mod diff;
mod dnssec;
mod dnstap;
mod dynupdate;
mod e2e;
mod encrypted_upstreams;
mod etcd;
mod explain;
mod explain_checks;
mod explain_field;
mod explain_forward;
mod explain_inputs;
mod explain_lab;
mod explain_live;
mod explain_page;
mod explain_probe;
mod field;
mod flood;
mod forwarding;
mod grpc;
mod guide;
mod helm;
mod hostile;
mod https;
mod https3;
mod image;
mod install;
mod links;
mod metadata;
mod metrics;
mod netns;
mod outside;
mod protocol;
mod proxyproto;
mod query;
mod quic;
mod records;
mod reload;
mod replay;
mod restart;
mod secondary;
mod small;
mod snapshot;
mod support;
mod tidy;
mod tls;
mod top;
mod trace;
mod transfer;
mod tsig;
mod wire;
mod zone_files;
mod zone_transfers;
