//! `ndots top`: what DNS servers do now.
//!
//! A [`Sample`] holds the numbers of all servers at one time. A [`Summary`] says what happened
//! between two samples, and [`draw`] shows it. The numbers are those of the pages `/metrics` and
//! `/top`, so CoreDNS can be watched, too. Nothing here reads a page or a clock.

mod sample;
mod screen;
mod summary;

pub use sample::{Page, Sample};
pub use screen::{draw, text};
pub use summary::Summary;
