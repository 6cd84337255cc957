//! The file of `loadbalance weighted`: each name is followed by the weights of its addresses.

use std::{collections::HashMap, net::IpAddr};

use crate::{
    chain::Cx,
    wire::{Name, Owner, RecordSet},
};

use super::address_of;

/// The weight of an address that is not in the file.
const DEFAULT: u8 = 1;

#[derive(Debug, Default)]
pub(super) struct Weights(HashMap<Name, HashMap<IpAddr, u8>>);

impl Weights {
    /// A line has a name, or an address and its weight from 1 to 255. Empty lines and lines that
    /// begin with `#` are skipped.
    ///
    /// # Errors
    /// The number of the first invalid line. Its text is left out, because the path may point to a
    /// file with secrets.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut weights = HashMap::<Name, HashMap<IpAddr, u8>>::new();
        let mut current: Option<Name> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let invalid = |what: &str| format!("line {number}: {what}");
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                [name] if name.parse::<IpAddr>().is_ok() => {
                    return Err(invalid("an address without a weight"));
                }
                [name] => {
                    current =
                        Some(name.parse().map_err(|_| {
                            invalid("neither a name nor an address with its weight")
                        })?);
                }
                [address, weight] => {
                    let address =
                        address.parse::<IpAddr>().map_err(|_| invalid("not an IP address"))?;
                    let weight = weight
                        .parse()
                        .ok()
                        .filter(|weight| *weight > 0)
                        .ok_or_else(|| invalid("a weight must be from 1 to 255"))?;
                    let name = current
                        .clone()
                        .ok_or_else(|| invalid("there is no name above this address"))?;
                    weights.entry(name).or_default().entry(address).or_insert(weight);
                }
                _ => return Err(invalid("neither a name nor an address with its weight")),
            }
        }
        Ok(Self(weights))
    }

    /// Moves one address to the front, chosen at random by the weights.
    pub(super) fn put_one_first(&self, set: &mut RecordSet, asked: &Name, cx: &mut Cx) {
        let owner = match &set.owner {
            Owner::Question => Some(asked.clone()),
            Owner::QuestionFrom(at) => asked.suffix((*at).into()),
            Owner::Name(wire) => Name::from_wire(wire),
        };
        let known = owner.and_then(|owner| self.0.get(&owner));
        let weight = |rdata: &[u8]| {
            address_of(rdata).and_then(|address| known?.get(&address).copied()).unwrap_or(DEFAULT)
        };
        let mut rdatas: Vec<&[u8]> = set.rdatas.iter().collect();
        let total: u32 = rdatas.iter().map(|rdata| u32::from(weight(rdata))).sum();
        if total == 0 {
            return;
        }
        let mut left = cx.random.next_u32() % total;
        let first = rdatas.iter().position(|rdata| {
            let weight = u32::from(weight(rdata));
            let chosen = left < weight;
            left = left.saturating_sub(weight);
            chosen
        });
        rdatas.swap(0, first.unwrap_or(0));
        set.rdatas = rdatas.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_parsed_or_its_first_error_reported() {
        let check = |text: &str, expected: Result<usize, &str>| {
            let read =
                Weights::parse(text).map(|weights| weights.0.values().map(HashMap::len).sum());
            assert_eq!(read, expected.map_err(str::to_owned), "{text:?}");
        };
        check("", Ok(0));
        check("# x\n\na.example\n 10.0.0.1 1\n10.0.0.2\t255\nb.example.\nfd00::1 7 \n", Ok(3));
        check("a.example\n10.0.0.1 1\nb.example\na.example\n10.0.0.1 9\n10.0.0.2 9\n", Ok(2));
        check("10.0.0.1 1\n", Err("line 1: there is no name above this address"));
        check("a.example\n10.0.0.1\n", Err("line 2: an address without a weight"));
        check("a.example\n10.0.0.1 0\n", Err("line 2: a weight must be from 1 to 255"));
        check("a.example\n10.0.0.1 256\n", Err("line 2: a weight must be from 1 to 255"));
        check("a.example\n10.0.0 1\n", Err("line 2: not an IP address"));
        check(
            "a.example\n10.0.0.1 1 1\n",
            Err("line 2: neither a name nor an address with its weight"),
        );
        check("a..example\n", Err("line 1: neither a name nor an address with its weight"));
    }
}
