//! `ndots query`: every question of the search path, and each answer.

use std::{fmt::Write, time::Duration};

use crate::{
    net::client::{self, Nameserver, RetryPolicy},
    wire::{Name, Question, Type},
};

use super::{Answer, ResolvConf, Verdict};

/// The name and types to query, the server, and the search list that completes the name.
pub struct Asking {
    pub name: String,
    pub types: Vec<Type>,
    pub server: Nameserver,
    pub resolv: ResolvConf,
    pub timeout: Duration,
    /// Whether only the data of the records is printed.
    pub short: bool,
}

/// Queries the names of the search list in order, up to the first that has records of one of the
/// types. Each line of output goes to `say`.
///
/// # Errors
/// If one of the names is not valid in DNS.
pub async fn query(asking: &Asking, say: impl Fn(&str)) -> anyhow::Result<Verdict> {
    let candidates = asking.resolv.candidates(&asking.name);
    let parsed = |candidate: &String| {
        candidate.parse().map_err(|reason| anyhow::anyhow!("{candidate}: {reason}"))
    };
    let names: Vec<Name> = candidates.iter().map(parsed).collect::<Result<_, _>>()?;
    if !asking.short {
        say(&asking.heading(candidates.len()));
    }
    for (index, (candidate, name)) in candidates.iter().zip(&names).enumerate() {
        let mut found = false;
        for qtype in &asking.types {
            let policy = RetryPolicy::retransmit_once(asking.timeout);
            let heard =
                client::query(&asking.server, Question::new(name.clone(), *qtype), policy).await;
            let answer = heard
                .map_err(|error| error.to_string())
                .and_then(|heard| Ok((Answer::decode(&heard.message)?, heard.transport)));
            match answer {
                Ok((answer, over)) => {
                    found |= answer
                        .records
                        .iter()
                        .any(|record| *qtype == Type::ANY || record.rtype == qtype.to_string());
                    let shown = asking.show(index + 1, candidate, *qtype, &answer, over);
                    if !shown.is_empty() {
                        say(shown.trim_end());
                    }
                }
                Err(error) => {
                    say(&format!("{} {candidate} {qtype}: {error}", index + 1));
                    return Ok(Verdict::Unknown);
                }
            }
        }
        if found {
            return Ok(Verdict::Healthy);
        }
    }
    Ok(Verdict::Broken)
}

impl Asking {
    fn heading(&self, candidates: usize) -> String {
        let search = if self.resolv.search.is_empty() {
            "no search list".to_owned()
        } else {
            format!("search {}", self.resolv.search.join(" "))
        };
        let plural = if candidates == 1 { "" } else { "s" };
        format!(
            "; server {}, {search}, ndots {}: up to {candidates} name{plural}",
            self.server, self.resolv.ndots
        )
    }

    fn show(
        &self,
        index: usize,
        candidate: &str,
        qtype: Type,
        answer: &Answer,
        over: client::Transport,
    ) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        if self.short {
            for record in &answer.records {
                let _ = writeln!(text, "{}", record.data);
            }
            return text;
        }
        let authoritative = if answer.authoritative { ", authoritative" } else { "" };
        let transport = if over == self.server.transport {
            String::new()
        } else {
            format!(", over {}", over.address_scheme())
        };
        let _ = writeln!(
            text,
            "{index} {candidate} {qtype}: {}{authoritative}{transport}",
            answer.rcode
        );
        for record in &answer.records {
            let _ = writeln!(
                text,
                "    {} {} {} {}",
                record.owner, record.ttl, record.rtype, record.data
            );
        }
        text
    }
}
