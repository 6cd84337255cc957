//! Hostile clients, tenants, upstreams and files. What each of them can do to others has a bound.

mod api;
mod files;
mod flood;
mod quic;
mod text;
