//! Compares the replies of two servers to the same questions, and explains each difference.
//!
//! The tests compare CoreDNS and ndots with it, and so does `ndots diff`. It does no I/O.

mod cause;
mod compare;
mod question;
mod reply;
mod report;
mod rules;
mod zone;

pub use cause::Cause;
pub use compare::{Delta, as_cut, compare, may_be_cut};
pub use question::{Asked, How, QuestionError, read_line};
pub use reply::Reply;
pub use report::{Comparison, Pair, Report};
pub use rules::{Rule, RuleError, Scope};
pub use zone::{is_last, of_zone, own_records};
