//! `loadbalance [round_robin|weighted FILE] { prefer CIDR… | reload DURATION }`.

mod weights;

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::{
    chain::{Back, Cx, Plugin, Reply},
    corefile::Arguments,
    wire::{Query, Rcode, Rdatas, RecordSet, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, Need, OptionSpec, OptionTable, PluginContext,
    PluginSettings, Role, root::Root,
};
use weights::Weights;

pub(super) static DIRECTIVE: Directive = Directive {
    name: "loadbalance",
    about: "Sends A, AAAA and MX records in a random order; preferences or weights decide the first.",
    arguments: "[round_robin|weighted FILE]",
    options: &OPTIONS,
    roles: &[Role::ChangesReplies, Role::ReadsFiles],
    example: ".:53 {\n    loadbalance round_robin {\n        prefer 10.0.0.0/8\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<LoadbalanceSettings> = OptionTable(&[
    OptionSpec::repeated(
        "prefer",
        "CIDR…",
        "Sends addresses of these networks first, in this order.",
        read_prefer,
    ),
    OptionSpec::new(
        "reload",
        "DURATION",
        "Watches the file of the weights for changes; 0 turns that off.",
        read_reload,
    ),
]);

#[derive(Clone, Debug)]
enum LoadbalanceSettings {
    /// Networks with the length of their masks, the most preferred first.
    RoundRobin {
        prefer: Vec<(IpAddr, u8)>,
    },
    Weighted {
        file: String,
        watched: bool,
    },
}

enum Loadbalance {
    RoundRobin { prefer: Vec<(IpAddr, u8)> },
    Weighted(Weights),
}

impl PluginSettings for LoadbalanceSettings {
    fn needs(&self) -> Vec<Need> {
        match self {
            Self::RoundRobin { .. } => Vec::new(),
            Self::Weighted { file, watched } => [Need::File(file.clone())]
                .into_iter()
                .chain(watched.then_some(Need::WatchFiles))
                .collect(),
        }
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let plugin = match self {
            Self::RoundRobin { prefer } => Loadbalance::RoundRobin { prefer: prefer.clone() },
            Self::Weighted { file, watched } => {
                let weights = match context.file(file) {
                    Ok(text) => Weights::parse(text),
                    // As in CoreDNS, a watched file may be created later.
                    Err(_) if *watched => Ok(Weights::default()),
                    Err(reason) => Err(reason),
                };
                let failed = |reason| BuildError(format!("{file}: {reason}"));
                Loadbalance::Weighted(weights.map_err(failed)?)
            }
        };
        Ok(vec![Arc::new(plugin)])
    }
}

impl Plugin for Loadbalance {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn response(&self, cx: &mut Cx, query: &Query, reply: Reply) -> Back {
        let Ok(mut response) = reply else { return Back::Up(reply) };
        if response.rcode != Rcode::NOERROR {
            return Back::Up(Ok(response));
        }
        match self {
            Self::RoundRobin { prefer } => {
                for set in response.sections_mut().into_iter().flatten() {
                    if is_address(set) && !prefer.is_empty() {
                        put_preferred_first(set, prefer, cx);
                    } else if is_address(set) || set.rtype == Type::MX {
                        set.shuffle = Some(cx.random.next_u32());
                    }
                }
            }
            Self::Weighted(weights)
                if matches!(query.question.qtype, Type::A | Type::AAAA | Type::SRV) =>
            {
                let [answer, _, additional] = response.sections_mut();
                for set in answer.iter_mut().chain(additional).filter(|set| is_address(set)) {
                    weights.put_one_first(set, &query.question.name, cx);
                }
            }
            Self::Weighted(_) => {}
        }
        Back::Up(Ok(response))
    }
}

fn is_address(set: &RecordSet) -> bool {
    matches!(set.rtype, Type::A | Type::AAAA)
}

/// Sorts by network, the other addresses last. Addresses of one network are in a random order.
fn put_preferred_first(set: &mut RecordSet, prefer: &[(IpAddr, u8)], cx: &mut Cx) {
    let mut rdatas: Vec<&[u8]> = set.rdatas.iter().collect();
    cx.random.shuffle(&mut rdatas);
    let rank = |rdata: &&[u8]| {
        let address = address_of(rdata);
        prefer
            .iter()
            .position(|network| address.is_some_and(|address| contains(*network, address)))
            .unwrap_or(prefer.len())
    };
    rdatas.sort_by_key(rank);
    set.rdatas = rdatas.into_iter().collect::<Rdatas>();
}

/// The address in the data of an A or AAAA record.
fn address_of(rdata: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from))
}

fn contains((network, bits): (IpAddr, u8), address: IpAddr) -> bool {
    let differ = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            u128::from(network.to_bits() ^ address.to_bits()) << 96
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => network.to_bits() ^ address.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= u32::from(bits)
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut policy = LoadbalanceSettings::RoundRobin { prefer: Vec::new() };
    let root = Root::of(lines);
    lines.each(|arguments| {
        policy = read_policy(arguments, &root).unwrap_or_else(|| policy.clone());
        arguments.end();
        OPTIONS.read(arguments, &mut policy);
    });
    Some(Box::new(policy))
}

