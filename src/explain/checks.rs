//! The table of checks: every finding belongs to one of them. The table also says what a check
//! leaves open when it is skipped, and which findings hide others.
//!
//! `ndots explain --checks` prints the table, and `docs/explain.md` is made from it.

mod dns;
mod endpoints;
mod gateway;
mod outside;
mod page;
mod policy;
mod proxy;
mod server;
mod service;
mod switch;

pub(super) use dns::*;
pub(super) use endpoints::*;
pub(super) use gateway::*;
pub(super) use outside::*;
pub use page::{one, page, table};
pub(super) use policy::*;
pub(super) use proxy::*;
pub(super) use server::*;
pub(super) use service::*;
pub(super) use switch::*;

use serde::{Serialize, Serializer};

/// A stage of the path of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Dns,
    Server,
    Service,
    Proxy,
    Outside,
}

impl Step {
    pub fn title(self) -> &'static str {
        match self {
            Self::Dns => "DNS",
            Self::Server => "The server",
            Self::Service => "Service and endpoints",
            Self::Proxy => "kube-proxy",
            Self::Outside => "From outside",
        }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.title())
    }
}

/// One check. Its id never changes between releases.
#[derive(Debug)]
pub struct Check {
    pub id: &'static str,
    /// What it reports, in a few words.
    pub title: &'static str,
    /// Why it happens. Empty if the finding is only a fact.
    pub cause: &'static str,
    /// What to do. Empty if the finding is only a fact.
    pub cure: &'static str,
    /// What remains unknown if the check is skipped.
    pub open: Option<&'static str>,
    /// A finding of one of these checks in the same step hides this check, if it is as bad.
    pub hidden_by: &'static [&'static Self],
    /// Whether only the first finding of this check in a step is kept.
    pub once: bool,
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Check {}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id)
    }
}

/// A check that can find something wrong.
const fn fault(
    id: &'static str,
    title: &'static str,
    cause: &'static str,
    cure: &'static str,
) -> Check {
    Check { id, title, cause, cure, open: None, hidden_by: &[], once: false }
}

/// A check whose finding is only a fact.
const fn fact(id: &'static str, title: &'static str) -> Check {
    fault(id, title, "", "")
}

impl Check {
    const fn leaves_open(mut self, open: &'static str) -> Self {
        self.open = Some(open);
        self
    }

    const fn once(mut self) -> Self {
        self.once = true;
        self
    }

    const fn hidden_by(mut self, checks: &'static [&'static Self]) -> Self {
        self.hidden_by = checks;
        self
    }
}

/// The checks of one subject.
pub(in crate::explain) struct Group {
    pub step: Step,
    pub title: &'static str,
    pub checks: &'static [&'static Check],
}

/// All checks, in the order of the steps.
pub(in crate::explain) const ALL: &[Group] = &[
    Group { step: Step::Dns, title: "DNS", checks: dns::ALL },
    Group { step: Step::Server, title: "The DNS server", checks: server::ALL },
    Group { step: Step::Service, title: "The Service", checks: service::ALL },
    Group { step: Step::Service, title: "Endpoints and Pods", checks: endpoints::ALL },
    Group { step: Step::Service, title: "Network policies", checks: policy::ALL },
    Group { step: Step::Proxy, title: "kube-proxy", checks: proxy::ALL },
    Group { step: Step::Outside, title: "From outside", checks: outside::ALL },
    Group { step: Step::Outside, title: "Gateway API", checks: gateway::ALL },
];

/// The checks that only `ndots check --cluster` has.
pub(in crate::explain) const OF_SWITCH: &[&Check] = switch::ALL;

/// Every check of both commands.
fn all() -> impl Iterator<Item = &'static Check> {
    ALL.iter().flat_map(|group| group.checks).chain(OF_SWITCH).copied()
}

/// The check with this id.
pub(in crate::explain) fn find(id: &str) -> Option<&'static Check> {
    all().find(|check| check.id == id)
}

/// Defines a constant for each check, and the list of them in this order.
macro_rules! checks {
    ($($name:ident = $check:expr;)*) => {
        $(pub(in crate::explain) const $name: &Check = &$check;)*
        pub(super) const ALL: &[&Check] = &[$($name),*];
    };
}
use checks;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<&str> = all().map(|check| check.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
