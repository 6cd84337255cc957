//! `loadbalance`: addresses and mail exchangers leave in a random order.

use std::sync::Arc;

use crate::{
    chain::{Back, Cx, Plugin, Reply},
    wire::{Query, Rcode, Type},
};

use super::{Reading, Settings, Site};

#[derive(Debug)]
struct Loadbalance;

impl Settings for Loadbalance {
    fn build(&self, _site: &mut Site<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        Ok(vec![Arc::new(Self)])
    }
}

impl Plugin for Loadbalance {
    fn name(&self) -> &'static str {
        "loadbalance"
    }

    fn response(&self, cx: &mut Cx, _query: &Query, _memo: u32, reply: Reply) -> Back {
        let Ok(mut response) = reply else { return Back::Up(reply) };
        if response.rcode == Rcode::NOERROR {
            for set in response.sections_mut().into_iter().flatten() {
                if matches!(set.rtype, Type::A | Type::AAAA | Type::MX) {
                    set.shuffle = Some(cx.random());
                }
            }
        }
        Back::Up(Ok(response))
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    reading.each(|words| {
        if let Some(policy) = words.optional() {
            match &*policy.text {
                "round_robin" => words.end(),
                "weighted" => {
                    words.error(policy.span, "the policy `weighted` is known to CoreDNS, not here yet");
                }
                other => {
                    let message = format!("unknown policy: {other}");
                    words.error(policy.span, &message).help("known are: round_robin, weighted");
                }
            }
        }
        words.options(|option| match option.name() {
            "prefer" | "reload" => option.not_yet(),
            _ => option.unknown(&["prefer", "reload"]),
        });
    });
    Some(Box::new(Loadbalance))
}
