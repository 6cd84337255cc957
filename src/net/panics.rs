//! The counter of caught panics, which listeners and exchanges with upstreams share.

use crate::metrics::{CounterFamily, Family};

pub(super) static PANICS: CounterFamily<0> =
    Family::new("panics_total", "Panics while a query was answered.", []);
