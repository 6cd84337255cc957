//! Hostile clients, tenants, API servers, upstreams and files. The harm that each can do has a
//! bound.

pub(crate) mod api;
mod arena;
mod attacks;
mod costs;
mod day;
mod elsewhere;
mod files;
mod flood;
mod https3;
mod incomplete;
mod quic;
mod tenants;
mod text;
mod unread;
