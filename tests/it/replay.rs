//! Runs the functions of the fuzz targets on every corpus of `fuzz/`, and on a million random and
//! mutated packets.

use std::{fs, path::Path, time::Instant};

use crate::support::turn;
use ndots::{explain, fuzzing, net, source};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpora").join(target);
    let inputs: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!inputs.is_empty(), "the corpus of {target} is empty");
    inputs
}

#[test]
fn every_corpus_passes() {
    let now = Instant::now();
    corpus("query").iter().for_each(|input| fuzzing::query(input, now));
    corpus("encode_fits").iter().for_each(|input| fuzzing::encode_fits(input));
    corpus("index_equals_rebuild").iter().for_each(|input| fuzzing::index_equals_rebuild(input));
    corpus("corefile").iter().for_each(|input| fuzzing::corefile(input));
    corpus("upstream_reply").iter().for_each(|input| fuzzing::upstream_reply(input, now));
    corpus("template").iter().for_each(|input| fuzzing::template(input, now));
    corpus("zone_file").iter().for_each(|input| fuzzing::zone_file(input));
    corpus("zone_update").iter().for_each(|input| fuzzing::zone_update(input));
    corpus("doh_request").iter().for_each(|input| net::fuzzing::doh_request(input));
    corpus("api_page").iter().for_each(|input| source::fuzzing::api_page(input));
    corpus("kubeconfig").iter().for_each(|input| source::fuzzing::kubeconfig(input));
    corpus("explain_objects").iter().for_each(|input| explain::fuzzing::explain_objects(input));
}

/// Each text is mutated, also with parts of another one.
#[test]
fn mutated_templates_zone_files_and_updates_pass() {
    let now = Instant::now();
    let mut random = Random(4);
    let (templates, zones, updates) =
        (corpus("template"), corpus("zone_file"), corpus("zone_update"));
    let rounds = std::env::var("NDOTS_TEXTS").map_or(3_000, |rounds| rounds.parse().unwrap());
    for _ in 0..rounds {
        fuzzing::template(&mutated(&templates, &mut random), now);
        fuzzing::zone_file(&mutated(&zones, &mut random));
        fuzzing::zone_update(&mutated(&updates, &mut random));
    }
}

fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut text = seeds[random.below(seeds.len())].clone();
    let other = &seeds[random.below(seeds.len())];
    for _ in 0..random.below(5) {
        let (at, from) = (random.below(text.len()), random.below(other.len()));
        let part = &other[from..other.len().min(from + random.below(20))];
        match random.below(4) {
            0 => drop(text.splice(at..at, part.iter().copied())),
            1 => drop(text.drain(at..text.len().min(at + random.below(12)))),
            2 => text.extend_from_slice(part),
            _ => {
                const SYNTAX: &[u8] = b"{}().$\"\n\\|*@;#-09azA/ \t";
                if let Some(octet) = text.get_mut(at) {
                    *octet = SYNTAX[random.below(SYNTAX.len())];
                }
            }
        }
    }
    text
}

#[test]
fn a_million_random_packets_pass() {
    let _turn = turn::alone();
    let now = Instant::now();
    let mut random = Random(1);
    let seeds = corpus("query");
    for round in 0..500_000 {
        // The function handles each packet as UDP and as TCP.
        let mut packet = seeds[random.below(seeds.len())].clone();
        if round % 4 == 0 {
            packet = (0..random.below(64)).map(|_| random.next() as u8).collect();
        }
        for _ in 0..random.below(4) {
            mutate(&mut packet, &mut random);
        }
        fuzzing::query(&packet, now);
    }
}

/// `NDOTS_REPLIES` sets the number of replies.
#[test]
fn random_replies_of_an_upstream_pass() {
    let _turn = turn::alone();
    let now = Instant::now();
    let mut random = Random(3);
    let seeds = corpus("upstream_reply");
    let rounds = std::env::var("NDOTS_REPLIES").map_or(10_000, |rounds| rounds.parse().unwrap());
    for _ in 0..rounds {
        let mut reply = seeds[random.below(seeds.len())].clone();
        if random.below(4) == 0 {
            // Append the records of another seed.
            let other = &seeds[random.below(seeds.len())];
            reply.extend_from_slice(&other[9.min(other.len())..]);
        }
        for _ in 0..random.below(5) {
            mutate(&mut reply, &mut random);
        }
        fuzzing::upstream_reply(&reply, now);
    }
}

#[test]
fn random_changes_end_in_the_zone_of_the_final_facts() {
    let mut random = Random(2);
    for _ in 0..300 {
        let changes: Vec<u8> = (0..random.below(600)).map(|_| random.next() as u8).collect();
        fuzzing::index_equals_rebuild(&changes);
    }
}

fn mutate(packet: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(packet.len().max(1));
    match (random.below(5), packet.get_mut(at)) {
        (0, Some(octet)) => *octet = random.next() as u8,
        (1, Some(octet)) => *octet ^= 1 << random.below(8),
        (2, _) => packet.truncate(at),
        (3, _) => packet.extend((0..random.below(24)).map(|_| random.next() as u8)),
        (_, Some(octet)) => *octet = [0, 1, 12, 63, 64, 0xc0, 0xff][random.below(7)],
        (_, None) => {}
    }
}

/// The generator splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
