//! Where facts come from. All sources end in [`crate::model::Change`], and none sees the zone.

pub mod kind;
pub mod manifests;
