//! What the evidence means, before it is judged: the object that the user named, the Services
//! behind it, their endpoints, the routes and Ingresses that lead to them, policies, and the
//! client. Every join of objects is made here, once. It is pure, and it makes no finding.

pub(super) mod backends;
pub(super) mod claims;
pub(super) mod destination;
pub(super) mod endpoints;
pub(super) mod exposure;
pub(super) mod foreign;
pub(super) mod hosts;
pub(super) mod isolation;
pub(super) mod labels;
pub(super) mod names;
pub(super) mod peers;
pub(super) mod pods;
pub(super) mod probes;
pub(super) mod routes;
pub(super) mod truth;
pub(super) mod workloads;
