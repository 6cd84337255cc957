//! The cluster's names: facts come in through [`Index`], readers look names up in a [`Zone`].
//!
//! Facts belong to a source, and all zones of that source share them. A [`Zone`] is a view of these
//! facts and costs nothing to make. Whether a name that has no records of a type exists (NODATA) or
//! not (NXDOMAIN) is decided in this module and nowhere else.

mod address_map;
mod alias;
mod answer;
mod claims;
mod cluster;
mod cluster_set;
mod derive;
mod describe;
mod endpoint_index;
mod endpoint_label;
mod exposed;
mod index;
mod key;
mod labels;
mod lookup;
mod name_server;
mod nodes;
pub mod outside;
mod pods;
mod reverse;
mod selection;
mod serial;
mod settings;
mod shared;
mod store;
mod table;
mod targets;
mod transfer;
mod view;

pub use answer::{Found, UnsyncedError};
pub use cluster::Zone;
pub use index::{Changed, Index, LeftOut};
pub use settings::{Namespaces, PodMode, Settings, is_reverse};
pub use store::Store;
pub use view::View;
