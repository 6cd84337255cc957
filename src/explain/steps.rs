//! The steps along the path of a connection. Each reads the evidence through `view`, and reports
//! findings of the table `checks`. They are pure.

pub(super) mod claims;
pub(super) mod cluster;
pub(super) mod connect;
pub(super) mod dns;
pub(super) mod gateway;
pub(super) mod ingress;
pub(super) mod outside;
pub(super) mod policy;
pub(super) mod proxy;
pub(super) mod rejected;
pub(super) mod server;
pub(super) mod service;
pub(super) mod unchecked;
