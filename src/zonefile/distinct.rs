//! The records of a set while a zone is built.

use std::collections::HashMap;

/// The data of records, each once and in the order of arrival. A zone may have a million records of
/// one name, so the search for one of them must not read all others.
pub(super) enum DistinctRdatas {
    /// Most sets have few records, and a list of them is smaller and faster.
    Few(Vec<Vec<u8>>),
    Many {
        /// The data of each record with its place in the order.
        places: HashMap<Vec<u8>, usize>,
        /// How many records have been added.
        added: usize,
    },
}

use DistinctRdatas::{Few, Many};

/// The number of records that are searched one after the other.
const FEW: usize = 16;

impl DistinctRdatas {
    pub(super) fn one(rdata: Vec<u8>) -> Self {
        Few(vec![rdata])
    }

    pub(super) fn contains(&self, rdata: &[u8]) -> bool {
        match self {
            Few(all) => all.iter().any(|it| it == rdata),
            Many { places, .. } => places.contains_key(rdata),
        }
    }

    pub(super) fn add(&mut self, rdata: Vec<u8>) {
        match self {
            Few(all) if all.contains(&rdata) => {}
            Few(all) => {
                all.push(rdata);
                if all.len() > FEW {
                    let added = all.len();
                    *self = Many { places: all.drain(..).zip(0..).collect(), added };
                }
            }
            Many { places, added } => {
                places.entry(rdata).or_insert(*added);
                *added += 1;
            }
        }
    }

    /// Returns false if the record was not found.
    pub(super) fn remove(&mut self, rdata: &[u8]) -> bool {
        match self {
            Few(all) => {
                let place = all.iter().position(|it| it == rdata);
                place.map(|place| all.remove(place)).is_some()
            }
            Many { places, .. } => places.remove(rdata).is_some(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Few(all) => all.is_empty(),
            Many { places, .. } => places.is_empty(),
        }
    }

    pub(super) fn into_vec(self) -> Vec<Vec<u8>> {
        match self {
            Few(all) => all,
            Many { places, .. } => {
                let mut all: Vec<_> = places.into_iter().collect();
                all.sort_unstable_by_key(|(_, place)| *place);
                all.into_iter().map(|(rdata, _)| rdata).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_stay_in_their_order_and_occur_once() {
        for size in [1, FEW, FEW + 1, 3 * FEW] {
            let rdata = |number: usize| vec![number as u8];
            let mut rdatas = DistinctRdatas::one(rdata(0));
            (0..size).chain(0..size).for_each(|number| rdatas.add(rdata(number)));
            assert!((0..size).all(|number| rdatas.contains(&rdata(number))));
            assert!(!rdatas.contains(&rdata(size)) && !rdatas.remove(&rdata(size)));
            // A record that was removed and added again is the last one.
            assert!(rdatas.remove(&rdata(0)) && !rdatas.remove(&rdata(0)));
            assert_eq!(rdatas.is_empty(), size == 1);
            rdatas.add(rdata(0));
            let expected: Vec<_> = (1..size).chain([0]).map(rdata).collect();
            assert_eq!(rdatas.into_vec(), expected, "{size}");
        }
    }
}
