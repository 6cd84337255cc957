//! Where facts come from. All sources end in [`crate::model::Change`], and none sees the zone.

pub mod api;
pub mod kind;
pub mod manifests;