fn read_policy(arguments: &mut Arguments<'_>, root: &Root) -> Option<LoadbalanceSettings> {
    let round_robin = LoadbalanceSettings::RoundRobin { prefer: Vec::new() };
    if arguments.is_empty() {
        return Some(round_robin);
    }
    if arguments.one_of("the policy", &[("round_robin", false), ("weighted", true)])? {
        let file = root.path(&arguments.required("the file with the weights")?.text);
        return Some(LoadbalanceSettings::Weighted { file, watched: true });
    }
    Some(round_robin)
}

fn read_prefer(settings: &mut LoadbalanceSettings, option: &mut Arguments<'_>) {
    let LoadbalanceSettings::RoundRobin { prefer } = settings else {
        let span = option.span();
        option.error(
            span,
            "`prefer` needs the policy `round_robin`: it would contradict the weights",
        );
        option.rest();
        return;
    };
    prefer.extend(option.network("the network"));
    while !option.is_empty() {
        prefer.extend(option.network("the network"));
    }
}

fn read_reload(settings: &mut LoadbalanceSettings, option: &mut Arguments<'_>) {
    let LoadbalanceSettings::Weighted { watched, .. } = settings else {
        let span = option.span();
        option.error(span, "`reload` needs the policy `weighted`: `round_robin` reads no file");
        option.rest();
        return;
    };
    // All durations except 0 have the same effect: a change shows within two seconds.
    *watched = option.duration("the interval") != Some(Duration::ZERO);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        chain::Transport,
        wire::{Name, Owner, Question, Response},
    };

    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn cx(seed: u64) -> Cx {
        let address = ([192, 0, 2, 1], 53).into();
        Cx::new(Instant::now(), seed, address, address, Transport::Udp)
    }

    fn set(addresses: &[&str]) -> RecordSet {
        let octets = |text: &&str| match text.parse().unwrap() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let rtype = if addresses[0].contains(':') { Type::AAAA } else { Type::A };
        RecordSet::new(Owner::Question, rtype, 30, addresses.iter().map(octets).collect())
    }

    /// The addresses of `set` as they leave, asked with a hundred seeds.
    fn orders(plugin: &Loadbalance, set: &RecordSet) -> Vec<Vec<String>> {
        let order = |seed| {
            let query =
                Query::internal(Question::new("web.example.".parse::<Name>().unwrap(), set.rtype));
            let response = Response {
                answer: [set.clone()].into_iter().collect(),
                ..Response::of(Rcode::NOERROR)
            };
            let Back::Up(Ok(response)) = plugin.response(&mut cx(seed), &query, Ok(response))
            else {
                panic!("no response")
            };
            assert_eq!(response.answer[0].shuffle, None);
            response.answer[0]
                .rdatas
                .iter()
                .map(|rdata| address_of(rdata).unwrap().to_string())
                .collect()
        };
        (0..100).map(order).collect()
    }

    #[test]
    fn preferred_networks_come_first_in_their_order() {
        let prefer = |networks: &[(&str, u8)]| Loadbalance::RoundRobin {
            prefer: networks
                .iter()
                .map(|(network, bits)| (network.parse().unwrap(), *bits))
                .collect(),
        };
        let plugin = prefer(&[("10.9.0.0", 16), ("10.0.0.7", 8)]);
        let orders_of_three = orders(&plugin, &set(&["192.0.2.1", "10.1.1.1", "10.9.1.1"]));
        assert!(
            orders_of_three.iter().all(|order| *order == ["10.9.1.1", "10.1.1.1", "192.0.2.1"])
        );
        let equal = orders(&plugin, &set(&["10.1.1.1", "10.1.1.2", "192.0.2.1"]));
        assert!(equal.iter().all(|order| order[2] == "192.0.2.1"));
        let first = equal.iter().filter(|order| order[0] == "10.1.1.1").count();
        assert!((20..80).contains(&first), "{first} of 100: the order among equals is random");
        let v6 = orders(&prefer(&[("fd00::", 8), ("::", 0)]), &set(&["2001:db8::1", "fd12::1"]));
        assert!(v6.iter().all(|order| *order == ["fd12::1", "2001:db8::1"]));
    }

    #[test]
    fn addresses_come_first_as_often_as_their_weight_says() {
        let weights = Weights::parse(
            "WEB.example\n192.0.2.1 3\n192.0.2.2 1\n# others\nother.example.\n192.0.2.3 255\n",
        )
        .unwrap();
        let orders = orders(&Loadbalance::Weighted(weights), &set(&["192.0.2.2", "192.0.2.1"]));
        let first = orders.iter().filter(|order| order[0] == "192.0.2.1").count();
        assert!((60..90).contains(&first), "{first} of 100 where three quarters are expected");
        assert!(orders.iter().all(|order| order.len() == 2 && order[0] != order[1]));
    }

    #[test]
    fn a_mask_counts_bits() {
        let check = |network: &str, bits, address: &str, expected| {
            assert_eq!(
                contains((network.parse().unwrap(), bits), address.parse().unwrap()),
                expected,
                "{network}/{bits} {address}"
            );
        };
        check("10.0.0.0", 8, "10.255.0.1", true);
        check("10.0.0.0", 8, "11.0.0.1", false);
        check("10.0.0.1", 32, "10.0.0.1", true);
        check("10.0.0.1", 32, "10.0.0.0", false);
        check("0.0.0.0", 0, "192.0.2.1", true);
        check("0.0.0.0", 0, "::1", false);
        check("fd00::", 8, "fdff::1", true);
        check("fd00::", 128, "fd00::1", false);
    }
}
