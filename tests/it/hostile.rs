//! Hostile clients, tenants, upstreams and files. What each of them can do to others has a bound.

mod api;
mod arena;
mod attacks;
mod day;
mod elsewhere;
mod files;
mod flood;
mod https3;
mod quic;
mod tenants;
mod text;
