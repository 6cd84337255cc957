//! `erratic`: a server that drops, truncates and delays replies, for tests of clients.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    chain::{Cx, Flow, Plugin, Unready},
    corefile::Arguments,
    wire::{Name, Owner, Query, Question, Rcode, Rdatas, RecordSet, Response, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, Need, OptionSpec, OptionTable, PluginContext,
    PluginSettings, Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "erratic",
    about: "Answers A, AAAA and AXFR queries with fixed data, and drops, truncates or delays replies. Use it to test clients.",
    arguments: "",
    options: &OPTIONS,
    roles: &[Role::Answers],
    example: "example.org:53 {\n    erratic {\n        drop 3\n    }\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<ErraticSettings> = OptionTable(&[
    OptionSpec::new(
        "drop",
        "[AMOUNT]",
        "Drops one query of every AMOUNT; 0 drops none. The default is 2 without `truncate` and `delay`, and 0 with them.",
        |erratic, option| erratic.drop = read_amount(option).or(erratic.drop),
    ),
    OptionSpec::new(
        "truncate",
        "[AMOUNT]",
        "Sets TC in one reply of every AMOUNT; the default is 2.",
        |erratic, option| erratic.truncate = read_amount(option).or(Some(2)),
    ),
    OptionSpec::new(
        "delay",
        "[AMOUNT [DURATION]]",
        "Delays one reply of every AMOUNT for DURATION; the defaults are 2 and 100ms.",
        |erratic, option| {
            erratic.delay = read_amount(option).or(Some(2));
            if !option.is_empty() {
                erratic.pause = option.duration("the delay").unwrap_or(erratic.pause);
            }
        },
    ),
    OptionSpec::new(
        "large",
        "",
        "Answers A queries with 30 records, so that replies are longer than 512 octets.",
        |erratic, _| erratic.large = true,
    ),
]);

#[derive(Clone, Debug)]
struct ErraticSettings {
    /// One of this many queries is dropped; zero for none. `None` if the option is not written. The
    /// next two fields have the same form.
    drop: Option<u64>,
    truncate: Option<u64>,
    delay: Option<u64>,
    pause: Duration,
    large: bool,
}

struct Erratic {
    settings: ErraticSettings,
    queries: AtomicU64,
}

/// What happens to a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fate {
    dropped: bool,
    truncated: bool,
    delayed: bool,
}

impl PluginSettings for ErraticSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Transfers]
    }

    fn build(&self, _context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(Erratic { settings: self.clone(), queries: AtomicU64::new(0) })])
    }
}

impl ErraticSettings {
    fn fate(&self, number: u64) -> Fate {
        let one_of =
            |amount: Option<u64>| amount.is_some_and(|it| number.is_multiple_of(it) && it > 0);
        // Without options every second query is dropped.
        let alone = self.truncate.is_none() && self.delay.is_none();
        let drop = self.drop.or(alone.then_some(2));
        Fate {
            dropped: one_of(drop),
            truncated: one_of(self.truncate),
            delayed: one_of(self.delay),
        }
    }
}

impl Plugin for Erratic {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        let fate = self.settings.fate(self.queries.fetch_add(1, Ordering::Relaxed));
        if fate.dropped {
            return Flow::Drop;
        }
        let response = self.response_to(&query.question, fate.truncated);
        if fate.delayed {
            Flow::Pause(self.settings.pause, response)
        } else {
            Flow::Answer(response)
        }
    }

    /// The plugin is ready after the third query and not ready again after the fifth, for tests of
    /// readiness probes.
    fn unready(&self) -> Option<Unready> {
        let ready = (3..5).contains(&self.queries.load(Ordering::Relaxed));
        (!ready).then(Unready::default)
    }
}

impl Erratic {
    fn response_to(&self, question: &Question, truncated: bool) -> Response {
        let mut response = Response { truncated, ..Response::authoritative(Rcode::NOERROR) };
        match question.qtype {
            Type::A => {
                let count = if self.settings.large { 30 } else { 1 };
                let rdatas = std::iter::repeat_n(Ipv4Addr::new(192, 0, 2, 53).octets(), count);
                response.answer.push(RecordSet::new(Owner::Question, Type::A, 0, rdatas.collect()));
            }
            Type::AAAA => response.answer.push(address(Owner::Question, [0x2001, 0xdb8, 0x53])),
            Type::AXFR => {
                let zone = zone(&question.name);
                let end = (!truncated).then(|| zone[0].clone());
                return Response {
                    truncated: false,
                    answer: zone.into_iter().chain(end).collect(),
                    ..response
                };
            }
            _ => return Response::of(Rcode::SERVFAIL),
        }
        response
    }
}

/// An AAAA record whose address has these first two words and last word.
fn address(owner: Owner, [first, second, last]: [u16; 3]) -> RecordSet {
    let address = Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, last);
    RecordSet::new(owner, Type::AAAA, 0, Rdatas::one(&address.octets()))
}

/// A small zone, its SOA record first.
fn zone(apex: &Name) -> Vec<RecordSet> {
    let mut soa = b"\x03sns\x03dns\x05icann\x03org\x00\x03noc\x03dns\x05icann\x03org\x00".to_vec();
    for number in [2_018_050_825_u32, 7200, 3600, 1_209_600, 3600] {
        soa.extend_from_slice(&number.to_be_bytes());
    }
    let mut zone = vec![RecordSet::new(Owner::Question, Type::SOA, 0, Rdatas::one(&soa))];
    let hosts = [("b", [0x2001, 0x500, 0x54]), ("a", [0x2001, 0xbd8, 0x53])]
        .map(|(label, words)| Some((Name::join([label.as_bytes()], apex)?, words)));
    let hosts: Vec<_> = hosts.into_iter().flatten().collect();
    let targets = hosts.iter().map(|(name, _)| name.wire()).collect();
    zone.push(RecordSet::new(Owner::Question, Type::NS, 0, targets));
    zone.extend(hosts.iter().map(|(name, words)| address(Owner::from(name), *words)));
    zone
}

/// `None` without an argument.
fn read_amount(option: &mut Arguments<'_>) -> Option<u64> {
    if option.is_empty() { None } else { option.number("the amount", 0, i32::MAX as u64) }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut erratic = ErraticSettings {
        drop: None,
        truncate: None,
        delay: None,
        pause: Duration::from_millis(100),
        large: false,
    };
    lines.each(|arguments| {
        arguments.ignore_rest();
        OPTIONS.read(arguments, &mut erratic);
    });
    Some(Box::new(erratic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_queries_suffers() {
        let check = |drop, truncate, delay, expected: &str| {
            let pause = Duration::ZERO;
            let settings = ErraticSettings { drop, truncate, delay, pause, large: false };
            let fates = (0..6).map(|number| match settings.fate(number) {
                Fate { dropped: true, .. } => 'd',
                Fate { truncated: true, .. } => 't',
                Fate { delayed: true, .. } => 'w',
                Fate { .. } => '-',
            });
            assert_eq!(fates.collect::<String>(), expected);
        };
        check(None, None, None, "d-d-d-");
        check(Some(3), None, None, "d--d--");
        check(Some(0), None, None, "------");
        check(None, Some(3), None, "t--t--");
        check(None, None, Some(2), "w-w-w-");
        check(None, Some(0), Some(2), "w-w-w-");
        check(Some(3), Some(2), None, "d-tdt-");
    }
}
